package bundle

import (
	"maps"
	"slices"
	"testing"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/sourceward/sourceward/policies"
)

// TestBuiltinModulesReadOnlyWhatIsRemembered finds all parts of input that the built-in modules read. They must be part
// of what answers are remembered by.
func TestBuiltinModulesReadOnlyWhatIsRemembered(t *testing.T) {
	t.Parallel()
	remembered := []string{
		"input.object.metadata.annotations", "input.object.metadata.labels", "input.object.metadata.namespace",
		"input.object.spec", "input.facts",
		"input.related.services", // with which no answer is remembered
	}
	modules := maps.Clone(embeddedModules().rules)
	maps.Copy(modules, embeddedModules().lib)
	found := 0
	for _, name := range slices.Sorted(maps.Keys(modules)) {
		ast.WalkRefs(modules[name], func(ref ast.Ref) bool {
			if !ref.HasPrefix(ast.InputRootRef) {
				return false
			}
			found++
			isPart := func(part string) bool { return ref.HasPrefix(ast.MustParseRef(part)) }
			// In this module, functions that look at two Services have the whole object as an argument.
			isOfSharing := ref.Equal(ast.MustParseRef("input.object")) && name == "sourceward/lib/sharing.rego"
			if !slices.ContainsFunc(remembered, isPart) && !isOfSharing {
				t.Errorf("%s: %s is not part of what answers are remembered by", ref[0].Location, ref)
			}
			return false
		})
	}
	if found < 10 {
		t.Errorf("%d parts of input were found", found)
	}
}

// TestAnAnswerIsRemembered changes one thing that the built-in modules read at a time: the answer must be a new one.
func TestAnAnswerIsRemembered(t *testing.T) {
	t.Parallel()
	r := newRemembered()
	asked := 0
	ask := func(document policies.Document) {
		r.answer(document, func() policies.Answer {
			asked++
			return policies.Answer{}
		})
	}
	base := func() policies.Document {
		document := service(t)
		document.Related.Services = nil
		return document
	}
	ask(base())
	ask(base())
	if asked != 1 {
		t.Errorf("an equal document was asked about %d times, want once", asked)
	}
	for name, change := range map[string]func(*policies.Document){
		"annotation": func(d *policies.Document) { d.Object.Service.Annotations["a"] = "b" },
		"label":      func(d *policies.Document) { d.Object.Service.Labels = map[string]string{"a": "b"} },
		"namespace":  func(d *policies.Document) { d.Object.Service.Namespace = "other" },
		"spec": func(d *policies.Document) {
			d.Object.Content()["spec"].(map[string]any)["loadBalancerIP"] = "192.0.2.1"
		},
		"null in spec": func(d *policies.Document) {
			d.Object.Content()["spec"].(map[string]any)["healthCheckNodePort"] = nil
		},
		"facts":     func(d *policies.Document) { d.Facts.Local = !d.Facts.Local },
		"neighbour": func(d *policies.Document) { d.Neighbour = true },
	} {
		document, before := base(), asked
		change(&document)
		if ask(document); asked != before+1 {
			t.Errorf("%s: the answer for another document was used", name)
		}
	}
	before := asked
	ask(service(t))
	ask(service(t))
	if asked != before+2 {
		t.Error("an answer was remembered that depends on other Services")
	}
}
