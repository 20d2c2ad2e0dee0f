package bundle

import (
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sourceward/sourceward/api/v1alpha1"
	"github.com/sourceward/sourceward/policies"
)

// printing returns a policy with a rule for Services that calls print(), and a rule for Pods.
func printing() v1alpha1.SourceIPPolicy {
	return policyWith("corp", `deny contains {"message": "no"} if {
	print("kind", input.object.kind)
	input.object.kind == "Service"
}

warn contains {"message": "never"} if {
	input.object.kind == "Pod"
	print("not reached")
}`)
}

// ask evaluates the policy for a Service, as Decide does, and returns the document.
func ask(t *testing.T, w *Workbench) policies.Document {
	t.Helper()
	answers := w.Evaluate(t.Context(), service(t), applied("corp"))
	asks := w.Asks()
	if len(asks) != 1 || len(answers) != 2 || answers[1].Err != nil || len(answers[1].Deny) != 1 {
		t.Fatalf("Evaluate() gives %+v, and was asked %d times, want once", answers, len(asks))
	}
	return asks[0]
}

func TestPrintWorksOnlyInAWorkbench(t *testing.T) {
	t.Parallel()
	set, problems := Compile([]v1alpha1.SourceIPPolicy{printing()})
	if problems != nil {
		t.Fatalf("Compile() of a module that prints: %v", problems)
	}
	if answers := set.Evaluate(t.Context(), service(t), applied("corp")); len(answers) != 2 || answers[1].Err != nil {
		t.Errorf("Evaluate() gives %+v", answers)
	}
	w, problems := NewCompiler().Workbench(printing())
	if problems != nil {
		t.Fatal(problems)
	}
	got, err := w.Outcomes(t.Context(), ask(t, w), false)
	if err != nil {
		t.Fatal(err)
	}
	want := []Outcome{
		{
			Module:  "corp",
			Rule:    "deny",
			Reasons: []any{map[string]any{"message": "no"}},
			Printed: []Print{{Module: "corp.rego", Row: 4, Text: "kind Service"}},
		},
		{Module: "corp", Rule: "warn", Reasons: []any{}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Outcomes() mismatch (-want +got):\n%s", diff)
	}
}

func TestCoverageCountsLinesThatWereNotEvaluated(t *testing.T) {
	t.Parallel()
	w, problems := NewCompiler().Workbench(printing())
	if problems != nil {
		t.Fatal(problems)
	}
	want := []Coverage{{Module: "corp.rego", Lines: 6, Missed: []int{3, 4, 5, 8, 9, 10}}}
	if diff := cmp.Diff(want, w.Coverage()); diff != "" {
		t.Errorf("Coverage() before any evaluation mismatch (-want +got):\n%s", diff)
	}
	if _, err := w.Outcomes(t.Context(), ask(t, w), false); err != nil {
		t.Fatal(err)
	}
	tests := []v1alpha1.RegoModule{{Name: "corp_test.rego", Module: `package sourceward.custom.corp_test

test_pod if count(data.sourceward.custom.corp.warn) == 1 with input.object.kind as "Pod"
`}}
	results, problems := w.Test(t.Context(), tests, "")
	if problems != nil || len(results) != 1 || results[0].Failure != "" {
		t.Errorf("Test() gives %+v, %v", results, problems)
	}
	if diff := cmp.Diff([]Coverage{{Module: "corp.rego", Lines: 6}}, w.Coverage()); diff != "" {
		t.Errorf("Coverage() of both together mismatch (-want +got):\n%s", diff)
	}
}

func TestAsksAreEmptyIfThePolicyDoesNotApply(t *testing.T) {
	t.Parallel()
	w, problems := NewCompiler().Workbench(printing())
	if problems != nil {
		t.Fatal(problems)
	}
	w.Evaluate(t.Context(), service(t), nil)
	if asks := w.Asks(); asks != nil {
		t.Errorf("Asks() = %v, want none", asks)
	}
}

func TestInputIsWhatModulesSee(t *testing.T) {
	t.Parallel()
	w, problems := NewCompiler().Workbench(policyWith("corp", `deny contains {"message": json.marshal(input.facts)}`))
	if problems != nil {
		t.Fatal(problems)
	}
	asked := ask(t, w)
	got, err := w.Input(asked)
	if err != nil {
		t.Fatal(err)
	}
	outcomes, err := w.Outcomes(t.Context(), asked, false)
	if err != nil {
		t.Fatal(err)
	}
	reason, _ := outcomes[0].Reasons[0].(map[string]any)
	seen, _ := reason["message"].(string)
	whole, _ := got.(map[string]any)
	if diff := cmp.Diff(seen, jsonText(whole["facts"])); diff != "" {
		t.Errorf("Input() mismatch (-input.facts +Input):\n%s", diff)
	}
	want := []string{"cluster", "facts", "namespace", "object", "operation", "parameters", "related"}
	if diff := cmp.Diff(want, slices.Sorted(maps.Keys(whole))); diff != "" {
		t.Errorf("keys of Input() mismatch (-want +got):\n%s", diff)
	}
}

func TestFormatIsIdempotent(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"v1": "package sourceward.custom.corp\n\ndeny contains   {\"message\": \"no\"} if   true # why\n",
		"v0": "package sourceward.custom.corp\n\nimport future.keywords.in\n\n" +
			"# why\ndeny[x] { x := {\"message\": \"no\"}; \"a\" in input.object }\n",
		"v1 with its import": "package sourceward.custom.corp\n\nimport rego.v1\n\ndeny contains 1 if true\n",
		"a rule without if":  "package sourceward.custom.corp\n\ndefault a = 1\n\nf(x) = y { y := x }\n",
	} {
		once, problems := Format(v1alpha1.RegoModule{Name: "corp.rego", Module: text})
		if problems != nil {
			t.Errorf("Format() of %s: %v", name, problems)
			continue
		}
		twice, problems := Format(v1alpha1.RegoModule{Name: "corp.rego", Module: once})
		if diff := cmp.Diff(once, twice); diff != "" || problems != nil {
			t.Errorf("Format() of what it formatted from %s (-once +twice), %v:\n%s", name, problems, diff)
		}
	}
}

var _ policies.Rules = (*Workbench)(nil)
