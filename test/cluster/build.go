package cluster

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/term"
	"k8s.io/apimachinery/pkg/util/wait"
)

// Version is a minor version of Kubernetes that tests run on, such as "v1.37". Empty means V137.
// The patch version is the one in test/cluster/<Version>/go.mod.
type Version string

// The versions that `make cluster` builds. All of them use the etcd and the kwok of V137.
const (
	V137 Version = "v1.37"
	V136 Version = "v1.36"
)

// Versions returns all versions, newest first.
func Versions() []Version {
	return []Version{V137, V136}
}

const (
	kubernetesModule = "k8s.io/kubernetes"
	etcdModule       = "go.etcd.io/etcd/server/v3"
	kwokModule       = "sigs.k8s.io/kwok"
)

// kwokConfig is the name of the file with the stages. It is in the folder of the binaries.
const kwokConfig = "kwok.yaml"

// stages are the files in kwok's module that configure what it simulates; without a stage kwok does nothing. With
// these, nodes become and stay Ready, pods run as soon as they are bound, and disappear as soon as they are deleted.
var stages = []string{
	"node/fast/node-initialize.yaml",
	"node/heartbeat-with-lease/node-heartbeat-with-lease.yaml",
	"pod/fast/pod-ready.yaml",
	"pod/fast/pod-complete.yaml",
	"pod/fast/pod-delete.yaml",
}

// A release holds the sources of one version, and the folder for its binaries.
type release struct {
	kubernetes, etcd, kwok string // versions, such as v1.37.1
	source                 string // the folder of the module that builds kubernetes
	sharedSource           string // the folder of the module that builds etcd and kwok
	dir                    string // the folder of the binaries, in the cache
}

// find returns the release of a version, with the versions in the go.mod files. The error is non-nil when there is no
// such version, or when the working directory is outside this repository.
func find(ctx context.Context, v Version) (release, error) {
	if v == "" {
		v = V137
	}
	if !slices.Contains(Versions(), v) {
		return release{}, fmt.Errorf("there is no control plane %q; want one of %q", v, Versions())
	}
	root, err := modules()
	if err != nil {
		return release{}, err
	}
	r := release{source: filepath.Join(root, string(v)), sharedSource: filepath.Join(root, string(V137))}
	own, err := requirements(ctx, r.source)
	if err != nil {
		return release{}, err
	}
	shared, err := requirements(ctx, r.sharedSource)
	if err != nil {
		return release{}, err
	}
	r.kubernetes, r.etcd, r.kwok = own[kubernetesModule], shared[etcdModule], shared[kwokModule]

	cache := os.Getenv("SOURCEWARD_CACHE")
	if cache == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return release{}, err
		}
		cache = filepath.Join(home, ".cache", "sourceward")
	}
	name := fmt.Sprintf("kubernetes-%s-etcd-%s-kwok-%s-%s", r.kubernetes, r.etcd, r.kwok, runtime.Version())
	r.dir, err = filepath.Abs(filepath.Join(cache, name))
	return r, err
}

// modules returns the folder that contains the modules. It searches from the working directory upwards; a test runs in
// the folder of its package. runtime.Caller would not work, because -trimpath removes the path of this file.
func modules() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		candidate := filepath.Join(dir, "test", "cluster")
		if _, err := os.Stat(filepath.Join(candidate, string(V137), "go.mod")); err == nil {
			return candidate, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errors.New("find test/cluster: the working directory is outside the repository")
		}
		dir = parent
	}
}

// requirements returns the version of each module that the go.mod of a folder requires.
func requirements(ctx context.Context, dir string) (map[string]string, error) {
	output, err := goCommand(ctx, dir, "mod", "edit", "-json").Output()
	if err != nil {
		return nil, fmt.Errorf("read go.mod of %s: %w", dir, err)
	}
	var file struct {
		Require []struct{ Path, Version string }
	}
	if err := json.Unmarshal(output, &file); err != nil {
		return nil, fmt.Errorf("read go.mod of %s: %w", dir, err)
	}
	versions := make(map[string]string, len(file.Require))
	for _, required := range file.Require {
		versions[required.Path] = required.Version
	}
	return versions, nil
}

