package bundle

import (
	"maps"
	"net/url"
	"os"
	"regexp"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/storage/inmem"
	"sigs.k8s.io/yaml"

	"github.com/sourceward/sourceward/policies"
)

const providersPath = "sourceward/providers/data.yaml"

// providerTable is the form of the provider table, which says itself what it means.
type providerTable struct {
	PerPort     []string         `json:"per_port"`
	Annotations map[string]entry `json:"annotations"`
	Names       map[string]entry `json:"names"`
}

type entry struct {
	Rows []row `json:"rows"`
}

type row struct {
	ID            string            `json:"id"`
	Provider      string            `json:"provider"`
	Value         *value            `json:"value"`
	With          []condition       `json:"with"`
	Unless        []condition       `json:"unless"`
	RequireLocal  policies.Strength `json:"require_local"`
	KeepsSourceIP policies.Verdict  `json:"keeps_source_ip"`
	Message       string            `json:"message"`
	Source        string            `json:"source"`
}

type condition struct {
	Annotation string `json:"annotation"`
	Value      value  `json:"value"`
}

type value struct {
	OneOf        []string `json:"one_of"`
	OneOfAnyCase []string `json:"one_of_any_case"`
	Boolean      bool     `json:"boolean"`
	NotBoolean   bool     `json:"not_boolean"`
	Anything     bool     `json:"anything"`
	Attribute    struct {
		Name    string `json:"name"`
		Setting string `json:"setting"`
	} `json:"attribute"`
}

var (
	kebabCase     = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)
	annotationKey = regexp.MustCompile(`^[a-z0-9.-]+/[a-zA-Z0-9._-]+$`)
	lowerCase     = regexp.MustCompile(`^[^A-Z]+$`)
	// clause goes on after "annotation a=b".
	clause = regexp.MustCompile(`^[a-z].*[^.]$`)
)

func readProviders(t testing.TB) providerTable {
	t.Helper()
	text, err := files.ReadFile(providersPath)
	if err != nil {
		t.Fatal(err)
	}
	var table providerTable
	if err := yaml.UnmarshalStrict(text, &table); err != nil {
		t.Fatalf("%s: %v", providersPath, err)
	}
	return table
}

// all are the rows with an annotation and those with a name.
func (t providerTable) all() []row {
	var rows []row
	for _, entries := range []map[string]entry{t.Annotations, t.Names} {
		for _, key := range slices.Sorted(maps.Keys(entries)) {
			rows = append(rows, entries[key].Rows...)
		}
	}
	return rows
}

func TestProviderTableIsWellFormed(t *testing.T) {
	t.Parallel()
	table := readProviders(t)
	for _, name := range table.PerPort {
		if len(table.Annotations[name].Rows) == 0 {
			t.Errorf("per_port: %s is not in annotations", name)
		}
	}
	for annotation, entry := range table.Annotations {
		if !annotationKey.MatchString(annotation) || len(entry.Rows) == 0 {
			t.Errorf("annotations: %s is no annotation, or has no rows", annotation)
		}
		for _, row := range entry.Rows {
			if row.Value == nil {
				t.Errorf("%s has no value", row.ID)
			}
			if row.RequireLocal == "" && row.KeepsSourceIP == "" {
				t.Errorf("%s says nothing", row.ID)
			}
		}
	}
	for name, entry := range table.Names {
		if !kebabCase.MatchString(name) || len(entry.Rows) == 0 {
			t.Errorf("names: %s is not kebab-case, or has no rows", name)
		}
		for _, row := range entry.Rows {
			if row.Value != nil {
				t.Errorf("%s has a value, and no annotation that could have it", row.ID)
			}
		}
	}
	seen := map[string]bool{}
	for _, row := range table.all() {
		for _, problem := range row.problems() {
			t.Errorf("%s: %s", row.ID, problem)
		}
		if seen[row.ID] {
			t.Errorf("%s: another row has this id", row.ID)
		}
		seen[row.ID] = true
	}
}

func TestProvidersAreTheNamesOfTheTable(t *testing.T) {
	t.Parallel()
	want := slices.Sorted(maps.Keys(readProviders(t).Names))
	if diff := cmp.Diff(want, Providers()); diff != "" {
		t.Errorf("Providers() mismatch (-want +got):\n%s", diff)
	}
}

// problems are what is wrong with a row, whatever the table it is in.
func (r row) problems() []string {
	var problems []string
	check := func(ok bool, problem string) {
		if !ok {
			problems = append(problems, problem)
		}
	}
	source, err := url.Parse(r.Source)
	check(err == nil && source.Scheme == "https" && source.Host != "", "source is not an https URL")
	check(kebabCase.MatchString(r.ID), "id is not kebab-case")
	check(kebabCase.MatchString(r.Provider), "provider is not kebab-case")
	check(clause.MatchString(r.Message), "message does not go on after \"annotation a=b\"")
	check(slices.Contains([]policies.Strength{"", policies.StrengthHard, policies.StrengthSoft}, r.RequireLocal),
		"require_local is no strength")
	check(r.KeepsSourceIP == "" || slices.Contains(policies.Verdicts, r.KeepsSourceIP), "keeps_source_ip is no verdict")
	check(r.Value == nil || r.Value.matchers() == 1, "value has not one matcher")
	for _, condition := range slices.Concat(r.With, r.Unless) {
		check(annotationKey.MatchString(condition.Annotation), "a condition has no annotation")
		check(condition.Value.matchers() == 1, "the value of a condition has not one matcher")
	}
	return problems
}

