package test

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
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
	oldFile      = "old.yaml"      // the stored object; a case that has one is an UPDATE
	relatedFile  = "related.yaml"  // the other objects that exist
	settingsFile = "settings.yaml" // SourceIPPolicies
	clusterFile  = "cluster.yaml"  // what is known about the cluster
	expectFile   = "expect"        // the expectation, written by hand
	wantFile     = "want.yaml"     // findings and patches, written by -update
	patchedFile  = "patched.yaml"  // the repaired object, written by -update; absent if the webhook repairs nothing
)

// kinds are the kinds of cases, with which their names begin: the rule has a finding, it has none, or a small change to
// the case would make the difference.
var kinds = []string{"firing", "silent", "border"}

// TestCases decides every case through every door (the core, the webhook's handler and the dry-run binary), and checks
// that each rule has a case of each kind. A case is a folder, cases/<rule>/<kind>-<sentence>.
//
// A case is about its rule, which the folder is named after, and about each further rule that its expect file names.
// See expectation for the format of that file, which is written by hand so that -update cannot accept a wrong decision.
//
// want.yaml holds the findings and patches of the rules that the case is about, in full, and nothing else: a new rule
// in mode audit changes no other rule's cases. The doors are compared on the whole decision.
//
// patched.yaml is the object that the webhook leaves: it holds the patches in mode mutate of all rules, because a
// cluster stores the result of all of them, and each patch applies to the result of the one before. It depends on no
// rule that the case is not about, since the expect file has to name every rule with a finding in mode mutate.
//
// To assert that a rule finds nothing, put the case into the folder of that rule.
func TestCases(t *testing.T) {
	t.Parallel()
	found := map[string]bool{}
	for _, rule := range entries(t, casesDir) {
		if _, ok := policies.RuleByID(rule); !ok {
			t.Errorf("%s is not the id of a rule; fix with: rm -r test/%s/%[1]s", rule, casesDir)
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
				t.Errorf("rule %s has no %s case; fix with: mkdir -p test/%s/%[1]s/%[2]s-<sentence>", rule.ID, kind, casesDir)
			}
		}
	}
}

// testCase compares the decision about one case with its files, and every door with that decision.
func testCase(t *testing.T, rule, kind, dir string) {
	testFiles(t, dir)
	c := readCase(t, dir)
	before := marshal(t, c.Input)
	decision, err := policies.Decide(t.Context(), c.Input, c.rules, c.settings)
	if diff := cmp.Diff(before, marshal(t, c.Input)); diff != "" {
		t.Errorf("Decide() changed its input (-before +after):\n%s", diff)
	}
	all := suite.WantOf(decision)
	want := readExpectation(t, filepath.Join(dir, expectFile))
	got := want.about(rule, all)

	// A wrong decision ends the test here, before -update could write it down.
	if diff := cmp.Diff(want.findings, summary(got)); diff != "" {
		t.Fatalf("%s mismatch (-want +got):\n%s", filepath.Join("test", dir, expectFile), diff)
	}
	for _, text := range want.says {
		says := func(f suite.WantFinding) bool { return strings.Contains(f.Message+f.Fix, text) }
		if !slices.ContainsFunc(got.Findings, says) {
			t.Fatalf("no finding says %q:\n%s", text, got.YAML())
		}
	}
	has := func(rule string) bool {
		return slices.ContainsFunc(all.Findings, func(f suite.WantFinding) bool { return f.Rule == rule })
	}
	if reported := has("policy-not-evaluated"); reported != (err != nil) {
		t.Errorf("Decide() error is %v, and a finding reports one: %t", err, reported)
	}
	fires := has(rule)
	if !slices.Contains(kinds, kind) || kind == "firing" && !fires || kind == "silent" && fires {
		t.Errorf("the name of the case begins with %s, and rule %s has a finding: %t", kind, rule, fires)
	}
	golden(t, filepath.Join(dir, wantFile), got.YAML())
	golden(t, filepath.Join(dir, patchedFile), c.patched(t, decision))
	testRepaired(t, c, decision)
	testComments(t, c, decision)
	testHandler(t, c)
	if c.forBinary() && !*inProcess {
		testBinary(t, c, all, err != nil)
	}
}

