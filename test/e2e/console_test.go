package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sourceward/sourceward/test/cluster"
	"github.com/sourceward/sourceward/test/sandbox"
)

var (
	console = regexp.MustCompile("(?s)```console\n(.*?)```")
	// age is the last column of a table, which tells how slow the machine is.
	age = regexp.MustCompile(`(?m) \d+s$`)
)

// TestRollout runs the commands of api/README.md in the root of the repository.
func TestRollout(t *testing.T) {
	t.Parallel()
	runConsole(t, "api/README.md", "../..")
}

// TestAuthor runs the session of policies/README.md in an empty folder.
func TestAuthor(t *testing.T) {
	t.Parallel()
	runConsole(t, "policies/README.md", t.TempDir())
}

// runConsole runs the commands in the console blocks of a document, one after the other, in a folder and on a control
// plane of their own, and compares what they print with what stands below them. A line that begins with > goes on with
// the command before it. Blocks that run bin/sourceward need no cluster: test/readme_test.go runs those.
func runConsole(t *testing.T, document, dir string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../..", document))
	if err != nil {
		t.Fatal(err)
	}
	e := newEnvironment(t, cluster.Options{}, sandbox.Options{})
	binary, err := commandBinary()
	if err != nil {
		t.Fatal(err)
	}
	kubectl := e.Kubectl(t.Context())
	ran := 0
	for _, block := range console.FindAllStringSubmatch(string(text), -1) {
		if strings.HasPrefix(block[1], "$ bin/sourceward ") {
			continue
		}
		for _, command := range strings.Split("\n"+block[1], "\n$ ")[1:] {
			line, want, _ := strings.Cut(strings.TrimSuffix(command, "\n"), "\n")
			for strings.HasPrefix(want, ">") {
				var more string
				more, want, _ = strings.Cut(want, "\n")
				line += "\n" + strings.TrimPrefix(strings.TrimPrefix(more, ">"), " ")
			}
			ran++
			run := func() (bool, string) {
				shell := exec.CommandContext(t.Context(), "bash", "-o", "pipefail", "-c", line)
				shell.Dir = dir
				shell.Env = append(kubectl.Env, "PATH="+filepath.Dir(binary)+":"+filepath.Dir(kubectl.Path)+":"+os.Getenv("PATH"))
				out, err := shell.CombinedOutput()
				if err != nil && shell.ProcessState == nil {
					t.Fatal(err)
				}
				got := age.ReplaceAllString(strings.TrimSuffix(string(out), "\n"), " 5s")
				return got == want, cmp.Diff(want, got)
			}
			if changesNothing(line) {
				e.eventually(t, fmt.Sprintf("$ %s (-%s +got)", line, document), run)
			} else if yes, diff := run(); !yes {
				t.Errorf("$ %s (-%s +got):\n%s", line, document, diff)
			}
		}
	}
	if ran == 0 {
		t.Errorf("%s shows no command", document)
	}
}

// changesNothing tells which commands can be asked again until a policy is in force, which it is a moment later: those
// that change nothing, however often they run.
func changesNothing(command string) bool {
	return strings.Contains(command, "--dry-run=server") || strings.HasPrefix(command, "kubectl get ") ||
		strings.HasPrefix(command, "sourceward check ") || strings.HasPrefix(command, "sourceward explain ")
}
