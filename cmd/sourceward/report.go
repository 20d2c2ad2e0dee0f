package main

import (
	"cmp"
	"encoding/json"
	"io"
	"slices"
	"strings"

	"github.com/sourceward/sourceward/policies"
	"github.com/sourceward/sourceward/policies/manifest"
)

// report is what check found, and the form of -o json: stable and versioned. Fields are only ever
// added to a version.
type report struct {
	// APIVersion is report.sourceward.dev/v1, and Kind is Report.
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	// Summary counts what was read and found.
	Summary summary `json:"summary"`
	// Findings are sorted by file, line, column, rule and message.
	Findings []finding `json:"findings"`
	// Errors are what could not be read, compiled or evaluated. If there are any, the exit code is 2.
	Errors []reportError `json:"errors"`
	// Patches are the repairs of findings that are not exempt, each with its finding's mode. The
	// webhook applies those of mode mutate.
	Patches []patch `json:"patches"`

	// diff is what --diff shows, in text only.
	diff string
}

// summary counts documents and findings.
type summary struct {
	// Files is the number of files read, and Objects that of Kubernetes objects in them, of which
	// Services and Workloads are judged. Skipped are documents that are no Kubernetes object, or only
	// a part of one, such as a kustomize patch.
	Files     int `json:"files"`
	Objects   int `json:"objects"`
	Services  int `json:"services"`
	Workloads int `json:"workloads"`
	Skipped   int `json:"skipped"`
	// Findings by mode, and those that are exempt, which count nowhere else.
	Deny   int `json:"deny"`
	Mutate int `json:"mutate"`
	Warn   int `json:"warn"`
	Audit  int `json:"audit"`
	Exempt int `json:"exempt"`
}

// finding is a finding of the decision, and where it is.
type finding struct {
	Rule     string            `json:"rule"`
	Mode     policies.Mode     `json:"mode"`
	Severity policies.Severity `json:"severity"`
	Message  string            `json:"message"`
	Fix      string            `json:"fix"`
	Object   policies.Ref      `json:"object"`
	// Path is the JSON Pointer of the field that is wrong or missing.
	Path string `json:"path"`
	// Line and Column, from 1, are those of the field, or of its nearest parent that is there.
	File   string `json:"file"`
	Line   int    `json:"line"`
	Column int    `json:"column"`
	// Because are the other objects without which it would not be a finding.
	Because []policies.Ref `json:"because"`
	// Exempt is set if an annotation exempts the object from the rule.
	Exempt *policies.Exemption `json:"exempt,omitempty"`
}

// reportError is something that could not be read, compiled or evaluated.
type reportError struct {
	// File is empty, and Line and Column are 0, where it is not about a file, or not about a place in it.
	File    string `json:"file"`
	Line    int    `json:"line"`
	Column  int    `json:"column"`
	Message string `json:"message"`
}

func (e reportError) String() string {
	return (&manifest.Error{File: e.File, Position: manifest.Position{Line: e.Line, Column: e.Column}, Message: e.Message}).Error()
}

// patch is the repair of one finding.
type patch struct {
	Object     policies.Ref              `json:"object"`
	File       string                    `json:"file"`
	Rule       string                    `json:"rule"`
	Mode       policies.Mode             `json:"mode"`
	Operations []policies.PatchOperation `json:"operations"`

	source *manifest.Object
}

func newReport(m *manifest.Manifests) *report {
	r := &report{
		APIVersion: "report.sourceward.dev/v1",
		Kind:       "Report",
		Summary:    summary{Files: m.Files, Objects: m.Documents, Skipped: m.Skipped},
		Findings:   []finding{},
		Errors:     []reportError{},
		Patches:    []patch{},
	}
	for _, object := range m.Objects {
		if object.Service != nil {
			r.Summary.Services++
		} else {
			r.Summary.Workloads++
		}
	}
	return r
}

// add takes over the decision about an object.
func (r *report) add(object *manifest.Object, decision policies.Decision) {
	for _, f := range decision.Findings {
		position := object.Position(f.Path)
		r.Findings = append(r.Findings, finding{
			Rule: f.Rule, Mode: f.Mode, Severity: f.Severity, Message: f.Message, Fix: f.Fix, Object: f.Object, Path: f.Path,
			File: object.Document.File, Line: position.Line, Column: position.Column,
			Because: append([]policies.Ref{}, f.Because...),
			Exempt:  f.Exempt,
		})
		*r.count(f)++
	}
	for _, p := range decision.Patches {
		r.Patches = append(r.Patches, patch{
			Object: object.Ref, File: object.Document.File, Rule: p.Rule, Mode: p.Mode, Operations: p.Operations, source: object,
		})
	}
}

// count is the number in the summary that a finding adds to.
func (r *report) count(f policies.Finding) *int {
	switch {
	case f.Exempt != nil:
		return &r.Summary.Exempt
	case f.Mode == policies.Deny:
		return &r.Summary.Deny
	case f.Mode == policies.Mutate:
		return &r.Summary.Mutate
	case f.Mode == policies.Warn:
		return &r.Summary.Warn
	default:
		return &r.Summary.Audit
	}
}

func (r *report) addErrors(errs []*manifest.Error) {
	for _, e := range errs {
		r.Errors = append(r.Errors, reportError{File: e.File, Line: e.Line, Column: e.Column, Message: e.Message})
	}
}

func (r *report) sort() {
	slices.SortStableFunc(r.Findings, func(a, b finding) int {
		return cmp.Or(
			strings.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column),
			strings.Compare(a.Rule, b.Rule), strings.Compare(a.Message, b.Message),
		)
	})
	slices.SortStableFunc(r.Patches, func(a, b patch) int { return strings.Compare(a.File, b.File) })
}

// fails tells whether a finding that is not exempt is at or above a mode.
func (r *report) fails(failOn string) bool {
	limit := slices.Index(policies.Modes, policies.Mode(failOn))
	return slices.ContainsFunc(r.Findings, func(f finding) bool {
		return f.Exempt == nil && slices.Index(policies.Modes, f.Mode) <= limit
	})
}

func (r *report) writeJSON(w io.Writer) error {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(r)
}
