package main_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/sourceward/sourceward/policies"
	"github.com/sourceward/sourceward/policies/manifest"
)

var update = flag.Bool("update", false, "write the output of the binary into stdout, stderr and code of the cases")

// binary is the path of the dry-run binary. TestMain builds it, since only a process has streams and an exit code.
var binary string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "sourceward")
	if err != nil {
		panic(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	binary = filepath.Join(dir, "sourceward")
	if output, err := exec.Command("go", "build", "-o", binary, ".").CombinedOutput(); err != nil {
		panic(fmt.Sprintf("build: %v\n%s", err, output))
	}
	m.Run()
}

// result is the output and exit code of a process. The zero value is the default expectation: silence and 0.
type result struct {
	Stdout, Stderr string
	Code           int
}

// command returns a command that runs the binary in a folder.
func command(t testing.TB, dir string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), binary, args...)
	cmd.Dir = dir
	return cmd
}

func run(t testing.TB, cmd *exec.Cmd) result {
	t.Helper()
	var stdout, stderr bytes.Buffer
	if cmd.Stdout == nil {
		cmd.Stdout = &stdout
	}
	cmd.Stderr = &stderr
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	validSARIF(t, cmd, stdout.String())
	validReports(t, cmd, stdout.String())
	return result{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

// reportSchema compiles the schema of -o json of check, and trafficSchema that of traffic, once.
var (
	reportSchema  = sync.OnceValues(func() (*jsonschema.Schema, error) { return compiled("report.schema.json") })
	trafficSchema = sync.OnceValues(func() (*jsonschema.Schema, error) { return compiled("traffic.schema.json") })
)

func compiled(file string) (*jsonschema.Schema, error) { return jsonschema.NewCompiler().Compile(file) }

// validReports validates the reports of a command: that on the standard output, if it is one, and those in the files of
// -o json=FILE.
func validReports(t testing.TB, cmd *exec.Cmd, stdout string) {
	t.Helper()
	texts := []string{stdout}
	for _, arg := range cmd.Args {
		if name, ok := strings.CutPrefix(arg, "json="); ok {
			text, _ := os.ReadFile(filepath.Join(cmd.Dir, name)) // an error means that it was not written
			texts = append(texts, string(text))
		}
	}
	for _, text := range texts {
		if strings.HasPrefix(text, "{\n  \"apiVersion\": \"report.sourceward.dev/") {
			validReport(t, text)
		}
	}
}

// validReport validates a report, unless the schema is just being written.
func validReport(t testing.TB, text string) {
	t.Helper()
	if *update {
		return
	}
	read := reportSchema
	if strings.Contains(text, "\n  \"kind\": \"Traffic\",") {
		read = trafficSchema
	}
	schema, err := read()
	if err != nil {
		t.Fatal(err)
	}
	report, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	if err := schema.Validate(report); err != nil {
		t.Errorf("the report does not match its schema: %v", err)
	}
}

// TestCases runs one command line in each folder of testdata. The folder holds:
//
//	args                  the arguments, separated by spaces
//	stdin                 the standard input
//	stdout, stderr, code  the result, written by -update; a missing file means no output, or exit code 0
func TestCases(t *testing.T) {
	if !*update { // What -update writes, parallel tests read.
		t.Parallel()
	}
	for _, dir := range cases(t) {
		t.Run(filepath.Base(dir), func(t *testing.T) {
			t.Parallel()
			got := runCase(t, dir, strings.Fields(content(t, dir, "args"))...)
			code := ""
			if got.Code != 0 {
				code = fmt.Sprintln(got.Code)
			}
			golden(t, dir, "stdout", got.Stdout)
			golden(t, dir, "stderr", got.Stderr)
			golden(t, dir, "code", code)
		})
	}
}

// cases returns the folders of testdata.
func cases(t *testing.T) []string {
	t.Helper()
	dirs, err := filepath.Glob("testdata/*")
	if err != nil || len(dirs) == 0 {
		t.Fatal("no cases: ", err)
	}
	return dirs
}

func runCase(t *testing.T, dir string, args ...string) result {
	t.Helper()
	// Go caches the result of a test until a file that the test reads changes. The binary reads these files, and the cache
	// does not see that; so read their metadata here.
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		_, statErr := os.Stat(path)
		return errors.Join(err, statErr)
	})
	if err != nil {
		t.Fatal(err)
	}
	cmd := command(t, dir, args...)
	if text := content(t, dir, "stdin"); text != "" {
		cmd.Stdin = strings.NewReader(text)
	}
	return run(t, cmd)
}

