package bundle

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sourceward/sourceward/policies"
)

// TestVetFindsWhatWouldFailAtEvaluation vets modules that never fire, or that would fail when they are evaluated. Most
// of them compile.
func TestVetFindsWhatWouldFailAtEvaluation(t *testing.T) {
	t.Parallel()
	const metadata = "# METADATA\n# title: T\n# description: D\n"
	const absent = ", so this is always undefined; " +
		"modules can read the rules of their own policy, data.sourceward.lib and data.sourceward.providers"
	compiler := NewCompiler(nil)
	for rule, want := range map[string][]string{
		`deny contains {"message": "no", "path": "/spec/type", "fix": "f"} if input.facts.local`:        nil,
		`deny contains object.union({"message": "no"}, input.parameters) if input.facts.local`:          nil,
		`deny contains {"message": "no"} if data.sourceward.providers.names.gke`:                        nil,
		`deny contains {"message": "no"} if count(data.sourceward.lib.rows.holding) > 0`:                nil,
		`spread contains {"message": "so", "maxSkew": 2, "strategy": "PodAntiAffinity"} if input.facts`: nil,
		`deny contains {"message": "no", input.operation: "x"} if input.facts.local`:                    nil,
		`deny contains "no" if input.facts.local`: {
			`deny contains a string; want an object with message, path, fix: {"message": ...}`,
		},
		`deny contains sprintf("%s", ["no"]) if input.facts.local`: {
			`deny contains a string; want an object with message, path, fix: {"message": ...}`,
		},
		`deny contains {"msg": "no"} if input.facts.local`: {
			"a member of deny cannot have the key msg; want one of message, path, fix",
		},
		"warn contains x if {\n\tinput.facts.local\n\tx := {\"path\": \"/spec\"}\n}": {
			"this member of warn has no message; add it",
		},
		`warn contains {"message": "no", "path": "spec.type"} if input.facts.local`: {
			`path "spec.type" must be a JSON Pointer such as /spec/type`,
		},
		`require_local contains {"message": "so"} if input.facts.local`: {
			"this member of require_local has no strength; add it",
		},
		`require_local contains {"message": "so", "strength": "strong"} if input.facts.local`: {
			`strength "strong" is not one of hard, soft`,
		},
		`keeps_source_ip contains {"message": "so", "verdict": "kept"} if input.facts.local`: {
			`verdict "kept" is not one of preserved, proxy, useless, forbidden, weighted, single-announcer`,
		},
		`spread contains {"message": "so", "strategy": "AntiAffinity"} if input.facts.replicas > 1`: {
			`strategy "AntiAffinity" is not one of TopologySpread, PodAntiAffinity`,
		},
		`spread contains {"message": "so", "maxSkew": 0} if input.facts.replicas > 1`: {
			"maxSkew 0 must be a whole number of at least 1",
		},
		`spread contains {"message": "so", "maxSkew": -1} if input.facts.replicas > 1`: {
			"maxSkew -1 must be a whole number of at least 1",
		},
		`spread contains {"message": "so", "maxSkew": 1.5} if input.facts.replicas > 1`: {
			"maxSkew 1.5 must be a whole number of at least 1",
		},
		`spread contains {"message": "so", "maxSkew": "2"} if input.facts.replicas > 1`: {
			`maxSkew "2" must be a whole number of at least 1`,
		},
		`spread contains {"message": "so", "maxSkew": input.facts.replicas} if input.facts.replicas > 1`: nil,
		`deny contains {"message": "no"} if input.object.kind == "ConfigMap"`: {
			"input.object.kind is never ConfigMap, so this rule never fires; want one of " + strings.Join(policies.Kinds, ", "),
		},
		`deny contains {"message": "no"} if data.kubernetes.namespaces.shop`: {
			"there is no data.kubernetes.namespaces.shop" + absent,
		},
		`deny contains {"message": "no"} if data.sourceward.lib.rows.holdings`: {
			"there is no data.sourceward.lib.rows.holdings" + absent,
		},
		`deny contains {"message": "no"} if input.facts.local == "true"`: {
			"match error; a boolean never equals a string, compare values of the same type",
		},
		`deny contains {"message": "no"} if input.object.metadata.labels.my-label == "x"`: {
			`var label is unsafe; assign it a value, with := or some ... in; or, if it is part of a key, write labels["my-key"]`,
		},
		"deny contains {\"message\": x} if {\n\tx := input.operation\n\tx := input.namespace.name\n}": {
			"var x assigned above; choose another name, or compare with ==",
		},
		"deny contains {\"message\": \"no\"} if {\n\tinput.facts.local && input.facts.externally_accessible\n}": {
			"unexpected and token; check the syntax there: " +
				"put conditions that must all hold on lines of their own within { }, " +
				"and write alternatives as rules of the same name",
		},
	} {
		policy := policyWith("corp", "")
		policy.Spec.Rego[0].Module = metadata + "package sourceward.custom.corp\n\n" +
			"# METADATA\n# description: D\n" + rule + "\n"
		var got []string
		for _, problem := range compiler.Vet(t.Context(), policy, nil, "") {
			if problem.Message != "this is not formatted as opa fmt does it; " {
				got = append(got, problem.Message)
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: Vet() mismatch (-want +got):\n%s", rule, diff)
		}
	}
}
