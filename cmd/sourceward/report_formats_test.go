package main_test

import (
	"encoding/json"
	"encoding/xml"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

// sarifSchema compiles the official schema of SARIF 2.1.0, once. The library that writes SARIF has the schema as a
// constant that is not exported. Its method Validate sees only what the library has read and would write again, not
// what is in the report.
var sarifSchema = sync.OnceValues(func() (*jsonschema.Schema, error) {
	list := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/owenrumney/go-sarif/v3")
	dir, err := list.Output()
	if err != nil {
		return nil, err
	}
	name := filepath.Join(strings.TrimSpace(string(dir)), "pkg/report/v210/sarif/schema.go")
	file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
	if err != nil {
		return nil, err
	}
	text := file.Scope.Lookup("schema").Decl.(*ast.ValueSpec).Values[0].(*ast.BasicLit).Value
	if text, err = strconv.Unquote(text); err != nil {
		return nil, err
	}
	document, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
	if err != nil {
		return nil, err
	}
	compiler := jsonschema.NewCompiler()
	compiler.AssertFormat()
	if err := compiler.AddResource("sarif-2.1.0.json", document); err != nil {
		return nil, err
	}
	return compiler.Compile("sarif-2.1.0.json")
})

// validSARIF validates the SARIF that a command has written: to the standard output, and to the files of
// -o sarif=FILE.
func validSARIF(t testing.TB, cmd *exec.Cmd, stdout string) {
	t.Helper()
	var texts []string
	if strings.Contains(stdout, "sarif-schema-2.1.0.json") {
		texts = append(texts, stdout)
	}
	for _, arg := range cmd.Args {
		if name, ok := strings.CutPrefix(arg, "sarif="); ok {
			if !filepath.IsAbs(name) {
				name = filepath.Join(cmd.Dir, name)
			}
			if text, err := os.ReadFile(name); err == nil { // an error means that it was not written
				texts = append(texts, string(text))
			}
		}
	}
	for _, text := range texts {
		schema, err := sarifSchema()
		if err != nil {
			t.Fatal(err)
		}
		document, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		if err := schema.Validate(document); err != nil {
			t.Errorf("the report is not valid SARIF: %v\n%s", err, text)
		}
	}
}

// TestReportsAreValidInEveryFormat runs each case of check with all formats at once.
func TestReportsAreValidInEveryFormat(t *testing.T) {
	t.Parallel()
	formats := map[string]func(t *testing.T, text string, code int, want report){
		"sarif": testSARIF, "junit": testJUnit, "github": testGitHub, "gitlab": testGitLab, "markdown": testMarkdown,
	}
	for _, dir := range cases(t) {
		args := strings.Fields(content(t, dir, "args"))
		if !slices.Contains(args, "check") || slices.Contains(args, "--help") || slices.Contains(args, "--show-config") {
			continue
		}
		t.Run(filepath.Base(dir), func(t *testing.T) {
			t.Parallel()
			reports := t.TempDir()
			for _, format := range append([]string{"json"}, slices.Sorted(maps.Keys(formats))...) {
				args = append(args, "-o", format+"="+filepath.Join(reports, format))
			}
			got := runCase(t, dir, args...)
			text := content(t, reports, "json")
			if text == "" {
				return // The case is about a mistake in the command line.
			}
			want := decodeReport(t, text)
			for format, test := range formats {
				t.Run(format, func(t *testing.T) { test(t, content(t, reports, format), got.Code, want) })
			}
		})
	}
}

// unaccepted returns the number of findings that are neither exempt nor in the baseline.
func (r report) unaccepted() int {
	n := 0
	for _, f := range r.Findings {
		if f.Exempt == nil && !f.Baseline {
			n++
		}
	}
	return n
}

// sarif is what tests read of a SARIF document.
type sarif struct {
	Runs []struct {
		Tool struct {
			Driver struct {
				Rules []struct {
					ID string `json:"id"`
				} `json:"rules"`
			} `json:"driver"`
		} `json:"tool"`
		Invocations []struct {
			ExecutionSuccessful        bool `json:"executionSuccessful"`
			ToolExecutionNotifications []struct {
				Level string `json:"level"`
			} `json:"toolExecutionNotifications"`
		} `json:"invocations"`
		Results []struct {
			RuleID    string `json:"ruleId"`
			RuleIndex int    `json:"ruleIndex"`
			Locations []struct {
				PhysicalLocation struct {
					ArtifactLocation struct {
						URI string `json:"uri"`
					} `json:"artifactLocation"`
					Region struct {
						StartLine   int `json:"startLine"`
						StartColumn int `json:"startColumn"`
					} `json:"region"`
				} `json:"physicalLocation"`
			} `json:"locations"`
			Suppressions []struct {
				Kind, Status, Justification string
			} `json:"suppressions"`
			Fixes []struct {
				ArtifactChanges []struct {
					ArtifactLocation struct {
						URI string `json:"uri"`
					} `json:"artifactLocation"`
					Replacements []replacement `json:"replacements"`
				} `json:"artifactChanges"`
			} `json:"fixes"`
		} `json:"results"`
	} `json:"runs"`
}

// replacement is a replacement of SARIF.
type replacement struct {
	DeletedRegion struct {
		StartLine   int `json:"startLine"`
		StartColumn int `json:"startColumn"`
		EndLine     int `json:"endLine"`
		EndColumn   int `json:"endColumn"`
	} `json:"deletedRegion"`
	InsertedContent struct {
		Text string `json:"text"`
	} `json:"insertedContent"`
}

// testSARIF compares a SARIF document, which is already validated, with the report in JSON.
func testSARIF(t *testing.T, text string, _ int, want report) {
	var got sarif
	if err := json.Unmarshal([]byte(text), &got); err != nil {
		t.Fatal(err)
	}
	for _, noise := range []string{`": -1`, `": null`, `": {}`, `": []`} {
		if strings.Contains(strings.ReplaceAll(text, `"results": []`, ""), noise) {
			t.Errorf("the report has a member with %q:\n%s", noise, text)
		}
	}
	run := got.Runs[0]
	if len(run.Results) != len(want.Findings) {
		t.Fatalf("there are %d results for %d findings", len(run.Results), len(want.Findings))
	}
	for i, f := range want.Findings {
		result := run.Results[i]
		place := result.Locations[0].PhysicalLocation
		if result.RuleID != f.Rule || run.Tool.Driver.Rules[result.RuleIndex].ID != f.Rule ||
			place.Region.StartLine != f.Line || place.Region.StartColumn != f.Column ||
			(len(result.Suppressions) > 0) != (f.Exempt != nil) || len(result.Fixes) > 0 && f.Exempt != nil {
			t.Errorf("result %d is %+v for the finding %+v", i, result, f)
		}
	}
	invocation := run.Invocations[0]
	notifications := len(want.Errors) + len(want.Skipped) + len(want.Notes)
	if len(invocation.ToolExecutionNotifications) != notifications ||
		invocation.ExecutionSuccessful != (len(want.Errors) == 0) {
		t.Errorf("the invocation is %+v, want %d notifications, of which %d are errors",
			invocation, notifications, len(want.Errors))
	}
}

// junitElement is any element of a JUnit document.
type junitElement struct {
	XMLName    xml.Name
	Attributes []xml.Attr     `xml:",any,attr"`
	Children   []junitElement `xml:",any"`
}

// junitAttributes are the attributes that junit-10.xsd of Jenkins allows; those in capitals are required. The schema is
// at https://github.com/jenkinsci/xunit-plugin.
var junitAttributes = map[string][]string{
	"testsuites": {"name", "time", "tests", "failures", "errors"},
	"testsuite": {"NAME", "TESTS", "FAILURES", "ERRORS", "group", "time", "skipped", "timestamp", "hostname", "id",
		"package", "file", "log", "url", "version"},
	"testcase": {"NAME", "time", "classname", "group"},
	"failure":  {"type", "message"}, "error": {"type", "message"}, "skipped": {"type", "message"}, "system-out": {},
}

// junitChildren are the elements that may be in an element.
var junitChildren = map[string][]string{
	"testsuites": {"testsuite"}, "testsuite": {"testcase"}, "testcase": {"failure", "error", "skipped", "system-out"},
}

// testJUnit holds a JUnit document against the schema, its counts against its tests, and these against the report.
func testJUnit(t *testing.T, text string, code int, want report) {
	var root junitElement
	if err := xml.Unmarshal([]byte(text), &root); err != nil {
		t.Fatal(err)
	}
	validJUnit(t, root)
	found := map[string]int{}
	for _, suite := range root.Children {
		names := map[string]bool{}
		counts := map[string]int{"tests": len(suite.Children), "failure": 0, "error": 0, "skipped": 0}
		for _, test := range suite.Children {
			names[test.attribute("name")] = true
			for _, child := range test.Children {
				counts[child.XMLName.Local]++
				found[child.XMLName.Local]++
			}
		}
		for attribute, element := range map[string]string{
			"tests": "tests", "failures": "failure", "errors": "error", "skipped": "skipped",
		} {
			if n, _ := strconv.Atoi(suite.attribute(attribute)); n != counts[element] {
				t.Errorf("%s has %s=%d, want %d", suite.attribute("name"), attribute, n, counts[element])
			}
		}
		if len(names) != len(suite.Children) {
			t.Errorf("%s has %d tests with %d names", suite.attribute("name"), len(suite.Children), len(names))
		}
	}
	wantFound := map[string]int{
		"failure": found["failure"], "error": len(want.Errors), "system-out": want.unaccepted() - found["failure"],
		"skipped": len(want.Skipped) + len(want.Findings) - want.unaccepted(),
	}
	for element, n := range wantFound {
		if found[element] != n {
			t.Errorf("there are %d elements %s, want %d", found[element], element, n)
		}
	}
	if code < 2 && code == 1 != (found["failure"] > 0) {
		t.Errorf("the exit code is %d, and there are %d failures", code, found["failure"])
	}
}

func validJUnit(t *testing.T, e junitElement) {
	t.Helper()
	name := e.XMLName.Local
	allowed, ok := junitAttributes[name]
	if !ok {
		t.Errorf("the element %s is not known", name)
	}
	for _, attribute := range e.Attributes {
		if key := attribute.Name.Local; !slices.Contains(allowed, key) && !slices.Contains(allowed, strings.ToUpper(key)) {
			t.Errorf("%s has the attribute %s, which is not known", name, key)
		}
	}
	for _, key := range allowed {
		if strings.ToUpper(key) == key && e.attribute(strings.ToLower(key)) == "" {
			t.Errorf("%s has no attribute %s", name, strings.ToLower(key))
		}
	}
	for _, child := range e.Children {
		if !slices.Contains(junitChildren[name], child.XMLName.Local) {
			t.Errorf("%s has the element %s", name, child.XMLName.Local)
		}
		validJUnit(t, child)
	}
}

func (e junitElement) attribute(name string) string {
	i := slices.IndexFunc(e.Attributes, func(a xml.Attr) bool { return a.Name.Local == name })
	if i < 0 {
		return ""
	}
	return e.Attributes[i].Value
}

// workflowCommand matches a workflow command of GitHub Actions.
var workflowCommand = regexp.MustCompile(
	`^::(error|warning|notice) (file=[^,:\r]+,)?(line=[1-9][0-9]*,)?(col=[1-9][0-9]*,)?title=[^,:\r]+::[^\r]+$`)

func testGitHub(t *testing.T, text string, _ int, want report) {
	levels := []string{}
	for line := range strings.Lines(text) {
		match := workflowCommand.FindStringSubmatch(strings.TrimSuffix(line, "\n"))
		if match == nil {
			t.Fatalf("%q is not a workflow command", line)
		}
		levels = append(levels, match[1])
	}
	if lines := len(want.Errors) + want.unaccepted() + len(want.Skipped); len(levels) != lines {
		t.Errorf("there are %d annotations, want %d", len(levels), lines)
	}
	if !slices.IsSortedFunc(levels, func(a, b string) int {
		return strings.Index("error warning notice", a) - strings.Index("error warning notice", b)
	}) {
		t.Errorf("the gravest annotations do not come first:\n%s", text)
	}
}

func testGitLab(t *testing.T, text string, _ int, want report) {
	type issue struct {
		Description string `json:"description"`
		CheckName   string `json:"check_name"`
		Fingerprint string `json:"fingerprint"`
		Severity    string `json:"severity"`
		Location    struct {
			Path  string `json:"path"`
			Lines struct {
				Begin int `json:"begin"`
			} `json:"lines"`
		} `json:"location"`
	}
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.DisallowUnknownFields()
	var issues []issue
	if err := decoder.Decode(&issues); err != nil {
		t.Fatal(err)
	}
	fingerprints := map[string]bool{}
	for _, i := range issues {
		fingerprints[i.Fingerprint] = true
		if i.Description == "" || i.CheckName == "" || len(i.Fingerprint) != 64 ||
			!slices.Contains([]string{"info", "minor", "major", "critical", "blocker"}, i.Severity) ||
			i.Location.Path == "" || strings.HasPrefix(i.Location.Path, "./") || i.Location.Lines.Begin < 1 {
			t.Errorf("an entry lacks something that GitLab needs: %+v", i)
		}
	}
	if len(fingerprints) != len(issues) {
		t.Errorf("%d entries have %d fingerprints", len(issues), len(fingerprints))
	}
	if n := len(want.Errors) + want.unaccepted(); issues == nil || len(issues) != n {
		t.Errorf("there are %d entries in %q, want %d", len(issues), text, n)
	}
}

// inDetails matches the HTML that a report in Markdown may have.
var inDetails = regexp.MustCompile(`^<details><summary>[^<>]*</summary>\n$|^</details>\n$`)

func testMarkdown(t *testing.T, text string, code int, want report) {
	outcome := map[int]string{0: "passed", 1: "failed", 2: "could not check everything"}[code]
	if !strings.HasPrefix(text, "## Sourceward: "+outcome+"\n") {
		t.Errorf("the exit code is %d, and the report begins with %.60q", code, text)
	}
	fence, rows, depth := "", 0, 0
	for line := range strings.Lines(text) {
		switch {
		case fence != "":
			if line == fence+"\n" {
				fence = ""
			}
		case strings.HasPrefix(line, "```"):
			fence = strings.TrimSuffix(line, "diff\n")
		case strings.HasPrefix(line, "| ") && !strings.HasPrefix(line, "| mode |"):
			rows++
			fallthrough
		case strings.HasPrefix(line, "|"):
			if n := strings.Count(line, "|"); n != 7 {
				t.Errorf("a row of a table has %d pipes, want 7: %s", n, line)
			}
			fallthrough
		case strings.HasPrefix(line, "- "):
			if strings.ContainsAny(line, "<>`*\\") {
				t.Errorf("a line has markup that is not escaped: %s", line)
			}
		case inDetails.MatchString(line):
			depth += 1 - 2*strings.Count(line, "</details>")
			if depth < 0 || depth > 1 {
				t.Errorf("a fold begins or ends out of order: %s", line)
			}
		case strings.ContainsAny(line, "<>`|"):
			t.Errorf("a line has markup: %s", line)
		}
	}
	if fence != "" || depth != 0 {
		t.Errorf("a block or a fold has no end:\n%s", text)
	}
	if rows != len(want.Findings) {
		t.Errorf("there are %d rows for %d findings:\n%s", rows, len(want.Findings), text)
	}
}

// TestSARIFFixesRepair makes the changes of the fixes in SARIF in copies of the files, one finding at a time.
func TestSARIFFixesRepair(t *testing.T) {
	t.Parallel()
	service := func(name string) string {
		return "apiVersion: v1\nkind: Service\nmetadata:\n  name: " + name + "\nspec:\n  type: ClusterIP # internal\n" +
			"  ports: [{port: 443}]\n  externalTrafficPolicy: Local\n"
	}
	tests := map[string]string{
		"a field is removed":                 denied,
		"the field is on the last line":      service("a"),
		"there is no last line break":        strings.TrimSuffix(service("a"), "\n"),
		"there are several documents":        "# one\n" + service("a") + "---\n\n" + service("b") + "---\n" + service("c"),
		"lines end with carriage returns":    strings.ReplaceAll(service("a"), "\n", "\r\n"),
		"the file has a byte order mark":     "\ufeff" + service("ä") + "---\n" + service("b"),
		"a field is added at the end":        asksForLocal,
		"a field is added after CRLF":        strings.ReplaceAll(asksForLocal, "\n", "\r\n"),
		"a field is added before no break":   strings.TrimSuffix(asksForLocal, "\n"),
		"a field is added between documents": asksForLocal + "---\n" + service("b"),
		"a JSON object is on one line": `{"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"}, ` +
			`"spec": {"externalTrafficPolicy": "Local", "ports": [{"port": 443}]}}` + "\n",
	}
	for name, text := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := write(t, map[string]string{"a.yaml": text})
			args := []string{"check", "-o", "sarif=report.sarif", "-o", "json", "a.yaml"}
			before := decodeReport(t, run(t, command(t, dir, args...)).Stdout)
			var document sarif
			if err := json.Unmarshal([]byte(content(t, dir, "report.sarif")), &document); err != nil {
				t.Fatal(err)
			}
			fixed := 0
			for i, result := range document.Runs[0].Results {
				if len(result.Fixes) == 0 {
					continue
				}
				fixed++
				change := result.Fixes[0].ArtifactChanges[0]
				if change.ArtifactLocation.URI != "a.yaml" {
					t.Errorf("the fix changes %s", change.ArtifactLocation.URI)
				}
				repaired := replace(t, text, change.Replacements)
				copied := write(t, map[string]string{"a.yaml": repaired})
				after := decodeReport(t, run(t, command(t, copied, "check", "-o", "json", "a.yaml")).Stdout)
				gone := before.Findings[i]
				for _, f := range after.Findings {
					if f.Rule == gone.Rule && f.Object == gone.Object {
						t.Errorf("the finding %s of %s is still there after the fix:\n%s", f.Rule, f.Object.Name, repaired)
					}
				}
				if len(after.Errors) > 0 || after.Summary.Objects != before.Summary.Objects {
					t.Errorf("the fixed file is broken: %+v\n%s", after.Errors, repaired)
				}
				if lines, others := strings.Count(text, "\r\n"), strings.Count(repaired, "\n"); lines > 0 &&
					strings.Count(repaired, "\r\n") != others {
					t.Errorf("the fix mixes line breaks:\n%q", repaired)
				}
			}
			if fixed == 0 {
				t.Error("no finding has a fix")
			}
		})
	}
}

