package bundle

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/invopop/jsonschema"
	"github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/storage/inmem"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/sourceward/sourceward/policies"
)

const (
	providersPath       = "sourceward/providers/data.yaml"
	providersSchemaPath = "schema/providers.json"
)

// providerTable is the Go type of the provider table, whose head documents the fields.
type providerTable struct {
	ParsedAsTrue []string               `json:"parsed_as_true"`
	Aliases      map[string]string      `json:"aliases"`
	Prefixes     map[string]string      `json:"prefixes"`
	EveryType    []string               `json:"every_type"`
	WithoutClass []string               `json:"without_class"`
	Conditions   map[string][]condition `json:"conditions"`
	Annotations  map[string]entry       `json:"annotations"`
	Labels       map[string]entry       `json:"labels"`
	Classes      map[string]entry       `json:"classes"`
	Names        map[string]entry       `json:"names"`
}

type entry struct {
	Rows []row `json:"rows"`
}

type row struct {
	ID       string            `json:"id"`
	Provider string            `json:"provider"`
	Value    *matcher          `json:"value,omitempty"`
	Types    []serviceType     `json:"types,omitempty"`
	With     []conditionOrName `json:"with,omitempty"`
	Unless   []conditionOrName `json:"unless,omitempty"`
	Says     says              `json:"says"`
	Message  string            `json:"message"`
	Source   string            `json:"source"`

	// The key of the row in the table: one of these.
	annotation, label, class, loadBalancer string
}

type says struct {
	RequireLocal      policies.Strength `json:"require_local,omitempty" jsonschema:"enum=hard,enum=soft"`
	Verdict           rowVerdict        `json:"verdict,omitempty"`
	RevealBy          string            `json:"reveal_by,omitempty"`
	BreaksHealthCheck bool              `json:"breaks_health_check,omitempty"`
	WorksWith         string            `json:"works_with,omitempty"`

	SharesAddress string `json:"shares_address,omitempty" jsonschema:"enum=anywhere,enum=namespace,enum=address"`

	Needs          *annotationValue   `json:"needs,omitempty"`
	UnknownValue   *unknownValue      `json:"unknown_value,omitempty"`
	HealthCheck    *healthCheckRemedy `json:"health_check,omitempty"`
	NeedsNodePorts bool               `json:"needs_node_ports,omitempty"`
	Shares         *sharedAmong       `json:"shares,omitempty"`
	Legacy         *legacyField       `json:"legacy,omitempty"`
}

// serviceType is a value of spec.type in the provider table.
type serviceType string

// serviceTypes lists the types of Services.
var serviceTypes = []serviceType{"ClusterIP", "ExternalName", "LoadBalancer", "NodePort"}

func (serviceType) JSONSchema() *jsonschema.Schema {
	schema := &jsonschema.Schema{Type: "string"}
	for _, known := range serviceTypes {
		schema.Enum = append(schema.Enum, string(known))
	}
	return schema
}

// rowVerdict is a verdict of the provider table.
type rowVerdict string

func (rowVerdict) JSONSchema() *jsonschema.Schema {
	return &jsonschema.Schema{Type: "string", Enum: []any{
		"effective", "preserved", "proxy", "useless", "lost", "opt-out",
		"forbidden", "weighted", "single-announcer", "neutral",
	}}
}

type annotationValue struct {
	Annotation string `json:"annotation"`
	Value      string `json:"value"`
}

type unknownValue struct {
	Instead string `json:"instead,omitempty"`
}

type sharedAmong struct {
	Among  policies.SharingWay `json:"among" jsonschema:"enum=nodes,enum=zones"`
	Source string              `json:"source"`
}

type legacyField struct {
	Instead string `json:"instead,omitempty"`
}

type healthCheckRemedy struct {
	Fix        string `json:"fix"`
	Annotation string `json:"annotation,omitempty"`
	Value      string `json:"value,omitempty"`
}

type condition struct {
	Annotations map[string]matcher `json:"annotations,omitempty"`
	Class       *string            `json:"class,omitempty"`
	Type        serviceType        `json:"type,omitempty"`
}

// conditionOrName is a condition, or the name of a condition in the table.
type conditionOrName struct {
	name string
	condition
}

func (c *conditionOrName) UnmarshalJSON(text []byte) error {
	if text[0] == '"' {
		return json.Unmarshal(text, &c.name)
	}
	return yaml.UnmarshalStrict(text, &c.condition)
}

