package policies

import "strings"

// Decision is what is wrong with one object and how to repair it.
type Decision struct {
	// Findings are sorted by rule, path and message.
	Findings []Finding
	// Patches are the repairs of findings that are not exempt, in the order of the catalogue, each built on what those before it
	// leave. A webhook applies those whose mode is Mutate; what the others mend was found after these.
	Patches []Patch
}

// Mutations are the operations that a webhook applies, one after the other.
func (d Decision) Mutations() []PatchOperation {
	var operations []PatchOperation
	for _, patch := range d.Patches {
		if patch.Mode == Mutate {
			operations = append(operations, patch.Operations...)
		}
	}
	return operations
}

// Finding is one thing that one rule has against one object.
type Finding struct {
	// Rule is the id of a rule of the catalogue, or of one that a policy brought.
	Rule string `json:"rule"`
	// Mode is what it does to the request.
	Mode Mode `json:"mode"`
	// Severity is how bad it is, whatever the mode.
	Severity Severity `json:"severity"`
	// Message says what is wrong and why: one line, without the rule and the object, for example
	//
	//	externalTrafficPolicy "local" does not exist (want Cluster or Local; case matters)
	Message string `json:"message"`
	// Fix says what to do, for example
	//
	//	write Local
	Fix string `json:"fix,omitempty"`
	// Object is the object under review.
	Object Ref `json:"object"`
	// Path is the JSON Pointer of the field that is wrong or missing.
	Path string `json:"path"`
	// Because are the other objects without which it would not be a finding, sorted.
	Because []Ref `json:"because,omitempty"`
	// Exempt is set if an annotation exempts the object from the rule. The finding then is told and
	// counted apart, carries no patch and never fails anything.
	Exempt *Exemption `json:"exempt,omitempty"`
}

// Exemption is why a finding does not count.
type Exemption struct {
	// Reason is what the annotation says.
	Reason string `json:"reason"`
	// Until is the last day of the exemption in UTC, as 2027-03-31; empty for one that does not end.
	Until string `json:"until,omitempty"`
}

// Patch is the repair of one finding.
type Patch struct {
	// Rule and Mode are those of the finding.
	Rule string `json:"rule"`
	Mode Mode   `json:"mode"`
	// Operations are to be applied in this order.
	Operations []PatchOperation `json:"operations"`
}

// Mode is what a finding does to the request that caused it.
type Mode string

// The modes of findings. A rule that is off gives none.
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

// Severity is how bad a finding is. It belongs to the rule and no policy changes it.
type Severity string

// The severities.
const (
	// SeverityError: it does not work, or the API server will refuse it.
	SeverityError Severity = "error"
	// SeverityWarning: it works, and does harm.
	SeverityWarning Severity = "warning"
	// SeverityInfo: it is worth knowing.
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
