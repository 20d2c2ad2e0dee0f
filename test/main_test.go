// Package test holds the tests that run the core, the webhook and the dry-run binary on the same cases, and those of
// the documentation. It has no code that other packages use.
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

var (
	update = flag.Bool("update", false, "write the golden files of the cases and the generated parts of documentation")
	// inProcess is for make mutate: a binary that TestMain builds would not have the flip.
	inProcess = flag.Bool("in-process", false, "leave out the binary, for the tests that can do without it")
)

// sourceward is the dry-run binary, built by TestMain from the tree under test.
var sourceward string

func TestMain(m *testing.M) {
	flag.Parse()
	if *inProcess {
		m.Run()
		return
	}
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
	// Go reuses the result of a test until a file changes that the test itself has opened. Another process reads what the
	// binary is built from, so open it here too.
	if _, err := os.ReadDir(source); err != nil {
		return "", err
	}
	binary = filepath.Join(dir, "sourceward")
	if output, err := exec.Command("go", "build", "-o", binary, source).CombinedOutput(); err != nil {
		return "", fmt.Errorf("build %s: %w\n%s", source, err, output)
	}
	return binary, nil
}

// runBinary runs the dry-run binary in a folder, and returns its output and exit code.
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

// report is the part of the binary's JSON report that the tests read.
type report struct {
	Findings []reported
	Errors   []struct{ Message string }
	Patches  []policies.Patch
}

// reported is a finding with its object and file.
type reported struct {
	suite.WantFinding
	Object struct{ Kind, Namespace, Name string }
	File   string
}