// alternatives returns the alternatives of the condition. It holds if one of them holds.
func (c conditionOrName) alternatives(table providerTable) []condition {
	if c.name != "" {
		return table.Conditions[c.name]
	}
	return []condition{c.condition}
}

func (conditionOrName) JSONSchema() *jsonschema.Schema {
	return &jsonschema.Schema{AnyOf: []*jsonschema.Schema{{Type: "string"}, reflectSchema(&condition{})}}
}

type matcher struct {
	OneOf        []string   `json:"one_of,omitempty"`
	OneOfAnyCase []string   `json:"one_of_any_case,omitempty"`
	NoneOf       []string   `json:"none_of,omitempty"`
	Anything     bool       `json:"anything,omitempty"`
	Absent       bool       `json:"absent,omitempty"` // in conditions only
	Item         string     `json:"item,omitempty"`
	Attribute    *attribute `json:"attribute,omitempty"`
	JSON         *member    `json:"json,omitempty"`
}

type attribute struct {
	Name  string   `json:"name"`
	OneOf []string `json:"one_of"`
}

type member struct {
	Key   string `json:"key"`
	OneOf []any  `json:"one_of,omitempty"`
}

var (
	kebabCase     = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)
	annotationKey = regexp.MustCompile(`^[a-z0-9.-]+/[a-zA-Z0-9._-]*\*?$`)
	// clause matches a message, which continues after "annotation a=b".
	clause = regexp.MustCompile(`^[a-z].*[^.]$`)
)

func reflectSchema(of any) *jsonschema.Schema {
	reflector := jsonschema.Reflector{Anonymous: true, ExpandedStruct: true, DoNotReference: true}
	return reflector.Reflect(of)
}

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

// all returns the rows of the four parts of the table.
func (t providerTable) all() []row {
	var rows []row
	add := func(entries map[string]entry, place func(*row, string)) {
		for _, key := range slices.Sorted(maps.Keys(entries)) {
			for _, row := range entries[key].Rows {
				place(&row, key)
				rows = append(rows, row)
			}
		}
	}
	add(t.Annotations, func(r *row, key string) { r.annotation = key })
	add(t.Labels, func(r *row, key string) { r.label = key })
	add(t.Classes, func(r *row, key string) { r.class = key })
	add(t.Names, func(r *row, key string) { r.loadBalancer = key })
	return rows
}

// TestProviderTableMatchesItsSchema generates the JSON schema of the provider table, which editors may use, and
// validates the table against it.
func TestProviderTableMatchesItsSchema(t *testing.T) {
	t.Parallel()
	schema, err := json.MarshalIndent(reflectSchema(&providerTable{}), "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, providersSchemaPath, string(schema)+"\n")

	text, err := files.ReadFile(providersPath)
	if err != nil {
		t.Fatal(err)
	}
	var table any
	if err := yaml.Unmarshal(text, &table); err != nil {
		t.Fatal(err)
	}
	results, err := rego.New(
		rego.Query("[valid, problems] := json.match_schema(input.table, input.schema)"),
		rego.Input(map[string]any{"table": table, "schema": string(schema)}),
	).Eval(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if bindings := results[0].Bindings; bindings["valid"] != true {
		t.Errorf("%s does not match its schema: %v", providersPath, bindings["problems"])
	}
}

func TestProviderTableIsWellFormed(t *testing.T) {
	t.Parallel()
	table := readProviders(t)
	named := func(name string) bool { return len(table.Annotations[name].Rows) > 0 }
	for old, name := range table.Aliases {
		if !annotationKey.MatchString(old) || named(old) || !named(name) {
			t.Errorf("aliases: %s is not an annotation, or has rows of its own, or %s has none", old, name)
		}
	}
	for prefix, name := range table.Prefixes {
		if !named(name) || strings.HasSuffix(name, "*") && prefix+"*" != name {
			t.Errorf("prefixes: %s has no rows, or does not match the prefix %s", name, prefix)
		}
	}
	rows := table.all()
	for _, provider := range table.WithoutClass {
		if !slices.ContainsFunc(rows, func(r row) bool { return r.Provider == provider }) {
			t.Errorf("without_class: no row has the provider %s", provider)
		}
	}
	for name, alternatives := range table.Conditions {
		used := slices.ContainsFunc(rows, func(r row) bool {
			return slices.ContainsFunc(slices.Concat(r.With, r.Unless), func(c conditionOrName) bool { return c.name == name })
		})
		if !used || len(alternatives) == 0 {
			t.Errorf("conditions: no row uses %s, or it has no alternatives", name)
		}
		for _, condition := range alternatives {
			if problem := condition.problem(); problem != "" {
				t.Errorf("conditions: %s: %s", name, problem)
			}
		}
	}
	seen := map[string]bool{}
	for _, row := range rows {
		for _, problem := range row.problems(table) {
			t.Errorf("%s: %s", row.ID, problem)
		}
		if seen[row.ID] {
			t.Errorf("%s: another row has this id", row.ID)
		}
		seen[row.ID] = true
	}
}

func TestProvidersReturnsTheNamesOfTheTable(t *testing.T) {
	t.Parallel()
	want := slices.Sorted(maps.Keys(readProviders(t).Names))
	if diff := cmp.Diff(want, Providers()); diff != "" {
		t.Errorf("Providers() mismatch (-want +got):\n%s", diff)
	}
}

// TestSharedAddresses compares policies.AsksToShareAddress with the rows that share an address.
func TestSharedAddresses(t *testing.T) {
	t.Parallel()
	table := readProviders(t)
	sharing := map[string]bool{}
	for _, row := range table.all() {
		if row.Says.SharesAddress != "" {
			sharing[row.annotation] = true
		}
	}
	keys := slices.Concat(slices.Collect(maps.Keys(table.Annotations)), slices.Collect(maps.Keys(table.Aliases)))
	service := func(annotations map[string]string) *corev1.Service {
		return &corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Annotations: annotations},
			Spec:       corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer},
		}
	}
	for _, key := range keys {
		newest, replaced := table.Aliases[key]
		if !replaced {
			newest = key
		}
		asks := service(map[string]string{key: "x"})
		if got := policies.AsksToShareAddress(asks, service(map[string]string{newest: "x"})); got != sharing[newest] {
			t.Errorf("AsksToShareAddress() of Services with %s and %s = %t, want %t", key, newest, got, sharing[newest])
		}
		for _, other := range []map[string]string{{newest: "y"}, {key: "x", newest: "y"}, {key: "x", newest: ""}} {
			if policies.AsksToShareAddress(asks, service(other)) {
				t.Errorf("AsksToShareAddress() of Services with %s=x and %v = true, want false", key, other)
			}
		}
	}
}

