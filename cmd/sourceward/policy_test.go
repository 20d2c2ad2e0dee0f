package main_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// replaceIn replaces the first occurrence of a text in a file.
func replaceIn(t *testing.T, path, old, replacement string) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), old) {
		t.Fatalf("%s does not contain %q", path, old)
	}
	if err := os.WriteFile(path, []byte(strings.Replace(string(text), old, replacement, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestNewPolicyIsCleanAndCovered(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	made := run(t, command(t, dir, "policy", "new", "no-node-port"))
	want := result{Stdout: `no-node-port/cases/fires-in-production/object.yaml
no-node-port/cases/fires-in-production/related.yaml
no-node-port/cases/fires-in-production/want.yaml
no-node-port/cases/silent-in-a-sandbox/object.yaml
no-node-port/cases/silent-in-a-sandbox/related.yaml
no-node-port/cases/silent-in-a-sandbox/want.yaml
no-node-port/no_node_port.rego
no-node-port/no_node_port_test.rego
no-node-port/policy.yaml

Next:
  sourceward policy test no-node-port    # after each change to the module, its tests or its cases
  sourceward policy fmt no-node-port     # before you ship it: copies the module into policy.yaml
  sourceward policy vet no-node-port     # before you ship it: reports problems
  kubectl apply -f no-node-port/policy.yaml
`}
	if diff := cmp.Diff(want, made); diff != "" {
		t.Fatalf("policy new mismatch (-want +got):\n%s", diff)
	}
	object := "no-node-port/cases/fires-in-production/object.yaml"
	related := "no-node-port/cases/fires-in-production/related.yaml"
	for _, test := range []struct {
		args string
		want result
	}{
		{"policy vet no-node-port", result{Stdout: "1 policy, 1 module, 1 test file: no problems\n"}},
		{"policy fmt no-node-port", result{}},
		{"policy test no-node-port", result{
			Stdout: "no-node-port/no_node_port.rego: 9 of 9 lines\n1 policy, 3 tests, 2 cases: all passed\n",
		}},
		{"check -q --fail-on warn --policy no-node-port --context " + related + " " + object, result{
			Stdout: object + "\n" +
				"  7:3  warn  no-node-port  Service shop/web\n" +
				"      NodePort is forbidden in environment production\n" +
				"      fix: set type LoadBalancer\n",
			Code: 1,
		}},
	} {
		if diff := cmp.Diff(test.want, run(t, command(t, dir, strings.Fields(test.args)...))); diff != "" {
			t.Errorf("%s mismatch (-want +got):\n%s", test.args, diff)
		}
	}
}

func TestNewPolicyNeedsAValidNewName(t *testing.T) {
	t.Parallel()
	dir := write(t, map[string]string{"taken": ""})
	const notAName = "is not a valid rule name: " +
		"want at most 63 lowercase letters and digits, with - between words, such as no-node-port"
	for name, want := range map[string]string{
		"taken":               "taken already exists; choose another name, or remove it",
		"NoNodePort":          `"NoNodePort" ` + notAName,
		"../escape":           `"../escape" ` + notAName,
		"local-on-cluster-ip": "local-on-cluster-ip is the name of a built-in rule; choose another name",
		"every":               "every has a special meaning in Rego; choose another name",
		"load-test":           "load-test has a special meaning in Rego; choose another name",
	} {
		got := run(t, command(t, dir, "policy", "new", name))
		want := result{Stderr: "error: " + want + "; see sourceward policy new --help\n", Code: 2}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("policy new %s mismatch (-want +got):\n%s", name, diff)
		}
	}
}

func TestFmtWritesModulesIntoTheirPolicyAndKeepsTheRest(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	run(t, command(t, dir, "policy", "new", "corp"))
	policy, module := filepath.Join(dir, "corp/policy.yaml"), filepath.Join(dir, "corp/corp.rego")
	before := content(t, dir, "corp/policy.yaml")
	replaceIn(t, module, "\"fix\": \"set type LoadBalancer\",", `"fix":   "use a load balancer"  ,`)

	got := run(t, command(t, dir, "policy", "fmt", "corp/corp.rego"))
	if diff := cmp.Diff(result{Stdout: "corp/corp.rego\ncorp/policy.yaml\n"}, got); diff != "" {
		t.Errorf("policy fmt mismatch (-want +got):\n%s", diff)
	}
	want := strings.Replace(before, `"fix": "set type LoadBalancer",`, `"fix": "use a load balancer",`, 1)
	if diff := cmp.Diff(want, content(t, dir, "corp/policy.yaml")); diff != "" {
		t.Errorf("policy.yaml mismatch (-want +got):\n%s", diff)
	}

	// Without a .rego file next to the policy, the module is formatted in the YAML.
	if err := os.Remove(module); err != nil {
		t.Fatal(err)
	}
	replaceIn(t, policy, `"fix": "use a load balancer",`, `"fix":  "use a load balancer",`)
	got = run(t, command(t, dir, "policy", "fmt", "corp"))
	if diff := cmp.Diff(result{Stdout: "corp/policy.yaml\n"}, got); diff != "" {
		t.Errorf("policy fmt mismatch (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(want, content(t, dir, "corp/policy.yaml")); diff != "" {
		t.Errorf("policy.yaml mismatch (-want +got):\n%s", diff)
	}
}

// corpPolicy is a policy with the module corp.rego, without the text of the module.
const corpPolicy = "apiVersion: sourceward.dev/v1alpha1\nkind: SourceIPPolicy\nmetadata: {name: corp}\n" +
	"spec:\n  rego:\n    - name: corp.rego\n"

func TestFmtConvertsRegoV0AndKeepsComments(t *testing.T) {
	t.Parallel()
	const older = `# METADATA
# title: Corporate
# description: What the corporation wants.
package sourceward.custom.corp

import future.keywords.in

# METADATA
# description: Fires for NodePort.
deny[finding] {
	# The type.
	input.object.spec.type == "NodePort"
	input.namespace.name in ["a", "b"]
	finding := {"message": "no"}
}
`
	dir := write(t, map[string]string{
		"policy.yaml": corpPolicy + "      module: old # here\n",
		"corp.rego":   older,
	})
	got := run(t, command(t, dir, "policy", "fmt", "."))
	if diff := cmp.Diff(result{Stdout: "corp.rego\npolicy.yaml\n"}, got); diff != "" {
		t.Fatalf("policy fmt mismatch (-want +got):\n%s", diff)
	}
	want := strings.NewReplacer("import future.keywords.in\n\n", "", "deny[finding] {", "deny contains finding if {").
		Replace(older)
	if diff := cmp.Diff(want, content(t, dir, "corp.rego")); diff != "" {
		t.Errorf("corp.rego mismatch (-want +got):\n%s", diff)
	}
	got = run(t, command(t, dir, "policy", "vet", "."))
	if diff := cmp.Diff(result{Stdout: "1 policy, 1 module, 0 test files: no problems\n"}, got); diff != "" {
		t.Errorf("policy vet mismatch (-want +got):\n%s", diff)
	}
}

func TestFmtDoesNotChangeWhatItCannotParse(t *testing.T) {
	t.Parallel()
	files := map[string]string{
		"policy.yaml": corpPolicy + "      module: |\n        package x\n",
		"corp.rego":   "package sourceward.custom.corp\n\ndeny contains x := y if {}\n",
	}
	dir := write(t, files)
	got := run(t, command(t, dir, "policy", "fmt", "."))
	want := result{Stderr: "error: corp.rego:3:17: unexpected assign token; check the syntax there\n" +
		"  3 | deny contains x := y if {}\n    |                 ^\n", Code: 2}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("policy fmt mismatch (-want +got):\n%s", diff)
	}
	for name, text := range files {
		if diff := cmp.Diff(text, content(t, dir, name)); diff != "" {
			t.Errorf("%s mismatch (-want +got):\n%s", name, diff)
		}
	}
}

func TestUpdateWritesTheDecisionIntoWant(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	run(t, command(t, dir, "policy", "new", "corp"))
	want := filepath.Join(dir, "corp/cases/fires-in-production/want.yaml")
	before := content(t, dir, "corp/cases/fires-in-production/want.yaml")
	replaceIn(t, want, "mode: warn", "mode: deny")
	if got := run(t, command(t, dir, "policy", "test", "corp")); got.Code != 1 {
		t.Errorf("policy test with a wrong want.yaml exits with %d, want 1", got.Code)
	}
	got := run(t, command(t, dir, "policy", "test", "corp", "--update"))
	if diff := cmp.Diff(result{
		Stdout: "corp/cases/fires-in-production/want.yaml: written\n" +
			"corp/corp.rego: 9 of 9 lines\n" +
			"1 policy, 3 tests, 2 cases: all passed\n",
	}, got); diff != "" {
		t.Errorf("policy test --update mismatch (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(before, content(t, dir, "corp/cases/fires-in-production/want.yaml")); diff != "" {
		t.Errorf("want.yaml mismatch (-want +got):\n%s", diff)
	}
}

func TestBenchMeasuresRulesAndThePolicy(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	run(t, command(t, dir, "policy", "new", "corp"))
	got := run(t, command(t, dir, "policy", "bench", "corp"))
	want := regexp.MustCompile(
		`^POLICY +RULE +NS/OP +ALLOCS/OP +B/OP\ncorp +corp\.deny( +[1-9]\d*){3}\ncorp +the whole policy( +[1-9]\d*){3}\n$`,
	)
	if !want.MatchString(got.Stdout) || got.Stderr != "" || got.Code != 0 {
		t.Errorf("policy bench gives %+v, want %s", got, want)
	}
}

// TestAnInterruptIsNoProblemOfThePolicy interrupts commands while a child compiles a policy on which OPA's compiler
// takes very long.
func TestAnInterruptIsNoProblemOfThePolicy(t *testing.T) {
	t.Parallel()
	dir := write(t, map[string]string{"web.yaml": denied})
	run(t, command(t, dir, "policy", "new", "corp"))
	module := "package sourceward.custom.corp\n\ndeny contains {\"message\": \"no\"} if 1 < " +
		strings.TrimSuffix(strings.Repeat("1 + ", 20_000), " + ") + "\n"
	if err := os.WriteFile(filepath.Join(dir, "corp", "corp.rego"), []byte(module), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"policy", "vet", "corp"}, {"policy", "fmt", "corp"}, {"policy", "test", "corp"}, {"policy", "bench", "corp"},
		{"policy", "eval", "corp", "-f", "web.yaml"},
	} {
		cmd := command(t, dir, args...)
		var stdout, stderr bytes.Buffer
		cmd.Stdout, cmd.Stderr = &stdout, &stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		pid := cmd.Process.Pid
		waiting, stop := context.WithTimeout(t.Context(), time.Minute)
		for waiting.Err() == nil {
			tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
			if err != nil {
				t.Fatal(err)
			}
			if slices.ContainsFunc(tasks, func(task string) bool {
				children, err := os.ReadFile(task)
				return err == nil && len(children) > 0
			}) {
				break
			}
			time.Sleep(time.Millisecond)
		}
		stop()
		if err := cmd.Process.Signal(os.Interrupt); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait()
		if code := cmd.ProcessState.ExitCode(); code != 2 || stderr.String() != "error: interrupted\n" || stdout.Len() > 0 {
			t.Errorf("%v: exit code %d, stdout %q, stderr %q", args, code, stdout.String(), stderr.String())
		}
	}
}
