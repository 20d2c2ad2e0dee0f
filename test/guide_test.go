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
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"github.com/sourceward/sourceward/policies"
)

const (
	guide    = "../policies/README.md"
	examples = "../policies/examples"
)

var covered = regexp.MustCompile(`: (\d+) of (\d+) lines`)

// TestExamplesAreCleanAndCovered checks that the examples of the guide do what the guide asks of its readers: they pass
// policy vet and policy test, each line is tested, and each has a case that fires and one that does not. With -update
// it writes their want.yaml, which the tests below read: so it is not parallel.
func TestExamplesAreCleanAndCovered(t *testing.T) {
	stdout, stderr, code := runBinary(t, examples, "policy", "vet", ".")
	if code != 0 {
		t.Errorf("policy vet exits with %d:\n%s%s", code, stdout, stderr)
	}
	args := []string{"policy", "test", "."}
	if *update {
		args = append(args, "--update")
	}
	stdout, stderr, code = runBinary(t, examples, args...)
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
		t.Errorf("policy test reports the coverage of %d modules, want %d", len(lines), len(modules))
	}
	for _, line := range lines {
		if line[1] != line[2] {
			t.Errorf("some lines are not covered:\n%s", stdout)
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

// quote matches a line that is only a link to a file of an example, and the block below it.
var quote = regexp.MustCompile("(?ms)^\\[[^\\]\n]+\\]\\((examples/[^)\n]+)\\):\n\n```(rego|yaml)\n(.*?)^```$")

// TestGuideQuotesTheExamples checks the blocks below links to files of examples: each shows the file, or successive
// lines of it. With -update it writes the blocks. Each example is shown.
func TestGuideQuotesTheExamples(t *testing.T) {
	text := content(t, guide)
	quoted := map[string]bool{}
	matches := quote.FindAllStringSubmatchIndex(text, -1)
	if links := strings.Count(text, "](examples/"); links != len(matches) {
		t.Errorf("the guide links to %d files of examples, and shows %d", links, len(matches))
	}
	var updated strings.Builder
	written := 0
	for _, at := range matches {
		file, language, block := text[at[2]:at[3]], text[at[4]:at[5]], text[at[6]:at[7]]
		if filepath.Ext(file) != "."+language {
			t.Errorf("%s is shown in a block of %s", file, language)
		}
		source := content(t, filepath.Join("../policies", file))
		if *update {
			block = successive(source, block)
		}
		if !strings.Contains("\n"+source, "\n"+block) {
			t.Errorf("the guide shows lines of %s that are not in it (-file +guide):\n%s", file, cmp.Diff(source, block))
		}
		updated.WriteString(text[written:at[6]] + block)
		written = at[7]
		quoted[filepath.Dir(file)] = true
	}
	updated.WriteString(text[written:])
	if *update && updated.String() != text {
		if err := os.WriteFile(guide, []byte(updated.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	folders, err := os.ReadDir(examples)
	if err != nil {
		t.Fatal(err)
	}
	for _, folder := range folders {
		if !quoted["examples/"+folder.Name()] {
			t.Errorf("the guide shows no file of the example %s", folder.Name())
		}
	}
}

// successive returns the lines of a file from the first one of a block to its last one. If the file does not have both,
// it returns the block.
func successive(source, block string) string {
	if strings.Contains("\n"+source, "\n"+block) {
		return block
	}
	lines, wanted := strings.SplitAfter(source, "\n"), strings.SplitAfter(strings.TrimSuffix(block, "\n"), "\n")
	from := slices.Index(lines, wanted[0])
	to := len(lines) - 1
	for to >= 0 && strings.TrimSuffix(lines[to], "\n") != wanted[len(wanted)-1] {
		to--
	}
	if from < 0 || to < from {
		return block
	}
	return strings.Join(lines[from:to+1], "")
}

func content(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestGuideListsTheRules compares the part of the guide that describes the rules with the catalogue; with -update it
// writes that part.
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
		fmt.Fprintf(&want, "### `%s`\n\n", rule.ID)
		want.WriteString(wrapped("", fmt.Sprintf("**%s.** Severity: %s. Default mode: %s. Repaired in: %s. Found on: %s.",
			rule.Title, rule.Severity, mode, repaired, strings.Join(rule.Kinds, ", "))) + "\n")
		for _, part := range []struct{ name, text string }{{"What", rule.What}, {"Why", rule.Why}, {"Remedy", rule.Remedy}} {
			want.WriteString(wrapped("  ", "- "+part.name+": "+part.text))
		}
		want.WriteString("\n")
	}
	generated(t, guide, "rules", want.String())
}

// marker is a word that would begin a list, a heading or a quotation if a line began with it.
var marker = regexp.MustCompile(` ([-+*>]|#+|\d+[.)])( |$)`)

// wrapped breaks a paragraph into lines of at most 120 columns. All lines except the first are indented.
func wrapped(indent, paragraph string) string {
	const limit, joined = 120, "\x00"
	// A marker stays on the line of the word before it.
	paragraph = marker.ReplaceAllString(strings.Join(strings.Fields(paragraph), " "), joined+"$1$2")
	var text strings.Builder
	column := 0
	for i, word := range strings.Fields(paragraph) {
		width := utf8.RuneCountInString(word)
		switch {
		case i == 0:
		case column+1+width > limit:
			text.WriteString("\n" + indent)
			column = len(indent)
		default:
			text.WriteString(" ")
			column++
		}
		text.WriteString(word)
		column += width
	}
	return strings.ReplaceAll(text.String(), joined, " ") + "\n"
}

// providerTable is the part of policies/bundle/sourceward/providers/data.yaml that the guide shows.
type providerTable struct {
	EveryType   []string                 `json:"every_type"`
	Aliases     map[string]string        `json:"aliases"`
	Prefixes    map[string]string        `json:"prefixes"`
	Annotations map[string]providerEntry `json:"annotations"`
	Classes     map[string]providerEntry `json:"classes"`
	Names       map[string]providerEntry `json:"names"`
}

type providerEntry struct {
	Rows []struct {
		Value  map[string]any `json:"value"`
		Types  []string       `json:"types"`
		With   []any          `json:"with"`
		Unless []any          `json:"unless"`
		Says   struct {
			RequireLocal string  `json:"require_local"`
			Verdict      string  `json:"verdict"`
			RevealBy     string  `json:"reveal_by"`
			Breaks       bool    `json:"breaks_health_check"`
			Address      string  `json:"shares_address"`
			Needs        any     `json:"needs"`
			Unknown      any     `json:"unknown_value"`
			HealthCheck  any     `json:"health_check"`
			NodePorts    bool    `json:"needs_node_ports"`
			Legacy       any     `json:"legacy"`
			Shares       *shares `json:"shares"`
		} `json:"says"`
		Message string `json:"message"`
		Source  string `json:"source"`
	} `json:"rows"`
}

// shares says what a load balancer shares traffic among.
type shares struct {
	Among  string `json:"among"`
	Source string `json:"source"`
}

// text returns the words for it, which link to the source.
func (s *shares) text() string {
	if s == nil {
		return ""
	}
	return fmt.Sprintf("[shares among %s](%s)", s.Among, s.Source)
}

// TestGuideListsTheLoadBalancers compares the tables of the guide with the provider table; with -update it writes them.
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
				switch {
				case slices.Equal(row.Types, table.EveryType):
					value += ", on every type"
				case row.Types != nil && !slices.Equal(row.Types, []string{"LoadBalancer"}):
					value += ", on " + strings.Join(row.Types, ", ")
				}
				if len(row.With) > 0 || len(row.Unless) > 0 {
					value += ", where other conditions hold"
				}
				var says []string
				for word, said := range map[string]bool{
					"Local: " + row.Says.RequireLocal: row.Says.RequireLocal != "",
					row.Says.Verdict:                  row.Says.Verdict != "",
					"hides the address":               row.Says.RevealBy != "",
					"breaks the health check":         row.Says.Breaks,
					"shares an address":               row.Says.Address != "",
					"needs another annotation":        row.Says.Needs != nil,
					"unknown value":                   row.Says.Unknown != nil,
					"replaces Local's health check":   row.Says.HealthCheck != nil,
					"needs node ports":                row.Says.NodePorts,
					row.Says.Shares.text():            row.Says.Shares != nil,
					"no longer has an effect":         row.Says.Legacy != nil,
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

// TestPageListsTheDecisionGuide compares the tables of the page with policies.Guide; with -update it writes them.
func TestPageListsTheDecisionGuide(t *testing.T) {
	deciding := "| if | choose | why | what it costs |\n|---|---|---|---|\n"
	others := "| row | if | what follows | what avoids it |\n|---|---|---|---|\n"
	for _, row := range policies.Guide {
		if row.Says != "" {
			deciding += fmt.Sprintf("| %s | %s | %s | %s |\n", row.When, row.Says, row.Reason, row.Cost)
			continue
		}
		change := strings.Join(strings.Fields(row.Change), " ")
		if strings.Contains(change, "topologySpreadConstraints") {
			_, when, _ := strings.Cut(change, "whenUnsatisfiable: ")
			change = "a topology spread constraint on kubernetes.io/hostname with " + strings.Fields(when)[0]
		} else if change != "" {
			change = "`" + strings.ReplaceAll(change, "spec: ", "spec.") + "`"
		}
		follows := strings.TrimSpace(row.Reason + " " + row.Cost)
		others += fmt.Sprintf("| `%s` | %s | %s | %s |\n", row.ID, row.When, follows, change)
	}
	want := "The first row that applies decides:\n\n" + deciding +
		"\nThese rows say what else speaks for or against Local:\n\n" + others + "\n"
	generated(t, "../cmd/sourceward/README.md", "decision guide", want)
}

// valueText describes a matcher of the provider table in words.
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
			t.Errorf("valueText cannot describe a value that matches by %s", key)
		}
	}
	return strings.Join(words, " or ")
}

// generated compares the text between the markers of a name with the text that belongs there. With -update it writes
// that text. Parallel tests read the same pages, so a test that calls it must not be parallel.
func generated(t *testing.T, path, name, want string) {
	t.Helper()
	begin, end := "<!-- "+name+": make generate -->\n", "<!-- end of "+name+" -->\n"
	before, rest, ok1 := strings.Cut(content(t, path), begin)
	got, after, ok2 := strings.Cut(rest, end)
	if !ok1 || !ok2 {
		t.Fatalf("%s does not have %q and %q below it", path, begin, end)
	}
	want = "\n" + want
	if *update {
		if err := os.WriteFile(path, []byte(before+begin+want+end+after), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s has outdated %s; run make generate (-want +got):\n%s", path, name, diff)
	}
}
