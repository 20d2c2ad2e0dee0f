package policies

import (
	"errors"
	"fmt"
)

// policyNotEvaluated reports that Rego failed, so that its findings are not known. Its mode is the policy's
// evaluationFailure.
var policyNotEvaluated = Rule{
	ID:              "policy-not-evaluated",
	Title:           "Rego of a policy could not be evaluated",
	Severity:        SeverityWarning,
	DefaultMode:     Warn,
	DefaultModeNote: "the policy's evaluationFailure: Deny, Warn, or Ignore for audit",
	Kinds:           Kinds,
	What: "Rego of a SourceIPPolicy, or of the built-in rules, ended in an error, ran out of time, or returned a result " +
		"that the contract does not allow; or a repair does not apply to the object. Other policies and all other rules " +
		"were evaluated.",
	Why: "A rule that could not be evaluated must not look like one that found nothing. The author of the policy " +
		"decides what it means for the request: evaluationFailure Deny, Warn or Ignore.",
	Remedy: "Fix the module that the message names; a failure of the built-in rules, or of a repair, is a bug in " +
		"Sourceward, so report it. \"sourceward check\" exits with 2 until then.",
	Exempt: "When a policy fails for the objects of one Namespace, until the policy is fixed. Only an annotation on the " +
		"Namespace counts, because whoever writes an object may be the one who makes the policy fail.",
	Since: "All versions.",
	Sources: []string{
		"https://www.openpolicyagent.org/docs/policy-language",
	},
	check: checkPolicyNotEvaluated,
}

// maxError is how many bytes of an error a message has.
const maxError = 160

func checkPolicyNotEvaluated(r *run) []result {
	var results []result
	for _, fault := range r.faults {
		fix := "fix the Rego module that the message names"
		switch {
		case fault.Policy == "":
			fix = "report it as a bug in Sourceward"
		case errors.Is(fault.Err, ErrTooSlow):
			fix = "make the Rego module that the message names faster, or give Sourceward more CPU"
		}
		results = append(results, result{
			Finding: Finding{
				Message: fmt.Sprintf("%s not evaluated: %s", policyName(fault.Policy), Shorten(fault.Err.Error(), maxError)),
				Fix:     fix,
			},
			mode: fault.mode, policy: fault.Policy, failed: fault.Failed,
		})
	}
	return results
}
