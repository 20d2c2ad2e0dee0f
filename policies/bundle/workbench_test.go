package bundle

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
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
	set, problems := Compile(t.Context(), nil, []v1alpha1.SourceIPPolicy{printing()})
	if problems != nil {
		t.Fatalf("Compile() of a module that prints: %v", problems)
	}
	if answers := set.Evaluate(t.Context(), service(t), applied("corp")); len(answers) != 2 || answers[1].Err != nil {
		t.Errorf("Evaluate() gives %+v", answers)
	}
	w, problems := NewCompiler(nil).Workbench(t.Context(), printing(), nil)
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
	tests := []v1alpha1.RegoModule{{Name: "corp_test.rego", Module: `package sourceward.custom.corp_test

test_pod if count(data.sourceward.custom.corp.warn) == 1 with input.object.kind as "Pod"
`}}
	w, problems := NewCompiler(nil).Workbench(t.Context(), printing(), tests)
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
	results, problems := w.Test(t.Context(), "")
	if problems != nil || len(results) != 1 || results[0].Failure != "" {
		t.Errorf("Test() gives %+v, %v", results, problems)
	}
	if diff := cmp.Diff([]Coverage{{Module: "corp.rego", Lines: 6}}, w.Coverage()); diff != "" {
		t.Errorf("Coverage() of both together mismatch (-want +got):\n%s", diff)
	}
}

func TestAsksAreEmptyIfThePolicyDoesNotApply(t *testing.T) {
	t.Parallel()
	w, problems := NewCompiler(nil).Workbench(t.Context(), printing(), nil)
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
	policy := policyWith("corp", `deny contains {"message": json.marshal(input.facts)}`)
	w, problems := NewCompiler(nil).Workbench(t.Context(), policy, nil)
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

// TestModulesThatCannotBeFormatted checks that a module which OPA's formatter cannot write, or turns into one that does
// not parse, is a problem of the module.
func TestModulesThatCannotBeFormatted(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"a control character in a key": "package sourceward.custom.corp\n\n" +
			`deny contains {"message": "no"} if input.object.metadata.labels["\u0007"] == "x"` + "\n",
		"a control character in the package": `package sourceward.custom["a\u0000b"]` + "\n\n" +
			`deny contains {"message": "no"} if input.object.kind == "Service"` + "\n",
		"a sum of 20 000 terms": "package sourceward.custom.corp\n\n" +
			`deny contains {"message": "no"} if 1` + strings.Repeat(" + 1", 20_000) + " == 2\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, problems := Format(v1alpha1.RegoModule{Name: "corp.rego", Module: text})
			const want = "SourceIPPolicy corp: corp.rego: OPA's formatter cannot write this module ("
			if len(problems) != 1 {
				t.Fatalf("Format() has %d problems, want 1: %v", len(problems), problems)
			}
			problems[0].Policy = "corp"
			if got := problems[0].Error(); !strings.HasPrefix(got, want) {
				t.Errorf("got %s, want %s…", got, want)
			}
		})
	}
}

// TestCostsEndWithTheirContext checks that measuring ends when its context does, or an evaluation fails.
func TestCostsEndWithTheirContext(t *testing.T) {
	t.Parallel()
	w, problems := NewCompiler(nil).Workbench(t.Context(), printing(), nil)
	if problems != nil {
		t.Fatal(problems)
	}
	asks := []policies.Document{ask(t, w)}
	ctx, cancel := context.WithCancel(t.Context())
	_, err := w.Costs(ctx, asks, func(done, _ int) {
		if done == 1 {
			cancel()
		}
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("Costs() of a context that ended: %v", err)
	}

	failing := printing()
	failing.Spec.Rego[0].Module = "package sourceward.custom.corp\n\n" +
		`deny contains {"message": "no"} if net.cidr_contains("10.0.0.0/8", input.object.metadata.name)` + "\n"
	if w, problems = NewCompiler(nil).Workbench(t.Context(), failing, nil); problems != nil {
		t.Fatal(problems)
	}
	w.Evaluate(t.Context(), service(t), applied("corp"))
	if _, err := w.Costs(t.Context(), w.Asks(), func(int, int) {}); err == nil {
		t.Error("Costs() of a rule that fails: no error")
	}
}
