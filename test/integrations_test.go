package test

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	"github.com/sourceward/sourceward/test/pages"
)

const (
	// The blocks of these pages are all run, or marked.
	checking  = "../cmd/sourceward/README.md"
	operating = "../config/README.md"

	action = "../.github/actions/check/action.yml"
	hooks  = "../.pre-commit-hooks.yaml"
)

// blocksOf returns the texts of the blocks whose markers name the running test.
func blocksOf(t *testing.T) []string {
	t.Helper()
	texts, err := pages.RunBy(checking, t.Name())
	if err != nil {
		t.Fatal(err)
	}
	return texts
}

// TestBlocksAreRunOrMarked checks that each block of these pages is run by a test that exists, or says why no test runs
// it. TestConsoleBlocks runs those of consoles.
func TestBlocksAreRunOrMarked(t *testing.T) {
	t.Parallel()
	var tests strings.Builder
	for _, pattern := range []string{"*_test.go", "e2e/*_test.go", "../cmd/sourceward/*_test.go"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatalf("no files match %s: %v", pattern, err)
		}
		for _, file := range files {
			tests.Write(readFile(t, file))
		}
	}
	for _, page := range []string{checking, operating} {
		blocks, err := pages.ReadMarked(page)
		if err != nil {
			t.Error(err)
		}
		for _, b := range blocks {
			first, _, _ := strings.Cut(b.Text, "\n")
			name, isRun := strings.CutPrefix(b.Marker, "run by ")
			switch {
			case b.Language == "console" || b.Marker != "" && !isRun:
			case !isRun:
				t.Errorf("%s: write <!-- run by Test… --> or <!-- not run: reason --> above the block that begins with %q",
					page, first)
			case !strings.Contains(tests.String(), "\nfunc "+name+"(t *testing.T) {"):
				t.Errorf("%s: %s, which should run the block that begins with %q, does not exist", page, name, first)
			}
		}
	}
}

// repository writes what the blocks of the page are about: manifests with findings, policies, a chart, and files that
// are not for Kubernetes. It returns the folder.
func repository(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for to, from := range map[string]string{
		"deploy": "../config/samples/edge", "policies/load-balancers-only": "../config/samples/load-balancers-only",
	} {
		if err := os.CopyFS(filepath.Join(dir, to), os.DirFS(from)); err != nil {
			t.Fatal(err)
		}
	}
	service := func(name, policy string) string {
		return "apiVersion: v1\nkind: Service\nmetadata: {name: " + name + ", namespace: edge}\n" +
			"spec: {type: LoadBalancer, externalTrafficPolicy: " + policy + ", selector: {app: " + name + "}, " +
			"ports: [{port: 53}]}\n"
	}
	deployment := func(name, replicas string) string {
		return "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: " + name + ", namespace: edge}\nspec:\n" +
			"  replicas: " + replicas + "\n  selector: {matchLabels: {app: " + name + "}}\n  template:\n" +
			"    metadata: {labels: {app: " + name + "}}\n    spec:\n      containers: [{name: dns, image: dns}]\n"
	}
	for path, text := range map[string]string{
		"changed.yaml":                  service("dns", "Cluster"),
		"folder with spaces/vpn.yaml":   service("vpn", "Cluster"),
		"services/mail.yaml":            service("mail", "Local"),
		"workloads/mail.yaml":           deployment("mail", "2"),
		"charts/web/Chart.yaml":         "apiVersion: v2\nname: web\nversion: 1.0.0\n",
		"charts/web/templates/web.yaml": service("site", "Local") + "---\n" + deployment("site", "{{ .Values.replicas }}"),
		"charts/web/values.yaml":        "replicas: 1\n",
		"prod.yaml":                     "replicas: 2\n",
		"package.json":                  `{"name": "site", "private": true}`,
	} {
		path = filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// script runs a script in a folder, as GitHub runs one with shell: bash. sourceward is in PATH, and env overrides the
// environment of the test.
func script(t *testing.T, dir, text string, env ...string) (stdout, stderr string, code int) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "script.sh")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var out, problems bytes.Buffer
	bash := exec.CommandContext(t.Context(), "bash", "--noprofile", "--norc", "-eo", "pipefail", file)
	bash.Dir, bash.Stdout, bash.Stderr = dir, &out, &problems
	bash.Env = slices.Concat(os.Environ(), []string{
		"PATH=" + filepath.Dir(sourceward) + string(os.PathListSeparator) + os.Getenv("PATH"),
	}, env)
	var exit *exec.ExitError
	if err := bash.Run(); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return out.String(), problems.String(), bash.ProcessState.ExitCode()
}

