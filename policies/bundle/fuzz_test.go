package bundle

import (
	"context"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sourceward/sourceward/api/v1alpha1"
	"github.com/sourceward/sourceward/policies"
)

// FuzzAuthorsTools checks that no text of a module makes a tool of its author panic.
func FuzzAuthorsTools(f *testing.F) {
	for _, text := range []string{
		"package sourceward.custom.corp\n\ndeny contains {\"message\": \"no\"} if input.object.kind == \"Service\"\n",
		"package sourceward.custom[\"a\\u0000b\"]\n\ndeny contains {\"message\": \"no\"} if true\n",
		"# METADATA\n# title: Corp\n# custom: {kinds: [Service]}\npackage sourceward.custom.corp\n\n" +
			"deny contains {\"message\": \"no\"} if input.object.metadata.labels[\"\\u0007\"] == \"x\"\n",
		"package corp\n\ndeny[x] { x := {\"message\": \"no\"}; input.object[_] }\n",
		"# METADATA\n# schemas: [{input: {\"$ref\": \"#\"}}]\npackage sourceward.custom.corp\n",
		"package sourceward.custom.corp\n\nwarn contains {\"message\": x} if some x in [y | y := input.object[_]]\n",
		"package sourceward.custom.corp\n\n" +
			"deny contains {\"message\": concat(\"a\", [\"b\" | some i in numbers.range(1, 1e9)])}\n",
		"package sourceward.custom.corp\n\ndeny contains {\"message\": sprintf(\"%*d %[2]s\", [999999, 1])}\n",
		"package sourceward.custom.corp\n\nx := [[1], [1]]\ny := [x, x]\n" +
			"deny contains {\"message\": $\"{y} {json.marshal(y)}\"}\n",
		"package sourceward.custom.corp\n\ndeny contains {\"message\": \"no\"} if to_number(\"0x1p-600000000\") * 2 > 1\n",
		"package sourceward.custom.corp\n\ndeny contains {\"message\": yaml.unmarshal(\"a: &a [1]\\nb: [*a]\")}\n",
	} {
		f.Add(text)
	}
	compiler := NewCompiler(nil)
	f.Fuzz(func(t *testing.T, text string) {
		module := v1alpha1.RegoModule{Name: "corp.rego", Module: text}
		policy := v1alpha1.SourceIPPolicy{
			ObjectMeta: metav1.ObjectMeta{Name: "corp"}, Spec: v1alpha1.SourceIPPolicySpec{Rego: []v1alpha1.RegoModule{module}},
		}
		_, _ = Format(module)
		for _, problem := range compiler.Vet(t.Context(), policy, nil, "format it") {
			_ = problem.Detail()
		}
		w, problems := compiler.Workbench(t.Context(), policy, nil)
		if problems != nil {
			return
		}
		service, err := policies.NewObject(map[string]any{
			"apiVersion": "v1", "kind": "Service", "metadata": map[string]any{"name": "web"},
			"spec": map[string]any{"type": "LoadBalancer"},
		})
		if err != nil {
			t.Fatal(err)
		}
		document := policies.Document{Operation: policies.Create, Object: service}
		w.Evaluate(t.Context(), document, []policies.AppliedPolicy{{Name: "corp"}})
		for _, ask := range w.Asks() {
			_, _ = w.Outcomes(t.Context(), ask, true)
			_, _ = w.Input(ask)
		}
		w.Coverage()
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
		defer cancel()
		_, _ = w.Costs(ctx, []policies.Document{document}, func(int, int) {})
	})
}
