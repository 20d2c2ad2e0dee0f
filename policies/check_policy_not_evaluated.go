package policies

import "fmt"

// policyNotEvaluated tells that Rego failed, so that what it would have said is not known. Its mode
// is the policy's evaluationFailure.
var policyNotEvaluated = Rule{
	ID:              "policy-not-evaluated",
	Title:           "Rego of a policy could not be evaluated",
	Severity:        SeverityWarning,
	DefaultMode:     Warn,
	DefaultModeNote: "the policy's evaluationFailure: Deny, Warn, or Ignore for audit",
	Kinds:           Kinds,
	What: "Rego of a SourceIPPolicy, or of the built-in rules, ended in an error, ran out of time, or gave a result that the contract " +
		"does not allow. Other policies and all other rules ran.",
	Why: "A rule that could not run must not look like one that found nothing. The author of the policy decides what it means for the " +
		"request: evaluationFailure Deny, Warn or Ignore.",
	Remedy: "Mend the module that the message names. The dry-run binary exits with 2 until it is.",
	Exempt: "When one odd object trips a policy that is right for all others, until the policy is mended.",
	Since:  "All versions.",
	Sources: []string{
		"https://www.openpolicyagent.org/docs/policy-language",
	},
	check: checkPolicyNotEvaluated,
}

func checkPolicyNotEvaluated(r *run) []result {
	var results []result
	for _, fault := range r.faults {
		results = append(results, result{
			Finding: Finding{
				Message: fmt.Sprintf("%s not evaluated: %.160s", policyName(fault.Policy), fault.Err),
				Fix:     "mend the Rego module that the message names",
			},
			mode: fault.mode,
		})
	}
	return results
}
