package suite

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"
)

// TestFaultsInYAMLNameTheField checks that no message has the name of a Go type or field.
func TestFaultsInYAMLNameTheField(t *testing.T) {
	t.Parallel()
	got, want := map[string]string{}, map[string]string{
		"findings: [{rule: corp}, {rule: [corp]}]":             "findings[1].rule: want a string, got a list",
		"findings: [{because: [{kind: {}}]}]":                  "findings[0].because[0].kind: want a string, got an object",
		"findings: [{exempt: no}]":                             "findings[0].exempt: want an object, got a boolean",
		"patches: [{operations: [{op: add}, {path: [spec]}]}]": "patches[0].operations[1].path: want a string, got a list",
		"findings: corp":                                       "findings: want a list, got a string",
		"findings: [{becauseOmitted: many}]": "findings[0].becauseOmitted: " +
			"want a whole number, got a string; write digits without quotes",
		"findigns: []": `unknown field "findigns"`,
	}
	for text := range want {
		err := yaml.UnmarshalStrict([]byte(text), &Want{})
		if err == nil {
			t.Fatalf("%s: no error", text)
		}
		got[text] = yamlFault(err, []byte(text), &Want{})
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("yamlFault() mismatch (-want +got):\n%s", diff)
	}
}