// matchers is the number of matchers that are set as they may be.
func (v value) matchers() int {
	n := 0
	for _, set := range []bool{
		len(v.OneOf) > 0,
		len(v.OneOfAnyCase) > 0 && !slices.ContainsFunc(v.OneOfAnyCase, func(s string) bool { return !lowerCase.MatchString(s) }),
		v.Boolean,
		v.NotBoolean,
		v.Anything,
		v.Attribute.Name != "" && v.Attribute.Setting != "",
	} {
		if set {
			n++
		}
	}
	return n
}

// rowExample is an entry of testdata/rows.yaml.
type rowExample struct {
	Holds  rowService `json:"holds"`
	Says   []string   `json:"says"`
	Nearly rowService `json:"nearly"`
	But    []string   `json:"but"`
}

type rowService struct {
	Annotations map[string]string `json:"annotations"`
	Provider    string            `json:"provider"`
}

func (s rowService) document(t testing.TB) policies.Document {
	annotations := map[string]any{}
	for name, value := range s.Annotations {
		annotations[name] = value
	}
	document := policies.Document{Object: object(t, map[string]any{
		"apiVersion": "v1", "kind": "Service", "metadata": map[string]any{"name": "web", "annotations": annotations},
	})}
	document.Facts.Provider = s.Provider
	return document
}

// TestEveryRow has an example of each row, and no other.
func TestEveryRow(t *testing.T) {
	t.Parallel()
	const path = "testdata/rows.yaml"
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	examples := map[string]rowExample{}
	if err := yaml.UnmarshalStrict(text, &examples); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	matching := matchingRows(t)
	set, _ := Compile(nil)
	check := func(t *testing.T, id, sentence string, service rowService, holds bool, want []string) {
		t.Helper()
		document := service.document(t)
		if got := slices.Contains(matching(t, document), id); got != holds {
			t.Errorf("%s: row %s holds: %t, want %t", sentence, id, got, holds)
		}
		if diff := cmp.Diff(want, said(set.Evaluate(t.Context(), document, nil))); diff != "" {
			t.Errorf("%s: Evaluate() mismatch (-want +got):\n%s", sentence, diff)
		}
	}
	rows := readProviders(t).all()
	for _, row := range rows {
		t.Run(row.ID, func(t *testing.T) {
			example, ok := examples[row.ID]
			if !ok {
				t.Fatalf("row %s of %s has no example in %s", row.ID, providersPath, path)
			}
			check(t, row.ID, "holds", example.Holds, true, example.Says)
			check(t, row.ID, "nearly", example.Nearly, false, example.But)
		})
	}
	for id := range examples {
		if !slices.ContainsFunc(rows, func(r row) bool { return r.ID == id }) {
			t.Errorf("%s has an example of row %s, which %s has not", path, id, providersPath)
		}
	}
}

// said are the reasons of answers as the examples write them; a fault is said too.
func said(answers []policies.Answer) []string {
	var lines []string
	for _, answer := range answers {
		for _, r := range answer.RequireLocal {
			lines = append(lines, string(r.Strength)+": "+r.Message)
		}
		for _, r := range answer.KeepsSourceIP {
			lines = append(lines, string(r.Verdict)+": "+r.Message)
		}
		if answer.Err != nil {
			lines = append(lines, answer.Err.Error())
		}
	}
	return lines
}

// matchingRows returns a function that gives the ids of the rows that hold for a document. Some rows
// say nothing, so that answers do not tell.
func matchingRows(t testing.TB) func(testing.TB, policies.Document) []string {
	t.Helper()
	embedded, err := load()
	if err != nil {
		t.Fatal(err)
	}
	query, err := rego.New(
		rego.ParsedModule(embedded.lib["sourceward/lib/rows.rego"]),
		rego.Store(inmem.NewFromObject(embedded.data)),
		rego.Query("ids := {m.row.id | some m in data.sourceward.lib.rows.matching(input.object.metadata.annotations, input.facts.provider)}"),
	).PrepareForEval(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return func(t testing.TB, document policies.Document) []string {
		t.Helper()
		results, err := query.Eval(t.Context(), rego.EvalInput(document))
		if err != nil {
			t.Fatal(err)
		}
		var ids []string
		for _, id := range results[0].Bindings["ids"].([]any) {
			ids = append(ids, id.(string))
		}
		return ids
	}
}
