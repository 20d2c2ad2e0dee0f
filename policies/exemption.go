package policies

import (
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/sourceward/sourceward/api/v1alpha1"
)

// exemption returns the exemption of an object from a rule, or nil if it has none. If an annotation asks for an
// exemption that is not valid, problem says why.
func exemption(in Input, scope v1alpha1.Exemptions, rule Rule) (exempt *Exemption, problem string) {
	if scope == v1alpha1.ExemptionsNone {
		return nil, ""
	}
	key := v1alpha1.AnnotationExemptPrefix + rule.ID
	on := []map[string]string{in.Object.Annotations(), in.Namespace.Annotations}
	if rule.RefusedByServer {
		isAsked := func(annotations map[string]string) bool { _, ok := annotations[key]; return ok }
		if slices.ContainsFunc(on, isAsked) {
			problem = "not exempt: the API server rejects it"
		}
		return nil, problem
	}
	// Who makes a policy fail by an object must not decide as well that this does not matter.
	notOnObject := rule.ID == policyNotEvaluated.ID
	if scope == v1alpha1.ExemptionsNamespaces || notOnObject {
		on = on[1:]
	}
	if _, ok := in.Object.Annotations()[key]; ok && notOnObject {
		problem = "not exempt: only an annotation on the Namespace exempts from this rule"
	}
	for _, annotations := range on {
		text, ok := annotations[key]
		if !ok {
			continue
		}
		e, why := parseExemption(text, in.Now)
		if why == "" {
			return &e, ""
		}
		if problem == "" {
			problem = why
		}
	}
	return nil, problem
}

// meantUntil matches an end date that is not in the form "; until=". Without this check, such an exemption would last
// forever.
var meantUntil = regexp.MustCompile(`(?i)\buntil(\s*=|\s+\d{4}-\d{2}-\d{2})`)

// parseExemption parses "<reason>; until=2027-03-31". The text after the last "; until=" is a date, and the exemption
// is valid through that day in UTC.
func parseExemption(text string, now time.Time) (exempt Exemption, problem string) {
	reason, until := text, ""
	if i := strings.LastIndex(text, "; until="); i >= 0 {
		reason, until = text[:i], strings.TrimSpace(text[i+len("; until="):])
		day, err := time.Parse(time.DateOnly, until)
		if err != nil {
			return Exemption{}, `not exempt: "until" is not a date such as 2027-03-31`
		}
		if !now.UTC().Before(day.AddDate(0, 0, 1)) {
			return Exemption{}, "the exemption expired on " + until
		}
	}
	reason = strings.TrimSpace(reason)
	if until == "" && meantUntil.MatchString(reason) {
		return Exemption{}, `not exempt: write the date as "; until=2027-03-31"`
	}
	if reason == "" {
		return Exemption{}, "not exempt: the annotation gives no reason"
	}
	return Exemption{Reason: reason, Until: until}, ""
}
