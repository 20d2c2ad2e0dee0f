package main

import (
	"bufio"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/aymanbagabas/go-udiff"

	"github.com/sourceward/sourceward/policies"
	"github.com/sourceward/sourceward/policies/suite"
)

// testReport holds the results of policy test.
type testReport struct {
	of []*suite.Tested
	// problems say why other tests and cases could not run.
	problems []suite.Problem
}

// empty reports whether no test and no case ran.
func (r *testReport) empty() bool {
	return !slices.ContainsFunc(r.of, func(tested *suite.Tested) bool { return len(tested.Results) > 0 })
}

func (r *testReport) failed() int {
	failed := 0
	for _, tested := range r.of {
		for _, result := range tested.Results {
			if result.Failure != "" {
				failed++
			}
		}
	}
	return failed
}

// writeText writes each failure in full, then the lines that were not evaluated, and a summary.
func (r *testReport) writeText(w io.Writer) error {
	out := bufio.NewWriter(w)
	tests, cases, skipped := 0, 0, 0
	for _, tested := range r.of {
		for _, result := range tested.Results {
			switch {
			case result.Skipped:
				skipped++
			case result.IsCase():
				cases++
			default:
				tests++
			}
			if result.Updated {
				fmt.Fprintf(out, "%s: written\n", policies.Printable(result.Place.File))
			}
			if result.Failure == "" {
				continue
			}
			failure := result.Place
			failure.Message = result.Failure
			if !result.IsCase() {
				failure.Message = result.Name + ": " + result.Failure
			}
			fmt.Fprintln(out, policies.Printable(failure.Error()))
			for _, line := range failureDetail(result) {
				fmt.Fprintf(out, "  %s\n", line)
			}
		}
	}
	for _, tested := range r.of {
		for _, of := range tested.Coverage {
			fmt.Fprintln(out, policies.Printable(of.String()))
		}
	}
	summary := fmt.Sprintf("%s, %s, %s: ", policyCount(len(r.of)), count(tests, "test"), count(cases, "case"))
	switch failed := r.failed(); {
	case failed > 0:
		summary += fmt.Sprintf("%d failed", failed)
	case tests+cases == 0:
		summary += "nothing to run"
	default:
		summary += "all passed"
	}
	if skipped > 0 {
		summary += fmt.Sprintf(", %d skipped", skipped)
	}
	if len(r.problems) > 0 {
		summary += ", " + problemCount(len(r.problems))
	}
	if len(r.of) > 0 {
		fmt.Fprintln(out, summary)
	}
	return out.Flush()
}

// failureDetail returns the lines below a failure: what was printed, and how the decision differs from want.yaml.
func failureDetail(result suite.Result) []string {
	var lines []string
	for _, text := range result.Printed {
		lines = append(lines, "print: "+policies.Printable(text))
	}
	if result.Want != result.Got {
		for line := range strings.Lines(udiff.Unified("want", "got", result.Want, result.Got)) {
			lines = append(lines, policies.Printable(strings.TrimSuffix(line, "\n")))
		}
	}
	return lines
}
