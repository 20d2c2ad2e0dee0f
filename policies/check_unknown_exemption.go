package policies

import (
	"maps"
	"slices"
	"strings"

	"github.com/agnivade/levenshtein"

	"github.com/sourceward/sourceward/api/v1alpha1"
)

// unknownExemption finds an annotation that exempts an object from a rule that does not exist.
//
// Fields: metadata.annotations.
var unknownExemption = Rule{
	ID:          "unknown-exemption",
	Title:       "Exemption from a rule that does not exist",
	Severity:    SeverityWarning,
	DefaultMode: Warn,
	Kinds:       Kinds,
	What: "An annotation exempt.sourceward.dev/ID names a rule that is neither in the catalogue nor in the Rego of a " +
		"policy. Where not all policies may be known, as in files, only an ID that is nearly that of a known rule is found.",
	Why: "The annotation has no effect. What it was meant to exempt from is found as before, or will be when the object " +
		"changes.",
	Remedy: "Write the id of the rule, as the findings and \"sourceward rules\" show it, or remove the annotation.",
	Exempt: "When the rule is in a policy that is not in this cluster yet.",
	Since:  "All versions.",
	Sources: []string{
		"https://kubernetes.io/docs/concepts/overview/working-with-objects/annotations/",
	},
	check: checkUnknownExemption,
}

// maxID is the number of bytes of an unknown id that a message shows, so that it fits into a warning.
const maxID = 50

func checkUnknownExemption(r *run) []result {
	var found []result
	for _, key := range slices.Sorted(maps.Keys(r.Object.annotations())) {
		id, isExemption := strings.CutPrefix(key, v1alpha1.AnnotationExemptPrefix)
		if !isExemption || slices.Contains(r.known, id) || slices.Contains(r.settings.of.Declared, id) {
			continue
		}
		known := slices.Concat(r.known, r.settings.of.Declared)
		meant := Nearest(id, known, 1)[0]
		fix := "write " + v1alpha1.AnnotationExemptPrefix + meant
		if !isNear(id, meant) {
			if !r.settings.of.Complete {
				continue
			}
			fix = "remove the annotation, or name a rule; the nearest is " + meant
		}
		found = append(found, result{Finding: Finding{
			Path:    pointer("metadata", "annotations", key),
			Message: "the exemption has no effect: there is no rule " + Shorten(id, maxID), Fix: fix,
		}})
	}
	return found
}

// isNear reports whether an id is likely to be meant as that of a rule: no more than one in four characters differ, or
// its last words are missing.
func isNear(id, rule string) bool {
	return levenshtein.ComputeDistance(strings.ToLower(id), rule) <= len(rule)/4 || strings.HasPrefix(rule, id+"-")
}
