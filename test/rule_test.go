package test

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sourceward/sourceward/policies"
)

// unfilled begins what `make rule` leaves to the author of a rule, and unfilledName ends the names of such folders.
const (
	unfilled     = "FILL IN: "
	unfilledName = "-fill-in"
)

// unfilledText returns what is still to be filled in, for one file.
func unfilledText(t *testing.T, path string) []string {
	t.Helper()
	var left []string
	number := 0
	for line := range strings.Lines(string(readFile(t, path))) {
		number++
		if _, what, ok := strings.Cut(line, unfilled); ok {
			left = append(left, fmt.Sprintf("%s:%d: fill in: %s", fromRoot(path), number, strings.TrimRight(what, "\n\",}")))
		}
	}
	return left
}

// fromRoot returns a path as seen from the root of the repository.
func fromRoot(path string) string { return filepath.Join("test", path) }

// unfilledCase returns what is still to be filled in for one case: its name, and parts of its files.
func unfilledCase(t *testing.T, dir string) []string {
	t.Helper()
	var left []string
	if strings.HasSuffix(dir, unfilledName) {
		left = append(left, fmt.Sprintf("%s: rename it to a sentence about what is special in this case", fromRoot(dir)))
	}
	for _, name := range entries(t, dir) {
		left = append(left, unfilledText(t, filepath.Join(dir, name))...)
	}
	return left
}

// TestRulesAreFilledIn checks that each rule has its documentation, and that nothing of what `make rule` writes is left
// to be filled in. TestCases checks the cases.
func TestRulesAreFilledIn(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("../policies/*.go")
	if err != nil || len(files) == 0 {
		t.Fatal("no Go files in ../policies: ", err)
	}
	for _, file := range files {
		for _, left := range unfilledText(t, file) {
			t.Error(left)
		}
	}
	for _, rule := range policies.Catalogue() {
		for field, text := range map[string]string{
			"Title": rule.Title, "What": rule.What, "Why": rule.Why, "Remedy": rule.Remedy, "Exempt": rule.Exempt,
			"Since": rule.Since, "Sources": strings.Join(rule.Sources, ""), "Kinds": strings.Join(rule.Kinds, ""),
		} {
			if text == "" {
				t.Errorf("rule %s has no %s; fill it in", rule.ID, field)
			}
		}
	}
}

// ruleTree copies what `make rule` reads, and what the package of the rules needs to compile, to a temporary folder.
func ruleTree(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, pattern := range []string{"go.mod", "go.sum", "api/v1alpha1/*.go", "policies/*.go"} {
		files, err := filepath.Glob(filepath.Join("..", pattern))
		if err != nil || len(files) == 0 {
			t.Fatalf("no files match %s: %v", pattern, err)
		}
		for _, file := range files {
			if strings.HasSuffix(file, "_test.go") {
				continue
			}
			target := filepath.Join(dir, strings.TrimPrefix(file, "../"))
			if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(target, readFile(t, file), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	return dir
}

// ruleCommand builds the command that `make rule` runs.
func ruleCommand(t *testing.T) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "rule")
	if output, err := runIn(t, ".", "go", "build", "-o", binary, "./rule"); err != nil {
		t.Fatalf("build ./rule: %v\n%s", err, output)
	}
	return binary
}

func runIn(t *testing.T, dir, name string, args ...string) (output string, err error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Dir = dir
	text, err := cmd.CombinedOutput()
	return string(text), err
}

func TestMakeRuleWritesWhatCompilesAndIsToBeFilledIn(t *testing.T) {
	t.Parallel()
	binary, dir := ruleCommand(t), ruleTree(t)
	if output, err := runIn(t, dir, binary, "local-on-odd-ips"); err != nil {
		t.Fatalf("rule: %v\n%s", err, output)
	}
	if output, err := runIn(t, dir, "go", "vet", "./policies"); err != nil {
		t.Errorf("the skeleton does not compile: %v\n%s", err, output)
	}
	catalogue := string(readFile(t, filepath.Join(dir, "policies/catalogue.go")))
	if !strings.Contains(catalogue, "\t\tlocalOnOddIPs,\n\t},\n\tregoRules,\n") {
		t.Errorf("localOnOddIPs is not the last rule of the catalogue that is written in Go:\n%s", catalogue)
	}
	rule := filepath.Join(dir, "policies/check_local_on_odd_ips.go")
	left := strings.Join(unfilledText(t, rule), "\n")
	for _, what := range []string{
		"the problem in a few words", "what is found", "what happens to the packets", "how to fix it", "when an exemption",
		"the versions", "links", "return a result",
	} {
		if !strings.Contains(left, ": fill in: "+what) {
			t.Errorf("no line says to fill in %s:\n%s", what, left)
		}
	}
	cases := filepath.Join(dir, "test", casesDir, "local-on-odd-ips")
	var names []string
	for _, name := range entries(t, cases) {
		kind, _, _ := strings.Cut(name, "-")
		names = append(names, kind)
		left := strings.Join(unfilledCase(t, filepath.Join(cases, name)), "\n")
		for _, what := range []string{name + ": rename it", objectFile + ":1: fill in: ", expectFile + ":"} {
			if !strings.Contains(left, what) {
				t.Errorf("nothing says %q of case %s:\n%s", what, name, left)
			}
		}
	}
	if diff := cmp.Diff(slices.Sorted(slices.Values(kinds)), names); diff != "" {
		t.Errorf("kinds of cases mismatch (-want +got):\n%s", diff)
	}
}

func TestMakeRuleRefuses(t *testing.T) {
	t.Parallel()
	binary, dir := ruleCommand(t), ruleTree(t)
	before := contents(t, dir)
	for id, want := range map[string]string{
		"":                    "usage: make rule NAME=",
		"Local":               `"Local" is not a valid rule id`,
		"local_on_port":       `"local_on_port" is not a valid rule id`,
		"local--on-port":      `"local--on-port" is not a valid rule id`,
		"../local":            `"../local" is not a valid rule id`,
		"9-lives":             `"9-lives" is not a valid rule id`,
		"local-on-cluster-ip": "rule local-on-cluster-ip exists",
		"legacy-annotation":   "rule legacy-annotation exists",
		"local-in-a-test":     "the last word of local-in-a-test would keep Go from compiling",
		"local-on-windows":    "the last word of local-on-windows would keep Go from compiling",
		"catalogue":           "a name that is taken (by policies/catalogue.go)",
		"slices":              "a name that is taken",
		"range":               "a name that is taken (by Go)",

		strings.Repeat("long", 16): "want at most 63 lowercase letters",
	} {
		output, err := runIn(t, dir, binary, id)
		if err == nil || !strings.Contains(output, want) {
			t.Errorf("rule %q: error is %v, and it says %q; want %q", id, err, output, want)
		}
	}
	if diff := cmp.Diff(before, contents(t, dir)); diff != "" {
		t.Errorf("a refusal has changed files (-before +after):\n%s", diff)
	}
}

// contents returns the texts of all files in a folder, by path.
func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	texts := map[string]string{}
	err := fs.WalkDir(os.DirFS(dir), ".", func(path string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			texts[path] = string(readFile(t, filepath.Join(dir, path)))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return texts
}