// strict decodes YAML, and fails the test on a key that the type does not have: a misspelt key, which the program that
// reads the file might ignore.
func strict(t *testing.T, text string, into any) {
	t.Helper()
	decoder := yaml.NewDecoder(strings.NewReader(text))
	decoder.KnownFields(true)
	if err := decoder.Decode(into); err != nil {
		t.Fatalf("%v:\n%s", err, text)
	}
}

// TestShellBlocks runs the lines of shell blocks that need only sourceward. They may report findings.
func TestShellBlocks(t *testing.T) {
	t.Parallel()
	for _, text := range blocksOf(t) {
		dir := repository(t)
		for line := range strings.Lines(text) {
			if !strings.HasPrefix(line, "sourceward ") {
				continue
			}
			if _, stderr, code := script(t, dir, line); code > 1 || strings.Contains(stderr, "error: ") {
				t.Errorf("%sexits with %d: %s", line, code, stderr)
			}
		}
	}
}

// actionFile is the part of the syntax of GitHub's composite actions that ours uses.
type actionFile struct {
	Name, Description string
	Inputs            map[string]struct{ Description, Default string }
	Runs              struct {
		Using string
		Steps []step
	}
}

// step is a step of an action or of a job.
type step struct {
	Name, Uses, Shell, Run, If string
	With, Env                  map[string]string
	WorkingDirectory           string `yaml:"working-directory"`
}

func readAction(t *testing.T) actionFile {
	t.Helper()
	var read actionFile
	strict(t, content(t, action), &read)
	if len(read.Runs.Steps) != 3 || read.Runs.Using != "composite" {
		t.Fatalf("%s is not a composite action with a step that sets up Go, one that installs and one that checks", action)
	}
	return read
}

var (
	expression = regexp.MustCompile(`\$\{\{.*?\}\}`)
	input      = regexp.MustCompile(`^\$\{\{ inputs\.([a-z-]+) \}\}$`)
)

// TestActionCannotBeInjectedInto checks that no script of the action contains an expression, which GitHub would replace
// by the text of an input, that each script stops at the first error, and that actions are pinned by their commits.
func TestActionCannotBeInjectedInto(t *testing.T) {
	t.Parallel()
	read := readAction(t)
	used := map[string]bool{}
	for _, s := range read.Runs.Steps {
		switch {
		case s.Run == "" && !regexp.MustCompile(`@[0-9a-f]{40}$`).MatchString(s.Uses):
			t.Errorf("%s is not pinned by a commit", s.Uses)
		case s.Run != "" && (s.Shell != "bash" || !strings.HasPrefix(s.Run, "set -euo pipefail\n")):
			t.Errorf("%s does not begin with set -euo pipefail in bash", s.Name)
		case expression.MatchString(s.Run):
			t.Errorf("%s has an expression in its script: %s", s.Name, s.Run)
		}
		for _, value := range append(slices.Collect(maps.Values(s.Env)), s.WorkingDirectory) {
			if match := input.FindStringSubmatch(value); match != nil {
				used[match[1]] = true
			} else if value != "" {
				t.Errorf("%s reads %s, want an input", s.Name, value)
			}
		}
	}
	want := slices.Sorted(maps.Keys(read.Inputs))
	if diff := cmp.Diff(want, slices.Sorted(maps.Keys(used))); diff != "" {
		t.Errorf("inputs that steps read mismatch (-declared +read):\n%s", diff)
	}
}

