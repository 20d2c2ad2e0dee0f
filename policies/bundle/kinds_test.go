package bundle

import (
	"testing"

	"github.com/sourceward/sourceward/api/v1alpha1"
)

// TestValidDocumentsCompile compiles rules that the type check of kinds must accept.
func TestValidDocumentsCompile(t *testing.T) {
	t.Parallel()
	const (
		ofServices    = "# METADATA\n# custom: {kinds: [Service]}\n"
		ofDeployments = "# METADATA\n# custom: {kinds: [Deployment]}\n"
	)
	for name, test := range map[string]struct{ metadata, condition string }{
		"any field, without a guard": {"", `input.object.spec.tpye == "x"`},
		"a guard that is not met": {
			"",
			"not input.object.kind == \"Service\"\n\tinput.object.spec.replicas",
		},
		"a guard on another object": {
			"",
			"input.object.kind == \"Service\" with input.object as {}\n\tinput.object.spec.replicas",
		},
		"a helper that is given another object": {
			ofServices,
			"_spec.newField with input.object.spec as {\"newField\": 1}",
		},
		"any field of a kind that is not judged": {
			"",
			"input.object.kind == \"Gateway\"\n\tinput.object.spec.listeners",
		},
		"fields of two kinds": {
			"# METADATA\n# custom: {kinds: [Deployment, Service]}\n",
			"input.object.spec.replicas\n\tinput.object.spec.type",
		},
		"an annotation of one's own": {
			ofServices,
			`input.object.metadata.annotations["example.com/team"] == "a"`,
		},
		"a label of one's own": {ofServices, `input.object.metadata.labels.team.x == "a"`},
		"a label of a pod": {
			ofDeployments,
			`input.object.spec.template.metadata.labels["app"] == "a"`,
		},
		"a field that is newer than Sourceward": {ofServices, `object.get(input.object.spec, "newField", null) == 1`},
		"a field by a variable": {
			ofServices,
			"some field in [\"type\", \"newField\"]\n\tinput.object.spec[field]",
		},
		"annotations that are null":          {ofServices, `input.object.metadata.annotations == null`},
		"a string that is null":              {ofServices, `input.object.spec.type == null`},
		"a list that is null":                {ofServices, `input.object.spec.ports in {null, []}`},
		"a status that is empty":             {ofServices, `input.object.status.loadBalancer == {}`},
		"an object with some of its fields":  {ofServices, `input.object.spec.ports[0] == {"port": 80}`},
		"another type, which is never equal": {ofServices, `input.object.spec.ports[_].port == "80"`},
		"a number or a string, compared with both": {
			ofServices,
			"input.object.spec.ports[0].targetPort == 80\n\tinput.object.spec.ports[1].targetPort == \"http\"",
		},
		"a quantity, compared with both": {
			ofDeployments,
			"input.object.spec.template.spec.containers[0].resources.limits.cpu == 1\n\t" +
				"input.object.spec.template.spec.containers[1].resources.limits.cpu == \"1\"",
		},
		"the type of a value, asked for": {
			ofServices,
			"is_object(input.object.spec.type)\n\tis_string(input.object.spec)\n\tis_null(input.old)",
		},
		"a helper that takes null": {ofServices, "_none(input.object.spec.type)"},
		"managed fields": {
			ofServices,
			`input.object.metadata.managedFields[_].fieldsV1["f:spec"]["f:type"]`,
		},
		"all values, wherever they are": {ofDeployments, "walk(input.object, [_, value])\n\tvalue == \"x\""},
		"a field that is changed before it is read": {
			ofServices,
			"spec := object.union(input.object.spec, {\"newField\": 1})\n\tspec.newField == 1",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			policy := policyWith("corp", "deny contains {\"message\": \"no\"} if {\n\t"+test.condition+"\n}\n\n"+
				"_none(null) := true\n\n_spec := input.object.spec")
			policy.Spec.Rego[0].Module = test.metadata + policy.Spec.Rego[0].Module
			if _, errs := Compile(t.Context(), nil, []v1alpha1.SourceIPPolicy{policy}); errs != nil {
				t.Error(errs[0].Detail())
			}
		})
	}
}
