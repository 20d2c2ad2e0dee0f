package test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sourceward/sourceward/api/v1alpha1"
	"github.com/sourceward/sourceward/policies"
	"github.com/sourceward/sourceward/policies/bundle"
	"github.com/sourceward/sourceward/policies/manifest"
	"github.com/sourceward/sourceward/policies/suite"
)

const (
	casesDir      = "cases"
	updateCommand = "go test ./test -update"

	objectFile   = "object.yaml"   // the object under review
	oldFile      = "old.yaml"      // its former self, which makes the case an UPDATE
	relatedFile  = "related.yaml"  // what else exists
	settingsFile = "settings.yaml" // SourceIPPolicies
	clusterFile  = "cluster.yaml"  // what is known of the cluster
	expectFile   = "expect"        // the verdict, by hand, so that -update cannot bless a wrong one
	wantFile     = "want.yaml"     // the whole decision, by -update
	patchedFile  = "patched.yaml"  // the text of the object after the repairs of mode mutate, by -update
)

// kinds are the kinds of cases, by which their names begin: the rule has a finding, it has none, or
// the case is close to where the one becomes the other.
var kinds = []string{"firing", "silent", "border"}

// TestCases runs every door on every case, cases/<rule>/<kind>-<sentence>, and sees that no rule
// lacks a kind.
func TestCases(t *testing.T) {
	t.Parallel()
	found := map[string]bool{}
	for _, rule := range entries(t, casesDir) {
		if _, ok := policies.RuleByID(rule); !ok {
			t.Errorf("%s is no rule; repair with: rm -r test/%s/%[1]s", rule, casesDir)
		}
		for _, name := range entries(t, filepath.Join(casesDir, rule)) {
			kind, _, _ := strings.Cut(name, "-")
			found[rule+" "+kind] = true
			t.Run(rule+"/"+name, func(t *testing.T) {
				t.Parallel()
				testCase(t, rule, kind, filepath.Join(casesDir, rule, name))
			})
		}
	}
	for _, rule := range policies.Catalogue() {
		for _, kind := range kinds {
			if !found[rule.ID+" "+kind] {
				t.Errorf("rule %s has no %s case; repair with: mkdir -p test/%s/%[1]s/%[2]s-<sentence>", rule.ID, kind, casesDir)
			}
		}
	}
}

// testCase holds one decision against what is expected of it, and then all doors and properties
// against that decision.
func testCase(t *testing.T, rule, kind, dir string) {
	testFiles(t, dir)
	c := readCase(t, dir)
	before := marshal(t, c.Input)
	decision, err := policies.Decide(t.Context(), c.Input, c.rules, c.settings)
	if diff := cmp.Diff(before, marshal(t, c.Input)); diff != "" {
		t.Errorf("Decide() changed its input (-before +after):\n%s", diff)
	}
	got := suite.WantOf(decision)

	// Before -update may write it down.
	expected, says := readExpect(t, filepath.Join(dir, expectFile))
	if diff := cmp.Diff(expected, verdict(got, rule, expected)); diff != "" {
		t.Fatalf("verdict mismatch (-want +got):\n%s", diff)
	}
	for _, text := range says {
		if !slices.ContainsFunc(
			got.Findings,
			func(f suite.WantFinding) bool { return strings.Contains(f.Message+f.Fix, text) },
		) {
			t.Fatalf("no finding says %q: %s", text, got.YAML())
		}
	}
	has := func(rule string) bool {
		return slices.ContainsFunc(got.Findings, func(f suite.WantFinding) bool { return f.Rule == rule })
	}
	if told := has("policy-not-evaluated"); told != (err != nil) {
		t.Errorf("Decide() error is %v, and a finding tells of one: %t", err, told)
	}
	fires := has(rule)
	if !slices.Contains(kinds, kind) || kind == "firing" && !fires || kind == "silent" && fires {
		t.Errorf("the name of a case of which the rule has a finding (%t) begins with %s", fires, kind)
	}
	golden(t, filepath.Join(dir, wantFile), got.YAML())
	golden(t, filepath.Join(dir, patchedFile), c.patched(t, decision))
	testRepaired(t, c, decision)
	testComments(t, c, decision)
	testHandler(t, c)
	if c.forBinary() {
		testBinary(t, c, got, err != nil)
	}
}

