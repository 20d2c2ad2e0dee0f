package review_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/sourceward/sourceward/policies"
	"github.com/sourceward/sourceward/policies/review"
)

// TestAuditAnnotations checks that findings of every mode are in the response of the endpoint that answers for them.
func TestAuditAnnotations(t *testing.T) {
	t.Parallel()
	decision := policies.Decision{
		Findings: []policies.Finding{
			{Rule: "local-on-cluster-ip", Mode: policies.Deny, Message: "m", Fix: "f", Path: "/spec/externalTrafficPolicy"},
			{Rule: "no-node-port", Mode: policies.Deny, Message: "first", Path: "/spec/ports/0"},
			{Rule: "no-node-port", Mode: policies.Deny, Message: "second", Path: "/spec/ports/1"},
			{Rule: "single-replica-local", Mode: policies.Audit, Message: "m", Path: "/spec/replicas"},
			{Rule: "source-ip-needs-local", Mode: policies.Mutate, Message: "m"},
			{
				Rule: "unspread-behind-local", Mode: policies.Deny, Message: "m",
				Exempt: &policies.Exemption{Reason: "one\nnode pool", Until: "2027-03-31"},
			},
			{Rule: "unspread-behind-local", Mode: policies.Warn, Message: "n", Exempt: &policies.Exemption{Reason: "r"}},
		},
		Patches: []policies.Patch{{Rule: "source-ip-needs-local", Mode: policies.Mutate}},
	}
	respond := func(endpoint review.Endpoint) map[string]string {
		response, _, err := review.Respond(endpoint, decision)
		if err != nil {
			t.Fatal(err)
		}
		return response.AuditAnnotations
	}
	scale, _ := review.RespondScale(decision)
	nothing, _, err := review.Respond(review.Validate, policies.Decision{})
	if err != nil {
		t.Fatal(err)
	}
	const unspread = "deny: m (exempt until 2027-03-31: one node pool)\nwarn: n (exempt: r)"
	tests := map[string]struct{ got, want map[string]string }{
		"validate answers for all findings": {respond(review.Validate), map[string]string{
			"local-on-cluster-ip":   "deny /spec/externalTrafficPolicy: m",
			"no-node-port":          "deny /spec/ports/0: first\ndeny /spec/ports/1: second",
			"single-replica-local":  "audit /spec/replicas: m",
			"source-ip-needs-local": "mutate: m",
			"unspread-behind-local": unspread,
		}},
		"mutate answers for what validate may never see": {respond(review.Mutate), map[string]string{
			"local-on-cluster-ip":   "deny /spec/externalTrafficPolicy: m",
			"source-ip-needs-local": "mutate: m",
		}},
		"a scale denies nothing": {scale.AuditAnnotations, map[string]string{
			"single-replica-local":  "audit /spec/replicas: m",
			"unspread-behind-local": strings.Replace(unspread, "deny", "warn", 1),
		}},
		"without findings there are none": {nothing.AuditAnnotations, nil},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(test.want, test.got); diff != "" {
				t.Errorf("audit annotations mismatch (-want +got):\n%s", diff)
			}
		})
	}
}

// TestAuditAnnotationsAreBounded checks that many long findings of many rules do not make a huge audit event, and hide
// no rule.
func TestAuditAnnotationsAreBounded(t *testing.T) {
	t.Parallel()
	const most = 16 << 10
	for _, rules := range []int{1, 7, 200} {
		var decision policies.Decision
		for i := range rules {
			for j := range 100 {
				decision.Findings = append(decision.Findings, policies.Finding{
					Rule: fmt.Sprintf("house-%d", i), Mode: policies.Warn, Message: strings.Repeat("é", 500) + fmt.Sprint(j),
				})
			}
		}
		response, _, err := review.Respond(review.Validate, decision)
		if err != nil {
			t.Fatal(err)
		}
		size := 0
		for rule, value := range response.AuditAnnotations {
			size += len(value)
			if !strings.HasPrefix(value, "warn: é") || !strings.Contains(value, "é…") || !strings.HasSuffix(value, "é99") {
				t.Errorf("the value of %s is not the beginning and the end: %.80q", rule, value)
			}
		}
		if size > most || size < most*9/10 || len(response.AuditAnnotations) != rules {
			t.Errorf("%d rules: %d values of %d bytes; want all of them, in at most %d bytes and nearly so many",
				rules, len(response.AuditAnnotations), size, most)
		}
	}
}

// TestRuleIDsAreKeysOfAuditAnnotations checks what an API server requires of a key: else it leaves it out.
func TestRuleIDsAreKeysOfAuditAnnotations(t *testing.T) {
	t.Parallel()
	for _, rule := range policies.Catalogue() {
		key := "services.validate.sourceward.dev/" + rule.ID
		if problems := validation.IsQualifiedName(key); problems != nil {
			t.Errorf("%s: %v", key, problems)
		}
	}
}
