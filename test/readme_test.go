package test

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var console = regexp.MustCompile("(?s)```console\n(.*?)```")

// TestReadmeShowsWhatTheBinaryPrints runs the commands of README's console blocks, each in the root of the repository, and
// compares what they print with what stands below them.
func TestReadmeShowsWhatTheBinaryPrints(t *testing.T) {
	t.Parallel()
	runConsole(t, "../README.md")
}

// TestGuideShowsWhatTheBinaryPrints does it for the blocks of the guide that need no cluster; test/e2e runs the others.
func TestGuideShowsWhatTheBinaryPrints(t *testing.T) {
	t.Parallel()
	runConsole(t, guide)
}

func runConsole(t *testing.T, document string) {
	t.Helper()
	const prompt, binary = "$ ", "bin/sourceward "
	readme, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	ran := 0
	for _, block := range console.FindAllStringSubmatch(string(readme), -1) {
		for _, command := range strings.Split("\n"+block[1], "\n"+prompt)[1:] {
			line, want, _ := strings.Cut(command, "\n")
			arguments, ok := strings.CutPrefix(line, binary)
			if !ok {
				continue // The build, which TestMain has done, or what needs a cluster.
			}
			ran++
			stdout, stderr, _ := runBinary(t, "..", strings.Fields(arguments)...)
			if diff := cmp.Diff(strings.TrimSuffix(want, "\n"), strings.TrimSuffix(string(stdout), "\n")); diff != "" {
				t.Errorf("%s mismatch (-%s +binary):\n%s", line, document, diff)
			}
			if len(stderr) > 0 {
				t.Errorf("%s says on stderr: %s", line, stderr)
			}
		}
	}
	if ran == 0 {
		t.Errorf("%s shows no command", document)
	}
}

// TestReadmeListsTheRules compares README's table with the one that the binary prints.
func TestReadmeListsTheRules(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	table, _, _ := runBinary(t, "..", "rules", "-o", "markdown")
	if !strings.Contains(string(readme), string(table)) {
		t.Errorf("README does not hold the table that sourceward rules -o markdown prints:\n%s", table)
	}
}