// content returns the text of a file of a case, or "" if the file does not exist.
func content(t testing.TB, dir, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return string(text)
}

// golden compares a text with a file of a case. The file does not exist if the text is empty. With -update, golden
// writes or removes the file first.
func golden(t *testing.T, dir, name, got string) {
	t.Helper()
	path := filepath.Join(dir, name)
	if *update {
		err := os.WriteFile(path, []byte(got), 0o644)
		if got == "" {
			err = os.Remove(path)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(content(t, dir, name), got); diff != "" {
		t.Errorf("%s mismatch (-want +got); if this is intended, run go test ./cmd/sourceward -update:\n%s", name, diff)
	}
}

// report is the promised format of -o json. Only keys marked omitempty can be missing.
type report struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Summary    struct {
		Files     int `json:"files"`
		Objects   int `json:"objects"`
		Services  int `json:"services"`
		Workloads int `json:"workloads"`
		Skipped   int `json:"skipped"`

		NotKubernetes int `json:"notKubernetes"`
		NotYAML       int `json:"notYAML"`

		Deny   int `json:"deny"`
		Mutate int `json:"mutate"`
		Warn   int `json:"warn"`
		Audit  int `json:"audit"`
		Exempt int `json:"exempt"`

		Baseline int `json:"baseline,omitempty"`
	} `json:"summary"`
	Findings []struct {
		Rule           string `json:"rule"`
		Mode           string `json:"mode"`
		Severity       string `json:"severity"`
		Message        string `json:"message"`
		Fix            string `json:"fix"`
		Object         ref    `json:"object"`
		Path           string `json:"path"`
		File           string `json:"file"`
		Line           int    `json:"line"`
		Column         int    `json:"column"`
		Because        []ref  `json:"because"`
		BecauseOmitted int    `json:"becauseOmitted,omitempty"`
		RenderedBy     string `json:"renderedBy,omitempty"`
		Exempt         *struct {
			Reason string `json:"reason"`
			Until  string `json:"until,omitempty"`
		} `json:"exempt,omitempty"`
		Environment string `json:"environment,omitempty"`
		Fingerprint string `json:"fingerprint"`
		Baseline    bool   `json:"baseline,omitempty"`
	} `json:"findings"`
	Errors []struct {
		File    string `json:"file"`
		Line    int    `json:"line"`
		Column  int    `json:"column"`
		Message string `json:"message"`

		Environment string `json:"environment,omitempty"`
	} `json:"errors"`
	Skipped []struct {
		File   string `json:"file"`
		Line   int    `json:"line"`
		Object *ref   `json:"object,omitempty"`
		Reason string `json:"reason"`

		Environment string `json:"environment,omitempty"`
	} `json:"skipped"`
	Notes []struct {
		File    string `json:"file"`
		Line    int    `json:"line"`
		Object  *ref   `json:"object,omitempty"`
		Message string `json:"message"`

		Environment string `json:"environment,omitempty"`
	} `json:"notes"`
	Patches []struct {
		Object     ref    `json:"object"`
		File       string `json:"file"`
		Rule       string `json:"rule"`
		Mode       string `json:"mode"`
		Operations []struct {
			Op    string          `json:"op"`
			Path  string          `json:"path"`
			Value json.RawMessage `json:"value,omitempty"`
		} `json:"operations"`
		Environment string `json:"environment,omitempty"`
	} `json:"patches"`
	Gone []struct {
		Rule        string `json:"rule"`
		Object      ref    `json:"object"`
		Path        string `json:"path"`
		File        string `json:"file"`
		Fingerprint string `json:"fingerprint"`
		Environment string `json:"environment,omitempty"`
	} `json:"gone,omitempty"`
}

type ref struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Namespace  string `json:"namespace,omitempty"`
	Name       string `json:"name"`
}

