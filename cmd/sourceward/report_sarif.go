package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/aymanbagabas/go-udiff"
	"github.com/owenrumney/go-sarif/v3/pkg/report/v210/sarif"

	"github.com/sourceward/sourceward/policies"
	"github.com/sourceward/sourceward/policies/manifest"
)

const (
	homepage = "https://github.com/sourceward/sourceward"
	// rulePages is the address of the documentation of a rule of the catalogue, without its id.
	rulePages = homepage + "/blob/main/policies/README.md#"
)

// The levels of SARIF.
const (
	sarifError   = "error"
	sarifWarning = "warning"
	sarifNote    = "note"
)

// sarifLevels are the levels by the severity of a rule.
var sarifLevels = map[policies.Severity]string{
	policies.SeverityError: sarifError, policies.SeverityWarning: sarifWarning, policies.SeverityInfo: sarifNote,
}

// writeSARIF writes the report in the Static Analysis Results Interchange Format, version 2.1.0. Errors, what was
// skipped, and notes are notifications of the invocation. A finding that is exempt is suppressed.
func (r *report) writeSARIF(w io.Writer, flags checkFlags) error {
	run := sarif.NewRunWithInformationURI("Sourceward", homepage).
		WithColumnKind("unicodeCodePoints").
		WithAutomationDetails(sarif.NewRunAutomationDetails().WithID("sourceward/"))
	run.Tool.Driver.WithVersion(version)
	var ids []string
	for _, f := range r.Findings {
		ids = append(ids, f.Rule)
	}
	slices.Sort(ids)
	ids = slices.Compact(ids)
	for _, id := range ids {
		run.Tool.Driver.AddRule(r.sarifRule(id))
	}
	for _, f := range r.Findings {
		index, _ := slices.BinarySearch(ids, f.Rule)
		result := f.sarifResult(index)
		switch {
		case f.Baseline:
			result.WithBaselineState("unchanged")
		case flags.baseline != "":
			result.WithBaselineState("new")
		}
		run.AddResult(result)
	}
	invocation := sarif.NewInvocation().WithExecutionSuccessful(len(r.Errors) == 0)
	notify := func(level, file string, line, column int, message string) {
		notification := sarif.NewNotification().WithLevel(level).WithMessage(sarif.NewTextMessage(message))
		if file != "" {
			notification.AddLocation(sarifLocation(file, line, column))
		}
		invocation.AddToolExecutionNotification(notification)
	}
	for _, e := range r.Errors {
		message := policies.Printable(inEnvironment(e.Message, e.Environment))
		notify(sarifError, e.File, e.Line, e.Column, message)
	}
	for _, s := range r.Skipped {
		notify(sarifNote, s.File, s.Line, 0, "not checked: "+s.text())
	}
	for _, n := range r.Notes {
		notify(sarifNote, n.File, n.Line, 0, n.text())
	}
	document, err := withoutDefaults(sarif.NewReport().AddRun(run.AddInvocation(invocation)))
	if err != nil {
		return err
	}
	return encodeJSON(w, document)
}

// sarifRule returns the description of a rule: that of the catalogue, or of the policy that declares it.
func (r *report) sarifRule(id string) *sarif.ReportingDescriptor {
	described := sarif.NewRule(id)
	rule, isBuiltIn := policies.RuleByID(id)
	if isBuiltIn {
		described.WithHelpURI(rulePages + id)
	} else {
		i := slices.IndexFunc(r.rules, func(r policies.Rule) bool { return r.ID == id })
		if i < 0 {
			return described
		}
		rule = r.rules[i]
		if pages := webPages(rule.Sources); pages != nil {
			described.WithHelpURI(pages[0])
		}
	}
	if rule.Title != "" { // METADATA of a policy's own rule does not need to have any of these.
		described.WithShortDescription(sarif.NewMultiformatMessageString().WithText(rule.Title))
	}
	if rule.What != "" {
		described.WithFullDescription(sarif.NewMultiformatMessageString().WithText(rule.What))
	}
	help := sarif.NewMultiformatMessageString().WithText(page(rule))
	if markdown := markdownPage(rule); markdown != "" {
		help.WithMarkdown(markdown)
	}
	return described.WithHelp(help).
		WithDefaultConfiguration(sarif.NewReportingConfiguration().WithLevel(sarifLevels[rule.Severity]))
}