const loadBalancerType serviceType = "LoadBalancer"

// types returns the types of Services to which the row applies.
func (r row) types() []serviceType {
	if r.Types == nil {
		return []serviceType{loadBalancerType}
	}
	return r.Types
}

// problems returns what is wrong with a row.
func (r row) problems(table providerTable) []string {
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
	check(clause.MatchString(r.Message), "message does not continue \"annotation a=b\"")
	check(r.Says.RequireLocal != "" || r.Says.Verdict != "", "says has neither require_local nor verdict")
	check((r.Value != nil) == (r.annotation != ""), "value is missing, or the row is not of an annotation")
	check(r.Says.RequireLocal == "" || r.Types != nil, "require_local without types")
	check(slices.IsSorted(r.Types) && len(slices.Compact(slices.Clone(r.Types))) == len(r.Types),
		"types is not sorted, or has a type twice")
	check(r.annotation != "" || r.label != "" || slices.Equal(r.types(), []serviceType{loadBalancerType}),
		"only a LoadBalancer has a class or the name of a load balancer")
	check(r.annotation == "" || annotationKey.MatchString(r.annotation), "the annotation is not a valid name")
	check(r.loadBalancer == "" || kebabCase.MatchString(r.loadBalancer), "the name is not kebab-case")
	check(r.Value == nil || r.Value.matchers() == 1 && !r.Value.Absent, "value does not have exactly one matcher")
	check(r.Says.Shares == nil || strings.HasPrefix(r.Says.Shares.Source, "https://"), "shares has no https URL as source")
	check(r.Says.RevealBy == "" || r.Says.Verdict == "proxy", "reveal_by without verdict proxy")
	check(r.Says.WorksWith == "" || r.Says.Verdict == "forbidden" && r.annotation == "",
		"works_with without verdict forbidden, or of an annotation")
	check(!r.Says.BreaksHealthCheck || r.Says.Verdict == "forbidden", "breaks_health_check without verdict forbidden")
	for _, condition := range slices.Concat(r.With, r.Unless) {
		if condition.name == "" {
			check(condition.problem() == "", condition.problem())
		} else {
			check(len(table.Conditions[condition.name]) > 0, "there is no condition "+condition.name)
		}
	}
	return problems
}