// TestJSONReportSaysWhatTheTextSays runs each case of check with -o json, twice.
func TestJSONReportSaysWhatTheTextSays(t *testing.T) {
	t.Parallel()
	for _, dir := range cases(t) {
		args := strings.Fields(content(t, dir, "args"))
		if !slices.Contains(args, "check") || slices.Contains(args, "-o") || slices.Contains(args, "--diff") ||
			slices.Contains(args, "--help") || slices.Contains(args, "--show-config") {
			continue
		}
		t.Run(filepath.Base(dir), func(t *testing.T) {
			t.Parallel()
			text := runCase(t, dir, args...)
			asJSON := slices.Concat(args, []string{"-o", "json"})
			got := runCase(t, dir, asJSON...)
			if diff := cmp.Diff(got, runCase(t, dir, asJSON...)); diff != "" {
				t.Errorf("two runs of check differ (-first +second):\n%s", diff)
			}
			if diff := cmp.Diff(result{Stdout: got.Stdout, Stderr: text.Stderr, Code: text.Code}, got); diff != "" {
				t.Errorf("check -o json mismatch (-text +json):\n%s", diff)
			}
			if got.Stdout == "" && text.Stdout == "" {
				return // The case is about a mistake in the command line.
			}
			var written string
			for _, e := range decodeReport(t, got.Stdout).Errors {
				position := manifest.Position{Line: e.Line, Column: e.Column}
				text := (&manifest.Error{File: e.File, Position: position, Message: e.Message}).Error()
				if e.Environment != "" {
					text += " (environment " + e.Environment + ")"
				}
				written += fmt.Sprintf("error: %s\n", text)
			}
			errs, _, _ := strings.Cut(got.Stderr, "note: ")
			if diff := cmp.Diff(errs, written); diff != "" {
				t.Errorf("errors mismatch (-stderr +json):\n%s", diff)
			}
		})
	}
}

// decodeReport decodes a report. It fails the test unless the report has exactly the promised keys, and no null, and
// matches its schema.
func decodeReport(t testing.TB, text string) report {
	t.Helper()
	validReport(t, text)
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.DisallowUnknownFields()
	var r report
	if err := decoder.Decode(&r); err != nil {
		t.Fatal(err)
	}
	var again bytes.Buffer
	encoder := json.NewEncoder(&again)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(r); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(again.String(), text); diff != "" {
		t.Errorf("report mismatch (-promised +got):\n%s", diff)
	}
	if strings.Contains(text, ": null") {
		t.Errorf("the report has null instead of a list:\n%s", text)
	}
	return r
}

// TestSchemaAcceptsOnlyReports changes a report.
func TestSchemaAcceptsOnlyReports(t *testing.T) {
	t.Parallel()
	const file = "testdata/a-baseline-marks-findings-in-json/stdout"
	tests := map[string]struct {
		old, new string
		want     bool
	}{
		"as it is":                  {"", "", true},
		"a field of a newer report": {`"rule": `, `"since": "v2", "rule": `, true},
		"a file of another kind":    {`"kind": "Report"`, `"kind": "List"`, false},
		"another apiVersion":        {"report.sourceward.dev/v1", "report.sourceward.dev/v2", false},
		"a finding without a rule":  {`"rule": `, `"rules": `, false},
		"an unknown mode":           {`"mode": "deny"`, `"mode": "refuse"`, false},
		"an unknown severity":       {`"severity": "error"`, `"severity": "bad"`, false},
		"a line that is a text":     {`"line": 8`, `"line": "8"`, false},
		"an object without a name":  {`"name": "api"`, `"names": "api"`, false},
		"a short fingerprint":       {`"fingerprint": "2`, `"fingerprint": "`, false},
		"no list of errors":         {`"errors": []`, `"errors": null`, false},
		"a mark that is a text":     {`"baseline": true`, `"baseline": "true"`, false},
		"a count that is a list":    {`"audit": 0`, `"audit": []`, false},
		"a gone one without a path": {`"gone": [`, `"gone": [{},`, false},
	}
	schema, err := reportSchema()
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			text := strings.Replace(content(t, ".", file), test.old, test.new, 1)
			report, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
			if err != nil {
				t.Fatal(err)
			}
			if err := schema.Validate(report); (err == nil) != test.want {
				t.Errorf("Validate() = %v, want no error: %t", err, test.want)
			}
		})
	}
}

