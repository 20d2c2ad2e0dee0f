package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/sourceward/sourceward/policies"
	"github.com/sourceward/sourceward/policies/manifest"
)

// report is the result of check, and the format of -o json. The format is stable: within an apiVersion, fields are only
// added. No list is null, and only a field marked omitempty can be missing.
type report struct {
	// APIVersion is always report.sourceward.dev/v1, and Kind is always Report.
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	// Summary counts the files, objects and findings.
	Summary summary `json:"summary"`
	// Findings are sorted by file, line, column, rule and message. If the configuration file lists environments, those
	// outside of all environments come first, and then those of each environment, in the order of the file; so do the
	// other lists.
	Findings []finding `json:"findings"`
	// Errors lists everything that could not be read, compiled or evaluated. If it is not empty, the exit code is 2.
	Errors []reportError `json:"errors"`
	// Skipped lists the objects and files that were not checked although they may hold what a cluster gets, such as
	// patches, with the reasons. Context is not listed.
	Skipped []skipped `json:"skipped"`
	// Notes lists what to know about what was read. It does not affect the exit code.
	Notes []note `json:"notes"`
	// Patches holds the repairs of findings that are not exempt, each with the mode of its finding. The webhook applies
	// those with mode mutate.
	Patches []patch `json:"patches"`

	// diff is the output of --diff. It is part of the text only.
	diff string
	// found are the findings by what distinguishes them. A chart that is rendered several times has equal ones.
	found map[findingKey]bool
	// sections are the parts of the text of a report of several worlds, in order.
	sections []section
}

// section is the part of the text for one environment. The name is empty for what is in none.
type section struct{ environment, diff string }

// summary counts documents and findings.
type summary struct {
	// Files is the number of files read, without those of --context.
	Files int `json:"files"`
	// Objects is the number of Kubernetes objects in these files, of any kind.
	Objects int `json:"objects"`
	// Services and Workloads are the numbers of objects that were checked.
	Services  int `json:"services"`
	Workloads int `json:"workloads"`
	// Skipped is the number of entries in the list of the same name, plus NotKubernetes and NotYAML.
	Skipped int `json:"skipped"`
	// NotKubernetes is the number of documents without an apiVersion and a kind. NotYAML is the number of documents that
	// are neither YAML nor JSON and do not look like a Kubernetes object.
	NotKubernetes int `json:"notKubernetes"`
	NotYAML       int `json:"notYAML"`
	// Deny, Mutate, Warn and Audit are the numbers of findings by mode. A finding that is exempt counts only in Exempt.
	Deny   int `json:"deny"`
	Mutate int `json:"mutate"`
	Warn   int `json:"warn"`
	Audit  int `json:"audit"`
	Exempt int `json:"exempt"`
}

// finding is one problem that one rule found in one object, with its place in a file.
type finding struct {
	// Rule is the id of the rule.
	Rule string `json:"rule"`
	// Mode is what the webhook does because of the finding: deny, mutate, warn or audit.
	Mode policies.Mode `json:"mode"`
	// Severity is error, warning or info. It depends only on the rule.
	Severity policies.Severity `json:"severity"`
	// Message says what is wrong, in one line, without the rule and the object.
	Message string `json:"message"`
	// Fix says what to do, in one line; it may be empty.
	Fix string `json:"fix"`
	// Object is the object that has the problem.
	Object policies.Ref `json:"object"`
	// Path is the JSON Pointer of the field that is wrong or missing.
	Path string `json:"path"`
	// File, Line and Column are the place of the field or, if the field is missing, of its nearest existing parent. Line
	// and Column start at 1. For an object that a kustomization or a chart renders, they are the place from which the
	// field comes: for one that a kustomization sets, a patch or the kustomization. 0 stands for a line or column that is
	// not known.
	File   string `json:"file"`
	Line   int    `json:"line"`
	Column int    `json:"column"`
	// Because lists the other objects without which the finding would not exist, but no more than ten of them.
	// BecauseOmitted is the number of the others.
	Because        []policies.Ref `json:"because"`
	BecauseOmitted int            `json:"becauseOmitted,omitempty"`
	// RenderedBy is the kustomization or the chart that renders the object, if one does, with the values in its folder ci
	// that it is rendered with. Of equal findings that several of them have, there is only the first.
	RenderedBy string `json:"renderedBy,omitempty"`
	// Exempt is set if an annotation exempts the object from the rule. The finding then never fails the run.
	Exempt *policies.Exemption `json:"exempt,omitempty"`
	// Environment is the name of the environment in the configuration file; missing if there is none.
	Environment string `json:"environment,omitempty"`
}