const asksForLocal = `apiVersion: v1
kind: Service
metadata:
  name: a
  annotations: {sourceward.dev/source-ip: preserve}
spec:
  type: LoadBalancer
  selector: {app: a}
  ports: [{port: 443}]
`

// replace returns a text after replacements, none of which may reach behind the text. The positions are those of the
// text without a byte order mark.
func replace(t *testing.T, text string, replacements []replacement) string {
	t.Helper()
	text, isMarked := strings.CutPrefix(text, "\ufeff")
	lines := strings.SplitAfter(text, "\n")
	offset := func(line, column int) int {
		if line == len(lines) && lines[line-1] == "" && len(lines) > 1 {
			t.Fatalf("line %d is behind the last line break of %q", line, text)
		}
		before := strings.Join(lines[:line-1], "")
		characters := []rune(lines[line-1])
		if column < 1 || column > len(strings.TrimRight(string(characters), "\r\n"))+1 {
			t.Fatalf("column %d is not in %q", column, lines[line-1])
		}
		return len(before) + len(string(characters[:column-1]))
	}
	for _, r := range slices.Backward(replacements) {
		start := offset(r.DeletedRegion.StartLine, r.DeletedRegion.StartColumn)
		end := offset(r.DeletedRegion.EndLine, r.DeletedRegion.EndColumn)
		text = text[:start] + r.InsertedContent.Text + text[end:]
	}
	if isMarked {
		return "\ufeff" + text
	}
	return text
}