func TestFailOnIsTheMildestModeThatFails(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		mode string
		want map[string]int
	}{
		"a deny finding":   {"Deny", map[string]int{"deny": 1, "mutate": 1, "warn": 1, "audit": 1, "never": 0}},
		"a mutate finding": {"Mutate", map[string]int{"deny": 0, "mutate": 1, "warn": 1, "audit": 1, "never": 0}},
		"a warn finding":   {"Warn", map[string]int{"deny": 0, "mutate": 0, "warn": 1, "audit": 1, "never": 0}},
		"an audit finding": {"Audit", map[string]int{"deny": 0, "mutate": 0, "warn": 0, "audit": 1, "never": 0}},
		"no finding":       {"Off", map[string]int{"deny": 0, "mutate": 0, "warn": 0, "audit": 0, "never": 0}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := write(t, map[string]string{
				"game.yaml": "apiVersion: v1\nkind: Service\n" +
					"metadata: {name: game, annotations: {sourceward.dev/source-ip: preserve}}\n" +
					"spec: {type: LoadBalancer, selector: {app: game}, ports: [{port: 27015}]}\n",
				"policy.yaml": "apiVersion: sourceward.dev/v1alpha1\nkind: SourceIPPolicy\nmetadata: {name: edge}\n" +
					"spec: {rules: [{id: source-ip-needs-local, mode: '" + test.mode + "'}]}\n",
			})
			got := map[string]int{}
			for failOn := range test.want {
				got[failOn] = run(t, command(t, dir, "check", "--policy", "policy.yaml", "--fail-on", failOn, "game.yaml")).Code
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("exit codes by --fail-on mismatch (-want +got):\n%s", diff)
			}
		})
	}
}

