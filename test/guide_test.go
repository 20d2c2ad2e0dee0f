package test

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"github.com/sourceward/sourceward/policies"
)

const (
	guide    = "../policies/README.md"
	examples = "../policies/examples"
)

var covered = regexp.MustCompile(`: (\d+) of (\d+) lines`)

// TestExamplesAreCleanAndCovered holds the examples of the guide to what it asks of its readers.
func TestExamplesAreCleanAndCovered(t *testing.T) {
	t.Parallel()
	stdout, stderr, code := runBinary(t, examples, "policy", "vet", ".")
	if code != 0 {
		t.Errorf("policy vet exits with %d:\n%s%s", code, stdout, stderr)
	}
	stdout, stderr, code = runBinary(t, examples, "policy", "test", ".")
	if code != 0 {
		t.Errorf("policy test exits with %d:\n%s%s", code, stdout, stderr)
	}
	modules, err := filepath.Glob(filepath.Join(examples, "*", "*.rego"))
	if err != nil {
		t.Fatal(err)
	}
	modules = slices.DeleteFunc(modules, func(path string) bool { return strings.HasSuffix(path, "_test.rego") })
	lines := covered.FindAllStringSubmatch(string(stdout), -1)
	if len(lines) != len(modules) || len(modules) == 0 {
		t.Errorf("policy test tells the coverage of %d modules, want %d", len(lines), len(modules))
	}
	for _, line := range lines {
		if line[1] != line[2] {
			t.Errorf("not all is covered:\n%s", stdout)
		}
	}
	folders, err := os.ReadDir(examples)
	if err != nil {
		t.Fatal(err)
	}
	for _, folder := range folders {
		cases, err := filepath.Glob(filepath.Join(examples, folder.Name(), "cases", "*", "object.yaml"))
		if err != nil || len(cases) < 2 {
			t.Errorf("%s has %d cases, want one where it acts and one where it does not (%v)", folder.Name(), len(cases), err)
		}
	}
}

// quote is a file that the guide names, in a line of its own, and the block below it.
var quote = regexp.MustCompile("(?ms)^\\[[^\\]\n]+\\]\\((examples/[^)\n]+)\\):\n\n```(rego|yaml)\n(.*?)^```$")

// TestGuideQuotesTheExamples: below a line that is a link to a file of an example, and a colon, stands the file, or lines of
// it that follow each other.
func TestGuideQuotesTheExamples(t *testing.T) {
	t.Parallel()
	text := content(t, guide)
	quoted := map[string]bool{}
	matches := quote.FindAllStringSubmatch(text, -1)
	if links := strings.Count(text, "](examples/"); links != len(matches) {
		t.Errorf("the guide names %d files of examples, and shows %d", links, len(matches))
	}
	for _, match := range matches {
		file, language, block := match[1], match[2], match[3]
		if filepath.Ext(file) != "."+language {
			t.Errorf("%s stands in a block of %s", file, language)
		}
		if source := content(t, filepath.Join("../policies", file)); !strings.Contains("\n"+source, "\n"+block) {
			t.Errorf("the guide shows of %s what is not in it (-file +guide):\n%s", file, cmp.Diff(source, block))
		}
		quoted[filepath.Dir(file)] = true
	}
	folders, err := os.ReadDir(examples)
	if err != nil {
		t.Fatal(err)
	}
	for _, folder := range folders {
		if !quoted["examples/"+folder.Name()] {
			t.Errorf("the guide shows nothing of the example %s", folder.Name())
		}
	}
}