// readyCase is a case with its compiled policies and the settings that result from them.
type readyCase struct {
	*suite.Case
	rules    *bundle.Set
	settings policies.Settings
}

// compiler compiles the built-in rules once for all cases.
var compiler = sync.OnceValue(func() *bundle.Compiler { return bundle.NewCompiler(nil) })

func compiled(t *testing.T, list []v1alpha1.SourceIPPolicy) *bundle.Set {
	t.Helper()
	var valid []*bundle.Policy
	for _, policy := range list {
		one, wrong := compiler().Compile(t.Context(), policy)
		if wrong != nil {
			t.Fatal(wrong)
		}
		valid = append(valid, one)
	}
	return compiler().Set(valid)
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
	if problems != nil {
		t.Fatal(problems)
	}
	list := make([]v1alpha1.SourceIPPolicy, len(loaded))
	for i, policy := range loaded {
		list[i] = policy.SourceIPPolicy
	}
	c.rules = compiled(t, list)
	c.settings = c.Settings(c.rules.Policies)
	return c
}

// forBinary reports whether flags of the binary can express the case: none sets the stored object or the time.
func (c readyCase) forBinary() bool { return !c.Online() && c.Cluster.Now.Equal(suite.SomeDay) }

// patched returns the text of the object after the patches that a webhook applies; nil if there are none.
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

// testFiles checks that a case has the files that only a person can write, that `make rule` left none of them to be
// filled in, and that there are no files that no test reads.
func testFiles(t *testing.T, dir string) {
	t.Helper()
	names := entries(t, dir)
	if !slices.Contains(names, objectFile) {
		t.Fatalf("%s is missing; fix with: rm -r test/%s", objectFile, dir)
	}
	if !slices.Contains(names, expectFile) {
		t.Fatalf("%s is missing; fix with: echo '<rule> <mode>' > test/%s, a line for each finding, or silent",
			expectFile, filepath.Join(dir, expectFile))
	}
	known := []string{objectFile, oldFile, relatedFile, settingsFile, clusterFile, expectFile, wantFile, patchedFile}
	for _, name := range names {
		if !slices.Contains(known, name) {
			t.Errorf("no test reads %s; fix with: rm -r test/%s", name, filepath.Join(dir, name))
		}
	}
	if left := unfilledCase(t, dir); left != nil {
		t.Fatal(strings.Join(left, "\n"))
	}
}

// testRepaired applies all patches and decides again: the rules that were repaired find nothing more.
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

// testComments checks that patches of the text keep every comment but those on what they remove or replace.
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

// testBinary runs check on the files of the case, and compares its whole report with the whole decision.
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

	denies := func(f suite.WantFinding) bool { return f.Mode == policies.Deny && f.Exempt == nil }
	wantCode := 0
	switch {
	case faulty:
		wantCode = 2
	case slices.ContainsFunc(want.Findings, denies):
		wantCode = 1
	}
	if code != wantCode || len(stderr) > 0 != faulty {
		t.Errorf("check exits with %d, want %d, and writes to stderr: %s", code, wantCode, stderr)
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

// golden compares got with a file, which must not exist if got is nil. With -update it writes or removes the file
// first.
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
		t.Errorf("%s exists: %t, want %t; fix with: %s", path, exists, got != nil, updateCommand)
	} else if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s mismatch (-want +got); if the new text is right, fix with: %s\n%s", path, updateCommand, diff)
	}
}

// entries returns the names in a folder, sorted.
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

func marshal(t *testing.T, value any) string {
	t.Helper()
	text, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