// problem returns what is wrong with a condition, or an empty string.
func (c condition) problem() string {
	if len(c.Annotations) == 0 && c.Class == nil && c.Type == "" {
		return "a condition is empty"
	}
	for annotation, wanted := range c.Annotations {
		if !annotationKey.MatchString(annotation) || wanted.matchers() == 0 {
			return "the annotation of a condition is not a valid name, or has no matcher"
		}
	}
	return ""
}

// matchers returns the number of matchers that are set and valid.
func (m matcher) matchers() int {
	n := 0
	for _, set := range []bool{
		len(m.OneOf) > 0,
		len(m.OneOfAnyCase) > 0 && !slices.ContainsFunc(m.OneOfAnyCase, func(s string) bool {
			return s != strings.ToLower(s)
		}),
		len(m.NoneOf) > 0,
		m.Anything,
		m.Absent,
		m.Item != "",
		m.Attribute != nil && m.Attribute.Name != "" && len(m.Attribute.OneOf) > 0,
		m.JSON != nil && m.JSON.Key != "",
	} {
		if set {
			n++
		}
	}
	return n
}

// someService holds the parts of a Service that the table reads.
type someService struct {
	Annotations map[string]string `json:"annotations,omitempty"`
	Label       string            `json:"label,omitempty"`
	Class       string            `json:"class,omitempty"`
	Provider    string            `json:"provider,omitempty"`
	// Type is empty for LoadBalancer, which almost all rows are about.
	Type serviceType `json:"type,omitempty"`
	// ExternalIPs says that the Service has one; Headless, that it has no cluster IP.
	ExternalIPs bool `json:"externalIPs,omitempty"`
	Headless    bool `json:"headless,omitempty"`
}

func (s someService) serviceType() serviceType {
	if s.Type == "" {
		return loadBalancerType
	}
	return s.Type
}

// example returns a Service that a row matches.
func (r row) example(table providerTable) someService {
	s := someService{Annotations: map[string]string{}, Label: r.label, Class: r.class, Provider: r.loadBalancer}
	if !slices.Contains(r.types(), loadBalancerType) {
		s.Type = r.Types[0]
	}
	if r.annotation != "" {
		s.Annotations[exampleKey(table, r.annotation)] = r.Value.example()
	}
	for _, with := range r.With {
		// Use the first alternative that does not contradict the row itself.
		for _, alternative := range with.alternatives(table) {
			if agreed, ok := s.with(alternative); ok {
				s = agreed
				break
			}
		}
	}
	return s
}

// with returns the Service changed so that an alternative holds. ok is false if the two contradict each other.
func (s someService) with(alternative condition) (changed someService, ok bool) {
	s.Annotations = maps.Clone(s.Annotations)
	if class := alternative.Class; class != nil {
		if s.Class != "" && s.Class != *class {
			return s, false
		}
		s.Class = *class
	}
	if alternative.Type != "" && alternative.Type != s.serviceType() {
		return s, false
	}
	for annotation, wanted := range alternative.Annotations {
		written, has := s.Annotations[annotation]
		switch {
		case has && !wanted.accepts(written):
			return s, false
		case !has && !wanted.Absent:
			s.Annotations[annotation] = wanted.example()
		}
	}
	return s, true
}

// accepts reports whether a matcher accepts a value. It supports only the simple matchers, which conditions use.
func (m matcher) accepts(value string) bool {
	return m.Anything || slices.Contains(m.OneOf, value) || slices.Contains(m.OneOfAnyCase, strings.ToLower(value)) ||
		m.NoneOf != nil && !slices.Contains(m.NoneOf, value)
}

// exampleKey returns an annotation for an entry of the table, which may apply to all annotations with a prefix.
func exampleKey(table providerTable, annotation string) string {
	for prefix, name := range table.Prefixes {
		if name == annotation && strings.HasSuffix(name, "*") {
			return prefix + "80"
		}
	}
	return annotation
}

// example returns a value that the matcher accepts, and that is hard to parse.
func (m matcher) example() string {
	switch {
	case m.OneOf != nil:
		return m.OneOf[len(m.OneOf)-1]
	case m.OneOfAnyCase != nil:
		return strings.ToUpper(m.OneOfAnyCase[0])
	case m.Item != "":
		return "other, " + m.Item
	case m.Attribute != nil:
		return "other=1, " + m.Attribute.Name + " = " + m.Attribute.OneOf[len(m.Attribute.OneOf)-1]
	case m.JSON != nil && m.JSON.OneOf != nil:
		return fmt.Sprintf(`{%q: %s}`, m.JSON.Key, jsonText(m.JSON.OneOf[0]))
	case m.JSON != nil:
		return fmt.Sprintf(`{%q: {"80": {}}}`, m.JSON.Key)
	default:
		return "other"
	}
}

