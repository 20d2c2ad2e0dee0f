package main

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/sourceward/sourceward/policies"
	"github.com/sourceward/sourceward/policies/manifest"
)

// report is the result of check, and the format of -o json. The format is stable: within an apiVersion, fields are only
// added. No list is null, and only what is optional (omitempty) can be missing.
type report struct {
	// APIVersion is always report.sourceward.dev/v1, and Kind is always Report.
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	// Summary counts the files, objects and findings.
	Summary summary `json:"summary"`
	// Findings are sorted by file, line, column, rule and message, those in a cluster by namespace, name and kind. If the
	// configuration file lists environments, those outside of all environments come first, and then those of each
	// environment, in the order of the file; so do the other lists.
	Findings []finding `json:"findings"`
	// Errors lists everything that could not be read, compiled or evaluated. If it is not empty, the exit code is 2.
	Errors []reportError `json:"errors"`
	// Skipped lists the objects and files that were not checked although they may hold what a cluster gets, such as
	// patches, with the reasons. Context is not listed.
	Skipped []skipped `json:"skipped"`
	// Notes lists what to know about what was read. It does not affect the exit code.
	Notes []note `json:"notes"`
	// Patches holds the repairs of findings that are not exempt, each with the mode of its finding. The webhook applies
	// those with mode mutate. A baseline does not change them.
	Patches []patch `json:"patches"`
	// Gone lists the findings of the baseline that were not found again in the files and folders that were checked, in
	// the order of the baseline. It is missing if there are none, and if there are errors: a finding may be in what could
	// not be read.
	Gone []goneFinding `json:"gone,omitempty"`

	// diff is the output of --diff. It is part of the text and of Markdown.
	diff string
	// groups are those of the objects that were judged. rules are the rules that policies declare in their own Rego; only
	// SARIF has them.
	groups []group
	rules  []policies.Rule
	// found are the findings by what distinguishes them. A chart that is rendered several times has equal ones.
	found map[findingKey]bool
	// sections are the parts of the report of each world, in order.
	sections []section
}

// group is the file that holds an object, as its place names it, or the namespace of an object in a cluster.
type group struct{ file, namespace string }

func groupOf(file string, object policies.Ref) group {
	if file != "" {
		return group{file: file}
	}
	return group{namespace: object.Namespace}
}

// String returns the heading of the group.
func (g group) String() string {
	if g.namespace != "" {
		return "Namespace " + g.namespace
	}
	return g.file
}

// section is the part of the report for one environment. The name is empty for what is in none.
type section struct{ environment, diff string }

// summary counts documents and findings.
type summary struct {
	// Files is the number of files read, without those of --context.
	Files int `json:"files"`
	// Namespaces is the number of Namespaces of a cluster that were checked. It is missing if it is 0.
	Namespaces int `json:"namespaces,omitempty"`
	// Objects is the number of Kubernetes objects in these files, of any kind, or of those that were read of a cluster.
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
	// Deny, Mutate, Warn and Audit are the numbers of findings by mode. A finding that is exempt counts only in Exempt,
	// and one that is in the baseline only in Baseline.
	Deny   int `json:"deny"`
	Mutate int `json:"mutate"`
	Warn   int `json:"warn"`
	Audit  int `json:"audit"`
	Exempt int `json:"exempt"`
	// Baseline is the number of findings that are in the baseline, too. It is missing if it is 0.
	Baseline int `json:"baseline,omitempty"`
}

// finding is one problem that one rule found in one object, with its place if the object is in a file.
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
	// not known. For an object in a cluster, File is empty, and Line and Column are 0.
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
	// Fingerprint identifies the finding in other reports: 64 hexadecimal digits that depend on Environment, Rule, Path,
	// Object and Because. Findings have the same one if they differ in nothing else, such as those of copies of an object.
	Fingerprint string `json:"fingerprint"`
	// Baseline is true if the finding is in the baseline; else it is missing. The finding then never fails the run.
	Baseline bool `json:"baseline,omitempty"`

	// replacements repair the finding in its file. They are set only for SARIF. source is the line of its field; it is set
	// only for the text, and only if the field is in a file that was read.
	replacements []replacement
	source       *sourceLine
}

// isAccepted reports whether the finding is exempt or in the baseline, so that it never fails the run.
func (f finding) isAccepted() bool { return f.Exempt != nil || f.Baseline }