// TestSARIFHasNoFixWhereNoFileCanBeChanged checks objects that are not written in a file, or not as they are.
func TestSARIFHasNoFixWhereNoFileCanBeChanged(t *testing.T) {
	t.Parallel()
	chart := map[string]string{
		"Chart.yaml":         "apiVersion: v2\nname: web\nversion: 1.0.0\n",
		"templates/web.yaml": denied,
	}
	kustomization := map[string]string{"kustomization.yaml": "resources: [web.yaml]\n", "web.yaml": denied}
	tests := map[string]struct {
		files map[string]string
		stdin string
		args  []string
	}{
		"the standard input":  {nil, denied, []string{"-"}},
		"a chart":             {chart, "", []string{"."}},
		"a kustomization":     {kustomization, "", []string{"."}},
		"an anchor is shared": {map[string]string{"web.yaml": sharedByAnchor}, "", []string{"."}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cmd := command(t, write(t, test.files), append([]string{"check", "-o", "sarif"}, test.args...)...)
			cmd.Stdin = strings.NewReader(test.stdin)
			got := run(t, cmd)
			if !strings.Contains(got.Stdout, `"ruleId": "local-on-cluster-ip"`) || strings.Contains(got.Stdout, `"fixes"`) {
				t.Errorf("want a finding without a fix:\n%s%s", got.Stdout, got.Stderr)
			}
		})
	}
}

