package main

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode"

	"github.com/sourceward/sourceward/policies/manifest"
	"github.com/sourceward/sourceward/policies/suite"
)

// TestReportsOfTestsAreSafeToPrint puts characters that a terminal would obey into everything that comes from a policy,
// its tests and its cases.
func TestReportsOfTestsAreSafeToPrint(t *testing.T) {
	t.Parallel()
	const hostile = "a\x1b[2J\u009b31m\u202e"
	path := filepath.Join(t.TempDir(), "policy.yaml")
	text := "apiVersion: sourceward.dev/v1alpha1\nkind: SourceIPPolicy\nmetadata: {name: corp}\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	loaded, problems := manifest.LoadPolicies([]string{path})
	if problems != nil {
		t.Fatal(problems[0])
	}
	policy := &suite.Policy{Policy: loaded[0]}
	policy.Name = hostile
	place := manifest.Error{File: hostile}
	var problem suite.Problem
	problem.File, problem.Message = hostile, hostile
	report := &testReport{
		of: []*suite.Tested{{
			Policy: policy,
			Results: []suite.Result{
				{Name: hostile, Place: place, Failure: hostile, Printed: []string{hostile}, Want: hostile, Got: "b" + hostile},
				{Name: hostile, Place: place, Skipped: true},
				{Name: hostile, Place: place, Updated: true},
			},
			Coverage: []suite.Coverage{{Path: hostile, Lines: 2, Missed: []int{1}}},
		}},
		problems: []suite.Problem{problem},
	}
	for name, write := range map[string]func(io.Writer) error{"text": report.writeText, "junit": report.writeJUnit} {
		var out strings.Builder
		if err := write(&out); err != nil {
			t.Fatal(err)
		}
		isWrong := func(r rune) bool { return !unicode.IsPrint(r) && r != '\n' && r != '\t' }
		if i := strings.IndexFunc(out.String(), isWrong); i >= 0 {
			t.Errorf("%s has %q in:\n%q", name, out.String()[i:i+1], out.String())
		}
	}
}