// runStep runs a step of the action in a workspace, as a runner does with these inputs.
func runStep(
	t *testing.T, number int, workspace string, inputs map[string]string, env ...string,
) (stdout, stderr string, code int) {
	t.Helper()
	read := readAction(t)
	value := func(text string) string {
		match := input.FindStringSubmatch(text)
		if match == nil {
			return text
		}
		if given, ok := inputs[match[1]]; ok {
			return given
		}
		return read.Inputs[match[1]].Default
	}
	s := read.Runs.Steps[number]
	for name, text := range s.Env {
		env = append(env, name+"="+value(text))
	}
	return script(t, filepath.Join(workspace, value(s.WorkingDirectory)), s.Run, env...)
}

// The steps of the action that are scripts.
const (
	installStep = 1
	checkStep   = 2
)

// TestActionInstalls runs the step that installs Sourceward: from the repository of the action, and in a version. For
// the latter, a script takes the place of go and writes down how it is called.
func TestActionInstalls(t *testing.T) {
	t.Parallel()
	here, err := filepath.Abs(filepath.Dir(action))
	if err != nil {
		t.Fatal(err)
	}
	fake := t.TempDir()
	called := filepath.Join(fake, "called")
	fakeGo := "#!/bin/sh\nmkdir -p \"$GOBIN\" && cp \"$BINARY\" \"$GOBIN\" && echo \"$@\" > '" + called + "'\n"
	if err := os.WriteFile(filepath.Join(fake, "go"), []byte(fakeGo), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		inputs map[string]string
		env    []string
		want   string
	}{
		"from the repository of the action": {},
		"a version": {
			map[string]string{"version": "v1.2.3"},
			[]string{"PATH=" + fake + string(os.PathListSeparator) + os.Getenv("PATH"), "BINARY=" + sourceward},
			"install github.com/sourceward/sourceward/cmd/sourceward@v1.2.3\n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			temp := t.TempDir()
			path := filepath.Join(temp, "path")
			env := append([]string{"RUNNER_TEMP=" + temp, "GITHUB_PATH=" + path, "GITHUB_ACTION_PATH=" + here}, test.env...)
			if stdout, stderr, code := runStep(t, installStep, temp, test.inputs, env...); code != 0 {
				t.Fatalf("the step exits with %d: %s%s", code, stdout, stderr)
			}
			if test.want != "" {
				if diff := cmp.Diff(test.want, content(t, called)); diff != "" {
					t.Errorf("arguments of go mismatch (-want +got):\n%s", diff)
				}
			}
			installed := filepath.Join(strings.TrimSpace(content(t, path)), "sourceward")
			if output, err := exec.CommandContext(t.Context(), installed, "version").CombinedOutput(); err != nil ||
				!strings.HasPrefix(string(output), "sourceward ") {
				t.Errorf("what is in PATH afterwards is not sourceward: %v\n%s", err, output)
			}
		})
	}
}

// TestActionChecks runs the step that checks, in a repository with one finding of mode deny.
func TestActionChecks(t *testing.T) {
	t.Parallel()
	const denied = "(?m)^::error file=deploy/admin\\.yaml,line=13,[^:]*::.*externalTrafficPolicy Local is invalid"
	for name, test := range map[string]struct {
		inputs map[string]string
		code   int
		want   string // a regular expression for the standard output
		files  []string
	}{
		"a finding is an annotation, and fails the step": {
			inputs: map[string]string{"paths": "deploy"}, code: 1, want: denied,
		},
		"without paths everything is checked": {code: 1, want: denied},
		"flags are separated by white space": {
			inputs: map[string]string{"paths": "deploy", "args": "  --fail-on\n  never --quiet\n"}, want: denied,
		},
		"a path on each line": {
			inputs: map[string]string{"paths": "changed.yaml\n\ndeploy/admin.yaml\n"}, code: 1, want: denied,
		},
		"a path with spaces": {inputs: map[string]string{"paths": "folder with spaces"}},
		"reports": {
			inputs: map[string]string{"paths": "deploy", "sarif": "a report.sarif", "comment": "comment.md"}, code: 1,
			want: denied, files: []string{"a report.sarif", "comment.md"},
		},
		"the repository is in a folder of the workspace": {
			inputs: map[string]string{"working-directory": "deploy", "paths": "admin.yaml"}, code: 1,
			want: "(?m)^::error file=admin\\.yaml,",
		},
		"a command in paths is a file that does not exist": {
			inputs: map[string]string{"paths": "$(touch pwned)`touch pwned`; touch pwned"}, code: 2,
		},
		"a command in args is a flag that does not exist": {
			inputs: map[string]string{"args": "--x=$(touch pwned)`touch pwned`; touch pwned"}, code: 2,
		},
		"a path that begins with a dash is not a flag": {inputs: map[string]string{"paths": "--fail-on=never"}, code: 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := repository(t)
			stdout, stderr, code := runStep(t, checkStep, dir, test.inputs)
			if code != test.code || !regexp.MustCompile(test.want).MatchString(stdout) {
				t.Errorf("the step exits with %d, want %d, and prints this, want %s:\n%s%s",
					code, test.code, test.want, stdout, stderr)
			}
			if _, err := os.Stat(filepath.Join(dir, "pwned")); err == nil {
				t.Error("an input has run a command")
			}
			for _, file := range test.files {
				if !strings.Contains(content(t, filepath.Join(dir, file)), "local-on-cluster-ip") {
					t.Errorf("%s does not report the finding", file)
				}
			}
		})
	}
}

