package e2e

import (
	"context"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/sourceward/sourceward/test/cluster"
	"github.com/sourceward/sourceward/test/pages"
	"github.com/sourceward/sourceward/test/sandbox"
)

// updatePages is not named update, because make generate would then run all tests of this package.
var updatePages = flag.Bool("update-pages", false, "write the output of commands into the pages that show them")

// age is the last column of a table, which depends on the speed of the machine.
var age = regexp.MustCompile(`(?m) \d+s$`)

// TestRollout runs the commands of api/README.md in the root of the repository.
func TestRollout(t *testing.T) {
	t.Parallel()
	runConsole(t, newEnvironment(t, cluster.Options{}, sandbox.Options{}), "api/README.md", "../..")
}

// TestAuthor runs the session of policies/README.md in an empty folder.
func TestAuthor(t *testing.T) {
	t.Parallel()
	runConsole(t, newEnvironment(t, cluster.Options{}, sandbox.Options{}), "policies/README.md", t.TempDir())
}

// runConsole runs the commands in the console blocks of a page, one after the other, in a folder and on a control plane
// with Sourceward, and compares their output with the page; with -update-pages it writes the page. test/readme_test.go
// runs the blocks that need no cluster.
func runConsole(t *testing.T, e *environment, path, dir string) {
	t.Helper()
	if !slices.Contains(pages.OnCluster, path) {
		t.Fatalf("%s is not in pages.OnCluster, so that the tests in test do not expect its blocks to be run here", path)
	}
	page, err := pages.Read(filepath.Join("../..", path))
	if err != nil {
		t.Fatal(err)
	}
	environ := e.environ(t)
	ran := 0
	for _, block := range page.Blocks {
		if block.Local() {
			continue
		}
		for _, command := range block.Commands {
			ran++
			got := outputOf(t, command, dir, environ)
			if *updatePages {
				command.Output = got
			} else if diff := cmp.Diff(command.Output, got); diff != "" {
				t.Errorf("%s shows another output of %s; if the new one is right, run go test ./test/e2e -run %s -update-pages "+
					"(-page +command):\n%s", path, command.Line, t.Name(), diff)
			}
		}
	}
	if ran == 0 {
		t.Errorf("%s shows no command", path)
	}
	if err := page.Write(); err != nil {
		t.Error(err)
	}
}

// environ returns the environment in which a shell finds kubectl, for this control plane, and sourceward.
func (e *environment) environ(t *testing.T) []string {
	t.Helper()
	binary, err := commandBinary()
	if err != nil {
		t.Fatal(err)
	}
	kubectl := e.Kubectl(t.Context())
	return append(kubectl.Env, "PATH="+filepath.Dir(binary)+":"+filepath.Dir(kubectl.Path)+":"+os.Getenv("PATH"))
}

// runBlock runs one block of the operator's page in a folder, and returns its output. It fails the test if the block
// fails.
func (e *environment) runBlock(t *testing.T, dir, block string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	shell := exec.CommandContext(ctx, "bash", "-e", "-o", "pipefail", "-c", block)
	shell.Dir, shell.Env = dir, e.environ(t)
	out, err := shell.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", block, err, out)
	}
	return string(out)
}

// outputOf runs a command and returns what it prints, without the last newline. A command that only reads is run again
// until it prints what the page shows, since a policy is in force only a moment after it was applied.
func outputOf(t *testing.T, command *pages.Command, dir string, environ []string) string {
	t.Helper()
	run := func() string {
		shell := exec.CommandContext(t.Context(), "bash", "-o", "pipefail", "-c", command.Line)
		shell.Dir, shell.Env = dir, environ
		out, err := shell.CombinedOutput()
		if err != nil && shell.ProcessState == nil {
			t.Fatal(err)
		}
		return age.ReplaceAllString(strings.TrimSuffix(string(out), "\n"), " 5s")
	}
	got := run()
	if got == command.Output || !readsOnly(command.Line) {
		return got
	}
	limit := patience
	if *updatePages || t.Failed() {
		limit = 5 * time.Second // The output on the page is perhaps never printed.
	}
	// The only error is that of the limit; the caller compares the last output.
	_ = wait.PollUntilContextTimeout(t.Context(), 200*time.Millisecond, limit, false, func(context.Context) (bool, error) {
		got = run()
		return got == command.Output, nil
	})
	return got
}

// readsOnly reports whether a command changes nothing, however often it runs.
func readsOnly(command string) bool {
	return strings.Contains(command, "--dry-run=server") || strings.HasPrefix(command, "kubectl get ") ||
		strings.HasPrefix(command, "sourceward check ") || strings.HasPrefix(command, "sourceward explain ")
}
