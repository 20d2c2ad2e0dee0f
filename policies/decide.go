package policies

import (
	"cmp"
	"context"
	"slices"
	"strings"
)

// Decide finds what is wrong with in.Object and how to repair it.
//
// What a webhook repairs is repaired before anything else is judged, unless in.Object is Final. So the findings are those whose
// repair a webhook applies, and what is wrong with the object that these repairs leave, as who is asked about that one finds it.
//
// It reads nothing but its arguments and changes none of them; equal arguments give equal results,
// whatever the order of the related objects. The error is non-nil when a rule could not be
// evaluated, and then is of type Faults; the Decision then still holds what did run and a finding about what did not.
// A denial is a finding, never an error. A workload that is Controlled has no findings. rules must not be nil.
func Decide(ctx context.Context, in Input, rules Rules, settings Settings) (Decision, error) {
	if in.Object.Workload != nil && in.Object.Workload.Controlled {
		return Decision{}, nil
	}
	r := newRun(ctx, in, rules, settings, nil)
	decision := r.decide()
	if mutations := decision.Mutations(); len(mutations) > 0 && !in.Final {
		repaired, err := in.Object.Patched(mutations)
		if err != nil {
			panic(err) // The repairs of a rule are built on the object.
		}
		in.Object = repaired
		r = newRun(ctx, in, rules, settings, r)
		decision = decision.then(r.decide())
	}
	slices.SortStableFunc(decision.Findings, Finding.compare)
	if len(r.faults) == 0 {
		return decision, nil
	}
	var faults Faults
	for _, fault := range r.faults {
		faults = append(faults, Fault{Policy: fault.Policy, Err: fault.Err})
	}
	return decision, faults
}

// decide is Decide of the object as it is.
func (r *run) decide() Decision {
	var decision Decision
	for _, rule := range catalogue {
		if r.settings.Modes[rule.ID] == off {
			continue
		}
		for _, result := range rule.check(r) {
			if slices.ContainsFunc(decision.Findings, func(f Finding) bool { return f.Rule == rule.yieldsTo && f.Path == result.Path }) {
				continue
			}
			result.Rule = rule.ID
			result.Severity = rule.Severity
			result.mode = r.settings.modeOf(rule, cmp.Or(result.mode, rule.DefaultMode))
			r.settle(&decision, result, rule.Mutable)
		}
	}
	for _, result := range r.houseFindings() {
		r.settle(&decision, result, false)
	}
	return decision
}

// then is the whole decision about an object that d repairs, where after is what was decided about the repaired one.
func (d Decision) then(after Decision) Decision {
	for _, finding := range d.Findings {
		if finding.Mode == Mutate && finding.Exempt == nil {
			after.Findings = append(after.Findings, finding)
		}
	}
	for _, patch := range d.Patches {
		if patch.Mode == Mutate {
			after.Patches = append(after.Patches, patch)
		}
	}
	position := func(p Patch) int {
		return slices.IndexFunc(catalogue, func(rule Rule) bool { return rule.ID == p.Rule })
	}
	slices.SortStableFunc(after.Patches, func(p, q Patch) int { return cmp.Compare(position(p), position(q)) })
	return after
}

// result is a finding before its mode is settled.
type result struct {
	Finding
	// mode is the mode. As a check gives it, it counts where no policy sets one, and empty is the
	// rule's default.
	mode Mode
	// hard tells that the reason is hard: where the repair may not be applied, the request is refused.
	hard bool
	// repair mends it; nil where nothing does.
	repair []PatchOperation
	// unpatchable tells that a webhook may not apply the repair, though a person may.
	unpatchable bool
}

// settle makes the mode one that can be kept, looks for an exemption, and adds the result to the
// decision.
func (r *run) settle(decision *Decision, result result, mutable bool) {
	finding := result.Finding
	finding.Object = r.Object.Ref
	finding.Mode = result.mode
	switch {
	case finding.Mode == off:
		return
	case finding.Mode == Mutate && (!mutable || result.repair == nil || result.unpatchable):
		finding.Mode = Warn
		if result.hard {
			finding.Mode = Deny
		}
	}
	slices.SortFunc(finding.Because, Ref.compare)
	for _, text := range []*string{&finding.Message, &finding.Fix, &finding.Path} {
		*text = strings.Map(printable, *text)
	}

	exempt, problem := exemption(r.Input, r.settings.Exemptions, finding.Rule)
	if problem != "" {
		finding.Message += " (" + problem + ")"
	}
	finding.Exempt = exempt
	decision.Findings = append(decision.Findings, finding)
	if result.repair != nil && exempt == nil {
		decision.Patches = append(decision.Patches, Patch{Rule: finding.Rule, Mode: finding.Mode, Operations: result.repair})
	}
}
