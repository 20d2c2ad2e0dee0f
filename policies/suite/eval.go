package suite

import (
	"context"
	"fmt"
	"time"

	"github.com/sourceward/sourceward/policies"
	"github.com/sourceward/sourceward/policies/bundle"
	"github.com/sourceward/sourceward/policies/manifest"
)

// Evaluated is what a policy made of one object.
type Evaluated struct {
	// Policy is the name of the policy.
	Policy string
	Object *manifest.Object
	// Matches tells whether the policy is about the object, and Why says what of its match selects it or does not. What
	// follows is empty but for Decision where it does not match.
	Matches bool
	Why     string
	// Input is what the modules saw as input, as JSON would hold it.
	Input any
	// Outcomes are those of the rules of the contract, each on its own.
	Outcomes []Outcome
	// Decision is that with this policy alone, and Fault says why it could not be had in full; else nil.
	Decision policies.Decision
	Fault    error
}

// Outcome is what one rule of the contract gave. Of what it printed, Module is the path of the file, and Row the line in it.
type Outcome = bundle.Outcome

// Eval evaluates a policy for each object that is to be judged, all of which are each other's neighbours. now is the time by
// which exemptions expire. With trace each outcome has one.
// The problems say why the policy does not compile. The error is non-nil when an object cannot be turned into input.
func (p *Policy) Eval(ctx context.Context, compiler *bundle.Compiler, objects *manifest.Manifests, now time.Time, trace bool) ([]Evaluated, []Problem, error) {
	bench, problems := p.workbench(compiler)
	if bench == nil {
		return nil, problems, nil
	}
	var all []Evaluated
	for _, object := range objects.Objects {
		namespace := objects.Namespace(object.Namespace)
		explained := policies.Explain(bench.Policies(), object.Object, namespace).Policies[0]
		of := Evaluated{Policy: p.Name, Object: object, Matches: explained.Matches, Why: explained.Why}
		of.Decision, of.Fault = policies.Decide(ctx, objects.Input(object, policies.Cluster{}, now), bench,
			policies.Resolve(bench.Policies(), object.Object, namespace))
		if asks := bench.Asks(); of.Matches && len(asks) > 0 {
			var err error
			if of.Input, err = bench.Input(asks[0]); err == nil {
				of.Outcomes, err = bench.Outcomes(ctx, asks[0], trace)
			}
			if err != nil {
				return nil, nil, fmt.Errorf("%s: %w", object.Ref, err)
			}
			for _, outcome := range of.Outcomes {
				for i, printed := range outcome.Printed {
					at := p.at(printed.Module, printed.Row)
					outcome.Printed[i].Module, outcome.Printed[i].Row = at.File, at.Line
				}
			}
		}
		all = append(all, of)
	}
	return all, problems, nil
}

// workbench is nil if the policy does not compile, for which the problems are why.
func (p *Policy) workbench(compiler *bundle.Compiler) (*bundle.Workbench, []Problem) {
	var problems []Problem
	bench, wrong := compiler.Workbench(p.edited())
	for _, e := range wrong {
		problems = append(problems, p.problem(e))
	}
	return bench, sortProblems(problems)
}

// Cost is what one rule costs for one object.
type Cost = bundle.Cost

// Bench measures each rule of the contract over the objects of the policy's cases, the most costly first, and at last the
// whole policy. progress is called before each measurement, which takes about a second.
// The problems say why the policy does not compile. The error is non-nil when it has no cases that it matches, or when one
// cannot be read or evaluated.
func (p *Policy) Bench(ctx context.Context, compiler *bundle.Compiler, progress func(done, all int)) ([]Cost, []Problem, error) {
	bench, problems := p.workbench(compiler)
	if bench == nil {
		return nil, problems, nil
	}
	var asks []policies.Document
	for _, dir := range p.Cases {
		c, err := ReadCase(dir)
		if err != nil {
			return nil, nil, err
		}
		if _, err := c.Decide(ctx, bench, bench.Policies()); err != nil {
			return nil, nil, fmt.Errorf("%s: %s; mend the module", dir, oneLine(err))
		}
		asks = append(asks, bench.Asks()...)
	}
	if len(asks) == 0 {
		return nil, nil, fmt.Errorf("%s: has no case with an object that the policy matches; make one in %s", p.File(), CasesDir)
	}
	costs, err := bench.Costs(ctx, asks, progress)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", p.File(), err)
	}
	return costs, nil, nil
}