func goCommand(ctx context.Context, dir string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "go", args...)
	// Static binaries can be cached for all machines of an architecture. The modules are not part of a workspace.
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off")
	cmd.Dir = dir
	// The go command stops its compilers when it is interrupted, but not when it is killed.
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	return cmd
}

// Build builds the control plane of a version into ${SOURCEWARD_CACHE:-~/.cache/sourceward}. The first build takes
// minutes; if the control plane exists, Build returns at once. Build is atomic: the control plane exists completely or
// not at all. The next build continues an interrupted one, and of two builds at the same time, one waits for the other.
// The cache may be deleted at any time.
//
// Build reports its progress in human-readable form: on a terminal it rewrites one line, and otherwise it writes a line
// for each step. The error is non-nil when something could not be downloaded, compiled or written. It contains the
// output of the compiler.
func Build(ctx context.Context, v Version, progress io.Writer) error {
	r, err := find(ctx, v)
	if err != nil {
		return err
	}
	if built(r) {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(r.dir), 0o755); err != nil {
		return err
	}
	unlock, err := lock(ctx, r.dir+".lock")
	if err != nil {
		return fmt.Errorf("wait for another build of %s: %w", r.dir, err)
	}
	defer unlock()
	if built(r) {
		return nil
	}

	unfinished := r.dir + ".unfinished"
	if err := os.RemoveAll(unfinished); err != nil {
		return err
	}
	defer os.RemoveAll(unfinished) //nolint:errcheck // it was renamed, or another error matters more
	if err := r.build(ctx, unfinished, progress); err != nil {
		return err
	}
	return os.Rename(unfinished, r.dir)
}

// Binary returns the path of a binary of a version that Build has built, such as "kubectl". The error is non-nil when
// `make cluster` has not been run.
func Binary(ctx context.Context, v Version, name string) (string, error) {
	r, err := find(ctx, v)
	if err != nil {
		return "", err
	}
	if !built(r) {
		return "", r.missing()
	}
	return filepath.Join(r.dir, name), nil
}

func built(r release) bool {
	_, err := os.Stat(r.dir)
	return err == nil
}

func (r release) missing() error {
	return fmt.Errorf("there is no control plane in %s; run `make cluster` once to build it", r.dir)
}

// lock locks a file. The kernel releases the lock if this process is killed.
func lock(ctx context.Context, name string) (unlock func(), err error) {
	file, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	err = wait.PollUntilContextCancel(ctx, 100*time.Millisecond, true, func(context.Context) (bool, error) {
		err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return false, nil
		}
		return err == nil, err
	})
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return func() { _ = file.Close() }, nil
}

func (r release) build(ctx context.Context, dir string, progress io.Writer) error {
	var binaries []string
	for _, name := range []string{"kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl"} {
		binaries = append(binaries, kubernetesModule+"/cmd/"+name)
	}
	if err := compile(ctx, "build kubernetes "+r.kubernetes, r.source, dir, r.stamp(), binaries, progress); err != nil {
		return err
	}
	title, binaries := "build etcd "+r.etcd+" and kwok "+r.kwok, []string{etcdModule, kwokModule + "/cmd/kwok"}
	if err := compile(ctx, title, r.sharedSource, dir, "", binaries, progress); err != nil {
		return err
	}
	if err := os.Rename(filepath.Join(dir, "server"), filepath.Join(dir, "etcd")); err != nil {
		return err
	}
	config, err := r.joinStages(ctx)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, kwokConfig), config, 0o644)
}

