package main_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const configFile = ".sourceward.yaml"

// deniedOnly is what check reports about denied, which it reads from a file.
func deniedOnly(file string) string {
	return file + `
  7:3  deny  local-on-cluster-ip  Service default/web
      7 |   externalTrafficPolicy: Local
        |   ^
      externalTrafficPolicy Local is invalid on type ClusterIP without externalIPs
      fix: remove externalTrafficPolicy, or set type LoadBalancer or NodePort
`
}

// TestConfigurationFileIsFoundInTheRepository says for each place of a file whether it applies in apps/web.
func TestConfigurationFileIsFoundInTheRepository(t *testing.T) {
	t.Parallel()
	const never, broken = "fail-on: never\n", "fail-on: [\n"
	tests := map[string]struct {
		files map[string]string
		want  int
	}{
		"there is none": {map[string]string{"repo/.git/HEAD": ""}, 1},
		"at the root":   {map[string]string{"repo/.git/HEAD": "", "repo/" + configFile: never}, 0},
		"at the root of a worktree, whose .git is a file": {
			map[string]string{"repo/.git": "gitdir: elsewhere\n", "repo/" + configFile: never}, 0,
		},
		"the nearest of two applies": {
			map[string]string{"repo/.git/HEAD": "", "repo/" + configFile: broken, "repo/apps/" + configFile: never}, 0,
		},
		"above the root it is not read": {map[string]string{"repo/.git/HEAD": "", configFile: broken}, 1},
		"the root of a nested repository is the root": {
			map[string]string{"repo/.git/HEAD": "", "repo/" + configFile: broken, "repo/apps/.git/HEAD": ""}, 1,
		},
		"outside of a repository, only the current directory counts": {
			map[string]string{"repo/" + configFile: broken, "repo/apps/" + configFile: broken}, 1,
		},
		"outside of a repository, it is read in the current directory": {
			map[string]string{"repo/apps/web/" + configFile: never}, 0,
		},
		"another name does not count": {
			map[string]string{"repo/.git/HEAD": "", "repo/.sourceward.yml": never, "repo/sourceward.yaml": broken}, 1,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := write(t, test.files)
			web := filepath.Join(dir, "repo/apps/web")
			if err := os.MkdirAll(web, 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(web, "web.yaml"), []byte(denied), 0o600); err != nil {
				t.Fatal(err)
			}
			want := result{
				Stdout: deniedOnly("web.yaml") + "\n1 file, 1 object (1 Service, 0 workloads): 1 deny\n", Code: test.want,
			}
			if diff := cmp.Diff(want, run(t, command(t, web, "check"))); diff != "" {
				t.Errorf("check mismatch (-want +got):\n%s", diff)
			}
		})
	}
}

func TestPathsOfAConfigurationFileAreRelativeToIt(t *testing.T) {
	t.Parallel()
	dir := write(t, map[string]string{
		".git/HEAD":             "",
		"apps/web/web.yaml":     denied,
		"apps/web/old.yaml":     "kind: [",
		"apps/ci/report.yaml":   denied,
		"apps/worker/old.yaml":  denied,
		"policies/lenient.yaml": policy("lenient", "{rules: [{id: local-on-cluster-ip, mode: Warn}]}"),
		configFile: "policy: [policies]\nexclude: [apps/web/old.yaml, 'apps/c?/**']\n" +
			"output: [json=report.json, text]\n",
	})
	warned := strings.ReplaceAll(deniedOnly("web.yaml"), "  deny  ", "  warn  ")
	other := strings.ReplaceAll(deniedOnly("../worker/old.yaml"), "  deny  ", "  warn  ")
	for _, test := range []struct {
		args []string
		want string
	}{
		{[]string{"check"}, warned + "\n1 file, 1 object (1 Service, 0 workloads): 1 warn\n"},
		{
			[]string{"check", "../worker", "../ci/report.yaml"},
			other + "\n1 file, 1 object (1 Service, 0 workloads): 1 warn\n",
		},
		{
			[]string{"check", filepath.Join(dir, "apps/web")},
			strings.ReplaceAll(warned, "web.yaml", filepath.Join(dir, "apps/web/web.yaml")) +
				"\n1 file, 1 object (1 Service, 0 workloads): 1 warn\n",
		},
	} {
		got := run(t, command(t, filepath.Join(dir, "apps/web"), test.args...))
		if diff := cmp.Diff(result{Stdout: test.want}, got); diff != "" {
			t.Errorf("%v mismatch (-want +got):\n%s", test.args, diff)
		}
	}
	if got := decodeReport(t, content(t, dir, "report.json")); len(got.Findings) != 1 {
		t.Errorf("the report beside the configuration file has %d findings, want 1", len(got.Findings))
	}
}