const sharedByAnchor = `apiVersion: v1
kind: List
items:
  - apiVersion: v1
    kind: Service
    metadata: {name: a}
    spec: &spec
      externalTrafficPolicy: Local
      ports: [{port: 443}]
  - apiVersion: v1
    kind: Service
    metadata: {name: b}
    spec: *spec
`

// TestSARIFDescribesTheRulesOfPolicies gives a rule with all of METADATA, and one with none of it.
func TestSARIFDescribesTheRulesOfPolicies(t *testing.T) {
	t.Parallel()
	dir := write(t, map[string]string{"web.yaml": denied, "policy.yaml": `apiVersion: sourceward.dev/v1alpha1
kind: SourceIPPolicy
metadata: {name: corp}
spec:
  rego:
    - name: full.rego
      module: |
        # METADATA
        # title: Full
        # description: What <b>is</b> found.
        # related_resources: [{ref: "corp:rules"}, {ref: "https://example.com/rules"}]
        # custom: {severity: info, kinds: [Service], why: Because.}
        package sourceward.custom.full

        warn contains {"message": "full"} if input.object.spec.type == "ClusterIP"
    - name: empty.rego
      module: |
        package sourceward.custom.empty

        warn contains {"message": "empty"} if input.object.spec.type == "ClusterIP"
`})
	got := run(t, command(t, dir, "check", "--policy", "policy.yaml", "-o", "sarif", "web.yaml"))
	var document struct {
		Runs []struct {
			Tool struct {
				Driver struct {
					Rules []json.RawMessage `json:"rules"`
				} `json:"driver"`
			} `json:"tool"`
		} `json:"runs"`
	}
	if err := json.Unmarshal([]byte(got.Stdout), &document); err != nil {
		t.Fatal(err, got.Stderr)
	}
	rules := document.Runs[0].Tool.Driver.Rules
	if len(rules) != 3 {
		t.Fatalf("there are %d rules, want empty, full and local-on-cluster-ip", len(rules))
	}
	for i, want := range []map[string]any{
		{"id": "empty", "defaultConfiguration": map[string]any{"level": "warning"}, "help": map[string]any{}},
		{
			"id": "full", "defaultConfiguration": map[string]any{"level": "note"}, "helpUri": "https://example.com/rules",
			"shortDescription": map[string]any{"text": "Full"},
			"fullDescription":  map[string]any{"text": "What <b>is</b> found."},
			"help": map[string]any{"markdown": "**What.** What &lt;b&gt;is&lt;/b&gt; found.\n\n**Why.** Because.\n\n" +
				"- <https://example.com/rules>\n"},
		},
	} {
		var rule map[string]any
		if err := json.Unmarshal(rules[i], &rule); err != nil {
			t.Fatal(err)
		}
		if text, _ := rule["help"].(map[string]any)["text"].(string); !strings.HasPrefix(text, want["id"].(string)+": ") {
			t.Errorf("the help of %s begins with %.40q", want["id"], text)
		}
		delete(rule["help"].(map[string]any), "text") // It is what explain writes.
		if diff := cmp.Diff(want, rule); diff != "" {
			t.Errorf("rule mismatch (-want +got):\n%s", diff)
		}
	}
}

