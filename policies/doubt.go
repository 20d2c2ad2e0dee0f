package policies

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
)

// Doubt is about a neighbour that files define several times, in places that are equally near to the object. It is
// unknown which of these copies will exist beside the object.
type Doubt struct {
	Neighbour Ref
	// Places says where the copies are, for example a/web.yaml:3. There are at least two.
	Places []string
	// Others holds the decision about the object with each copy but the first.
	Others []Decision
}

// Certain returns what is certain of a decision about in.Object. The decision is the one with the first copy of each
// neighbour in doubts. If the other copies of a neighbour lead to the same findings and patches, it does not matter
// which of them exists. Otherwise only the findings and patches that all of them lead to remain, and the rule
// neighbours-unknown reports the neighbour, in mode Warn unless a policy sets its mode. If a policy turns that rule
// off, the decision stays as it is.
func (d Decision) Certain(in Input, settings Settings, doubts []Doubt) Decision {
	mode := settings.modeOf(&neighboursUnknown, Warn)
	if mode == off {
		return d
	}
	certain := d
	var unknown []Finding // apart, since no other decision has them
	for _, doubt := range doubts {
		matters := false
		for _, other := range doubt.Others {
			if !d.Agrees(other) {
				matters = true
				certain = certain.common(other)
			}
		}
		if !matters {
			continue
		}
		finding := Finding{
			Rule: neighboursUnknown.ID, Mode: mode, Severity: neighboursUnknown.Severity, Object: in.Object.Ref,
			Message: fmt.Sprintf("files define %s %d times, equally near to this object: the findings depend on which of "+
				"them exists, %s", doubt.Neighbour, len(doubt.Places), alternatives(doubt.Places)),
			Fix:     "check the folder of each cluster by itself, or move the object next to the copy that belongs to it",
			Because: []Ref{doubt.Neighbour},
		}
		exempt, problem := exemption(in, settings.Exemptions, neighboursUnknown)
		if problem != "" {
			finding.Message += " (" + problem + ")"
		}
		finding.Exempt = exempt
		unknown = append(unknown, finding)
	}
	certain.Findings = slices.Concat(certain.Findings, unknown)
	slices.SortStableFunc(certain.Findings, Finding.compare)
	return certain
}

// alternatives returns "a, b or c", or "a, b or 3 more".
func alternatives(places []string) string {
	const most = 3
	named, last := places[:len(places)-1], places[len(places)-1]
	if len(places) > most {
		named, last = places[:most-1], fmt.Sprintf("%d more", len(places)-most+1)
	}
	return strings.Join(named, ", ") + " or " + last
}

// Common returns the findings and patches of d that all alternatives have too, one of which may be true instead of d,
// because the object or a neighbour has placeholders. silent lists the rules of the catalogue that have other findings
// in one of them, sorted. The findings of the policies' own rules, and policy-not-evaluated, are those of d, except
// for findings of the former at or below a placeholder of the object. placeholders holds the paths of those.
func (d Decision) Common(alternatives []Decision, placeholders []string) (certain Decision, silent []string) {
	isKept := func(rule string) bool {
		_, isBuiltIn := RuleByID(rule)
		return !isBuiltIn || rule == policyNotEvaluated.ID
	}
	differs := map[string]bool{}
	for _, other := range alternatives {
		for _, pair := range [][2]Decision{{d, other}, {other, d}} {
			for _, finding := range pair[0].Findings {
				if !isKept(finding.Rule) && !slices.ContainsFunc(pair[1].Findings, finding.agrees) {
					differs[finding.Rule] = true
				}
			}
		}
	}
	certain.Findings = slices.DeleteFunc(slices.Clone(d.Findings), func(f Finding) bool {
		isCommon := func(other Decision) bool { return slices.ContainsFunc(other.Findings, f.agrees) }
		_, isBuiltIn := RuleByID(f.Rule)
		isAt := func(path string) bool { return f.Path == path || strings.HasPrefix(f.Path, path+"/") }
		return !isKept(f.Rule) && !every(alternatives, isCommon) || !isBuiltIn && slices.ContainsFunc(placeholders, isAt)
	})
	certain.Patches = slices.DeleteFunc(slices.Clone(d.Patches), func(p Patch) bool {
		isCommon := func(other Decision) bool {
			return slices.ContainsFunc(other.Patches, func(q Patch) bool { return reflect.DeepEqual(p, q) })
		}
		return !every(alternatives, isCommon)
	})
	return certain, slices.Sorted(maps.Keys(differs))
}

func every[T any](list []T, holds func(T) bool) bool {
	return !slices.ContainsFunc(list, func(element T) bool { return !holds(element) })
}

// Agrees reports whether two decisions about one object are the same for its owner.
func (d Decision) Agrees(other Decision) bool {
	return len(d.Findings) == len(other.Findings) && len(d.Patches) == len(other.Patches) &&
		len(d.common(other).Findings) == len(d.Findings) && len(d.common(other).Patches) == len(d.Patches)
}

// common returns the findings and patches that are in both decisions. Findings may be because of different objects.
func (d Decision) common(other Decision) Decision {
	var both Decision
	for _, finding := range d.Findings {
		if slices.ContainsFunc(other.Findings, finding.agrees) {
			both.Findings = append(both.Findings, finding)
		}
	}
	for _, patch := range d.Patches {
		if slices.ContainsFunc(other.Patches, func(p Patch) bool { return reflect.DeepEqual(p, patch) }) {
			both.Patches = append(both.Patches, patch)
		}
	}
	return both
}

func (f Finding) agrees(g Finding) bool {
	return f.compare(g) == 0 && f.Mode == g.Mode && f.Fix == g.Fix && reflect.DeepEqual(f.Exempt, g.Exempt)
}
