package policies

import (
	"cmp"
	"context"
	"fmt"
	"slices"
)

// Decide finds what is wrong with in.Object and how to repair it.
//
// Repairs that a webhook applies come first. Unless in.Final is set, all other findings are those of the repaired
// object, so that a validating webhook, which sees that one, finds the same. The Decision holds both.
//
// Decide reads only its arguments and changes none of them. Equal arguments give equal results, whatever the order of
// the related objects. rules must not be nil. A workload that is Controlled has no findings.
//
// The error is non-nil if a rule could not be evaluated, or if a repair does not apply to the object. It is then of
// type [Faults], and the Decision holds the findings of all other rules and one that reports the fault. A denial is a
// finding, never an error.
func Decide(ctx context.Context, in Input, rules Rules, settings Settings) (Decision, error) {
	if in.Object.Workload != nil && in.Object.Workload.Controlled {
		return Decision{}, nil
	}
	r := newRun(ctx, in, rules, settings, nil)
	decision := r.decide()
	if mutations := decision.Mutations(); len(mutations) > 0 && !in.Final {
		if repaired, err := in.Object.Patched(mutations); err == nil {
			in.Object = repaired
			r = newRun(ctx, in, rules, settings, r)
			decision = decision.then(r.decide())
		} else {
			// A repair that does not apply is a fault of the rule, not of the request.
			r.fault(Answer{Err: fmt.Errorf("its repairs do not apply: %w", err)}, settings)
			r = newRun(ctx, in, rules, settings, r)
			decision = r.decide().withoutMutations()
		}
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

// decide runs the catalogue and the policies' own rules over the object, without repairing it first.
func (r *run) decide() Decision {
	var decision Decision
	for _, rule := range catalogue {
		if r.settings.Modes[rule.ID] == off {
			continue
		}
		for _, result := range rule.check(r) {
			result.Rule = rule.ID
			result.Severity = rule.Severity
			result.mode = r.settings.modeOf(rule, cmp.Or(result.mode, rule.DefaultMode))
			switch {
			case result.mode == off || decision.has(rule.yieldsTo, result.Path):
			case result.unseen != (unseen{}):
				r.unseen = append(r.unseen, result.unseen)
			default:
				r.settle(&decision, result, rule.Mutable)
			}
		}
	}
	for _, result := range r.houseFindings() {
		if result.mode != off {
			r.settle(&decision, result, false)
		}
	}
	return decision
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

// withoutMutations returns the decision if the repairs that a webhook applies cannot be applied: what they would repair
// is a warning.
func (d Decision) withoutMutations() Decision {
	for i := range d.Findings {
		if finding := &d.Findings[i]; finding.Mode == Mutate && finding.Exempt == nil {
			finding.Mode = Warn
		}
	}
	d.Patches = slices.DeleteFunc(d.Patches, func(p Patch) bool { return p.Mode == Mutate })
	return d
}

// settle turns a mode that cannot be carried out into one that can, looks for an exemption, and adds the result to the
// decision.
func (r *run) settle(decision *Decision, result result, mutable bool) {
	finding := result.Finding
	finding.Object = r.Object.Ref
	finding.Mode = result.mode
	if finding.Mode == Mutate && (!mutable || result.repair == nil || result.unpatchable) {
		finding.Mode = Warn
		if result.hard {
			finding.Mode = Deny
		}
	}
	slices.SortFunc(finding.Because, Ref.compare)
	for _, text := range []*string{&finding.Message, &finding.Fix, &finding.Path} {
		*text = Printable(*text)
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
