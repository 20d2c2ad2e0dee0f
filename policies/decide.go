package policies

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"sync"
)

// Decide finds what is wrong with in.Object and how to repair it.
//
// Repairs that a webhook applies come first. Unless in.Final is set, all other findings are those of the repaired
// object, so that a validating webhook, which sees that one, finds the same. The Decision holds both.
//
// On an update, only findings that the request brings are denied or repaired. Those that the stored object has already
// become warnings.
//
// Decide reads only its arguments and changes none of them. Equal arguments give equal results, whatever the order of
// the related objects. rules must not be nil. A workload that IsChild has no findings.
//
// The error is non-nil if a rule could not be evaluated, or a repair does not apply; it is then of type [Faults], and
// the Decision holds the findings of all other rules and one that reports the fault. A denial is a finding, never an
// error.
func Decide(ctx context.Context, in Input, rules Rules, settings Settings) (Decision, error) {
	if in.Object.Workload != nil && in.Object.Workload.IsChild() {
		return Decision{}, nil
	}
	r := newRun(ctx, in, rules, settings, nil)
	decision := r.decide()
	if mutations := decision.Mutations(); len(mutations) > 0 && !in.Final {
		r = r.trial(mutations) // At most one rule repairs an object, and harmless has tried its repair.
		decision = decision.then(r.decide())
	}
	slices.SortStableFunc(decision.Findings, Finding.compare)
	return decision, r.faultsFound()
}

// faultsFound returns the faults of the run as an error; nil if there are none.
func (r *run) faultsFound() error {
	if len(r.faults) == 0 {
		return nil
	}
	var faults Faults
	for _, fault := range r.faults {
		faults = append(faults, Fault{Policy: fault.Policy, Err: fault.Err})
	}
	return faults
}

// notRepaired comes between a fix and the reason why it was not made.
const notRepaired = "; not repaired, since "

// decide runs the catalogue and the policies' own rules over the object, without repairing it first.
func (r *run) decide() Decision {
	results := slices.Clone(r.results())
	for i := range results {
		results[i] = r.harmless(results[i])
	}
	results = append(results, r.faultResults()...)
	var decision Decision
	now := sync.OnceValue(func() map[kind]count { return r.counted(results) })
	for _, found := range results {
		r.settle(&decision, found, now)
	}
	return decision
}

// results returns what the rules find, each with its mode, in the order of the catalogue and then of the policies. The
// faults are not among them: faultResults returns those.
func (r *run) results() []result {
	if !r.foundKnown {
		r.foundKnown = true
		r.known = ruleIDs()
		for i := range catalogue {
			if rule := &catalogue[i]; rule.ID != policyNotEvaluated.ID {
				r.found = append(r.found, r.resultsOf(rule)...)
			}
		}
		r.found = append(r.found, r.houseFindings()...)
	}
	return r.found
}

// faultResults returns the findings about rules that could not be evaluated, and repairs that do not apply, until now.
func (r *run) faultResults() []result { return r.resultsOf(&policyNotEvaluated) }

// resultsOf returns what one rule of the catalogue finds.
func (r *run) resultsOf(rule *Rule) []result {
	if r.settings.Modes[rule.ID] == off {
		return nil
	}
	var results []result
	for _, found := range rule.check(r) {
		if w := r.Object.Workload; w != nil {
			found.Path, found.repair = w.placed(found.Path), w.placedRepair(found.repair)
		}
		found.Rule = rule.ID
		found.Severity = rule.Severity
		found.Mode = r.settings.modeOf(rule, cmp.Or(found.mode, rule.DefaultMode))
		if found.unsure && found.Mode == Deny {
			found.Mode = Warn
		}
		found.unpatchable = found.unpatchable || !rule.Mutable
		switch {
		case found.Mode == off || isReported(r.found, rule.yieldsTo, found.Path):
		case found.unseen != (unseen{}):
			r.unseen = append(r.unseen, found.unseen)
		default:
			results = append(results, found)
		}
	}
	return results
}

// isReported reports whether a rule has a finding on a path.
func isReported(results []result, rule, path string) bool {
	return slices.ContainsFunc(results, func(found result) bool { return found.Rule == rule && found.Path == path })
}

// then returns the decision about an object that the repairs of d change: what d repairs, and after, the decision about
// the repaired object.
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

// settle turns a mode that cannot be carried out into one that can, looks for an exemption, and adds the result to the
// decision. all returns the counts of the results of the run.
func (r *run) settle(decision *Decision, found result, all func() map[kind]count) {
	found = r.possible(found, all)
	finding := found.Finding
	finding.Object = r.Object.Ref
	slices.SortFunc(finding.Because, Ref.compare)
	if omitted := len(finding.Because) - maxBecause; omitted > 0 {
		// A copy, so that the others can be freed.
		finding.Because = slices.Clone(finding.Because[:maxBecause])
		finding.BecauseOmitted += omitted
	}
	for _, text := range []*string{&finding.Message, &finding.Fix, &finding.Path} {
		*text = Printable(*text)
	}
	exempt, problem := exemption(r.Input, r.settings.Exemptions, ruleOf(finding.Rule))
	if problem != "" {
		finding.Message += " (" + problem + ")"
	}
	finding.Exempt = exempt
	decision.Findings = append(decision.Findings, finding)
	if found.repair != nil && exempt == nil {
		decision.Patches = append(decision.Patches, Patch{
			Rule: finding.Rule, Mode: finding.Mode, Path: finding.Path,
			Operations: found.repair, Done: Printable(found.done),
		})
	}
}

// possible returns a result with a mode that can be carried out. all returns the counts of the results of the run.
func (r *run) possible(found result, all func() map[kind]count) result {
	controller := r.Object.controller()
	switch {
	case found.Mode != Mutate:
	case controller != (Ref{}):
		// The controller would undo the repair, and the next request would bring it back.
		fix, _, _ := strings.Cut(found.Fix, notRepaired)
		found.Mode, found.Fix = Warn, fix+notRepaired+controller.String()+" controls it"
	case found.repair == nil || found.unpatchable:
		found.Mode = Warn
		if found.weight == weightHard && !found.harmful {
			found.Mode = Deny
		}
		found.Fix = cmp.Or(found.byHand, found.Fix)
	case r.Object.Workload != nil:
		// A template that changes anyway is repaired even if it was like that before.
		return found
	}
	if (found.Mode == Deny || found.Mode == Mutate) && !r.brings(found, all) {
		found.Mode = Warn
	}
	return found
}