// write creates a temporary folder with files.
func write(t testing.TB, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		err := os.MkdirAll(filepath.Dir(path), 0o700)
		if err := errors.Join(err, os.WriteFile(path, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

const denied = `apiVersion: v1
kind: Service
metadata:
  name: web
spec:
  type: ClusterIP
  externalTrafficPolicy: Local
  ports:
    - port: 443
`

func TestKubeVersionIsParsedInAllFormats(t *testing.T) {
	t.Parallel()
	// From 1.29 on, a ClusterIP Service with externalIPs may be Local.
	dir := write(t, map[string]string{"web.yaml": denied + "  externalIPs: [192.0.2.1]\n"})
	want := map[string]int{
		"1.28": 1, "v1.28": 1, "1.28.3": 1, "v1.28.15-gke.100": 1, "1.29": 0, "v1.37.1": 0, "v1.30.4+k3s1": 0,
		"1.30.4-gke.100": 0, "": 2, "1": 2, "newest": 2, "1.28foo": 2, "1.28.x": 2, "1.28.3.4": 2, "1.28 1.29": 2,
	}
	got := map[string]int{}
	for version := range want {
		got[version] = run(t, command(t, dir, "check", "--kube-version", version)).Code
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("exit codes by --kube-version mismatch (-want +got):\n%s", diff)
	}
}

func TestColorOfPipesAndFlags(t *testing.T) {
	t.Parallel()
	dir := write(t, map[string]string{"web.yaml": denied})
	tests := map[string]struct {
		env, args []string
		want      bool
	}{
		"a pipe is not a terminal":         {want: false},
		"auto is the default":              {args: []string{"--color", "auto"}, want: false},
		"always colors a pipe":             {args: []string{"--color", "always"}, want: true},
		"the flag overrides NO_COLOR":      {env: []string{"NO_COLOR=1"}, args: []string{"--color", "always"}, want: true},
		"never colors nothing":             {args: []string{"--color", "never"}, want: false},
		"the JSON report is never colored": {args: []string{"--color", "always", "-o", "json"}, want: false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cmd := command(t, dir, slices.Concat([]string{"check"}, test.args)...)
			cmd.Env = slices.Concat(os.Environ(), test.env)
			got := run(t, cmd)
			if colored := strings.Contains(got.Stdout, "\x1b["); colored != test.want || got.Code != 1 {
				t.Errorf("colored = %t, want %t; exit code = %d, want 1:\n%s", colored, test.want, got.Code, got.Stdout)
			}
		})
	}
}

func TestDiffAppliesAndLeavesNothingToMutate(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("testdata/a-diff-shows-what-the-webhook-would-change")); err != nil {
		t.Fatal(err)
	}
	args := strings.Fields(content(t, dir, "args"))
	_, diff, found := strings.Cut(run(t, command(t, dir, slices.Concat(args, []string{"--quiet"})...)).Stdout, "\n--- ")
	if !found {
		t.Fatal("check --diff shows no diff")
	}
	apply := exec.CommandContext(t.Context(), "git", "apply", "-p0", "-")
	apply.Dir, apply.Stdin = dir, strings.NewReader("--- "+diff)
	if output, err := apply.CombinedOutput(); err != nil {
		t.Fatalf("git apply: %v\n%s", err, output)
	}
	args = slices.DeleteFunc(args, func(arg string) bool { return arg == "--diff" })
	patched := decodeReport(t, run(t, command(t, dir, slices.Concat(args, []string{"-o", "json"})...)).Stdout)
	var left []string
	for _, f := range patched.Findings {
		if f.Mode != string(policies.Audit) {
			left = append(left, f.Mode)
		}
	}
	if !slices.Equal(left, []string{string(policies.Deny)}) {
		t.Errorf("the patched files have the findings %+v, want only the one that the webhook does not repair",
			patched.Findings)
	}
}

func TestReportIsWrittenToSeveralOutputs(t *testing.T) {
	t.Parallel()
	dir := write(t, map[string]string{"web.yaml": denied})
	got := run(t, command(t, dir, "check", "-o", "json=report.json", "-o", "text", "-o", "text=report.txt", "web.yaml"))
	text := run(t, command(t, dir, "check", "web.yaml"))
	if diff := cmp.Diff(text, got); diff != "" {
		t.Errorf("standard output mismatch (-alone +with others):\n%s", diff)
	}
	want := []string{run(t, command(t, dir, "check", "-o", "json", "web.yaml")).Stdout, text.Stdout}
	if diff := cmp.Diff(want, []string{content(t, dir, "report.json"), content(t, dir, "report.txt")}); diff != "" {
		t.Errorf("files mismatch (-standard output +file):\n%s", diff)
	}
}

func TestReportThatCannotBeWrittenExits2(t *testing.T) {
	t.Parallel()
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip("/dev/full cannot be opened: ", err)
	}
	defer func() { _ = full.Close() }()
	dir := write(t, map[string]string{"web.yaml": denied})
	for _, args := range [][]string{
		{"check"}, {"check", "-o", "json"}, {"rules"}, {"rules", "-o", "json"}, {"version"},
		{"explain", "local-on-cluster-ip"}, {"explain", "--settings", "Service/web", "-f", "web.yaml"},
	} {
		t.Run(strings.Join(args, " "), func(t *testing.T) {
			cmd := command(t, dir, args...)
			cmd.Stdout = full
			want := result{
				Stderr: fmt.Sprintf("error: write /dev/stdout: no space left on device; see sourceward %s --help\n", args[0]),
				Code:   2,
			}
			if diff := cmp.Diff(want, run(t, cmd)); diff != "" {
				t.Errorf("%s mismatch (-want +got):\n%s", args, diff)
			}
		})
	}
}

