package bundle

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/cover"
	"github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/tester"
	"github.com/open-policy-agent/opa/v1/topdown"
	"github.com/open-policy-agent/opa/v1/topdown/print"
	"github.com/open-policy-agent/opa/v1/util"
	"github.com/open-policy-agent/opa/v1/util/channel"

	"github.com/sourceward/sourceward/api/v1alpha1"
	"github.com/sourceward/sourceward/policies"
)

// A Workbench evaluates one policy for its author: rule by rule, with the output of print() and with coverage.
// It is returned by Compiler.Workbench, and is not safe for concurrent use.
type Workbench struct {
	compiler *Compiler
	policy   *Policy
	set      *Set
	// modules holds the policy's own modules. printing holds them compiled with the library, and with print() enabled.
	modules  map[string]*ast.Module
	printing *ast.Compiler
	tests    []v1alpha1.RegoModule
	coverage *cover.Cover
	asks     []policies.Document
}

// Workbench compiles a policy and returns a Workbench for it and for its Rego tests. The errors are those of Compile.
func (c *Compiler) Workbench(
	ctx context.Context, policy v1alpha1.SourceIPPolicy, tests []v1alpha1.RegoModule,
) (*Workbench, []*Error) {
	if err := c.outcome(ctx, Sources{Rego: policy.Spec.Rego, Tests: tests, Vet: true}); err != nil {
		return nil, []*Error{{Policy: policy.Name, Path: "/spec/rego", Message: err.Error(), Unfinished: true}}
	}
	compiled, problems := c.Compile(ctx, policy)
	if problems != nil {
		return nil, problems
	}
	w := &Workbench{
		compiler: c, policy: compiled, set: c.Set([]*Policy{compiled}),
		coverage: cover.New(), modules: map[string]*ast.Module{}, tests: tests,
	}
	for _, source := range compiled.Spec.Rego {
		if w.modules[source.Name], problems = parse(source); problems != nil {
			return nil, problems
		}
	}
	w.printing = newCompiler().WithEnablePrintStatements(true)
	all := maps.Clone(embeddedModules().lib)
	maps.Copy(all, w.modules)
	if w.printing.Compile(all); w.printing.Failed() {
		return nil, regoErrors(w.printing.Errors)
	}
	return w, nil
}

// Policies returns this policy alone, for policies.Resolve.
func (w *Workbench) Policies() policies.Policies { return w.set.Policies }

// Evaluate implements policies.Rules like a Set that holds only this policy. It records the documents that it is called
// with, for Asks.
func (w *Workbench) Evaluate(
	ctx context.Context, document policies.Document, applied []policies.AppliedPolicy,
) []policies.Answer {
	for _, policy := range applied {
		if policy.Name == w.policy.Name {
			own := document
			own.Parameters = policy.Parameters
			w.asks = append(w.asks, own)
		}
	}
	return w.set.Evaluate(ctx, document, applied)
}

// Asks returns the documents for which Evaluate was called since the last call of Asks, in order, with the policy's own
// Parameters. The first document of a decision holds the object under review. The next ones hold the Services that
// select its pods. There are none if the policy does not match the object.
func (w *Workbench) Asks() []policies.Document {
	asks := w.asks
	w.asks = nil
	return asks
}

// Input returns the document that modules see as input, in the types of JSON: maps, lists, strings, numbers.
// The error is non-nil if the document cannot be converted.
func (w *Workbench) Input(ask policies.Document) (any, error) {
	document, err := ast.JSON(inputOf(ask, ask.Parameters))
	if err != nil {
		return nil, err
	}
	return document, util.RoundTrip(&document)
}

// An Outcome is the result of evaluating one rule of the contract.
type Outcome struct {
	// Module is the last element of the package, and Rule the name of the rule, such as deny.
	Module, Rule string
	// Skipped is true if METADATA custom.kinds does not list the kind of the object.
	Skipped bool
	// Reasons are the members of the set, sorted.
	Reasons []any
	// Printed is the output of print(), in order.
	Printed []Print
	// Fault is non-nil if the rule could not be evaluated, or if a member violates the contract.
	Fault error
	// Trace is OPA's trace of the policy's own modules, if it was requested.
	Trace string
}

// A Print is the output of one call of print().
type Print struct {
	// Module is the name of the module, and Row the row of the call in it.
	Module string
	Row    int
	Text   string
}

// prints is a print.Hook.
type prints []Print

// Print implements print.Hook.
func (p *prints) Print(at print.Context, text string) error {
	*p = append(*p, Print{Module: at.Location.File, Row: at.Location.Row, Text: text})
	return nil
}