// markdownPage returns the documentation of a rule in Markdown.
func markdownPage(rule policies.Rule) string {
	var b strings.Builder
	for _, section := range pageSections(rule) {
		fmt.Fprintf(&b, "**%s.** %s\n\n", section.title, markdownText(section.text))
	}
	for _, page := range webPages(rule.Sources) {
		fmt.Fprintf(&b, "- <%s>\n", page)
	}
	return b.String()
}

// webPages returns those of the sources of a rule that are addresses of web pages, as valid URLs.
func webPages(sources []string) []string {
	var pages []string
	for _, source := range sources {
		if page, err := url.Parse(source); err == nil && page.Host != "" && strings.HasPrefix(page.Scheme, "http") {
			pages = append(pages, page.String())
		}
	}
	return pages
}

// sarifResult returns the finding as a result. index is that of its rule.
func (f finding) sarifResult(index int) *sarif.Result {
	object := policies.Printable(f.Object.String())
	location := sarif.NewLocation()
	if f.File != "" {
		location = sarifLocation(f.File, f.Line, f.Column)
	}
	location.AddLogicalLocation(sarif.NewLogicalLocation().
		WithKind("resource").WithName(policies.Printable(f.Object.Name)).WithFullyQualifiedName(object))
	properties := sarif.NewPropertyBag().Add("mode", f.Mode).Add("path", f.Path)
	if f.RenderedBy != "" {
		properties.Add("renderedBy", policies.Printable(f.RenderedBy))
	}
	if f.Environment != "" {
		properties.Add("environment", policies.Printable(f.Environment))
	}
	result := sarif.NewRuleResult(f.Rule).WithRuleIndex(index).WithLevel(sarifLevels[f.Severity]).
		WithMessage(sarif.NewTextMessage(f.sentence())).AddLocation(location).WithProperties(properties)
	if f.Fingerprint != "" {
		result.WithPartialFingerprints(map[string]string{"sourceward/v1": f.Fingerprint})
	}
	if f.Exempt != nil {
		result.AddSuppression(sarif.NewSuppression().WithKind("inSource").WithStatus("accepted").
			WithJustification(policies.Printable(f.remedy())))
	}
	if f.replacements != nil {
		change := sarif.NewArtifactChange().WithArtifactLocation(sarif.NewSimpleArtifactLocation(sarifURI(f.File)))
		for _, replacement := range f.replacements {
			change.AddReplacement(replacement.sarif())
		}
		result.AddFixe(sarif.NewFix().AddArtifactChange(change).WithDescription(sarif.NewTextMessage(f.Fix)))
	}
	return result
}

// sarifLocation returns a place in a file. A line or column of 0 stands for one that is not known.
func sarifLocation(file string, line, column int) *sarif.Location {
	place := sarif.NewPhysicalLocation().WithArtifactLocation(sarif.NewSimpleArtifactLocation(sarifURI(file)))
	if line > 0 {
		region := sarif.NewRegion().WithStartLine(line)
		if column > 0 {
			region.WithStartColumn(column)
		}
		place.WithRegion(region)
	}
	return sarif.NewLocationWithPhysicalLocation(place)
}

// sarifURI returns the URI reference of a file.
func sarifURI(file string) string {
	path := url.URL{Path: repositoryPath(file)}
	if filepath.IsAbs(path.Path) {
		path.Scheme = "file"
	}
	return path.String()
}

// sarifDefaults are the members that the library writes although they have the value that the standard defines as
// their default. Some programs take an index of -1 for one.
var sarifDefaults = map[string]any{
	"id": -1.0, "index": -1.0, "parentIndex": -1.0, "byteOffset": -1.0, "charOffset": -1.0, "rank": -1.0,
	"kind": "fail", "enabled": true, "isComprehensive": false, "language": "en-US",
	"newlineSequences": []any{"\r\n", "\n"}, "contents": []any{"localizedData", "nonLocalizedData"},
}

// withoutDefaults returns the JSON members of a SARIF document without those that are empty or have their default.
func withoutDefaults(document *sarif.Report) (map[string]any, error) {
	data, err := json.Marshal(document)
	if err != nil {
		return nil, err
	}
	var members map[string]any
	if err := json.Unmarshal(data, &members); err != nil {
		return nil, err
	}
	removeDefaults(members)
	return members, nil
}

