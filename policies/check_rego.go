package policies

import (
	"slices"
	"strings"
)

// checkRego returns the check of a rule that is a built-in module of Rego: what the module found.
func checkRego(id string) func(*run) []result {
	return func(r *run) []result {
		var results []result
		for _, answer := range r.answers {
			if answer.Policy != "" {
				continue
			}
			for _, found := range slices.Concat(answer.Deny, answer.Warn) {
				if found.Rule == id {
					results = append(results, result{
						Finding: Finding{Message: found.Message, Path: found.Path, Fix: found.Fix, Because: found.Because},
						repair:  r.repairOf(found),
					})
				}
			}
		}
		return results
	}
}

// repairOf is the repair that a module's finding asks for; nil if it asks for none.
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