// reportError is something that could not be read, compiled or evaluated.
type reportError struct {
	// File is empty if the error does not concern a file. Line and Column are 0 if it does not concern a place in the
	// file.
	File    string `json:"file"`
	Line    int    `json:"line"`
	Column  int    `json:"column"`
	Message string `json:"message"`
	// Environment is that of a finding.
	Environment string `json:"environment,omitempty"`
}

func (e reportError) String() string {
	position := manifest.Position{Line: e.Line, Column: e.Column}
	text := (&manifest.Error{File: e.File, Position: position, Message: e.Message}).Error()
	if e.Environment != "" {
		text += " (environment " + e.Environment + ")"
	}
	return text
}

// skipped is an object or a file that was not checked.
type skipped struct {
	// File is a file or a folder. Line is 0 if the entry does not concern a line in it.
	File string `json:"file"`
	Line int    `json:"line"`
	// Object is missing if the entry does not concern a single object.
	Object *policies.Ref `json:"object,omitempty"`
	Reason string        `json:"reason"`
	// Environment is that of a finding.
	Environment string `json:"environment,omitempty"`
}

// note says something about what was read.
type note struct {
	// File is empty if the note does not concern a file, and Line is 0 if it does not concern a line in it.
	File string `json:"file"`
	Line int    `json:"line"`
	// Object is missing if the note does not concern a single object.
	Object  *policies.Ref `json:"object,omitempty"`
	Message string        `json:"message"`
	// Environment is that of a finding.
	Environment string `json:"environment,omitempty"`
}

// patch is the repair of one finding.
type patch struct {
	// Object is the object to patch, and File the file that holds it.
	Object policies.Ref `json:"object"`
	File   string       `json:"file"`
	// Rule and Mode are those of the finding.
	Rule string        `json:"rule"`
	Mode policies.Mode `json:"mode"`
	// Operations is a JSON Patch. The patches of one object are in the order in which to apply them.
	Operations []policies.PatchOperation `json:"operations"`
	// Environment is that of the finding.
	Environment string `json:"environment,omitempty"`

	source *manifest.Object
}

// findingKey is what distinguishes findings.
type findingKey struct {
	rule, message, fix, path string
	mode                     policies.Mode
	object                   policies.Ref
	place                    manifest.Place
	exempt                   policies.Exemption
}

func emptyReport() *report {
	return &report{
		APIVersion: "report.sourceward.dev/v1",
		Kind:       "Report",
		Findings:   []finding{},
		Errors:     []reportError{},
		Skipped:    []skipped{},
		Notes:      []note{},
		Patches:    []patch{},
		found:      map[findingKey]bool{},
	}
}

func newReport(m *manifest.Manifests) *report {
	r := emptyReport()
	r.Summary = summary{
		Files: m.Files, Objects: m.Documents, NotKubernetes: m.NotKubernetes, NotYAML: m.NotYAML,
		Skipped: len(m.Skipped) + m.NotKubernetes + m.NotYAML,
	}
	for _, s := range m.Skipped {
		r.Skipped = append(r.Skipped, skipped{File: s.File, Line: s.Line, Object: objectOf(s), Reason: s.Text})
	}
	r.skipChildren(m.Children)
	r.addNotes(m.Notes)
	for _, object := range m.Objects {
		if object.Service != nil {
			r.Summary.Services++
		} else {
			r.Summary.Workloads++
		}
	}
	return r
}

