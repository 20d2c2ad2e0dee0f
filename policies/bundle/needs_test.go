package bundle

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"github.com/sourceward/sourceward/api/v1alpha1"
	"github.com/sourceward/sourceward/policies"
)

// TestAPolicyThatIsNotAskedWouldBeSilent writes modules at random, with expressions that compare, that fail, and that
// read what other rules compute, and evaluates them for random objects. Where a module would not be asked, it must
// have no answer, and must not fail.
func TestAPolicyThatIsNotAskedWouldBeSilent(t *testing.T) {
	t.Parallel()
	const seed, modules, objects = 18, 300, 40
	random := rand.New(rand.NewPCG(seed, 0))
	pick := func(list ...string) string { return list[random.IntN(len(list))] }
	keys := []string{"corp/a", "corp/b", "kubectl.kubernetes.io/last-applied-configuration"}
	expression := func() string {
		key := pick(keys...)
		return pick(
			`input.object.kind == "Service"`, `"Deployment" == input.object.kind`, `not input.object.kind == "Service"`,
			`input.object.kind != "Service"`, `kind == "Service"`, `input.object.kind in ["Service", "Deployment"]`,
			`input.object.metadata.annotations["`+key+`"]`, `not input.object.metadata.annotations["`+key+`"]`,
			`input.object.metadata.annotations["`+key+`"] == "1"`, `input.object.metadata.annotations["`+key+`"] != "1"`,
			`object.get(input.object.metadata, "annotations", {})["`+key+`"] == "1"`,
			`some key, value in input.object.metadata.annotations; key == "`+key+`"; value == "1"`,
			`to_number(input.object.metadata.annotations["`+key+`"]) > 0`, `to_number(input.object.metadata.name) > 0`,
			`annotated("`+key+`")`, `fails`, `input.object.metadata.labels.app == "1"`,
			`input.object.metadata.annotations["`+key+`"] == "1" `+
				`with input as {"object": {"metadata": {"annotations": {"`+key+`": "1"}}}}`,
			`every v in input.object.metadata.annotations { v == "1" }`, `input.object.spec.ports[_].port == 80`,
		)
	}
	skipped, asked, failed := 0, 0, 0
	for i := range modules {
		var text strings.Builder
		text.WriteString("package sourceward.custom.corp\n\nkind := input.object.kind\n\n" +
			"annotated(key) if input.object.metadata.annotations[key]\n\nfails if to_number(input.object.metadata.name) > 0\n")
		for range 1 + random.IntN(2) {
			body := make([]string, 1+random.IntN(3))
			for j := range body {
				body[j] = expression()
			}
			fmt.Fprintf(&text, "\ndeny contains {\"message\": \"m\"} if {\n\t%s\n}\n", strings.Join(body, "\n\t"))
		}
		policy := v1alpha1.SourceIPPolicy{}
		policy.Name = "corp"
		policy.Spec.Rego = []v1alpha1.RegoModule{{Name: "corp.rego", Module: text.String()}}
		set, errs := Compile(t.Context(), nil, []v1alpha1.SourceIPPolicy{policy})
		if errs != nil {
			continue // such as two expressions that cannot be true together
		}
		for range objects {
			annotations := map[string]any{}
			for range random.IntN(3) {
				annotations[pick(keys...)] = pick("1", "x", "")
			}
			content := map[string]any{
				"apiVersion": "v1", "kind": "Service", "spec": map[string]any{"ports": []any{map[string]any{"port": int64(80)}}},
				"metadata": map[string]any{"name": pick("web", "1"), "annotations": annotations},
			}
			if random.IntN(3) == 0 {
				content["apiVersion"], content["kind"] = "apps/v1", "Deployment"
				content["spec"] = map[string]any{}
			}
			document := policies.Document{Operation: policies.Create, Object: object(t, content)}
			m := set.custom["corp"]
			answer := m.asked(document).evaluate(t.Context(), inputOf(document, nil))
			isAsked := m.isAskedAbout(document)
			switch {
			case answer.Err != nil:
				failed++
			case isAsked:
				asked++
			default:
				skipped++
			}
			if !isAsked && !reflect.DeepEqual(answer, policies.Answer{}) {
				t.Fatalf("module %d (seed %d) is not asked about %v, but the answer is %+v\n%s",
					i, seed, content, answer, text.String())
			}
		}
	}
	t.Logf("seed %d: asked about %d objects, not about %d; failed for %d", seed, asked, skipped, failed)
	if skipped < 500 || asked < 500 || failed < 500 {
		t.Error("the modules or the objects are all of one sort")
	}
}

// TestNeeds lists what objects need for a rule, as the author of a policy would expect.
func TestNeeds(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]need{
		`input.object.kind == "Service"`: {kind: "Service"},
		`input.object.kind == "Service"; input.object.metadata.annotations["corp/a"] == "yes"`:  {"Service", "corp/a"},
		`input.object.metadata.annotations["corp/a"]`:                                           {annotation: "corp/a"},
		`some port in input.object.spec.ports; port.port == 80; input.object.kind == "Service"`: {kind: "Service"},
		// It may fail before it comes to the kind.
		`to_number(input.object.metadata.name) > 1; input.object.kind == "Service"`: {},
		`not input.object.metadata.annotations["corp/a"]`:                           {},
		`input.object.spec.type == "NodePort"`:                                      {},
	} {
		policy := v1alpha1.SourceIPPolicy{}
		policy.Name = "corp"
		module := "package sourceward.custom.corp\n\ndeny contains {\"message\": \"m\"} if {\n" + body + "\n}\n"
		policy.Spec.Rego = []v1alpha1.RegoModule{{Name: "corp.rego", Module: module}}
		got := compiled(t, policy).custom["corp"].asked(service(t)).needs
		if !reflect.DeepEqual(got, []need{want}) {
			t.Errorf("the needs of a rule with the body %s are %+v, want %+v", body, got, want)
		}
	}
}
