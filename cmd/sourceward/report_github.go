package main

import (
	"bufio"
	"fmt"
	"io"
	"strings"

	"github.com/sourceward/sourceward/policies"
)

// githubLevels are the workflow commands of GitHub Actions that show findings, by their modes.
var githubLevels = map[policies.Mode]string{
	policies.Deny: "error", policies.Mutate: "error", policies.Warn: "warning", policies.Audit: "notice",
}

// githubData and githubProperty escape the message and a property of a workflow command.
var (
	githubData     = strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A")
	githubProperty = strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A", ":", "%3A", ",", "%2C")
)

// writeGitHub writes the report as workflow commands, which GitHub Actions shows as annotations of files. It shows only
// the first ten of each kind in a step: errors come first, then the findings of the strictest mode. Findings that are
// accepted, and notes, are left out.
func (r *report) writeGitHub(w io.Writer, _ checkFlags) error {
	out := bufio.NewWriter(w)
	for _, e := range r.Errors {
		message := policies.Printable(inEnvironment(e.Message, e.Environment))
		githubAnnotation(out, "error", e.File, e.Line, e.Column, "could not check everything", message)
	}
	for _, f := range r.unaccepted() {
		githubAnnotation(out, githubLevels[f.Mode], f.File, f.Line, f.Column, f.Rule, f.sentence())
	}
	for _, s := range r.Skipped {
		githubAnnotation(out, "notice", s.File, s.Line, 0, "not checked", s.text())
	}
	return out.Flush()
}

// githubAnnotation writes a workflow command. A line or column of 0 stands for one that is not known, and an empty file
// for none.
func githubAnnotation(out io.Writer, level, file string, line, column int, title, message string) {
	var properties []string
	if file != "" {
		properties = append(properties, "file="+githubProperty.Replace(policies.Printable(repositoryPath(file))))
	}
	if line > 0 {
		properties = append(properties, fmt.Sprintf("line=%d", line))
	}
	if column > 0 {
		properties = append(properties, fmt.Sprintf("col=%d", column))
	}
	properties = append(properties, "title="+githubProperty.Replace(policies.Printable(title)))
	fmt.Fprintf(out, "::%s %s::%s\n", level, strings.Join(properties, ","), githubData.Replace(message))
}
