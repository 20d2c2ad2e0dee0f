package policies

import (
	"slices"
	"strings"
)

// checkRego returns the check of a rule that is a built-in module of Rego. needsRelated is the rule's NeedsRelated: the
// module reads the Services that ask to share an address. byDefault is its DefaultMode. If that is Deny, the members of
// its set warn are never denied.
func checkRego(id string, byDefault Mode, needsRelated bool) func(*run) []result {
	return func(r *run) []result {
		var results []result
		if needsRelated && r.Related.View == ViewNone && r.Object.Service != nil && len(sharingPairs(r.Object.Service)) > 0 {
			results = append(results, result{unseen: unseen{servicesSharing, "they can"}})
		}
		for _, answer := range r.answers {
			if answer.Policy != "" {
				continue
			}
			for i, found := range slices.Concat(answer.Deny, answer.Warn) {
				if found.Rule != id {
					continue
				}
				isUnsure := byDefault == Deny && i >= len(answer.Deny)
				results = append(results, result{
					Finding: Finding{Message: found.Message, Path: found.Path, Fix: found.Fix, Because: found.Because},
					unsure:  isUnsure,
					repair:  r.repairOf(found),
				})
			}
		}
		return results
	}
}

// repairOf returns the repair that a finding of a module asks for; nil if it asks for none.
func (r *run) repairOf(found HouseFinding) []PatchOperation {
	switch {
	case found.Unwanted:
		return []PatchOperation{{Op: "remove", Path: found.Path}}
	case found.Want != nil:
		parts := strings.Split(strings.TrimPrefix(found.Path, "/"), "/")
		_, operations := addParents(r.Object.Content(), parts)
		return append(operations, PatchOperation{Op: "add", Path: found.Path, Value: *found.Want})
	default:
		return nil
	}
}