// TestGitHubWorkflow runs the steps of the workflow that are ours, and checks that the others read files that these
// write.
func TestGitHubWorkflow(t *testing.T) {
	t.Parallel()
	var workflow struct {
		On          string
		Permissions map[string]string
		Jobs        map[string]struct {
			RunsOn string `yaml:"runs-on"`
			Steps  []step
		}
	}
	strict(t, blocksOf(t)[0], &workflow)
	const ours = "sourceward/sourceward/.github/actions/check@main"
	declared, dir := readAction(t).Inputs, repository(t)
	ran := 0
	for _, s := range workflow.Jobs["sourceward"].Steps {
		switch {
		case s.Uses == ours:
			for name := range s.With {
				if _, ok := declared[name]; !ok {
					t.Errorf("the action has no input %s", name)
				}
			}
			stdout, stderr, code := runStep(t, checkStep, dir, s.With)
			if code != 1 || !strings.Contains(stdout, "::error file=deploy/admin.yaml,line=13,") {
				t.Errorf("the action exits with %d, want 1 and an annotation:\n%s%s", code, stdout, stderr)
			}
			ran++
		case strings.HasPrefix(s.Run, "sourceward "):
			if stdout, stderr, code := script(t, dir, s.Run); code != 0 {
				t.Errorf("%s exits with %d:\n%s%s", s.Run, code, stdout, stderr)
			}
			ran++
		}
		file := s.With["sarif_file"]
		if _, after, ok := strings.Cut(s.Run, "--body-file "); ok {
			file = after
		}
		if file != "" && len(readFile(t, filepath.Join(dir, file))) == 0 {
			t.Errorf("%s, which a step reads, is empty", file)
		}
	}
	if ran != 2 {
		t.Errorf("%d steps are run, want the action and the test of the policies", ran)
	}
}

// TestGitLabJob runs the script of the job, and reads its reports. The first line would install another version.
func TestGitLabJob(t *testing.T) {
	t.Parallel()
	var jobs map[string]struct {
		Image     string
		Script    []string
		Artifacts struct {
			When    string
			Reports struct {
				CodeQuality string   `yaml:"codequality"`
				JUnit       []string `yaml:"junit"`
			}
		}
	}
	strict(t, blocksOf(t)[0], &jobs)
	job, dir := jobs["sourceward"], repository(t)
	if len(job.Script) == 0 || job.Script[0] != "go install github.com/sourceward/sourceward/cmd/sourceward@latest" {
		t.Fatalf("the job does not begin with the installation: %q", job.Script)
	}
	stdout, stderr, code := script(t, dir, strings.Join(job.Script[1:], "\n"))
	if code != 1 || !strings.Contains(stdout, "local-on-cluster-ip") {
		t.Errorf("the job exits with %d, want 1 and a finding:\n%s%s", code, stdout, stderr)
	}
	var problems []struct {
		Description, Fingerprint, Severity string
		Location                           struct{ Path string }
	}
	if err := json.Unmarshal(readFile(t, filepath.Join(dir, job.Artifacts.Reports.CodeQuality)), &problems); err != nil {
		t.Fatal(err)
	}
	var paths []string
	for _, problem := range problems {
		paths = append(paths, problem.Location.Path)
	}
	if !slices.Contains(paths, "deploy/admin.yaml") {
		t.Errorf("the report of the code quality is about %q, not about deploy/admin.yaml", paths)
	}
	for _, file := range job.Artifacts.Reports.JUnit {
		var suites struct {
			XMLName xml.Name   `xml:"testsuites"`
			Cases   []struct{} `xml:"testsuite>testcase"`
		}
		if err := xml.Unmarshal(readFile(t, filepath.Join(dir, file)), &suites); err != nil || len(suites.Cases) == 0 {
			t.Errorf("%s has %d test cases: %v", file, len(suites.Cases), err)
		}
	}
}