// stamp returns the linker flags that set the version of Kubernetes. Without them kubectl does not print a version, and
// the API server reports v0.0.0.
func (r release) stamp() string {
	major, minor, _ := strings.Cut(strings.TrimPrefix(r.kubernetes, "v"), ".")
	minor, _, _ = strings.Cut(minor, ".")
	var flags strings.Builder
	for _, pkg := range []string{"k8s.io/component-base/version", "k8s.io/client-go/pkg/version"} {
		fmt.Fprintf(&flags, " -X %[1]s.gitVersion=%s -X %[1]s.gitMajor=%s -X %[1]s.gitMinor=%s",
			pkg, r.kubernetes, major, minor)
	}
	return flags.String()
}

// joinStages returns the stages as one file, which is the form that kwok reads.
func (r release) joinStages(ctx context.Context) ([]byte, error) {
	dir, err := goCommand(ctx, r.sharedSource, "list", "-m", "-f", "{{.Dir}}", kwokModule).Output()
	if err != nil {
		return nil, fmt.Errorf("find the module of kwok: %w", err)
	}
	folder := filepath.Join(strings.TrimSpace(string(dir)), "kustomize", "stage")
	var config bytes.Buffer
	for _, stage := range stages {
		text, err := os.ReadFile(filepath.Join(folder, filepath.FromSlash(stage)))
		if err != nil {
			return nil, err
		}
		config.WriteString("---\n")
		config.Write(text)
	}
	return config.Bytes(), nil
}

// compile builds the binaries of a module into the folder dir.
func compile(ctx context.Context, title, module, dir, linkerFlags string, binaries []string, progress io.Writer) error {
	steps := newSteps(title, progress)
	defer steps.end()

	// First count the packages that are not in the build cache: most of them may be in it.
	flags := []string{"-trimpath", "-buildvcs=false"}
	list := slices.Concat([]string{"list", "-deps", "-f", "{{if .Stale}}{{.ImportPath}}{{end}}"}, flags, binaries)
	output, err := goCommand(ctx, module, list...).Output()
	if err != nil {
		if exit, ok := errors.AsType[*exec.ExitError](err); ok {
			return fmt.Errorf("%s: %w\n%s", title, err, exit.Stderr)
		}
		return fmt.Errorf("%s: %w", title, err)
	}
	missing := make(map[string]bool)
	for line := range strings.Lines(string(output)) {
		missing[strings.TrimSpace(line)] = true
	}

	build := []string{"build", "-v", "-o", dir + string(filepath.Separator), "-ldflags", "-s -w" + linkerFlags}
	cmd := goCommand(ctx, module, slices.Concat(build, flags, binaries)...)
	messages, err := cmd.StderrPipe()
	if err != nil {
		return fmt.Errorf("%s: %w", title, err)
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("%s: %w", title, err)
	}
	// With -v the go command prints the name of each package that it compiles, one a line.
	var said strings.Builder
	compiled := 0
	lines := bufio.NewReader(messages) // not a Scanner, which stops at a long line
	for err = nil; err == nil; {
		var line string
		line, err = lines.ReadString('\n')
		if pkg := strings.TrimSpace(line); missing[pkg] {
			compiled++
			steps.step(compiled, len(missing), pkg)
		} else {
			said.WriteString(line)
		}
	}
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("%s: %w\n%s", title, err, &said)
	}
	return nil
}

// steps shows the progress of a build.
type steps struct {
	out      io.Writer
	title    string
	terminal bool
}

func newSteps(title string, out io.Writer) steps {
	file, ok := out.(*os.File)
	s := steps{out: out, title: title, terminal: ok && term.IsTerminal(int(file.Fd()))}
	fmt.Fprint(out, title)
	if !s.terminal {
		fmt.Fprintln(out)
	}
	return s
}

func (s steps) step(done, total int, pkg string) {
	if s.terminal {
		// Go back to the first column, and erase the rest of the previous line.
		fmt.Fprintf(s.out, "\r%s: %d of %d packages, %.60s\x1b[K", s.title, done, total, pkg)
	}
}

func (s steps) end() {
	if s.terminal {
		fmt.Fprintf(s.out, "\r%s\x1b[K\n", s.title)
	}
}
