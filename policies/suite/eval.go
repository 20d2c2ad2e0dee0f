package suite

import (
	"context"
	"fmt"
	"time"

	"github.com/sourceward/sourceward/policies"
	"github.com/sourceward/sourceward/policies/bundle"
	"github.com/sourceward/sourceward/policies/manifest"
)

// Evaluated is the result of evaluating a policy for one object.
type Evaluated struct {
	// Policy is the name of the policy.
	Policy string
	Object *manifest.Object
	// Matches reports whether the policy applies to the object. Why says which part of its match selects the object, or
	// does not. If the policy does not match, all fields below except Decision are empty.
	Matches bool
	Why     string
	// Input is the input document of the modules, in the types of decoded JSON.
	Input any
	// Outcomes are the results of the rules of the contract, each evaluated on its own.
	Outcomes []Outcome
	// Decision is the decision with this policy alone. Fault, if not nil, says why it is not complete.
	Decision policies.Decision
	Fault    error
}

// Outcome is the result of one rule of the contract. In its printed lines, Module is the path of the file and Row is
// the line in that file.
type Outcome = bundle.Outcome

// Eval evaluates a policy for each object to judge in objects. All of them are neighbours of one another. Exemptions
// expire by now. If trace is true, each outcome has a trace.
// The problems say why the policy does not compile. The error is non-nil when an object cannot be converted into input.
func (p *Policy) Eval(
	ctx context.Context, compiler *bundle.Compiler, objects *manifest.Manifests, now time.Time, trace bool,
) ([]Evaluated, []Problem, error) {
	bench, problems := p.workbench(ctx, compiler, nil)
	if bench == nil {
		return nil, problems, nil
	}
	var all []Evaluated
	for _, object := range objects.Objects {
		namespace := objects.Namespace(object)
		explained := policies.Explain(bench.Policies(), object.Object, namespace).Policies[0]
		of := Evaluated{Policy: p.Name, Object: object, Matches: explained.Matches, Why: explained.Why}
		on := manifest.Bench{Rules: bench, Policies: bench.Policies(), Now: now}
		of.Decision, _, of.Fault = objects.Decide(ctx, object, on)
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

// workbench returns a Workbench for the policy and tests of it. It is nil if the policy does not compile; the problems
// then say why.
func (p *Policy) workbench(
	ctx context.Context, compiler *bundle.Compiler, tests []File,
) (*bundle.Workbench, []Problem) {
	var problems []Problem
	bench, wrong := compiler.Workbench(ctx, p.edited(), sources(tests))
	for _, e := range wrong {
		problems = append(problems, p.problem(e))
	}
	return bench, sortProblems(problems)
}

// Cost is the cost of one rule for one object.
type Cost = bundle.Cost

// Bench measures each rule of the contract, and the whole policy, over the objects of the policy's cases. The costs are
// sorted, highest first, with the whole policy last. Each measurement takes about a second; Bench calls progress before
// each of them.
// The problems say why the policy does not compile. The error is non-nil when the policy matches no case, or when a
// case cannot be read or evaluated.
func (p *Policy) Bench(
	ctx context.Context, compiler *bundle.Compiler, progress func(done, all int),
) ([]Cost, []Problem, error) {
	bench, problems := p.workbench(ctx, compiler, nil)
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
			return nil, nil, fmt.Errorf("%s: %s; fix the module", dir, oneLine(err))
		}
		asks = append(asks, bench.Asks()...)
	}
	if len(asks) == 0 {
		return nil, nil, fmt.Errorf("%s: the policy matches the object of no case; add a case in %s", p.File(), CasesDir)
	}
	costs, err := bench.Costs(ctx, asks, progress)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", p.File(), err)
	}
	return costs, nil, nil
}
