package suite

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"sigs.k8s.io/yaml"

	"github.com/sourceward/sourceward/policies/bundle"
	"github.com/sourceward/sourceward/policies/manifest"
)

// Tested is what came of the tests and cases of one policy.
type Tested struct {
	Policy *Policy
	// Results are those of the Rego tests by place, and then those of the cases by name.
	Results []Result
	// Coverage is that of the policy's modules by all of them together, in the order of spec.rego. It is empty if only
	// some were run.
	Coverage []Coverage
}

// Result is what came of one test or case.
type Result struct {
	// Name is corp_test.test_it of a test, or cases/fires-in-production of a case.
	Name string
	// Place is where it is, or, of a test that failed, where it failed if that is known.
	Place manifest.Error
	// Failure says why it failed, in one line; empty if it passed.
	Failure string
	// Skipped tells that it is a test whose name begins with todo_.
	Skipped bool
	// Printed are the lines that print() wrote.
	Printed []string
	// Want and Got are the texts of want.yaml, if they are not the same.
	Want, Got string
	// Updated tells that want.yaml was written.
	Updated bool
}

// IsCase tells a case from a Rego test.
func (r Result) IsCase() bool { return strings.HasPrefix(r.Name, CasesDir+"/") }

// Coverage is which lines of a module were evaluated.
type Coverage struct {
	// Path is that of its file, or the name of a module that is only in the YAML.
	Path string
	// Lines is the number of lines that can be evaluated, and Missed are those that were not.
	Lines  int
	Missed []int
}

// String is, for example, corp/corp.rego: 14 of 15 lines; line 12 is not evaluated.
func (c Coverage) String() string {
	text := fmt.Sprintf("%s: %d of %d lines", c.Path, c.Lines-len(c.Missed), c.Lines)
	switch len(c.Missed) {
	case 0:
		return text
	case 1:
		return fmt.Sprintf("%s; line %d is not evaluated", text, c.Missed[0])
	}
	var ranges []string
	for i := 0; i < len(c.Missed); i++ {
		first := c.Missed[i]
		for i+1 < len(c.Missed) && c.Missed[i+1] == c.Missed[i]+1 {
			i++
		}
		if c.Missed[i] == first {
			ranges = append(ranges, strconv.Itoa(first))
		} else {
			ranges = append(ranges, fmt.Sprintf("%d-%d", first, c.Missed[i]))
		}
	}
	return fmt.Sprintf("%s; lines %s are not evaluated", text, strings.Join(ranges, ", "))
}

// Test runs the tests and cases of a policy whose names match run. With update it writes want.yaml of cases that differ.
// The problems say why they could not be run.
func (p *Policy) Test(ctx context.Context, compiler *bundle.Compiler, run *regexp.Regexp, update bool) (*Tested, []Problem) {
	problems := append([]Problem{}, p.stray...)
	bench, wrong := p.workbench(compiler)
	problems = append(problems, wrong...)
	if bench == nil {
		return nil, sortProblems(problems)
	}
	tested := &Tested{Policy: p}
	results, uncompiled := bench.Test(ctx, sources(p.Tests), run.String())
	for _, e := range uncompiled {
		problems = append(problems, p.problem(e))
	}
	for _, r := range results {
		result := Result{Name: r.Name, Failure: r.Failure, Skipped: r.Skipped}
		result.Place = p.problem(&bundle.Error{Module: r.File, Row: r.Row, Column: r.Column, Path: p.pointer(r.File)}).place
		for line := range strings.Lines(r.Printed) {
			result.Printed = append(result.Printed, strings.TrimSuffix(line, "\n"))
		}
		tested.Results = append(tested.Results, result)
	}
	for _, dir := range p.Cases {
		name := CasesDir + "/" + dir[strings.LastIndexByte(dir, os.PathSeparator)+1:]
		if !run.MatchString(name) {
			continue
		}
		tested.Results = append(tested.Results, p.testCase(ctx, bench, name, dir, update))
	}
	if run.String() == "" {
		for _, of := range bench.Coverage() {
			path := of.Module
			if file := p.file(of.Module); file.Path != "" {
				path = file.Path
			}
			tested.Coverage = append(tested.Coverage, Coverage{path, of.Lines, of.Missed})
		}
	}
	return tested, sortProblems(problems)
}

// HasInCase tells whether a file is one of a case, of which Test tells what is wrong.
func (p *Policy) HasInCase(file string) bool { return slices.Contains(p.Cases, filepath.Dir(file)) }

func (p *Policy) testCase(ctx context.Context, bench *bundle.Workbench, name, dir string, update bool) Result {
	result := Result{Name: name, Place: manifest.Error{File: dir}}
	err := checkFiles(dir)
	var c *Case
	if err == nil {
		c, err = ReadCase(dir)
	}
	if wrong, ok := errors.AsType[*manifest.Error](err); ok {
		result.Place, result.Failure = *wrong, wrong.Message
		return result
	}
	if err != nil {
		result.Failure = oneLine(err)
		return result
	}
	decision, fault := c.Decide(ctx, bench, bench.Policies())
	for _, ask := range bench.Asks() {
		outcomes, err := bench.Outcomes(ctx, ask, false)
		if err != nil {
			result.Failure = oneLine(err)
			return result
		}
		for _, outcome := range outcomes {
			for _, printed := range outcome.Printed {
				at := p.at(printed.Module, printed.Row)
				result.Printed = append(result.Printed, fmt.Sprintf("%s:%d: %s", at.File, at.Line, printed.Text))
			}
		}
	}
	result.Place.File = c.Path(wantFile)
	got := string(WantOf(decision).YAML())
	text, err := os.ReadFile(c.Path(wantFile))
	misspelt := yaml.UnmarshalStrict(text, &Want{})
	switch want := string(text); {
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		result.Failure = oneLine(readError(c.Path(wantFile), err))
	case misspelt != nil && !update:
		result.Failure = yamlFault(misspelt) + "; want findings and patches; mend it, or write it with --update"
	case fault != nil: // which nobody wants, even where it is written
		result.Failure = "the policy could not be evaluated (" + oneLine(fault) + "); mend the module"
		result.Want, result.Got = want, got
	case err == nil && want == got:
	case update:
		result.Updated = true
		if err := os.WriteFile(c.Path(wantFile), []byte(got), newFile); err != nil {
			result.Updated, result.Failure = false, oneLine(err)
		}
	default:
		result.Failure = "the decision is another; mend the module, or write it with --update"
		if err != nil {
			result.Failure = "it is not there; read the decision, and write it with --update"
		}
		result.Want, result.Got = want, got
	}
	return result
}