// TestFileThatCannotBeReadLeavesTheOthersJudged uses symbolic links, since root can read files without permissions.
func TestFileThatCannotBeReadLeavesTheOthersJudged(t *testing.T) {
	t.Parallel()
	const remedy = "; check the path and its permissions\n"
	tests := map[string]struct {
		target string
		args   []string
		want   string
	}{
		"a dangling link in a directory": {
			"nowhere.yaml",
			[]string{"."},
			"error: link.yaml: cannot be read: no such file or directory" + remedy,
		},
		"a dangling link as an argument": {
			"nowhere.yaml",
			[]string{"link.yaml", "web.yaml"},
			"error: link.yaml: cannot be read: no such file or directory" + remedy,
		},
		"a link to itself": {
			"link.yaml",
			[]string{"."},
			"error: link.yaml: cannot be read: too many levels of symbolic links" + remedy,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := write(t, map[string]string{"web.yaml": denied})
			want := run(t, command(t, dir, "check", "."))
			want.Stdout = strings.TrimSuffix(want.Stdout, "\n") + ", 1 error\n"
			want.Stderr, want.Code = test.want, 2
			if err := os.Symlink(test.target, filepath.Join(dir, "link.yaml")); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, run(t, command(t, dir, slices.Concat([]string{"check"}, test.args)...))); diff != "" {
				t.Errorf("check mismatch (-want +got):\n%s", diff)
			}
		})
	}
}

func TestEveryRuleIsListedAndExplained(t *testing.T) {
	t.Parallel()
	var rules []policies.Rule
	if err := json.Unmarshal([]byte(run(t, command(t, "", "rules", "-o", "json")).Stdout), &rules); err != nil {
		t.Fatal(err)
	}
	var listed []string
	for _, rule := range rules {
		listed = append(listed, rule.ID)
		page := run(t, command(t, "", "explain", rule.ID))
		words := strings.Join(strings.Fields(page.Stdout), " ")
		texts := []string{rule.ID + ": " + rule.Title, rule.What, rule.Why, rule.Remedy, rule.Exempt, rule.Since}
		for _, text := range append(texts, rule.Sources...) {
			if text == "" || !strings.Contains(words, text) {
				t.Errorf("explain %s does not say %q:\n%s", rule.ID, text, page.Stdout)
			}
		}
		if diff := cmp.Diff(result{Stdout: page.Stdout}, page); diff != "" {
			t.Errorf("explain %s mismatch (-want +got):\n%s", rule.ID, diff)
		}
	}
	var want []string
	for _, rule := range policies.Catalogue() {
		want = append(want, rule.ID)
	}
	if diff := cmp.Diff(want, listed); diff != "" {
		t.Errorf("rules -o json mismatch (-catalogue +listed):\n%s", diff)
	}
}

func TestVersionNamesKubernetesOPAAndGo(t *testing.T) {
	t.Parallel()
	got := run(t, command(t, "", "version"))
	want := regexp.MustCompile(`^sourceward \S+ \(Kubernetes up to 1\.\d+, OPA v1\.\d+\.\d+, go1\.\S+\)\n$`)
	if !want.MatchString(got.Stdout) || got.Stderr != "" || got.Code != 0 {
		t.Errorf("version gives %+v, want %s", got, want)
	}
}

func TestCompletionOffersValuesOfFlags(t *testing.T) {
	t.Parallel()
	if got := run(t, command(t, "", "completion", "bash")); !strings.HasPrefix(got.Stdout, "# bash completion") ||
		got.Stderr != "" ||
		got.Code != 0 {
		t.Errorf("completion bash gives %+v", got)
	}
	// The completion script runs this when the user presses Tab. 4 is cobra's ShellCompDirectiveNoFileComp.
	want := "deny\nmutate\nwarn\naudit\nnever\n:4\n"
	if diff := cmp.Diff(want, run(t, command(t, "", "__complete", "check", "--fail-on", "")).Stdout); diff != "" {
		t.Errorf("completion of --fail-on mismatch (-want +got):\n%s", diff)
	}
	want = "text\njson\nsvg\nhtml\n:4\n"
	if diff := cmp.Diff(want, run(t, command(t, "", "__complete", "traffic", "-o", "")).Stdout); diff != "" {
		t.Errorf("completion of -o of traffic mismatch (-want +got):\n%s", diff)
	}
}