// fails reports whether the finding is not accepted, and has the mode failOn or a stricter one. It is false for never.
func (f finding) fails(failOn string) bool {
	limit := slices.Index(policies.Modes, policies.Mode(failOn))
	return !f.isAccepted() && slices.Index(policies.Modes, f.Mode) <= limit
}

// subject returns the object of the finding, and what renders it: "Service edge/web of charts/web".
func (f finding) subject() string {
	if f.RenderedBy != "" {
		return f.Object.String() + " of " + f.RenderedBy
	}
	return f.Object.String()
}

// remedy returns why the finding is accepted or, if it is not, its fix: "fix: set Local". It is empty if there is none.
func (f finding) remedy() string {
	switch {
	case f.Exempt != nil && f.Exempt.Until != "":
		return "exempt until " + f.Exempt.Until + ": " + f.Exempt.Reason
	case f.Exempt != nil:
		return "exempt: " + f.Exempt.Reason
	case f.Baseline:
		return "in the baseline"
	case f.Fix != "":
		return "fix: " + f.Fix
	}
	return ""
}

// sentence returns the finding in one printable line, without its place, mode and rule, for example
//
//	Service edge/game: annotation a=b asks for Local, but the Service is Cluster; fix: set Local
func (f finding) sentence() string {
	text := inEnvironment(f.subject(), f.Environment) + ": " + f.Message
	if len(f.Because) > 0 {
		text += "; because of " + refs(f.Because, f.BecauseOmitted)
	}
	if remedy := f.remedy(); remedy != "" {
		text += "; " + remedy
	}
	return policies.Printable(text)
}

// inEnvironment adds the name of an environment to a text, unless it is empty.
func inEnvironment(text, environment string) string {
	if environment == "" {
		return text
	}
	return text + " (environment " + environment + ")"
}

// reportError is something that could not be read, compiled or evaluated.
type reportError struct {
	// File is empty if the error does not concern a file. Line and Column are 0 if it does not concern a place in the
	// file.
	File   string `json:"file"`
	Line   int    `json:"line"`
	Column int    `json:"column"`
	// Message says what is wrong and what to do, in one line.
	Message string `json:"message"`
	// Environment is that of a finding.
	Environment string `json:"environment,omitempty"`
}

func (e reportError) String() string {
	position := manifest.Position{Line: e.Line, Column: e.Column}
	return inEnvironment((&manifest.Error{File: e.File, Position: position, Message: e.Message}).Error(), e.Environment)
}

// skipped is an object or a file that was not checked.
type skipped struct {
	// File is a file or a folder, or empty for an object in a cluster. Line is 0 if the entry does not concern a line in
	// it.
	File string `json:"file"`
	Line int    `json:"line"`
	// Object is missing if the entry does not concern a single object.
	Object *policies.Ref `json:"object,omitempty"`
	// Reason says why, in one line, without the file and the object.
	Reason string `json:"reason"`
	// Environment is that of a finding.
	Environment string `json:"environment,omitempty"`
}

// text returns the entry in one printable line, without its place.
func (s skipped) text() string {
	return policies.Printable(inEnvironment(aboutObject(s.Object, s.Reason), s.Environment))
}

// note says something about what was read.
type note struct {
	// File is empty if the note does not concern a file, and Line is 0 if it does not concern a line in it.
	File string `json:"file"`
	Line int    `json:"line"`
	// Object is missing if the note does not concern a single object.
	Object *policies.Ref `json:"object,omitempty"`
	// Message is one line, without the file and the object.
	Message string `json:"message"`
	// Environment is that of a finding.
	Environment string `json:"environment,omitempty"`
}

// text returns the note in one printable line, without its place.
func (n note) text() string {
	return policies.Printable(inEnvironment(aboutObject(n.Object, n.Message), n.Environment))
}

