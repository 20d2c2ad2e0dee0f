package main

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/jstemmer/go-junit-report/v2/junit"

	"github.com/sourceward/sourceward/policies"
	"github.com/sourceward/sourceward/policies/manifest"
)

// noFile is the name of the suite of the errors that do not concern a file or an object.
const noFile = "sourceward"

// writeJUnit writes the report as JUnit XML: a suite for each group, with a test for each finding in it. The test fails
// if the finding fails the run, and is skipped if the finding is accepted; else it passes, with the finding as its
// output. An error is a test with an error, and what was not checked a test that is skipped. A group with none of these
// has one test, which passes. There are no times, so that equal reports give equal files.
func (r *report) writeJUnit(w io.Writer, flags checkFlags) error {
	suites := junitSuites{byName: map[string]*junit.Testsuite{}, named: map[[2]string]int{}}
	for _, f := range r.Findings {
		test := junit.Testcase{Name: f.Rule + ": " + inEnvironment(f.subject(), f.Environment)}
		place := manifest.Place{File: f.File, Position: manifest.Position{Line: f.Line, Column: f.Column}}
		detail := policies.Printable(place.Error(f.sentence()).Error())
		switch {
		case f.fails(flags.failOn):
			test.Failure = &junit.Result{Message: policies.Printable(f.Message), Type: string(f.Mode), Data: detail}
		case f.isAccepted():
			test.Skipped = &junit.Result{Message: policies.Printable(f.remedy()), Data: detail}
		default:
			test.SystemOut = &junit.Output{Data: string(f.Mode) + ": " + detail}
		}
		suites.add(groupOf(f.File, f.Object), test)
	}
	for _, e := range r.Errors {
		test := junit.Testcase{Name: "could not check everything"}
		test.Error = &junit.Result{Message: policies.Printable(e.String())}
		suites.add(group{file: e.File}, test)
	}
	for _, s := range r.Skipped {
		of := groupOf(s.File, *cmp.Or(s.Object, &policies.Ref{}))
		suites.add(of, junit.Testcase{Name: "not checked", Skipped: &junit.Result{Message: s.text()}})
	}
	for _, of := range r.groups {
		if suites.byName[of.suite()] == nil {
			suites.add(of, junit.Testcase{Name: "no findings"})
		}
	}
	var document junit.Testsuites
	for i, name := range slices.Sorted(maps.Keys(suites.byName)) {
		suites.byName[name].ID = i
		document.AddSuite(*suites.byName[name])
	}
	return writeSuites(w, document)
}

// suite returns the name of the suite of a group.
func (g group) suite() string {
	switch {
	case g.file != "":
		return repositoryPath(g.file)
	case g.namespace != "":
		return g.String()
	}
	return noFile
}

// junitSuites holds the suites by their names. named counts the tests with a name, by suite and name.
type junitSuites struct {
	byName map[string]*junit.Testsuite
	named  map[[2]string]int
}

// add adds a test to the suite of a group. It numbers tests of the same name, since programs that show reports tell
// tests apart by their names.
func (s junitSuites) add(of group, test junit.Testcase) {
	name := of.suite()
	suite := s.byName[name]
	if suite == nil {
		suite = &junit.Testsuite{Name: policies.Printable(name), File: policies.Printable(of.file), Time: "0"}
		s.byName[name] = suite
	}
	test.Name, test.Classname = policies.Printable(test.Name), suite.Name
	s.named[[2]string{name, test.Name}]++
	if n := s.named[[2]string{name, test.Name}]; n > 1 {
		test.Name = fmt.Sprintf("%s (%d)", test.Name, n)
	}
	suite.AddTestcase(test)
}