// Outcomes evaluates each rule of the contract on its own, and adds the evaluated lines to the coverage.
// The error is non-nil if a rule cannot be prepared for evaluation.
func (w *Workbench) Outcomes(ctx context.Context, ask policies.Document, trace bool) ([]Outcome, error) {
	if w.policy.module == nil {
		return nil, nil
	}
	asked := w.policy.module.asked(ask).rules
	var outcomes []Outcome
	for _, r := range w.policy.module.rules {
		outcome := Outcome{Module: r.module, Rule: r.word, Skipped: !slices.Contains(asked, r)}
		if !outcome.Skipped {
			if err := w.evaluate(ctx, r, ask, trace, &outcome); err != nil {
				return nil, err
			}
		}
		outcomes = append(outcomes, outcome)
	}
	slices.SortStableFunc(outcomes, func(a, b Outcome) int { return strings.Compare(a.Module, b.Module) })
	return outcomes, nil
}

func (w *Workbench) evaluate(ctx context.Context, r rule, ask policies.Document, trace bool, outcome *Outcome) error {
	value := inputOf(ask, ask.Parameters)
	cause := fmt.Errorf("the evaluation took longer than %s", tracedTimeout)
	ctx, cancel := context.WithTimeoutCause(ctx, tracedTimeout, cause)
	defer cancel()
	prepared, err := w.prepare(w.printing, r)
	if err != nil {
		return err
	}
	options := []rego.EvalOption{
		rego.EvalParsedInput(value), rego.EvalGenerateJSON(toJSON),
		rego.EvalPrintHook((*prints)(&outcome.Printed)), rego.EvalQueryTracer(w.coverage),
	}
	var events topdown.BufferTracer
	if trace {
		options = append(options, rego.EvalQueryTracer(&events))
	}
	results, err := prepared.Eval(withBudget(ctx), options...)
	if trace {
		outcome.Trace = w.pretty(events)
	}
	switch {
	case topdown.IsCancel(err):
		outcome.Fault = fmt.Errorf("the evaluation was stopped: %w", context.Cause(ctx))
		return nil
	case err != nil:
		outcome.Fault = errors.New(oneLine(err.Error()))
		return nil
	case len(results) == 1:
		outcome.Reasons, _ = results[0].Bindings["reasons"].([]any)
	}
	if len(outcome.Reasons) > MaxReasons {
		outcome.Fault = fmt.Errorf("the set has %d members; want at most %d", len(outcome.Reasons), MaxReasons)
	}
	for _, member := range outcome.Reasons {
		value, err := ast.InterfaceToValue(member)
		if err == nil {
			err = r.read(value, &policies.Answer{})
		}
		outcome.Fault = cmp.Or(outcome.Fault, err)
	}
	return nil
}

// tracedTimeout bounds an evaluation with coverage or a trace, which takes many times as long as one without.
const tracedTimeout = 20 * EvaluationTimeout

// prepare prepares the query for one rule.
func (w *Workbench) prepare(compiler *ast.Compiler, r rule) (rego.PreparedEvalQuery, error) {
	return rego.New(
		rego.Compiler(compiler), rego.Store(store()), rego.StrictBuiltinErrors(true),
		rego.Query("reasons := "+w.packageOf(r)+"."+r.word),
	).PrepareForEval(context.Background())
}

func (w *Workbench) packageOf(r rule) string {
	for _, m := range w.modules {
		if lastElement(m.Package) == r.module {
			return m.Package.Path.String()
		}
	}
	return ""
}

// pretty formats a trace. It keeps the main events in the policy's own modules, without backtracking and without the
// steps of print().
func (w *Workbench) pretty(events []*topdown.Event) string {
	shown := []topdown.Op{topdown.EnterOp, topdown.EvalOp, topdown.ExitOp, topdown.FailOp, topdown.NoteOp}
	prints := map[string]bool{}
	for _, m := range w.modules {
		ast.WalkExprs(m, func(e *ast.Expr) bool {
			if e.IsCall() && e.Operator().Equal(ast.Print.Ref()) {
				for n := range 1 + strings.Count(string(e.Location.Text), "\n") {
					prints[fmt.Sprint(e.Location.File, e.Location.Row+n)] = true
				}
			}
			return false
		})
	}
	own := slices.DeleteFunc(slices.Clone(events), func(e *topdown.Event) bool {
		at := e.Location
		return at == nil || w.modules[at.File] == nil || !slices.Contains(shown, e.Op) || prints[fmt.Sprint(at.File, at.Row)]
	})
	var text bytes.Buffer
	topdown.PrettyTraceWithLocation(&text, own)
	return text.String()
}

