package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/jstemmer/go-junit-report/v2/junit"

	"github.com/sourceward/sourceward/policies"
)

// writeJUnit writes the results as JUnit XML: one suite for each policy, and one for the problems. It has no times, so
// that equal results give equal files.
func (r *testReport) writeJUnit(w io.Writer) error {
	var suites junit.Testsuites
	for i, tested := range r.of {
		of := junit.Testsuite{
			Name: policies.Printable(tested.Policy.Name), File: policies.Printable(tested.Policy.File()), ID: i, Time: "0",
		}
		for _, result := range tested.Results {
			test := junit.Testcase{
				Name: policies.Printable(result.Name), Classname: policies.Printable(tested.Policy.Name),
			}
			switch {
			case result.Skipped:
				test.Skipped = &junit.Result{Message: "its name begins with todo_"}
			case result.Failure != "":
				place := result.Place
				place.Message = result.Failure
				test.Failure = &junit.Result{
					Message: policies.Printable(place.Error()), Data: strings.Join(failureDetail(result), "\n"),
				}
			}
			of.AddTestcase(test)
		}
		suites.AddSuite(of)
	}
	if len(r.problems) > 0 {
		of := junit.Testsuite{Name: "problems", ID: len(r.of), Time: "0"}
		for i := range r.problems {
			message := policies.Printable(r.problems[i].Error())
			of.AddTestcase(junit.Testcase{Name: message, Classname: "problems", Error: &junit.Result{Message: message}})
		}
		suites.AddSuite(of)
	}
	return writeSuites(w, suites)
}

// writeSuites writes suites as an XML document that is valid by junit-10.xsd of Jenkins, which does not know the total
// of skipped tests.
func writeSuites(w io.Writer, suites junit.Testsuites) error {
	suites.Skipped = 0
	if _, err := fmt.Fprint(w, `<?xml version="1.0" encoding="UTF-8"?>`+"\n"); err != nil {
		return err
	}
	return suites.WriteXML(w)
}
