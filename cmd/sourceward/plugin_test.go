package main_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestPlugin runs the binary under the names by which kubectl does.
func TestPlugin(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	run := func(name string, args ...string) result {
		link := filepath.Join(dir, name)
		if err := os.Symlink(binary, link); err != nil && !os.IsExist(err) {
			t.Fatal(err)
		}
		cmd := command(t, dir, args...)
		cmd.Path, cmd.Args[0] = link, link
		return run(t, cmd)
	}
	got := run("kubectl-sourceward", "check", "--help")
	for _, want := range []string{"  kubectl sourceward check --cluster", "  kubectl sourceward check [PATH|-]..."} {
		if !strings.Contains(got.Stdout, want) {
			t.Errorf("the help of the plugin does not have %q:\n%s", want, got.Stdout)
		}
	}
	for _, text := range []string{got.Stdout, run("kubectl-sourceward", "--help").Stdout} {
		if strings.Count(text, "sourceward check") != strings.Count(text, "kubectl sourceward check") ||
			strings.Contains(text, "completion") {
			t.Errorf("the help of the plugin is not for kubectl:\n%s", text)
		}
	}
	got = run("kubectl-sourceward", "check", "--color", "blue")
	if !strings.HasSuffix(got.Stderr, "; see kubectl sourceward check --help\n") {
		t.Errorf("a mistake in the command line gives %+v", got)
	}
	got = run("kubectl-sourceward", "explain")
	if !strings.Contains(got.Stderr, `"kubectl sourceward rules" lists all rules`) {
		t.Errorf("a mistake in the command line gives %+v", got)
	}
	web, err := filepath.Abs("../../config/samples/edge/web.yaml")
	if err != nil {
		t.Fatal(err)
	}
	got = run("kubectl-sourceward", "explain", "Deployment/edge/web", "-f", web, "--nodes", "3")
	for _, want := range []string{
		"  kubectl sourceward explain Service/edge/web -f " + web + " --nodes 3\n",
		"  kubectl sourceward explain --settings Deployment/edge/web -f " + web + "\n",
		"  kubectl sourceward traffic " + web + " --nodes 3\n",
	} {
		if !strings.Contains(got.Stdout, want) {
			t.Errorf("the plugin does not advise %q:\n%s", want, got.Stdout)
		}
	}
	got = run("kubectl_complete-sourceward", "check", "--fail-on", "")
	if !strings.HasPrefix(got.Stdout, "deny\nmutate\n") {
		t.Errorf("the completion for kubectl gives %+v", got)
	}
}