func policy(name, spec string) string {
	const text = "apiVersion: sourceward.dev/v1alpha1\nkind: SourceIPPolicy\nmetadata: {name: %s}\nspec: %s\n"
	return fmt.Sprintf(text, name, spec)
}

func TestConfigurationFileThatCannotBeReadIsReported(t *testing.T) {
	t.Parallel()
	const file = "error: " + configFile + ": "
	tests := map[string]struct {
		make func(path string) error
		want string
	}{
		"a directory": {
			func(path string) error { return os.Mkdir(path, 0o700) },
			file + "is not a regular file; remove or rename it\n",
		},
		"a device": {
			func(path string) error { return os.Symlink("/dev/zero", path) },
			file + "is not a regular file; remove or rename it\n",
		},
		"a dangling link": {
			func(path string) error { return os.Symlink("nowhere", path) },
			file + "cannot be read: no such file or directory; check its permissions and where it leads\n",
		},
		"a link to itself": {
			func(path string) error { return os.Symlink(configFile, path) },
			file + "cannot be read: too many levels of symbolic links; check its permissions and where it leads\n",
		},
		"a large file": {
			func(path string) error { return os.WriteFile(path, make([]byte, 1<<20+1), 0o600) },
			file + "is larger than 1 MiB; make it smaller\n",
		},
		"a file in UTF-16": {
			func(path string) error { return os.WriteFile(path, []byte("\xff\xfea\x00"), 0o600) },
			file + "this file is not in UTF-8; save it in UTF-8\n",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := write(t, map[string]string{"web.yaml": denied})
			if err := test.make(filepath.Join(dir, configFile)); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(result{Stderr: test.want, Code: 2}, run(t, command(t, dir, "check"))); diff != "" {
				t.Errorf("check mismatch (-want +got):\n%s", diff)
			}
		})
	}
}

func TestConfigurationFileMayBeALink(t *testing.T) {
	t.Parallel()
	dir := write(t, map[string]string{
		"shared/config": "policy: [policies]\nfail-on: warn\n", "repo/web.yaml": denied,
		"repo/policies/lenient.yaml": policy("lenient", "{rules: [{id: local-on-cluster-ip, mode: Warn}]}"),
	})
	if err := os.Symlink("../shared/config", filepath.Join(dir, "repo", configFile)); err != nil {
		t.Fatal(err)
	}
	want := result{
		Stdout: strings.ReplaceAll(deniedOnly("web.yaml"), "  deny  ", "  warn  ") +
			"\n1 file, 1 object (1 Service, 0 workloads): 1 warn\n",
		Code: 1,
	}
	if diff := cmp.Diff(want, run(t, command(t, filepath.Join(dir, "repo"), "check", "web.yaml"))); diff != "" {
		t.Errorf("check with paths that are relative to a link mismatch (-want +got):\n%s", diff)
	}
}

// environments is a repository with two environments that share a folder.
var environments = map[string]string{
	".git/HEAD":             "",
	configFile:              "environments:\n- {name: eu, paths: [eu, base]}\n- {name: us, paths: [us, base]}\n",
	"base/web.yaml":         denied,
	"eu/web.yaml":           denied,
	"us/policies/deny.yaml": policy("deny", "{}"),
	"apps/web.yaml":         denied,
}

func TestReportOfEnvironmentsNeverReplacesAnInput(t *testing.T) {
	t.Parallel()
	dir := write(t, environments)
	inputs := []string{configFile, "eu/web.yaml", "us/policies/deny.yaml", filepath.Join(dir, "base/web.yaml")}
	for _, output := range inputs {
		before := files(t, dir)
		got := run(t, command(t, dir, "check", "--policy", "us/policies", "-o", "json="+output))
		if got.Code != 2 || !strings.Contains(got.Stderr, " would replace a file that was read; name another file") {
			t.Errorf("-o json=%s: exit code %d, stderr %q", output, got.Code, got.Stderr)
		}
		if diff := cmp.Diff(before, files(t, dir)); diff != "" {
			t.Errorf("-o json=%s changes files (-before +after):\n%s", output, diff)
		}
	}
	got := run(t, command(t, dir, "check", "-o", "json=report.json"))
	if again := run(t, command(t, dir, "check", "-o", "json=report.json")); got.Code != 1 || again.Code != 1 {
		t.Errorf("a report of its own exits with %d, and again with %d, want 1: %s%s",
			got.Code, again.Code, got.Stderr, again.Stderr)
	}
}

