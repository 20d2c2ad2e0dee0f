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

// TestRollout runs the commands of api/README.md, one after the other, and compares what they print with what
// stands below them.
func TestRollout(t *testing.T) {
	t.Parallel()
	const root = "../.."
	readme, err := os.ReadFile(filepath.Join(root, "api", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	e := newEnvironment(t, cluster.Options{}, sandbox.Options{})
	bin := t.TempDir()
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", bin, "github.com/sourceward/sourceward/cmd/sourceward").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	kubectl := e.Kubectl(t.Context())
	ran := 0
	for _, block := range console.FindAllStringSubmatch(string(readme), -1) {
		for _, command := range strings.Split("\n"+block[1], "\n$ ")[1:] {
			line, want, _ := strings.Cut(strings.TrimSuffix(command, "\n"), "\n")
			ran++
			run := func() (bool, string) {
				shell := exec.CommandContext(t.Context(), "bash", "-o", "pipefail", "-c", line)
				shell.Dir = root
				shell.Env = append(kubectl.Env, "PATH="+bin+":"+filepath.Dir(kubectl.Path)+":"+os.Getenv("PATH"))
				out, err := shell.CombinedOutput()
				if err != nil && shell.ProcessState == nil {
					t.Fatal(err)
				}
				got := age.ReplaceAllString(strings.TrimSuffix(string(out), "\n"), " 5s")
				return got == want, cmp.Diff(want, got)
			}
			// A policy is in force a moment later, and what changes nothing can be asked again until then.
			asks := strings.Contains(line, "--dry-run=server") || strings.HasPrefix(line, "kubectl get ") || strings.HasPrefix(line, "sourceward ")
			if asks {
				e.eventually(t, fmt.Sprintf("$ %s (-README +got)", line), run)
			} else if yes, diff := run(); !yes {
				t.Errorf("$ %s (-README +got):\n%s", line, diff)
			}
		}
	}
	if ran == 0 {
		t.Error("api/README.md shows no command")
	}
}