// skipChildren adds one entry for all objects that are not judged because another workload makes them.
func (r *report) skipChildren(children []*manifest.Object) {
	if len(children) == 0 {
		return
	}
	first := children[0]
	reason := fmt.Sprintf("%s makes it; check that instead", first.Workload.Controller)
	if more := len(children) - 1; more > 0 {
		reason += ", likewise for " + count(more, "other object")
	}
	r.Summary.Skipped++
	place := first.Place("")
	r.Skipped = append(r.Skipped, skipped{File: place.File, Line: place.Line, Object: &first.Ref, Reason: reason})
	slices.SortStableFunc(r.Skipped, func(a, b skipped) int {
		return cmp.Or(strings.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line))
	})
}

func (r *report) addNotes(remarks []manifest.Remark) {
	for _, n := range remarks {
		r.Notes = append(r.Notes, note{File: n.File, Line: n.Line, Object: objectOf(n), Message: n.Text})
	}
}

// objectOf returns the object of a remark, or nil if it has none that is known by name.
func objectOf(remark manifest.Remark) *policies.Ref {
	if remark.Object.Kind == "" || remark.Object.Name == "" {
		return nil
	}
	return &remark.Object
}

// remarkText returns a remark in one line, without the file.
func remarkText(remark manifest.Remark) string { return aboutObject(objectOf(remark), remark.Text) }

func aboutObject(object *policies.Ref, text string) string {
	if object == nil {
		return text
	}
	return object.String() + ": " + text
}

// add adds the decision about an object to the report.
func (r *report) add(object *manifest.Object, decision policies.Decision) {
	for _, f := range decision.Findings {
		place := object.Place(f.Path)
		key := findingKey{
			f.Rule, f.Message, f.Fix, f.Path, f.Mode, f.Object, place, *cmp.Or(f.Exempt, &policies.Exemption{}),
		}
		by := object.Document.RenderedBy()
		if by != "" && r.found[key] {
			continue
		}
		r.found[key] = true
		r.Findings = append(r.Findings, finding{
			Rule: f.Rule, Mode: f.Mode, Severity: f.Severity,
			Message: f.Message, Fix: f.Fix, Object: f.Object, Path: f.Path,
			File: place.File, Line: place.Line, Column: place.Column,
			Because: append([]policies.Ref{}, f.Because...), BecauseOmitted: f.BecauseOmitted,
			Exempt: f.Exempt, RenderedBy: by,
		})
		*r.count(f)++
	}
	for _, p := range decision.Patches {
		r.Patches = append(r.Patches, patch{
			Object: object.Ref, File: object.Place("").File,
			Rule: p.Rule, Mode: p.Mode, Operations: p.Operations, source: object,
		})
	}
}

// count returns the counter in the summary that a finding adds to.
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
	slices.SortStableFunc(r.Notes, func(a, b note) int {
		return cmp.Or(strings.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line))
	})
	slices.SortStableFunc(r.Patches, func(a, b patch) int { return strings.Compare(a.File, b.File) })
}

// fails reports whether a finding that is not exempt has the mode failOn or a stricter one. It is false for never.
func (r *report) fails(failOn string) bool {
	limit := slices.Index(policies.Modes, policies.Mode(failOn))
	return slices.ContainsFunc(r.Findings, func(f finding) bool {
		return f.Exempt == nil && slices.Index(policies.Modes, f.Mode) <= limit
	})
}

// writeErrors writes the errors of the report, a line each.
func (r *report) writeErrors(w io.Writer) {
	for _, e := range r.Errors {
		fmt.Fprintf(w, "error: %s\n", policies.Printable(e.String()))
	}
}

func (r *report) writeJSON(w io.Writer) error {
	return encodeJSON(w, r)
}