// patch is the repair of one finding.
type patch struct {
	// Object is the object to patch, and File the file that holds it, empty for an object in a cluster.
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
	// path is that of the finding.
	path string
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
		Files: m.Files, Namespaces: m.Namespaces, Objects: m.Documents, NotKubernetes: m.NotKubernetes, NotYAML: m.NotYAML,
		Skipped: len(m.Skipped) + m.NotKubernetes + m.NotYAML,
	}
	for _, s := range m.Skipped {
		r.Skipped = append(r.Skipped, skipped{File: s.File, Line: s.Line, Object: objectOf(s), Reason: s.Text})
	}
	r.skipChildren(m.Children)
	r.addNotes(m.Notes)
	for _, object := range m.Objects {
		r.groups = append(r.groups, groupOf(object.Place("").File, object.Ref))
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
		found := finding{
			Rule: f.Rule, Mode: f.Mode, Severity: f.Severity,
			Message: f.Message, Fix: f.Fix, Object: f.Object, Path: f.Path,
			File: place.File, Line: place.Line, Column: place.Column,
			Because: append([]policies.Ref{}, f.Because...), BecauseOmitted: f.BecauseOmitted,
			Exempt: f.Exempt, RenderedBy: by,
		}
		r.Findings = append(r.Findings, found)
		*r.count(found)++
	}
	for _, p := range decision.Patches {
		r.Patches = append(r.Patches, patch{
			Object: object.Ref, File: object.Place("").File,
			Rule: p.Rule, Mode: p.Mode, Operations: p.Operations, source: object, path: p.Path,
		})
	}
}

// count returns the counter in the summary that a finding adds to.
func (r *report) count(f finding) *int {
	switch {
	case f.Baseline:
		return &r.Summary.Baseline
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
		byObject := 0
		if a.File == "" {
			byObject = cmp.Or(strings.Compare(a.Object.Namespace, b.Object.Namespace),
				strings.Compare(a.Object.Name, b.Object.Name), strings.Compare(a.Object.Kind, b.Object.Kind))
		}
		return cmp.Or(
			strings.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column), byObject,
			strings.Compare(a.Rule, b.Rule), strings.Compare(a.Message, b.Message),
		)
	})
	slices.SortStableFunc(r.Notes, func(a, b note) int {
		return cmp.Or(strings.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line))
	})
	slices.SortStableFunc(r.Patches, func(a, b patch) int { return strings.Compare(a.File, b.File) })
}

// fails reports whether a finding fails the run. See its method of the same name.
func (r *report) fails(failOn string) bool {
	return slices.ContainsFunc(r.Findings, func(f finding) bool { return f.fails(failOn) })
}

// writeErrors writes the errors of the report, a line each.
func (r *report) writeErrors(w io.Writer) {
	for _, e := range r.Errors {
		fmt.Fprintf(w, "error: %s\n", policies.Printable(e.String()))
	}
}

// unaccepted returns the findings that are not accepted, those of the strictest mode first.
func (r *report) unaccepted() []finding {
	list := slices.DeleteFunc(slices.Clone(r.Findings), finding.isAccepted)
	slices.SortStableFunc(list, func(a, b finding) int {
		return cmp.Compare(slices.Index(policies.Modes, a.Mode), slices.Index(policies.Modes, b.Mode))
	})
	return list
}

// reportFormat is a format of the report.
type reportFormat struct {
	// name is that of --output.
	name string
	// write writes the report in the format. The error is that of w.
	write func(r *report, w io.Writer, flags checkFlags) error
}

// reportFormats lists the formats in the order in which the help names them.
var reportFormats = []reportFormat{
	{"text", (*report).writeText},
	{"json", (*report).writeJSON},
	{"sarif", (*report).writeSARIF},
	{"junit", (*report).writeJUnit},
	{"github", (*report).writeGitHub},
	{"gitlab", (*report).writeGitLab},
	{"markdown", (*report).writeMarkdown},
}

// write writes the report in a format. The error is that of w.
func (r *report) write(w io.Writer, format string, flags checkFlags) error {
	i := slices.IndexFunc(reportFormats, func(f reportFormat) bool { return f.name == format })
	return reportFormats[i].write(r, w, flags)
}

// formatNames returns the names of the formats.
func formatNames() []string {
	names := make([]string, len(reportFormats))
	for i, format := range reportFormats {
		names[i] = format.name
	}
	return names
}

func (r *report) writeJSON(w io.Writer, _ checkFlags) error {
	return encodeJSON(w, r)
}

// repositoryPath returns the name of a file as other programs want it: with forward slashes, and relative to the
// working directory, which is usually the root of the repository, if the file is in it.
func repositoryPath(file string) string {
	if filepath.IsAbs(file) {
		if working, err := os.Getwd(); err == nil {
			if relative, err := filepath.Rel(working, file); err == nil && filepath.IsLocal(relative) {
				file = relative
			}
		}
	}
	return filepath.ToSlash(filepath.Clean(file))
}
