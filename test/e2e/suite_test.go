package e2e

import (
	"testing"

	"github.com/sourceward/sourceward/test/cluster"
	"github.com/sourceward/sourceward/test/sandbox"
)

// TestAdmission runs against every supported version of the API server. What does not depend on the version is tested
// on the newest only.
func TestAdmission(t *testing.T) {
	t.Parallel()
	for _, version := range cluster.Versions() {
		t.Run(string(version), func(t *testing.T) {
			t.Parallel()
			e := newEnvironment(t, cluster.Options{Version: version, Nodes: 3}, sandbox.Options{})
			tests := map[string]func(*testing.T, *environment){
				"truth table":            testTruthTable,
				"transitions":            testTransitions,
				"pinned ports":           testPinnedPorts,
				"annotations":            testAnnotations,
				"spread":                 testSpread,
				"warn":                   testWarn,
				"order":                  testOrder,
				"template is left alone": testTemplateIsLeftAlone,
			}
			if version == cluster.V137 {
				tests["kinds"] = testKinds
				tests["bad requests"] = testBadRequests
				tests["rights on policies"] = testRightsOnPolicies
			}
			for name, test := range tests {
				t.Run(name, func(t *testing.T) { test(t, e) })
			}
			// Last, because it stops the webhook.
			t.Run("fail open", func(t *testing.T) { testFailOpen(t, e) })
		})
	}
}
