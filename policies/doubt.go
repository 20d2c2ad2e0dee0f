package policies

import (
	"fmt"
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
// neighbours-unknown reports the neighbour, in mode Warn unless a policy sets its mode. If a policy turns that rule off,
// the decision stays as it is.
func (d Decision) Certain(in Input, settings Settings, doubts []Doubt) Decision {
	mode := settings.modeOf(neighboursUnknown, Warn)
	if mode == off {
		return d
	}
	certain := d
	for _, doubt := range doubts {
		matters := false
		for _, other := range doubt.Others {
			if !d.agrees(other) {
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
		exempt, problem := exemption(in, settings.Exemptions, finding.Rule)
		if problem != "" {
			finding.Message += " (" + problem + ")"
		}
		finding.Exempt = exempt
		certain.Findings = append(certain.Findings, finding)
	}
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

// agrees reports whether two decisions about one object are the same for its owner.
func (d Decision) agrees(other Decision) bool {
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
