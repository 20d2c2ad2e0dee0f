package main

import (
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/jstemmer/go-junit-report/v2/junit"

	"github.com/sourceward/sourceward/policies"
	"github.com/sourceward/sourceward/policies/manifest"
)

// noFile is the name of the suite of the errors that do not concern a file.
const noFile = "sourceward"

// writeJUnit writes the report as JUnit XML: a suite for each file, with a test for each finding in it. The test fails
// if the finding fails the run, and is skipped if the finding is accepted; else it passes, with the finding as its
// output. An error is a test with an error, and what was not checked a test that is skipped. A file with none of these
// has one test, which passes. There are no times, so that equal reports give equal files.
func (r *report) writeJUnit(w io.Writer, flags checkFlags) error {
	suites := junitSuites{byFile: map[string]*junit.Testsuite{}, named: map[[2]string]int{}}
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
		suites.add(f.File, test)
	}
	for _, e := range r.Errors {
		message := policies.Printable(e.String())
		suites.add(e.File, junit.Testcase{Name: "could not check everything", Error: &junit.Result{Message: message}})
	}
	for _, s := range r.Skipped {
		suites.add(s.File, junit.Testcase{Name: "not checked", Skipped: &junit.Result{Message: s.text()}})
	}
	for _, file := range r.files {
		if suites.byFile[repositoryPath(file)] == nil {
			suites.add(file, junit.Testcase{Name: "no findings"})
		}
	}
	var document junit.Testsuites
	for i, file := range slices.Sorted(maps.Keys(suites.byFile)) {
		suites.byFile[file].ID = i
		document.AddSuite(*suites.byFile[file])
	}
	return writeSuites(w, document)
}

// junitSuites holds the suites of files by their paths. named counts the tests with a name, by path and name.
type junitSuites struct {
	byFile map[string]*junit.Testsuite
	named  map[[2]string]int
}

// add adds a test to the suite of a file. It numbers tests of the same name, since programs that show reports tell
// tests apart by their names.
func (s junitSuites) add(file string, test junit.Testcase) {
	path := noFile
	if file != "" {
		path = repositoryPath(file)
	}
	suite := s.byFile[path]
	if suite == nil {
		suite = &junit.Testsuite{Name: policies.Printable(path), File: policies.Printable(file), Time: "0"}
		s.byFile[path] = suite
	}
	test.Name, test.Classname = policies.Printable(test.Name), suite.Name
	s.named[[2]string{path, test.Name}]++
	if n := s.named[[2]string{path, test.Name}]; n > 1 {
		test.Name = fmt.Sprintf("%s (%d)", test.Name, n)
	}
	suite.AddTestcase(test)
}