func TestAReportNeverReplacesAnInput(t *testing.T) {
	t.Parallel()
	dir := write(t, map[string]string{"web.yaml": denied})
	run(t, command(t, dir, "policy", "new", "corp"))
	if err := os.Symlink("web.yaml", filepath.Join(dir, "link.json")); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"check", "-o", "json=web.yaml", "web.yaml"},
		{"check", "-o", "json=link.json", "."},
		{"check", "-o", "text=./web.yaml", "--context", "web.yaml", "corp"},
		{"check", "-o", "json=corp/policy.yaml", "--policy", "corp", "web.yaml"},
		{"policy", "eval", "corp", "-f", "web.yaml", "-o", "json=web.yaml"},
		{"policy", "eval", "corp", "-f", "web.yaml", "-o", "json=corp/corp.rego"},
		{"policy", "test", "corp", "-o", "junit=corp/corp_test.rego"},
	} {
		before := files(t, dir)
		got := run(t, command(t, dir, args...))
		if got.Code != 2 || !strings.Contains(got.Stderr, " would replace a file that was read; name another file") {
			t.Errorf("%v: exit code %d, stderr %q", args, got.Code, got.Stderr)
		}
		if diff := cmp.Diff(before, files(t, dir)); diff != "" {
			t.Errorf("%v changes files (-before +after):\n%s", args, diff)
		}
	}
	got := run(t, command(t, dir, "check", "-o", "json=report.json", "web.yaml"))
	if again := run(t, command(t, dir, "check", "-o", "json=report.json", "web.yaml")); got.Code != 1 || again.Code != 1 {
		t.Errorf("a report of its own exits with %d, and again with %d, want 1: %s%s",
			got.Code, again.Code, got.Stderr, again.Stderr)
	}
}

// files returns the texts of all files in a folder, by path.
func files(t testing.TB, dir string) map[string]string {
	t.Helper()
	texts := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			texts[path] = content(t, dir, strings.TrimPrefix(path, dir))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return texts
}

func TestADashIsStandardOutput(t *testing.T) {
	t.Parallel()
	const dir = "testdata/a-denied-service-exits-1"
	want := run(t, command(t, dir, "check", "-o", "json", "web.yaml"))
	if diff := cmp.Diff(want, run(t, command(t, dir, "check", "-o", "json=-", "web.yaml"))); diff != "" {
		t.Errorf("-o json=- differs from -o json (-want +got):\n%s", diff)
	}
	if got := run(t, command(t, dir, "check", "-o", "json=-", "-o", "text", "web.yaml")); got.Code != 2 {
		t.Errorf("two reports on standard output exit with %d, want 2: %s", got.Code, got.Stderr)
	}
}

func TestAPipeThatIsNotReadIsNoted(t *testing.T) {
	t.Parallel()
	const note = "note: checking the current directory; standard input is a pipe that was not read, write - to check it\n"
	dir := write(t, map[string]string{"web.yaml": denied})
	for _, test := range []struct {
		args  []string
		pipe  bool
		noted bool
	}{
		{[]string{"check"}, true, true},
		{[]string{"check"}, false, false},
		{[]string{"check", "."}, true, false},
		{[]string{"check", "-"}, true, false},
		{[]string{"check", "--quiet"}, true, false},
	} {
		cmd := command(t, dir, test.args...)
		if test.pipe {
			cmd.Stdin = strings.NewReader("{apiVersion: v1, kind: Namespace, metadata: {name: edge}}")
		}
		if got := run(t, cmd); strings.Contains(got.Stderr, note) != test.noted {
			t.Errorf("%v, pipe: %t: stderr is %q; want the note: %t", test.args, test.pipe, got.Stderr, test.noted)
		}
	}
}
