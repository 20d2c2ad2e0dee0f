package policies

import (
	"maps"
	"slices"
	"strings"

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
	for _, key := range slices.Sorted(maps.Keys(r.Object.Annotations())) {
		id, isExemption := strings.CutPrefix(key, v1alpha1.AnnotationExemptPrefix)
		if !isExemption || slices.Contains(r.known, id) || slices.Contains(r.settings.of.Declared, id) {
			continue
		}
		known := slices.Concat(r.known, r.settings.of.Declared)
		nearest := Nearest(id, known, len(known))
		i := slices.IndexFunc(nearest, func(rule string) bool { return IsNear(id, rule) || strings.HasPrefix(rule, id+"-") })
		fix := "remove the annotation, or name a rule; the nearest is " + nearest[0]
		switch {
		case i >= 0:
			fix = "write " + v1alpha1.AnnotationExemptPrefix + nearest[i]
		case !r.settings.of.Complete:
			continue
		}
		found = append(found, result{Finding: Finding{
			Path:    pointer("metadata", "annotations", key),
			Message: "the exemption has no effect: there is no rule " + Shorten(id, maxID), Fix: fix,
		}})
	}
	return found
}