// counterexamples returns values that the matcher does not accept.
func (m matcher) counterexamples() []string {
	switch {
	case m.NoneOf != nil:
		return m.NoneOf
	case m.Anything:
		return nil
	case m.OneOf != nil:
		return []string{"", "other", m.OneOf[0] + " ", strings.ToUpper(m.OneOf[0]) + strings.ToLower(m.OneOf[0])}
	case m.OneOfAnyCase != nil:
		return []string{"", "other", m.OneOfAnyCase[0] + " "}
	case m.Item != "":
		return []string{"", "other", m.Item + "x", "x" + m.Item}
	case m.Attribute != nil:
		return []string{
			"",
			m.Attribute.Name,
			m.Attribute.Name + "=other",
			"other=" + m.Attribute.OneOf[0],
			m.Attribute.Name + "x=" + m.Attribute.OneOf[0],
		}
	default:
		return []string{"", "{}", m.JSON.Key, "{" + m.JSON.Key, `{"other": true}`, "[]"}
	}
}

// nearly returns Services that differ from the example in one thing, so that the row does not match, by the difference.
func (r row) nearly(table providerTable) map[string]someService {
	services := map[string]someService{}
	change := func(sentence string, tweak func(*someService)) {
		s := r.example(table)
		s.Annotations = maps.Clone(s.Annotations)
		tweak(&s)
		services[sentence] = s
	}
	key := exampleKey(table, r.annotation)
	switch {
	case r.annotation != "":
		change("without the annotation", func(s *someService) { delete(s.Annotations, key) })
		change("with a longer name", func(s *someService) {
			s.Annotations["x"+key] = s.Annotations[key]
			delete(s.Annotations, key)
		})
		for _, value := range slices.DeleteFunc(r.Value.counterexamples(), r.Value.accepts) {
			change(fmt.Sprintf("with value %q", value), func(s *someService) { s.Annotations[key] = value })
		}
	case r.label != "":
		change("without the label", func(s *someService) { s.Label = "" })
		change("with another label", func(s *someService) { s.Label = "example.com/other" })
	case r.class != "":
		change("without the class", func(s *someService) { s.Class = "" })
		change("with another class", func(s *someService) { s.Class = "example.com/other" })
	default:
		change("without the name", func(s *someService) { s.Provider = "" })
	}
	for _, other := range serviceTypes {
		if !slices.Contains(r.types(), other) {
			change("of type "+string(other), func(s *someService) { s.Type = other })
		}
	}
	for i, unless := range r.Unless {
		for j, alternative := range unless.alternatives(table) {
			s := r.example(table)
			if with, ok := s.with(alternative); ok {
				services[fmt.Sprintf("with alternative %d of condition %d of unless", j, i)] = with
			}
		}
	}
	if slices.Contains(table.WithoutClass, r.Provider) {
		change("with a class", func(s *someService) { s.Class = "example.com/other" })
	}
	return services
}

// object returns the Service with a traffic policy, or without one if it is empty.
func (s someService) object(t testing.TB, trafficPolicy string) *policies.Object {
	t.Helper()
	annotations := map[string]any{}
	for name, value := range s.Annotations {
		annotations[name] = value
	}
	spec := map[string]any{
		"type":     string(s.serviceType()),
		"ports":    []any{map[string]any{"port": int64(80)}},
		"selector": map[string]any{"app": "web"},
	}
	if s.ExternalIPs {
		spec["externalIPs"] = []any{"203.0.113.7"}
	}
	if s.Headless {
		spec["clusterIP"] = "None"
	}
	if s.Type == "ExternalName" {
		spec["externalName"] = "web.example.com"
	}
	if s.Class != "" {
		spec["loadBalancerClass"] = s.Class
	}
	if trafficPolicy != "" {
		spec["externalTrafficPolicy"] = trafficPolicy
	}
	metadata := map[string]any{"name": "web", "annotations": annotations}
	if s.Label != "" {
		metadata["labels"] = map[string]any{s.Label: "web"}
	}
	return object(t, map[string]any{
		"apiVersion": "v1", "kind": "Service",
		"metadata": metadata, "spec": spec,
	})
}

