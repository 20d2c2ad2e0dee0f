package test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sourceward/sourceward/test/pages"
)

const (
	root   = ".."
	readme = "../README.md"
)

// markdown returns the Markdown pages of the repository.
func markdown(t *testing.T) []string {
	t.Helper()
	list, err := pages.List(root)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(list, readme) {
		t.Fatalf("%s is not among the pages %q", readme, list)
	}
	return list
}

// TestConsoleBlocks runs the console blocks of all pages that need no cluster, in the root of the repository, and
// compares what they print with the page; with -update it writes the page. All other blocks must be on a page that
// test/e2e runs.
func TestConsoleBlocks(t *testing.T) {
	const build, binary = "go build -o bin/ ./cmd/sourceward", "bin/sourceward "
	for _, path := range markdown(t) {
		page, err := pages.Read(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, block := range page.Blocks {
			if len(block.Commands) == 0 {
				t.Errorf("%s has a console block without a command", path)
				continue
			}
			if !block.Local() {
				if name, _ := filepath.Rel(root, path); !slices.Contains(pages.OnCluster, filepath.ToSlash(name)) {
					t.Errorf("%s: no test runs the block that begins with %q; begin its commands with %q, "+
						"or add the page to OnCluster in test/pages", path, block.Commands[0].Line, binary)
				}
				continue
			}
			for _, command := range block.Commands {
				switch {
				case command.Line == build:
					continue // TestMain has done it.
				case !strings.HasPrefix(command.Line, binary):
					t.Errorf("%s: %q is in a block that runs %q, and no test runs it", path, command.Line, binary)
					continue
				}
				got := runShell(t, strings.ReplaceAll(command.Line, binary, sourceward+" "))
				if *update {
					command.Output = got
				} else if diff := cmp.Diff(command.Output, got); diff != "" {
					t.Errorf("%s shows another output of %s; if the new one is right, run make generate "+
						"(-page +command):\n%s", path, command.Line, diff)
				}
			}
		}
		if err := page.Write(); err != nil {
			t.Error(err)
		}
	}
}

// runShell runs a command in the root of the repository and returns its standard output without the last newline. The
// command may fail, and must write nothing to the standard error.
func runShell(t *testing.T, line string) string {
	t.Helper()
	var stdout, stderr bytes.Buffer
	shell := exec.CommandContext(t.Context(), "bash", "-o", "pipefail", "-c", line)
	shell.Dir, shell.Stdout, shell.Stderr = root, &stdout, &stderr
	if err := shell.Run(); err != nil && shell.ProcessState == nil {
		t.Fatal(err)
	}
	if stderr.Len() > 0 {
		t.Errorf("%s writes to the standard error: %s", line, &stderr)
	}
	return strings.TrimSuffix(stdout.String(), "\n")
}

// TestReadmeListsTheRules compares README's table with the one that the binary prints.
func TestReadmeListsTheRules(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(readme)
	if err != nil {
		t.Fatal(err)
	}
	table, _, _ := runBinary(t, "..", "rules", "-o", "markdown")
	if !strings.Contains(string(text), string(table)) {
		t.Errorf("README does not hold the table that sourceward rules -o markdown prints:\n%s", table)
	}
}
