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

// Tested holds the results of the tests and cases of one policy.
type Tested struct {
	Policy *Policy
	// Results has the results of the Rego tests, sorted by place, and then those of the cases, sorted by name.
	Results []Result
	// Coverage has the coverage of each module by all tests and cases together, in the order of spec.rego. It is empty
	// if only some of them were run.
	Coverage []Coverage
}

// Result is the result of one test or case.
type Result struct {
	// Name is the name of a test, such as corp_test.test_it, or of a case, such as cases/fires-in-production.
	Name string
	// Place is the place of the test or case, or the place of the failure if it is known.
	Place manifest.Error
	// Failure is one line that says why the test or case failed. It is empty if it passed.
	Failure string
	// Skipped is true for a test that was not run because its name begins with todo_.
	Skipped bool
	// Printed are the lines that print() wrote.
	Printed []string
	// Want is the text of want.yaml and Got the text of the actual decision. Both are empty if they are equal.
	Want, Got string
	// Updated is true if Test wrote want.yaml.
	Updated bool
}

// IsCase reports whether the result is of a case, rather than of a Rego test.
func (r Result) IsCase() bool { return strings.HasPrefix(r.Name, CasesDir+"/") }

// Coverage says which lines of a module were evaluated.
type Coverage struct {
	// Path is the path of the module's file, or its name if it is only in the YAML.
	Path string
	// Lines is the number of lines that can be evaluated. Missed are the numbers of those that were not evaluated.
	Lines  int
	Missed []int
}

// String returns a line such as "corp/corp.rego: 14 of 15 lines; line 12 is not evaluated".
func (c Coverage) String() string {
	lines := "lines"
	if c.Lines == 1 {
		lines = "line"
	}
	text := fmt.Sprintf("%s: %d of %d %s", c.Path, c.Lines-len(c.Missed), c.Lines, lines)
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

// Test runs the tests and cases of a policy whose names match run. If update is true, it rewrites want.yaml in the
// cases whose decision differs. The problems say why tests or cases could not be run.
func (p *Policy) Test(
	ctx context.Context, compiler *bundle.Compiler, run *regexp.Regexp, update bool,
) (*Tested, []Problem) {
	problems := append([]Problem{}, p.stray...)
	bench, wrong := p.workbench(ctx, compiler, p.Tests)
	problems = append(problems, wrong...)
	if bench == nil {
		return nil, sortProblems(problems)
	}
	tested := &Tested{Policy: p}
	results, uncompiled := bench.Test(ctx, run.String())
	for _, e := range uncompiled {
		problems = append(problems, p.problem(e))
	}
	for _, r := range results {
		result := Result{Name: r.Name, Failure: r.Failure, Skipped: r.Skipped}
		at := &bundle.Error{Module: r.File, Row: r.Row, Column: r.Column, Path: p.pointer(r.File)}
		result.Place = p.problem(at).place
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

// HasInCase reports whether a file is in the folder of a case. Test reports the errors in such files.
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
	text, err := readFile(c.Path(wantFile))
	misspelt := yaml.UnmarshalStrict(text, &Want{})
	switch want := string(text); {
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		result.Failure = oneLine(readError(c.Path(wantFile), err))
	case misspelt != nil && !update:
		result.Failure = yamlFault(misspelt, text, &Want{}) +
			"; want findings and patches; fix the file, or rewrite it with --update"
	case fault != nil: // a failure, even if want.yaml expects it
		result.Failure = "the policy could not be evaluated (" + oneLine(fault) + "); fix the module"
		result.Want, result.Got = want, got
	case err == nil && want == got:
	case update:
		result.Updated = true
		if err := writeFile(c.Path(wantFile), []byte(got)); err != nil {
			result.Updated, result.Failure = false, oneLine(err)
		}
	default:
		result.Failure = "the decision differs from this file; fix the module, or rewrite the file with --update"
		if err != nil {
			result.Failure = "the file does not exist; review the decision, and write the file with --update"
		}
		result.Want, result.Got = want, got
	}
	return result
}