// TestPathIsJudgedInTheEnvironmentsThatHoldIt gives the environments, in order, of the findings about denied.
func TestPathIsJudgedInTheEnvironmentsThatHoldIt(t *testing.T) {
	t.Parallel()
	dir := write(t, environments)
	if err := os.Symlink("../eu/web.yaml", filepath.Join(dir, "apps/link.yaml")); err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		in    string
		paths []string
		want  []string
	}{
		"no path":                      {".", nil, []string{"eu", "eu", "us"}},
		"no path in a folder":          {"apps", nil, []string{"eu", "eu", "us"}},
		"a path of one":                {".", []string{"eu"}, []string{"eu"}},
		"a path of both":               {".", []string{"base/web.yaml"}, []string{"eu", "us"}},
		"the current folder":           {"eu", []string{"."}, []string{"eu"}},
		"an absolute path":             {"apps", []string{filepath.Join(dir, "eu/web.yaml")}, []string{"eu"}},
		"a link into one":              {"apps", []string{"link.yaml"}, []string{"eu"}},
		"a path outside":               {".", []string{"apps/web.yaml"}, []string{""}},
		"the path outside comes first": {".", []string{"eu", "base", "apps/web.yaml"}, []string{"", "eu", "eu", "us"}},
		"the standard input":           {"eu", []string{"-", "web.yaml"}, []string{"", "eu"}},
		"all of them":                  {".", []string{"."}, []string{"", "", ""}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			args := append([]string{"check", "-o", "json", "--exclude", "us/policies"}, test.paths...)
			cmd := command(t, filepath.Join(dir, test.in), args...)
			cmd.Stdin = strings.NewReader(denied)
			got := run(t, cmd)
			var in []string
			for _, f := range decodeReport(t, got.Stdout).Findings {
				in = append(in, f.Environment)
			}
			if diff := cmp.Diff(test.want, in); diff != "" {
				t.Errorf("environments of findings mismatch (-want +got):\n%s%s", diff, got.Stderr)
			}
		})
	}
}

// TestStandardInputIsContextOfEachEnvironment gives a Service on the standard input, which workloads are behind.
func TestStandardInputIsContextOfEachEnvironment(t *testing.T) {
	t.Parallel()
	const service = "apiVersion: v1\nkind: Service\nmetadata: {name: web}\n" +
		"spec: {type: LoadBalancer, externalTrafficPolicy: Local, selector: {app: web}, ports: [{port: 443}]}\n"
	const workload = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec:\n  replicas: 4\n" +
		"  selector: {matchLabels: {app: web}}\n  template:\n    metadata: {labels: {app: web}}\n" +
		"    spec: {containers: [{name: web, image: nginx}]}\n"
	dir := write(t, map[string]string{
		"eu/web.yaml": workload, "us/web.yaml": workload,
		configFile: "environments: [{name: eu, paths: [eu]}, {name: us, paths: [us]}]\n",
	})
	cmd := command(t, dir, "check", "-o", "json", "--context", "-")
	cmd.Stdin = strings.NewReader(service)
	var in []string
	for _, f := range decodeReport(t, run(t, cmd).Stdout).Findings {
		if f.Rule == "unspread-behind-local" {
			in = append(in, f.Environment)
		}
	}
	if diff := cmp.Diff([]string{"eu", "us"}, in); diff != "" {
		t.Errorf("environments that know the Service mismatch (-want +got):\n%s", diff)
	}
}

func TestAPipeThatIsNotReadIsNotedWithEnvironments(t *testing.T) {
	t.Parallel()
	cmd := command(t, write(t, environments), "check")
	cmd.Stdin = strings.NewReader("")
	want := "note: checking the environments of " + configFile + "; standard input is a pipe that was not read, " +
		"write - to check it\n"
	if got := run(t, cmd); !strings.HasPrefix(got.Stderr, want) {
		t.Errorf("check writes %q, want %q", got.Stderr, want)
	}
}

// TestPageShowsTheConfigurationFile compares the example of the page with a case.
func TestPageShowsTheConfigurationFile(t *testing.T) {
	t.Parallel()
	const dir = "testdata/environments-are-judged-one-after-the-other"
	page := content(t, ".", "README.md")
	for language, name := range map[string]string{"yaml": configFile, "text": "stdout"} {
		if block := "```" + language + "\n" + content(t, dir, name) + "```\n"; !strings.Contains(page, block) {
			t.Errorf("README.md does not show %s of %s; write:\n%s", name, dir, block)
		}
	}
}