// decide returns the decision of the built-in rules.
func (s someService) decide(t testing.TB, set *Set, trafficPolicy string) policies.Decision {
	t.Helper()
	in := policies.Input{
		Operation: policies.Create, Object: s.object(t, trafficPolicy), InFile: policies.InFileWritten,
		Related: policies.Related{View: policies.ViewFiles},
	}
	if trafficPolicy == "" {
		in.InFile = policies.InFileAbsent
	}
	var settings policies.Settings
	settings.LoadBalancers.Default = s.Provider
	decision, err := policies.Decide(t.Context(), in, set, settings)
	if err != nil {
		t.Error(err)
	}
	return decision
}

// rowCase is an entry of testdata/rows.yaml: a Service that the row matches, and its findings without and with Local.
type rowCase struct {
	Service someService `json:"service"`
	Unset   []string    `json:"unset,omitempty"`
	Local   []string    `json:"local,omitempty"`
}

// TestEveryRow generates, for each row of the table, a Service that the row matches, and several that it almost
// matches. testdata/rows.yaml holds the findings of the first, and -update writes it. TestRowsAgainstTheOracle checks
// these findings.
func TestEveryRow(t *testing.T) {
	t.Parallel()
	matching := matchingRows(t)
	set, _ := Compile(t.Context(), nil, nil)
	table := readProviders(t)
	lines := func(findings []policies.Finding) []string {
		var lines []string
		for _, f := range findings {
			lines = append(lines, fmt.Sprintf("%s %s: %s; %s", f.Mode, f.Rule, f.Message, f.Fix))
		}
		return lines
	}
	cases := map[string]rowCase{}
	for _, row := range table.all() {
		s := row.example(table)
		if got := matching(t, s); !slices.Contains(got, row.ID) {
			t.Errorf("%s does not match %s; the matching rows are %v", row.ID, jsonText(s), got)
		}
		for sentence, s := range row.nearly(table) {
			if got := matching(t, s); slices.Contains(got, row.ID) {
				t.Errorf("%s matches a Service %s: %s", row.ID, sentence, jsonText(s))
			}
		}
		cases[row.ID] = rowCase{
			s, lines(s.decide(t, set, "").Findings), lines(s.decide(t, set, "Local").Findings),
		}
	}
	text, err := yaml.Marshal(cases)
	if err != nil {
		t.Fatal(err)
	}
	const head = "# For each row of sourceward/providers/data.yaml, a Service that it matches, and the findings. " +
		"Written by make generate.\n"
	golden(t, "testdata/rows.yaml", head+string(text))
}

// TestAliasesAndPrefixes checks that an alias counts if the newer annotation is absent, and that prefixes match.
func TestAliasesAndPrefixes(t *testing.T) {
	t.Parallel()
	table := readProviders(t)
	matching := matchingRows(t)
	for old, name := range table.Aliases {
		row := table.Annotations[name].Rows[0]
		row.annotation = name
		s := row.example(table)
		s.Annotations[old] = s.Annotations[name]
		delete(s.Annotations, name)
		if got := matching(t, s); !slices.Contains(got, row.ID) {
			t.Errorf("%s does not match %s; the matching rows are %v", row.ID, jsonText(s), got)
		}
		if row.Value.Anything || row.Value.NoneOf != nil {
			continue
		}
		s.Annotations[name] = "other"
		if got := matching(t, s); slices.Contains(got, row.ID) {
			t.Errorf("%s matches %s, although the newer annotation has another value", row.ID, jsonText(s))
		}
	}
	for prefix, name := range table.Prefixes {
		row := table.Annotations[name].Rows[0]
		s := someService{Annotations: map[string]string{prefix + "80": row.Value.example()}}
		if got := matching(t, s); len(row.With) == 0 && !slices.Contains(got, row.ID) {
			t.Errorf("%s does not match %s; the matching rows are %v", row.ID, jsonText(s), got)
		}
	}
}

// matchingRows returns a function that returns the ids of the rows that match a Service. Findings do not show these
// ids, since some rows cause none.
func matchingRows(t testing.TB) func(testing.TB, someService) []string {
	t.Helper()
	query, err := rego.New(
		rego.ParsedModule(embeddedModules().lib["sourceward/lib/rows.rego"]),
		rego.Store(inmem.NewFromObject(providerData())),
		rego.Query("ids := {m.row.id | some m in data.sourceward.lib.rows.holding}"),
	).PrepareForEval(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return func(t testing.TB, s someService) []string {
		t.Helper()
		document := policies.Document{Object: s.object(t, "")}
		document.Facts.Provider = s.Provider
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