// TestReportsNameFilesOfTheRepository gives a file by its absolute path, and one outside of the working directory.
func TestReportsNameFilesOfTheRepository(t *testing.T) {
	t.Parallel()
	dir, outside := write(t, map[string]string{"a b,100%.yaml": denied}), write(t, map[string]string{"web.yaml": denied})
	got := run(t, command(t, dir, "check", "-o", "github", "-o", "sarif=s", filepath.Join(dir, "a b,100%.yaml"),
		filepath.Join(outside, "web.yaml"))).Stdout
	for _, want := range []string{"file=a b%2C100%25.yaml,line=7", "file=" + outside + "/web.yaml,line=7"} {
		if !strings.Contains(got, want) {
			t.Errorf("the annotations do not have %q:\n%s", want, got)
		}
	}
	sarif := content(t, dir, "s")
	for _, want := range []string{`"uri": "a%20b,100%25.yaml"`, fmt.Sprintf(`"uri": "file://%s/web.yaml"`, outside)} {
		if !strings.Contains(sarif, want) {
			t.Errorf("the SARIF does not have %s:\n%s", want, sarif)
		}
	}
}

func TestCompletionOffersTheFormats(t *testing.T) {
	t.Parallel()
	want := "text\njson\nsarif\njunit\ngithub\ngitlab\nmarkdown\n:4\n"
	if diff := cmp.Diff(want, run(t, command(t, "", "__complete", "check", "--output", "")).Stdout); diff != "" {
		t.Errorf("completion of --output mismatch (-want +got):\n%s", diff)
	}
}
