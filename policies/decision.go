package policies

import "strings"

// Decision is the result of Decide: what is wrong with one object, and how to repair it.
type Decision struct {
	// Findings is sorted by rule, path and message.
	Findings []Finding
	// Patches holds the repairs of findings that are not exempt, in the order of the catalogue. Each one applies to the
	// result of those before it. A webhook applies those of mode Mutate; the others repair findings in the object that
	// the Mutate patches leave.
	Patches []Patch
}

// Mutations returns the operations that a webhook applies, in this order: those of the patches of mode Mutate.
func (d Decision) Mutations() []PatchOperation {
	var operations []PatchOperation
	for _, patch := range d.Patches {
		if patch.Mode == Mutate {
			operations = append(operations, patch.Operations...)
		}
	}
	return operations
}

// Finding is one problem that one rule found in one object.
type Finding struct {
	// Rule is the id of a rule in the catalogue or in the Rego of a policy.
	Rule string `json:"rule"`
	// Mode is what the finding does to the request.
	Mode Mode `json:"mode"`
	// Severity is how bad the finding is, independent of the mode.
	Severity Severity `json:"severity"`
	// Message says what is wrong and why. It is one line, without the rule and the object, for example
	//
	//	externalTrafficPolicy "local" is not valid (want Cluster or Local; case matters)
	Message string `json:"message"`
	// Fix says what to do, in the imperative, for example
	//
	//	set Local
	Fix string `json:"fix,omitempty"`
	// Object is the object under review.
	Object Ref `json:"object"`
	// Path is the JSON Pointer of the field that is wrong or missing.
	Path string `json:"path"`
	// Because lists the other objects that cause the finding, sorted, but no more than the first ten of them.
	// BecauseOmitted is the number of the others.
	Because        []Ref `json:"because,omitempty"`
	BecauseOmitted int   `json:"becauseOmitted,omitempty"`
	// Exempt is set if an annotation exempts the object from the rule. An exempt finding is reported and counted
	// separately, has no patch, and never fails a request or a check.
	Exempt *Exemption `json:"exempt,omitempty"`
}

// maxBecause is how many objects Because lists. If hundreds of objects share a Service, a list of all of them in the
// findings of each would help nobody, and take gigabytes.
const maxBecause = 10

// Exemption is a valid exemption annotation.
type Exemption struct {
	// Reason is the reason that the annotation gives.
	Reason string `json:"reason"`
	// Until is the last day of the exemption in UTC, in the form 2027-03-31; empty if it does not expire.
	Until string `json:"until,omitempty"`
}

// Patch is the repair of one finding.
type Patch struct {
	// Rule, Mode and Path are those of the finding.
	Rule string `json:"rule"`
	Mode Mode   `json:"mode"`
	Path string `json:"-"`
	// Operations must be applied in this order.
	Operations []PatchOperation `json:"operations"`
	// Done says in the past tense what the operations do, for example
	//
	//	externalTrafficPolicy set to Local
	Done string `json:"-"`
}

// Mode is what a finding does to the request that caused it.
type Mode string

// The modes of findings. A rule that is off has no findings.
const (
	Deny   Mode = "deny"
	Mutate Mode = "mutate"
	Warn   Mode = "warn"
	Audit  Mode = "audit"
)

// Modes lists the modes from the most to the least serious.
var Modes = []Mode{Deny, Mutate, Warn, Audit}

// off is the mode of a rule that does not run.
const off Mode = "off"

// Severity is how bad a finding is. The rule determines it, and a policy cannot change it.
type Severity string

// The severities.
const (
	// SeverityError means that the object does not work, or that the API server will reject it.
	SeverityError Severity = "error"
	// SeverityWarning means that the object works but does harm.
	SeverityWarning Severity = "warning"
	// SeverityInfo means that the finding is worth knowing.
	SeverityInfo Severity = "info"
)

// Severities lists the severities from the most to the least serious.
var Severities = []Severity{SeverityError, SeverityWarning, SeverityInfo}

func (f Finding) compare(g Finding) int {
	if c := strings.Compare(f.Rule, g.Rule); c != 0 {
		return c
	}
	if c := strings.Compare(f.Path, g.Path); c != 0 {
		return c
	}
	return strings.Compare(f.Message, g.Message)
}