func content(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestGuideListsTheRules compares the part of the guide that describes the rules with the catalogue.
func TestGuideListsTheRules(t *testing.T) {
	var want strings.Builder
	for _, rule := range policies.Catalogue() {
		mode := string(rule.DefaultMode)
		if rule.DefaultModeNote != "" {
			mode += " (" + rule.DefaultModeNote + ")"
		}
		repaired := "nowhere"
		switch {
		case rule.Mutable:
			repaired = "files and by the webhook"
		case rule.Fixable:
			repaired = "files"
		}
		fmt.Fprintf(
			&want,
			"### `%s`\n\n**%s.** Severity: %s. Default mode: %s. Repaired in: %s. Found on: %s.\n\n",
			rule.ID,
			rule.Title,
			rule.Severity,
			mode,
			repaired,
			strings.Join(rule.Kinds, ", "),
		)
		for _, part := range []struct{ name, text string }{{"What", rule.What}, {"Why", rule.Why}, {"Remedy", rule.Remedy}} {
			fmt.Fprintf(&want, "- %s: %s\n", part.name, part.text)
		}
		want.WriteString("\n")
	}
	generated(t, guide, "rules", want.String())
}

// providerTable is what the guide shows of policies/bundle/sourceward/providers/data.yaml.
type providerTable struct {
	Aliases     map[string]string        `json:"aliases"`
	Prefixes    map[string]string        `json:"prefixes"`
	Annotations map[string]providerEntry `json:"annotations"`
	Classes     map[string]providerEntry `json:"classes"`
	Names       map[string]providerEntry `json:"names"`
}

type providerEntry struct {
	Rows []struct {
		Value  map[string]any `json:"value"`
		With   []any          `json:"with"`
		Unless []any          `json:"unless"`
		Says   struct {
			RequireLocal string `json:"require_local"`
			Verdict      string `json:"verdict"`
			RevealBy     string `json:"reveal_by"`
			Breaks       bool   `json:"breaks_health_check"`
			Shares       string `json:"shares_address"`
			Needs        any    `json:"needs"`
			Unknown      any    `json:"unknown_value"`
			HealthCheck  any    `json:"health_check"`
			NodePorts    bool   `json:"needs_node_ports"`
			Legacy       string `json:"legacy"`
		} `json:"says"`
		Message string `json:"message"`
		Source  string `json:"source"`
	} `json:"rows"`
}

// TestGuideListsTheLoadBalancers compares the tables of the guide with the provider table.
func TestGuideListsTheLoadBalancers(t *testing.T) {
	var table providerTable
	if err := yaml.Unmarshal([]byte(content(t, "../policies/bundle/sourceward/providers/data.yaml")), &table); err != nil {
		t.Fatal(err)
	}
	var want strings.Builder
	for _, part := range []struct {
		title, column string
		entries       map[string]providerEntry
	}{
		{"By annotation", "annotation", table.Annotations},
		{"By `spec.loadBalancerClass`", "class", table.Classes},
		{"By the name in `spec.loadBalancers` or `--provider`", "name", table.Names},
	} {
		fmt.Fprintf(
			&want,
			"### %s\n\n| %s | value | says | message | source |\n|---|---|---|---|---|\n",
			part.title,
			part.column,
		)
		for _, name := range slices.Sorted(maps.Keys(part.entries)) {
			for _, row := range part.entries[name].Rows {
				value := "-"
				if row.Value != nil {
					value = valueText(t, row.Value)
				}
				if len(row.With) > 0 || len(row.Unless) > 0 {
					value += ", where other conditions hold"
				}
				var says []string
				for word, said := range map[string]bool{
					"Local: " + row.Says.RequireLocal: row.Says.RequireLocal != "",
					row.Says.Verdict:                  row.Says.Verdict != "",
					"address not told yet":            row.Says.RevealBy != "",
					"breaks the health check":         row.Says.Breaks,
					"shares an address":               row.Says.Shares != "",
					"needs another annotation":        row.Says.Needs != nil,
					"unknown value":                   row.Says.Unknown != nil,
					"replaces Local's health check":   row.Says.HealthCheck != nil,
					"needs node ports":                row.Says.NodePorts,
					"has had no effect for long":      row.Says.Legacy != "",
				} {
					if said {
						says = append(says, word)
					}
				}
				if says == nil {
					t.Errorf("the row of %s whose message is %q says nothing", name, row.Message)
				}
				slices.Sort(says)
				cells := []string{"`" + name + "`", value, strings.Join(says, "; "), row.Message}
				for i := range cells {
					cells[i] = strings.ReplaceAll(cells[i], "|", `\|`)
				}
				fmt.Fprintf(&want, "| %s | [source](%s) |\n", strings.Join(cells, " | "), row.Source)
			}
		}
		want.WriteString("\n")
	}
	want.WriteString("### Other names of annotations\n\n| written | means |\n|---|---|\n")
	for _, name := range slices.Sorted(maps.Keys(table.Aliases)) {
		fmt.Fprintf(&want, "| `%s` | `%s` |\n", name, table.Aliases[name])
	}
	for _, prefix := range slices.Sorted(maps.Keys(table.Prefixes)) {
		fmt.Fprintf(&want, "| `%s`… | `%s` |\n", prefix, table.Prefixes[prefix])
	}
	generated(t, guide, "load balancers", want.String()+"\n")
}

// valueText is a matcher of the provider table in words.
func valueText(t *testing.T, matcher map[string]any) string {
	t.Helper()
	list := func(of any) string {
		texts := []string{}
		values, _ := of.([]any)
		for _, value := range values {
			text := fmt.Sprint(value)
			if text == "" {
				text = `""`
			}
			texts = append(texts, "`"+text+"`")
		}
		return strings.Join(texts, ", ")
	}
	var words []string
	for _, key := range slices.Sorted(maps.Keys(matcher)) {
		of := matcher[key]
		object, _ := of.(map[string]any)
		switch key {
		case "one_of":
			words = append(words, list(of))
		case "one_of_any_case":
			words = append(words, list(of)+" in any case")
		case "none_of":
			words = append(words, "none of "+list(of))
		case "anything":
			words = append(words, "any")
		case "item":
			words = append(words, fmt.Sprintf("a list with `%v`", of))
		case "attribute":
			words = append(words, fmt.Sprintf("a list with `%v` = %s", object["name"], list(object["one_of"])))
		case "json":
			words = append(
				words,
				strings.TrimSuffix(fmt.Sprintf("JSON with `%v`: %s", object["key"], list(object["one_of"])), ": "),
			)
		default:
			t.Errorf("the guide has no words for a value that matches by %s", key)
		}
	}
	return strings.Join(words, " or ")
}

// generated compares the text between the markers of a name with what it should be; with -update it writes the text.
func generated(t *testing.T, path, name, want string) {
	t.Helper()
	begin, end := "<!-- "+name+": make generate -->\n", "<!-- end of "+name+" -->\n"
	before, rest, ok1 := strings.Cut(content(t, path), begin)
	got, after, ok2 := strings.Cut(rest, end)
	if !ok1 || !ok2 {
		t.Fatalf("%s has no %q … %q", path, begin, end)
	}
	want = "\n" + want
	if *update {
		if err := os.WriteFile(path, []byte(before+begin+want+end+after), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s is not what its sources say of %s; run make generate (-want +got):\n%s", path, name, diff)
	}
}
