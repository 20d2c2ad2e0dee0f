package main

import (
	"crypto/sha256"
	"fmt"
	"io"
	"strings"

	"github.com/sourceward/sourceward/policies"
)

// gitlabSeverities are the severities of GitLab that show findings, by their modes.
var gitlabSeverities = map[policies.Mode]string{
	policies.Deny: "critical", policies.Mutate: "major", policies.Warn: "minor", policies.Audit: "info",
}

// gitlabIssue is an entry of a code quality report of GitLab.
type gitlabIssue struct {
	Description string         `json:"description"`
	CheckName   string         `json:"check_name"`
	Fingerprint string         `json:"fingerprint"`
	Severity    string         `json:"severity"`
	Location    gitlabLocation `json:"location"`
}

// gitlabLocation is a place in a file. GitLab wants a path, and a line of at least 1. For an object in a cluster the
// path is KIND/NAMESPACE/NAME.
type gitlabLocation struct {
	Path  string `json:"path"`
	Lines struct {
		Begin int `json:"begin"`
	} `json:"lines"`
}

// writeGitLab writes the report as a code quality report of GitLab. Errors are blockers. Findings that are accepted,
// what was skipped, and notes are left out: GitLab would show them as problems.
func (r *report) writeGitLab(w io.Writer, _ checkFlags) error {
	issues := []gitlabIssue{}
	seen := map[string]int{} // the number of entries with a fingerprint
	add := func(check, severity, file string, line int, description, fingerprint string) {
		issue := gitlabIssue{
			Description: description, CheckName: check, Fingerprint: fingerprint, Severity: severity,
			Location: gitlabLocation{Path: policies.Printable(repositoryPath(file))},
		}
		issue.Location.Lines.Begin = max(line, 1)
		seen[fingerprint]++
		if n := seen[fingerprint]; n > 1 || fingerprint == "" {
			// Of two entries with one fingerprint GitLab shows only one.
			issue.Fingerprint = fmt.Sprintf("%x", sha256.Sum256(fmt.Appendf(nil, "%s %d", fingerprint, n)))
		}
		issues = append(issues, issue)
	}
	for _, e := range r.Errors {
		fingerprint := fmt.Sprintf("%x", sha256.Sum256([]byte("error "+e.Environment+"\n"+e.File+"\n"+e.Message)))
		description := policies.Printable(inEnvironment(e.Message, e.Environment))
		add("could-not-check", "blocker", e.File, e.Line, description, fingerprint)
	}
	for _, f := range r.unaccepted() {
		file := f.File
		if file == "" {
			file = strings.Join([]string{f.Object.Kind, f.Object.Namespace, f.Object.Name}, "/")
		}
		add(f.Rule, gitlabSeverities[f.Mode], file, f.Line, f.sentence(), f.Fingerprint)
	}
	return encodeJSON(w, issues)
}