// A TestResult is the result of one Rego test.
type TestResult struct {
	// Name is the name of the test after the last element of its package, such as corp_test.test_it.
	Name string
	// File is the name of the file of the test, and Row and Column the position in it. For a failed test they are the
	// position of the failure, if that is known.
	File        string
	Row, Column int
	// Skipped is true if the name of the test begins with todo_.
	Skipped bool
	// Failure describes in one line why the test failed. It is empty if the test passed.
	Failure string
	// Printed is the output of print(), as lines.
	Printed string
}

// Test runs those Rego tests whose full name, such as data.sourceward.custom.corp_test.test_it, matches the regular
// expression run, and returns their results, sorted by position. Tests can read the policy's own modules, the library
// and the provider table, and can call the same functions as modules. The lines that they evaluate are added to the
// coverage. The errors are non-nil if the tests do not compile.
func (w *Workbench) Test(ctx context.Context, run string) ([]TestResult, []*Error) {
	all := maps.Clone(embeddedModules().lib)
	maps.Copy(all, w.modules)
	var problems []*Error
	for _, source := range w.tests {
		m, wrong := parse(source)
		problems = append(problems, wrong...)
		all[source.Name] = m
	}
	if problems != nil {
		return nil, problems
	}
	runner := func() *tester.Runner {
		return tester.NewRunner().
			SetCompiler(newCompiler().WithEnablePrintStatements(true)).
			SetStore(store()).
			SetModules(all).
			RaiseBuiltinErrors(true)
	}
	found, err := runner().Filter(run).SetCoverageQueryTracer(w.coverage).SetCoverageRuns(nil).RunTests(ctx, nil)
	if err != nil {
		if absent := w.compiler.absentForTests(all, w.tests); absent != nil {
			return nil, absent
		}
		return nil, inSources(regoErrors(err), w.tests)
	}
	results := []TestResult{}
	for _, result := range channel.Collect(found) {
		at := TestResult{
			Name: lastOf(result.Package) + "." + result.Name,
			File: result.Location.File, Row: result.Location.Row, Column: result.Location.Col,
			Skipped: result.Skip, Printed: string(result.Output),
		}
		switch {
		case result.Error != nil:
			at.Failure = oneLine(result.Error.Error())
			fault, ok := errors.AsType[*topdown.Error](result.Error)
			if ok && fault.Location != nil && fault.Location.File != "" {
				at.File, at.Row, at.Column = fault.Location.File, fault.Location.Row, fault.Location.Col
				at.Failure = oneLine(fault.Message)
			}
		case result.Fail:
			at.Failure = failing
			var cases []string
			for name, sub := range result.SubResults.Iter {
				if sub.Fail && len(sub.SubResults) == 0 {
					cases = append(cases, strings.Join(name, "/"))
				}
			}
			if cases != nil {
				at.Failure = "the test fails for " + strings.Join(cases, ", ")
			}
		}
		results = append(results, at)
	}
	w.whyFailed(ctx, runner().Filter(run), results)
	slices.SortFunc(results, func(a, b TestResult) int {
		return cmp.Or(strings.Compare(a.File, b.File), cmp.Compare(a.Row, b.Row), strings.Compare(a.Name, b.Name))
	})
	return results, nil
}

// whyFailed runs the failed tests again with a trace, and adds to their results the expression that failed.
func (w *Workbench) whyFailed(ctx context.Context, runner *tester.Runner, results []TestResult) {
	if !slices.ContainsFunc(results, func(r TestResult) bool { return r.Failure != "" }) {
		return
	}
	found, err := runner.EnableTracing(true).RunTests(ctx, nil)
	if err != nil {
		return // This cannot happen: the tests compiled before.
	}
	failed := map[string]*ast.Location{}
	for _, result := range channel.Collect(found) {
		if at := lastFailure(result.Trace, result.Location); result.Fail && at != nil {
			failed[lastOf(result.Package)+"."+result.Name] = at
		}
	}
	for i, r := range results {
		if at := failed[r.Name]; r.Failure == failing && at != nil {
			results[i].Row, results[i].Column = at.Row, at.Col
			results[i].Failure = "this is false or undefined: " + oneLine(string(at.Text))
		}
	}
}

// failing is the Failure of a test if the expression that failed is not known.
const failing = "the test fails"

// lastFailure returns the position in a rule of the last expression that failed, or nil.
func lastFailure(trace []*topdown.Event, rule *ast.Location) *ast.Location {
	last := rule.Row + strings.Count(string(rule.Text), "\n")
	for _, event := range slices.Backward(trace) {
		at := event.Location
		if event.Op == topdown.FailOp && at != nil && at.File == rule.File && rule.Row < at.Row && at.Row <= last {
			return at
		}
	}
	return nil
}

