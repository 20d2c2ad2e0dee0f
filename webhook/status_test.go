package webhook

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sourceward/sourceward/api/v1alpha1"
	"github.com/sourceward/sourceward/policies/bundle"
)

func TestStatusReportsWhatIsInForce(t *testing.T) {
	t.Parallel()
	problems := []*bundle.Error{
		{Policy: "corp", Module: "corp.rego", Row: 2, Column: 1, Line: "deny := true", Message: "deny must be a partial set"},
		{Policy: "corp", Message: "spec.loadBalancers: there is no provider"},
	}
	const why = "SourceIPPolicy corp: corp.rego:2:1: deny must be a partial set\n  2 | deny := true\n    | ^\n" +
		"SourceIPPolicy corp: spec.loadBalancers: there is no provider"
	condition := func(kind string, status metav1.ConditionStatus, reason, message string) metav1.Condition {
		return metav1.Condition{Type: kind, Status: status, Reason: reason, Message: message, ObservedGeneration: 5}
	}
	former := &bundle.Policy{Rules: []string{"corp"}}
	tests := map[string]struct {
		compiled         compiledPolicy
		selectsNamespace bool
		want             v1alpha1.SourceIPPolicyStatus
	}{
		"it compiles": {
			compiledPolicy{generation: 5, inForce: former, inForceGeneration: 5},
			true,
			v1alpha1.SourceIPPolicyStatus{ObservedGeneration: 5, Rules: []string{"corp"}, Conditions: []metav1.Condition{
				condition("Ready", metav1.ConditionTrue, "Compiled", "generation 5 is in force"),
				condition("Degraded", metav1.ConditionFalse, "Compiled", "generation 5 is in force"),
			}},
		},
		"it compiles, and matches no Namespace": {
			compiledPolicy{generation: 5, inForce: former, inForceGeneration: 5},
			false,
			v1alpha1.SourceIPPolicyStatus{ObservedGeneration: 5, Rules: []string{"corp"}, Conditions: []metav1.Condition{
				condition("Ready", metav1.ConditionTrue, "Compiled", "generation 5 is in force, but spec.match selects no "+
					"existing Namespace: it has no effect until one matches"),
				condition("Degraded", metav1.ConditionFalse, "Compiled", "generation 5 is in force"),
			}},
		},
		"an earlier generation compiles": {
			compiledPolicy{generation: 5, inForce: former, inForceGeneration: 3, problems: problems},
			true,
			v1alpha1.SourceIPPolicyStatus{ObservedGeneration: 5, Rules: []string{"corp"}, Conditions: []metav1.Condition{
				condition("Ready", metav1.ConditionFalse, "CompileFailed", why),
				condition("Degraded", metav1.ConditionTrue, "FormerInForce",
					"generation 5 does not compile: generation 3 is in force"),
			}},
		},
		"no generation compiles": {
			compiledPolicy{generation: 5, problems: problems},
			true,
			v1alpha1.SourceIPPolicyStatus{ObservedGeneration: 5, Conditions: []metav1.Condition{
				condition("Ready", metav1.ConditionFalse, "CompileFailed", why),
				condition("Degraded", metav1.ConditionTrue, "NotInForce",
					"generation 5 does not compile, and no earlier generation that compiles is known: "+
						"nothing of this policy is in force"),
			}},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := v1alpha1.SourceIPPolicyStatus{ObservedGeneration: 4, Rules: []string{"gone"}}
			test.compiled.status(&got, test.selectsNamespace)
			if diff := cmp.Diff(test.want, got, cmpopts.IgnoreFields(metav1.Condition{}, "LastTransitionTime")); diff != "" {
				t.Errorf("status() mismatch (-want +got):\n%s", diff)
			}
			again := *got.DeepCopy()
			test.compiled.status(&again, test.selectsNamespace)
			if diff := cmp.Diff(got, again); diff != "" {
				t.Errorf("status() is not the same again (-first +second):\n%s", diff)
			}
		})
	}
}

// TestStatusFitsIntoItsBounds checks a limit beyond which an API server rejects the status.
func TestStatusFitsIntoItsBounds(t *testing.T) {
	t.Parallel()
	compiled := compiledPolicy{generation: 1}
	for range 1000 {
		compiled.problems = append(compiled.problems, &bundle.Error{Policy: "corp", Message: strings.Repeat("é", 100)})
	}
	var status v1alpha1.SourceIPPolicyStatus
	compiled.status(&status, true)
	message := status.Conditions[0].Message
	if len(message) > maxConditionMessage || !strings.Contains(message, "é…é") || !strings.HasSuffix(message, "é") {
		t.Errorf("a message has %d bytes, want at most %d and its middle left out", len(message), maxConditionMessage)
	}
}