// hook is a hook of pre-commit, in the file of this repository or in the configuration of another one.
type hook struct {
	ID, Name, Description, Entry, Language string
	Types                                  []string `yaml:"types_or"`
	Serial                                 bool     `yaml:"require_serial"`
	Args                                   []string
}

// TestPreCommitHooks runs the hooks that the page configures, one after the other, as pre-commit does: the entry, then
// the arguments, then the files. Each case is a commit of files to a new repository.
func TestPreCommitHooks(t *testing.T) {
	t.Parallel()
	var config struct {
		Repos []struct {
			Repo, Rev string
			Hooks     []hook
		}
	}
	strict(t, blocksOf(t)[0], &config)
	var declared []hook
	strict(t, content(t, hooks), &declared)
	entries := map[string][]string{}
	for _, h := range declared {
		entries[h.ID] = strings.Fields(h.Entry)
		if h.Language != "golang" || h.Entry == "" || entries[h.ID][0] != "sourceward" {
			t.Errorf("%s is not a hook that runs sourceward, built by Go: %+v", h.ID, h)
		}
	}
	for name, test := range map[string]struct {
		files []string
		// changes are the files that the hooks change, and fails is the last hook that fails.
		changes []string
		fails   string
	}{
		"files that are not for Kubernetes": {files: []string{"package.json"}},
		"values of a chart":                 {files: []string{"charts/web/values.yaml"}},
		"a template of a chart":             {files: []string{"charts/web/templates/web.yaml"}},
		"a file without findings":           {files: []string{"changed.yaml"}},
		"a Service that the API server refuses": {
			files: []string{"deploy/admin.yaml"}, changes: []string{"deploy/admin.yaml"},
		},
		"a workload whose Service is in another file": {
			files: []string{"workloads/mail.yaml"}, changes: []string{"workloads/mail.yaml"},
		},
		"several files": {
			files: []string{"package.json", "deploy/admin.yaml", "changed.yaml"}, changes: []string{"deploy/admin.yaml"},
		},
		"a broken manifest": {files: []string{"broken.yaml"}, fails: "sourceward"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := repository(t)
			if slices.Contains(test.files, "broken.yaml") {
				broken := []byte("apiVersion: v1\nkind: Service\nspec: {\n")
				if err := os.WriteFile(filepath.Join(dir, "broken.yaml"), broken, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			before := contents(t, dir)
			var failed, output string
			for _, h := range config.Repos[0].Hooks {
				entry, ok := entries[h.ID]
				if !ok {
					t.Fatalf("%s has no hook %s", hooks, h.ID)
				}
				args := slices.Concat(entry[1:], h.Args, test.files)
				stdout, stderr, code := runBinary(t, dir, args...)
				output += string(stdout) + string(stderr)
				if code != 0 {
					failed = h.ID
				}
			}
			var changes []string
			for path, text := range contents(t, dir) {
				if text != before[path] {
					changes = append(changes, path)
				}
			}
			if diff := cmp.Diff(test.changes, changes); diff != "" {
				t.Errorf("changed files mismatch (-want +got):\n%s%s", diff, output)
			}
			if failed != test.fails {
				t.Errorf("the last hook that fails is %q, want %q:\n%s", failed, test.fails, output)
			}
		})
	}
}