func lastOf(path string) string { return path[strings.LastIndex(path, ".")+1:] }

// Coverage is the part of one module that Test and Outcomes have evaluated.
type Coverage struct {
	// Module is the name of the module.
	Module string
	// Lines is the number of lines that can be evaluated. Missed holds the rows of the lines that were not, sorted.
	Lines  int
	Missed []int
}

// Coverage returns the coverage of each of the policy's modules, sorted by name.
func (w *Workbench) Coverage() []Coverage {
	report := w.coverage.Report(w.modules)
	var all []Coverage
	for _, name := range slices.Sorted(maps.Keys(w.modules)) {
		file := report.Files[name]
		of := Coverage{Module: name, Lines: file.CoveredLines + file.NotCoveredLines}
		for _, missed := range file.NotCovered {
			for row := missed.Start.Row; row <= missed.End.Row; row++ {
				if !file.IsCovered(row) && !slices.Contains(of.Missed, row) {
					of.Missed = append(of.Missed, row)
				}
			}
		}
		slices.Sort(of.Missed)
		of.Lines = max(of.Lines, len(of.Missed))
		all = append(all, of)
	}
	return all
}

// A Cost is the average cost of one evaluation of a rule.
type Cost struct {
	// Module and Rule are those of an Outcome. Both are empty for the whole policy as the webhook evaluates it.
	Module, Rule string
	// Nanoseconds, Allocations and Bytes are the averages for one evaluation.
	Nanoseconds, Allocations, Bytes int64
}

// Costs measures the evaluation of each rule of the contract for documents, and then that of the whole policy. Each
// measurement takes about a second, and progress is called before it. Rules that apply to none of the documents are
// left out. The error is non-nil if an evaluation fails, or if ctx ends.
func (w *Workbench) Costs(ctx context.Context, asks []policies.Document, progress func(done, all int)) ([]Cost, error) {
	m := w.policy.module
	if m == nil {
		return nil, nil
	}
	shipped := newCompiler()
	all := maps.Clone(embeddedModules().lib)
	maps.Copy(all, w.modules)
	if shipped.Compile(all); shipped.Failed() {
		return nil, shipped.Errors // Compile has ruled this out.
	}
	var costs []Cost
	for i, r := range m.rules {
		progress(i, len(m.rules)+1)
		prepared, err := w.prepare(shipped, r)
		if err != nil {
			return nil, err
		}
		var values []ast.Value
		for _, ask := range asks {
			if slices.Contains(m.asked(ask).rules, r) {
				values = append(values, inputOf(ask, ask.Parameters))
			}
		}
		if len(values) == 0 {
			continue
		}
		cost, err := measure(ctx, func(n int) error {
			value := values[n%len(values)]
			_, err := prepared.Eval(withBudget(ctx), rego.EvalParsedInput(value), rego.EvalGenerateJSON(toJSON))
			return err
		})
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err != nil {
			return nil, fmt.Errorf("%s.%s: %s", r.module, r.word, oneLine(err.Error()))
		}
		cost.Module, cost.Rule = r.module, r.word
		costs = append(costs, cost)
	}
	slices.SortStableFunc(costs, func(a, b Cost) int {
		return cmp.Or(cmp.Compare(b.Nanoseconds, a.Nanoseconds), strings.Compare(a.Module+a.Rule, b.Module+b.Rule))
	})
	progress(len(m.rules), len(m.rules)+1)
	whole, err := measure(ctx, func(n int) error {
		document := asks[n%len(asks)]
		worker := &worker{document: document}
		defer worker.end()
		return m.evaluateInTime(ctx, worker, w.set.slots, document.Parameters).Err
	})
	if err != nil {
		return nil, err
	}
	return append(costs, whole), nil
}

// measureFor is how long measure calls a function.
const measureFor = time.Second

// measure returns the cost of a function, which it calls with 0, 1, 2 and so on. The error is the first one that the
// function returns, or that of ctx once it has ended.
func measure(ctx context.Context, evaluate func(n int) error) (Cost, error) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	end := time.Now().Add(measureFor) //nolint:forbidigo // a measurement, which decides nothing
	n := int64(0)
	for ; n == 0 || time.Until(end) > 0; n++ {
		if err := ctx.Err(); err != nil {
			return Cost{}, err
		}
		if err := evaluate(int(n)); err != nil {
			return Cost{}, err
		}
	}
	took := measureFor - time.Until(end)
	runtime.ReadMemStats(&after)
	return Cost{
		Nanoseconds: took.Nanoseconds() / n,
		Allocations: int64(after.Mallocs-before.Mallocs) / n,
		Bytes:       int64(after.TotalAlloc-before.TotalAlloc) / n,
	}, nil
}
