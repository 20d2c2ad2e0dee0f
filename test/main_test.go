// Package test holds the tests that run every door on the same cases. It has no code of its own.
package test

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/sourceward/sourceward/policies"
	"github.com/sourceward/sourceward/policies/suite"
)

var update = flag.Bool("update", false, "write what was decided into want.yaml and patched.yaml of the cases")

// sourceward is the dry-run binary, built by TestMain from the tree under test.
var sourceward string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "sourceward")
	if err == nil {
		sourceward, err = build(dir)
	}
	if err != nil {
		panic(err)
	}
	m.Run()
	if err := os.RemoveAll(dir); err != nil {
		panic(err)
	}
}

func build(dir string) (binary string, err error) {
	const source = "../cmd/sourceward"
	// Go reuses a test's result while the files that it read are the same. What the binary is built
	// from is read by another process, so say that it counts.
	if _, err := os.ReadDir(source); err != nil {
		return "", err
	}
	binary = filepath.Join(dir, "sourceward")
	if output, err := exec.Command("go", "build", "-o", binary, source).CombinedOutput(); err != nil {
		return "", fmt.Errorf("build %s: %w\n%s", source, err, output)
	}
	return binary, nil
}

// runBinary runs the dry-run binary in a folder.
func runBinary(t testing.TB, dir string, args ...string) (stdout, stderr []byte, code int) {
	t.Helper()
	var out, problems bytes.Buffer
	cmd := exec.CommandContext(t.Context(), sourceward, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &out, &problems
	var exit *exec.ExitError
	if err := cmd.Run(); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return out.Bytes(), problems.Bytes(), cmd.ProcessState.ExitCode()
}

// report is what is read of the binary's JSON report.
type report struct {
	Findings []reported
	Errors   []struct{ Message string }
	Patches  []policies.Patch
}

// reported is a finding, and where it is.
type reported struct {
	suite.WantFinding
	Object struct{ Kind, Namespace, Name string }
	File   string
}