// readyCase is a folder, ready to be decided.
type readyCase struct {
	*suite.Case
	rules    *bundle.Set
	settings policies.Settings
}

func readCase(t *testing.T, dir string) readyCase {
	t.Helper()
	read, err := suite.ReadCase(dir)
	if err != nil {
		t.Fatal(err)
	}
	c := readyCase{Case: read}
	var policyFiles []string
	if c.Has(settingsFile) {
		policyFiles = []string{c.Path(settingsFile)}
	}
	loaded, problems := manifest.LoadPolicies(policyFiles)
	list := make([]v1alpha1.SourceIPPolicy, len(loaded))
	for i, policy := range loaded {
		list[i] = policy.SourceIPPolicy
	}
	var wrong []*bundle.Error
	if c.rules, wrong = bundle.Compile(list); problems != nil || wrong != nil {
		t.Fatal(problems, wrong)
	}
	c.settings = c.Settings(c.rules.Policies)
	return c
}

// forBinary tells whether the binary has words for the case.
func (c readyCase) forBinary() bool { return !c.Online() && c.Cluster.Now.Equal(suite.SomeDay) }

// patched is the text of the object after the repairs that a webhook applies; nil if there are none.
func (c readyCase) patched(t *testing.T, decision policies.Decision) []byte {
	t.Helper()
	text, mutated := c.Text, false
	for _, p := range decision.Patches {
		if p.Mode != policies.Mutate {
			continue
		}
		mutated = true
		var err error
		if text, err = manifest.Patch(text, c.Object.Document.Index, c.Object.At, p.Operations); err != nil {
			t.Fatal(err)
		}
	}
	if !mutated {
		return nil
	}
	return text
}

// testFiles sees that a case has the files that only a person can write, and none that nobody reads.
func testFiles(t *testing.T, dir string) {
	t.Helper()
	names := entries(t, dir)
	if !slices.Contains(names, objectFile) {
		t.Fatalf("%s is not there; repair with: rm -r test/%s", objectFile, dir)
	}
	if !slices.Contains(names, expectFile) {
		t.Fatalf("%s is not there; repair with: echo '<rule> <mode>' > test/%s, a line for each finding, or silent",
			expectFile, filepath.Join(dir, expectFile))
	}
	known := []string{objectFile, oldFile, relatedFile, settingsFile, clusterFile, expectFile, wantFile, patchedFile}
	for _, name := range names {
		if !slices.Contains(known, name) {
			t.Errorf("nobody reads %s; repair with: rm -r test/%s", name, filepath.Join(dir, name))
		}
	}
}

// testRepaired applies all patches and decides again: the rules that they repair have nothing more
// to say.
func testRepaired(t *testing.T, c readyCase, decision policies.Decision) {
	t.Helper()
	if len(decision.Patches) == 0 {
		return
	}
	in := c.Input
	for _, p := range decision.Patches {
		var err error
		if in.Object, err = in.Object.Patched(p.Operations); err != nil {
			t.Fatal(err)
		}
	}
	again, _ := policies.Decide(t.Context(), in, c.rules, c.settings)
	if len(again.Patches) > 0 {
		t.Errorf("Decide() of the repaired object gives patches: %s", marshal(t, again.Patches))
	}
	for _, p := range decision.Patches {
		if slices.ContainsFunc(again.Findings, func(f policies.Finding) bool { return f.Rule == p.Rule }) {
			t.Errorf("Decide() of the repaired object gives a finding of %s: %s", p.Rule, marshal(t, again.Findings))
		}
	}
}

// testComments sees that repairs of the text take no comment with them but that of what they remove or replace.
func testComments(t *testing.T, c readyCase, decision policies.Decision) {
	t.Helper()
	if c.Online() {
		return
	}
	text := c.Text
	for _, p := range decision.Patches {
		var err error
		if text, err = manifest.Patch(text, c.Object.Document.Index, c.Object.At, p.Operations); err != nil {
			t.Fatal(err)
		}
	}
	for line := range strings.Lines(string(c.Text)) {
		if _, comment, ok := strings.Cut(strings.TrimSpace(line), "# "); ok && !strings.Contains(string(text), comment) {
			t.Errorf("the repaired text has lost %q:\n%s", comment, text)
		}
	}
}

