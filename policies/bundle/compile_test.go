package bundle

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/sourceward/sourceward/api/v1alpha1"
)

// TestCompileErrors compiles the invalid policies of testdata/compile/<case>, each together with a valid one.
func TestCompileErrors(t *testing.T) {
	t.Parallel()
	cases, err := filepath.Glob("testdata/compile/*/policy.yaml")
	if err != nil || len(cases) == 0 {
		t.Fatalf("no cases (%v)", err)
	}
	for _, path := range cases {
		t.Run(filepath.Base(filepath.Dir(path)), func(t *testing.T) {
			t.Parallel()
			broken := readPolicies(t, path)
			set, errs := Compile(t.Context(), nil, append(broken, policyWith("healthy", `deny contains {"message": "no"}`)))

			var got strings.Builder
			for _, e := range errs {
				fmt.Fprintf(&got, "%d %s\n%s\n", e.Index, e.Path, e.Detail())
			}
			golden(t, filepath.Join(filepath.Dir(path), "want.txt"), got.String())

			healthy := slices.ContainsFunc(
				slices.Collect(set.Policies.All()),
				func(p v1alpha1.SourceIPPolicy) bool { return p.Name == "healthy" },
			)
			answers := set.Evaluate(t.Context(), service(t), applied("healthy"))
			if !healthy || len(answers) != 2 || len(answers[1].Deny) != 1 {
				t.Errorf("the healthy policy gives no denial: %+v", answers)
			}
		})
	}
}

func TestCompileKeepsValidPoliciesWithTheirDefaults(t *testing.T) {
	t.Parallel()
	settings := v1alpha1.SourceIPPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: "settings"},
		Spec: v1alpha1.SourceIPPolicySpec{
			Rules:             []v1alpha1.RuleMode{{ID: "source-ip-needs-local", Mode: v1alpha1.ModeMutate}},
			LoadBalancers:     &v1alpha1.LoadBalancers{Default: "metallb-l2"},
			EvaluationFailure: v1alpha1.FailureDeny, ExistingViolations: v1alpha1.ExistingWarn,
		},
	}
	rego := policyWith("rego", `deny contains {"message": "no"}`)
	rego.Spec.Rules = []v1alpha1.RuleMode{{ID: "rego", Mode: v1alpha1.ModeAudit}}

	set, _ := Compile(t.Context(), nil, []v1alpha1.SourceIPPolicy{settings, policyWith("broken", `deny := true`), rego})
	if rego.Spec.ExistingViolations != "" {
		t.Error("Compile changed its argument")
	}
	rego.Default()
	rego.Spec.EvaluationFailure = v1alpha1.FailureWarn
	if diff := cmp.Diff([]v1alpha1.SourceIPPolicy{rego, settings}, slices.Collect(set.Policies.All())); diff != "" {
		t.Errorf("Compile() mismatch (-want +got):\n%s", diff)
	}
}

func TestDefaultOfEvaluationFailure(t *testing.T) {
	t.Parallel()
	const deny, warn = `deny contains {"message": "no"}`, `warn contains {"message": "no"}`
	const wish = `require_local contains {"message": "m", "strength": "hard"}`
	mode := func(id string, mode v1alpha1.Mode) []v1alpha1.RuleMode {
		return []v1alpha1.RuleMode{{ID: id, Mode: mode}}
	}
	tests := map[string]struct {
		rego  string
		rules []v1alpha1.RuleMode
		want  v1alpha1.EvaluationFailure
	}{
		"a set deny":                      {deny, nil, v1alpha1.FailureDeny},
		"a set deny in mode Warn":         {deny, mode("corp", v1alpha1.ModeWarn), v1alpha1.FailureWarn},
		"a set deny in mode Deny":         {deny, mode("corp", v1alpha1.ModeDeny), v1alpha1.FailureDeny},
		"a set warn":                      {warn, nil, v1alpha1.FailureWarn},
		"a set warn in mode Deny":         {warn, mode("corp", v1alpha1.ModeDeny), v1alpha1.FailureDeny},
		"a built-in rule in mode Deny":    {warn, mode("node-port-local", v1alpha1.ModeDeny), v1alpha1.FailureDeny},
		"a built-in rule in another mode": {warn, mode("node-port-local", v1alpha1.ModeAudit), v1alpha1.FailureWarn},
		"a wish for Local":                {wish, nil, v1alpha1.FailureWarn},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			policy := policyWith("corp", test.rego)
			policy.Spec.Rules = test.rules
			for _, written := range []v1alpha1.EvaluationFailure{"", v1alpha1.FailureIgnore} {
				policy.Spec.EvaluationFailure = written
				compiled, problems := NewCompiler(nil).Compile(t.Context(), policy)
				if problems != nil {
					t.Fatal(problems)
				}
				want := test.want
				if written != "" {
					want = written
				}
				if got := compiled.Spec.EvaluationFailure; got != want {
					t.Errorf("written %q: evaluationFailure is %s, want %s", written, got, want)
				}
			}
		})
	}
}

func readPolicies(t testing.TB, path string) []v1alpha1.SourceIPPolicy {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var list []v1alpha1.SourceIPPolicy
	for document := range strings.SplitSeq(string(text), "\n---\n") {
		var policy v1alpha1.SourceIPPolicy
		if err := yaml.UnmarshalStrict([]byte(document), &policy); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		list = append(list, policy)
	}
	return list
}

// golden compares got with a file. With -update it writes the file.
func golden(t testing.TB, path, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s mismatch (-want +got):\n%s", path, diff)
	}
}

// policyWith returns a policy with one module name.rego, of package sourceward.custom.<name>. The rules begin in row 3.
func policyWith(name, rules string) v1alpha1.SourceIPPolicy {
	return v1alpha1.SourceIPPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: v1alpha1.SourceIPPolicySpec{Rego: []v1alpha1.RegoModule{{
			Name: name + ".rego", Module: "package sourceward.custom." + name + "\n\n" + rules + "\n",
		}}},
	}
}
