package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestCompareReportsDifferences(t *testing.T) {
	t.Parallel()
	at := func(rule string) key { return key{"example.com/m", "chart", "Service/default/web", rule} }
	found := func(rule, values string) finding { return finding{key: at(rule), values: values} }
	tests := map[string]struct {
		findings   []finding
		judgements map[key]judgement
		want       []string
	}{
		"a finding that was judged right": {
			findings:   []finding{found("a", "")},
			judgements: map[key]judgement{at("a"): {Right: "it is so"}},
		},
		"the order of values does not matter, and two findings of one rule have one judgement": {
			findings:   []finding{found("a", "one"), found("a", "two"), found("a", "two")},
			judgements: map[key]judgement{at("a"): {Values: []string{"two", "one"}, Right: "it is so"}},
		},
		"a finding without a judgement": {
			findings: []finding{found("a", "one")},
			want:     []string{"not judged: example.com/m: chart: Service/default/web: a with values one"},
		},
		"a judgement without a finding": {
			judgements: map[key]judgement{at("a"): {Right: "it is so"}},
			want:       []string{"judged, but not found: example.com/m: chart: Service/default/web: a"},
		},
		"a finding that was judged wrong": {
			findings:   []finding{found("a", "")},
			judgements: map[key]judgement{at("a"): {Wrong: "it is not"}},
			want:       []string{"wrong: example.com/m: chart: Service/default/web: a: it is not"},
		},
		"a finding with more values than were judged": {
			findings:   []finding{found("a", "one"), found("a", "two")},
			judgements: map[key]judgement{at("a"): {Values: []string{"one"}, Right: "it is so"}},
			want: []string{
				"found with values one, two, but judged with values one: example.com/m: chart: Service/default/web: a",
			},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, got := compare(test.findings, test.judgements)
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("compare() mismatch (-want +got):\n%s", diff)
			}
		})
	}
}

func TestJudgementsAreEitherRightOrWrong(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"neither": "m: {chart: {Service/default/web: {a: {values: [one]}}}}",
		"both":    "m: {chart: {Service/default/web: {a: {right: so, wrong: not so}}}}",
		"a typo":  "m: {chart: {Service/default/web: {a: {rihgt: so}}}}",
	} {
		file := filepath.Join(t.TempDir(), judgementsFile)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := readJudgements(file); err == nil {
			t.Errorf("%s: readJudgements() returns no error", name)
		}
	}
	if _, err := readJudgements(judgementsFile); err != nil {
		t.Error(err)
	}
}

// TestJudge finds, renders and judges charts and manifests in a module.
func TestJudge(t *testing.T) {
	t.Parallel()
	const (
		service = "kind: Service\napiVersion: v1\nmetadata: {name: web}\n" +
			"spec: {selector: {app: web}, ports: [{port: 80}]}\n"
		workload = "kind: Deployment\napiVersion: apps/v1\nmetadata: {name: web}\n" +
			"spec: {replicas: {{ .Values.pods }}, selector: {matchLabels: {app: web}}, " +
			"template: {metadata: {labels: {app: web}}, spec: {containers: [{name: web, image: web}]}}}\n"
	)
	dir := t.TempDir()
	err := write(dir, map[string]string{
		"chart/Chart.yaml":            "{apiVersion: v2, name: chart, version: 1.0.0}",
		"chart/values.yaml":           "pods: 2",
		"chart/templates/service.yml": service,
		"chart/templates/web.yaml":    workload,
		"broken/Chart.yaml":           "{apiVersion: v2, version: 1.0.0}",
		"plain/service.yaml":          service,
		"plain/same.yaml":             service + "status: {\n",
		"plain/template.yaml":         workload,
		"other/config.yaml":           "kind: ConfigMap\napiVersion: v1\nmetadata: {name: web}\n---\n{",
		".hidden/service.yaml":        service,
		"left/out/service.yaml":       service,
	})
	if err != nil {
		t.Fatal(err)
	}
	bundles, err := find(module{dir: dir, source: source{
		path: "m",
		charts: map[string]chart{"chart": {values: []values{
			exposed,
			{name: "one", set: []string{"pods=1"}},
			{name: "nodes", set: []string{"pods=7"}, exposed: true, nodes: true},
		}}},
		skip: []string{"left"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	got, err := judgeAll(t.Context(), bundles, t.TempDir(), &progress{})
	if err != nil {
		t.Fatal(err)
	}
	var rules []string
	for _, f := range got.findings {
		if known := strings.Contains(f.fix, "over 5 nodes"); f.rule == "unspread-behind-local" &&
			known != (f.values == "nodes") {
			t.Errorf("with values %s, %s says %q", f.values, f.rule, f.fix)
		}
		if f.rule == unreadable || f.rule == unrenderable || f.rule == "unspread-behind-local" {
			rules = append(rules, strings.Join([]string{f.bundle, f.values, f.object, f.rule}, " "))
		}
	}
	want := []string{
		"broken default chart unrenderable",
		"chart exposed Deployment/default/web unspread-behind-local",
		"chart nodes Deployment/default/web unspread-behind-local",
		"plain  plain/same.yaml unreadable",
	}
	slices.Sort(rules)
	if diff := cmp.Diff(want, rules); diff != "" {
		t.Errorf("judgeAll() mismatch (-want +got):\n%s", diff)
	}
	if got.judged["Service"] != 5 || len(got.templates) != 1 {
		t.Errorf("judged objects are %v, and templates %v; want 5 Services and 1 template", got.judged, got.templates)
	}
}