// testBinary runs check on the same files.
func testBinary(t *testing.T, c readyCase, want suite.Want, faulty bool) {
	t.Helper()
	args := []string{
		"check", "-q", "-o", "json", "--kube-version", c.Cluster.KubeVersion,
		"--nodes", strconv.Itoa(c.Cluster.Nodes), "--provider", c.Cluster.Provider,
	}
	if c.Has(settingsFile) {
		args = append(args, "--policy", settingsFile)
	}
	if c.Has(relatedFile) {
		args = append(args, "--context", relatedFile)
	}
	stdout, stderr, code := runBinary(t, c.Dir, append(args, objectFile)...)

	wantCode := 0
	switch {
	case faulty:
		wantCode = 2
	case slices.ContainsFunc(want.Findings, func(f suite.WantFinding) bool { return f.Mode == policies.Deny && f.Exempt == nil }):
		wantCode = 1
	}
	if code != wantCode || len(stderr) > 0 != faulty {
		t.Errorf("check exits with %d, want %d, and says: %s", code, wantCode, stderr)
	}
	var r report
	if err := json.Unmarshal(stdout, &r); err != nil {
		t.Fatal(err)
	}
	got := suite.WantOf(policies.Decision{})
	for _, f := range r.Findings {
		got.Findings = append(got.Findings, f.WantFinding)
	}
	got.Patches = append(got.Patches, r.Patches...)
	got.Sort() // the report sorts by line
	if diff := cmp.Diff(string(want.YAML()), string(got.YAML())); diff != "" {
		t.Errorf("check mismatch (-Decide +check):\n%s", diff)
	}
}

// verdict is what expectFile says by hand: "<rule> <mode>", or "<rule> <mode> exempt", for each
// finding, or "silent". What other rules than that of the case leave to audits it may leave to wantFile: hardly any
// workload is above all of them, and each has cases of its own.
func verdict(w suite.Want, rule string, expected []string) []string {
	var lines []string
	for _, f := range w.Findings {
		line := fmt.Sprintf("%s %s", f.Rule, f.Mode)
		if f.Exempt != nil {
			line += " exempt"
		}
		if f.Rule == rule || f.Mode != policies.Audit || slices.Contains(expected, line) {
			lines = append(lines, line)
		}
	}
	if lines == nil {
		return []string{"silent"}
	}
	slices.Sort(lines)
	return lines
}

// golden holds got against a file, which is not there if got is nil; with -update it writes it.
func golden(t *testing.T, path string, got []byte) {
	t.Helper()
	if *update {
		err := os.Remove(path)
		if got != nil {
			err = os.WriteFile(path, got, 0o644)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	if exists := err == nil; exists != (got != nil) {
		t.Errorf("%s exists: %t, want %t; repair with: %s", path, exists, got != nil, updateCommand)
	} else if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s mismatch (-want +got); if it is meant, repair with: %s\n%s", path, updateCommand, diff)
	}
}

// entries are the names in a folder, sorted.
func entries(t *testing.T, dir string) []string {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	names := make([]string, len(list))
	for i, entry := range list {
		names[i] = entry.Name()
	}
	return names
}

func readFile(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// readExpect reads expectFile: the verdict, sorted, and in lines "says <text>" what a message or fix
// must hold.
func readExpect(t *testing.T, path string) (verdict, says []string) {
	t.Helper()
	for line := range strings.Lines(string(readFile(t, path))) {
		line = strings.TrimSpace(line)
		if text, ok := strings.CutPrefix(line, "says "); ok {
			says = append(says, text)
		} else {
			verdict = append(verdict, line)
		}
	}
	slices.Sort(verdict)
	return verdict, says
}

func marshal(t *testing.T, value any) string {
	t.Helper()
	text, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
