package main

import (
	"bytes"
	"context"
	"debug/buildinfo"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
)

// root is the root of the repository, seen from the folder of go.mod, in which the command runs.
const root = "../../.."

// peers are the programs beside which Sourceward is measured. Each is built from the module of its name in tools.
var peers = []struct{ name, module, command string }{
	{kubeScore, "github.com/zegl/kube-score", "/cmd/kube-score"},
	{gator, "github.com/open-policy-agent/gatekeeper/v3", "/cmd/gator"},
	{conftest, "github.com/open-policy-agent/conftest", ""},
}

// buildAll builds all programs, and returns their paths by their names. Sourceward and child are built into dir. The
// peers are built outside the tree, so that every clone shares one build, in folders that are named after their
// versions and Go's.
func buildAll(ctx context.Context, dir string, shown progress) (map[string]string, error) {
	binaries := map[string]string{
		"true":       "true",
		"sourceward": filepath.Join(dir, "sourceward"),
		"child":      filepath.Join(dir, "child"),
	}
	shown.show("building sourceward")
	if err := build(ctx, root, binaries["sourceward"], "./cmd/sourceward"); err != nil {
		return nil, err
	}
	if err := build(ctx, ".", binaries["child"], "./child"); err != nil {
		return nil, err
	}
	cache, err := cacheDir()
	if err != nil {
		return nil, err
	}
	for _, p := range peers {
		module := filepath.Join("tools", p.name)
		pinned, err := output(ctx, "go", "list", "-C", module, "-m", "-f", "{{.Version}}", p.module)
		if err != nil {
			return nil, err
		}
		path := filepath.Join(cache, p.name+"-"+pinned+"-"+runtime.Version(), p.name)
		binaries[p.name] = path
		if _, err := os.Stat(path); err == nil {
			continue
		} else if !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		shown.show("building %s, which is done once and takes minutes", p.name)
		if err := build(ctx, module, path, p.module+p.command); err != nil {
			return nil, err
		}
	}
	return binaries, nil
}

// build compiles a package of the module in a folder as the Makefile does.
func build(ctx context.Context, module, path, pkg string) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-C", module, "-trimpath", "-o", path, pkg)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build %s: %w\n%s", pkg, err, out)
	}
	return nil
}

// cacheDir returns the absolute path of the folder for what is built outside the tree.
func cacheDir() (string, error) {
	if dir := os.Getenv("SOURCEWARD_CACHE"); dir != "" {
		return filepath.Abs(dir)
	}
	home, err := os.UserHomeDir()
	return filepath.Join(home, ".cache", "sourceward"), err
}

// builtFrom returns the version of the module that a program was built from.
func builtFrom(path string) (string, error) {
	info, err := buildinfo.ReadFile(path)
	if err != nil {
		return "", err
	}
	return info.Main.Version, nil
}

// output returns what a command writes, without the newline at the end.
func output(ctx context.Context, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, &stderr)
	}
	return strings.TrimSpace(string(out)), nil
}