// removeDefaults removes members from the mappings in a JSON value. A run without results keeps its empty list of them:
// without the list, it would be a run that looked for nothing.
func removeDefaults(value any) {
	switch value := value.(type) {
	case []any:
		for _, element := range value {
			removeDefaults(element)
		}
	case map[string]any:
		for name, member := range value {
			removeDefaults(member)
			list, isList := member.([]any)
			members, isMapping := member.(map[string]any)
			isEmpty := isList && len(list) == 0 && name != "results" || isMapping && len(members) == 0
			if isEmpty || reflect.DeepEqual(member, sarifDefaults[name]) {
				delete(value, name)
			}
		}
	}
}

// replacement is a change to the text of a file: text replaces what is from start up to end, which is not part of it.
type replacement struct {
	start, end manifest.Position
	text       string
}

// maxReplaced is the most bytes of a document for which the report has fixes. A fix parses the whole document; those of
// a List of thousands of objects would take minutes.
const maxReplaced = 32 << 10

// addReplacements adds to each finding the replacements that repair it. There are none where there is no file to
// change, as for standard input, rendered objects and a cluster, or if the change cannot be made in the text of the
// file.
func (r *report) addReplacements() {
	type repaired struct {
		rule, path string
		object     policies.Ref
		place      manifest.Place
	}
	of := map[repaired][]replacement{}
	for _, p := range r.Patches {
		document := p.source.Document
		before, above := document.Source()
		hasFile := document.File != "" && document.File != manifest.Stdin && document.RenderedBy() == ""
		if !hasFile || len(before) > maxReplaced {
			continue
		}
		if after, err := document.Patch(p.source.At, p.Operations); err == nil {
			of[repaired{p.Rule, p.path, p.Object, p.source.Place(p.path)}] = replacements(string(before), string(after), above)
		}
	}
	for i := range r.Findings {
		f := &r.Findings[i]
		place := manifest.Place{File: f.File, Position: manifest.Position{Line: f.Line, Column: f.Column}}
		f.replacements = of[repaired{f.Rule, f.Path, f.Object, place}]
	}
}

// replacements returns the replacements of whole lines that turn one text into another. above is the number of lines of
// the file above the text.
func replacements(before, after string, above int) []replacement {
	position := func(offset int) manifest.Position {
		lineStart := strings.LastIndexByte(before[:offset], '\n') + 1
		return manifest.Position{
			Line:   above + 1 + strings.Count(before[:lineStart], "\n"),
			Column: 1 + utf8.RuneCountInString(before[lineStart:offset]),
		}
	}
	var list []replacement
	for _, edit := range udiff.Lines(before, after) {
		edit = withoutLastBreak(before, edit)
		list = append(list, replacement{position(edit.Start), position(edit.End), edit.New})
	}
	return list
}

// withoutLastBreak returns an edit of whole lines that has the same effect, and does not reach behind the last line
// break of a text: there is no line behind that of a file in which an edit could begin or end.
func withoutLastBreak(text string, edit udiff.Edit) udiff.Edit {
	lineBreak := "\n"
	if strings.HasSuffix(text[:edit.End], "\r\n") {
		lineBreak = "\r\n"
	}
	kept, endsInBreak := strings.CutSuffix(edit.New, lineBreak)
	switch {
	case endsInBreak && strings.HasSuffix(text[edit.Start:edit.End], lineBreak):
		edit.End -= len(lineBreak)
		edit.New = kept
	case edit.End == len(text) && strings.HasSuffix(text, lineBreak) &&
		strings.HasSuffix(text[:edit.Start], lineBreak) && (endsInBreak || edit.New == ""):
		edit.Start -= len(lineBreak)
		edit.End -= len(lineBreak)
		if endsInBreak {
			edit.New = lineBreak + kept
		}
	}
	return edit
}

// sarif returns the replacement as SARIF has it.
func (r replacement) sarif() *sarif.Replacement {
	converted := sarif.NewReplacement().WithDeletedRegion(sarif.NewRegion().
		WithStartLine(r.start.Line).WithStartColumn(r.start.Column).
		WithEndLine(r.end.Line).WithEndColumn(r.end.Column))
	if r.text != "" {
		converted.WithInsertedContent(sarif.NewArtifactContent().WithText(r.text))
	}
	return converted
}
