package main

import (
	"bytes"
	"errors"
	"io"
	"math"
	"os"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
	"golang.org/x/perf/benchfmt"
)

func TestCorporaAreTheSameInEveryRun(t *testing.T) {
	t.Parallel()
	first, second := corpora(), corpora()
	for i, c := range first {
		for f, file := range c.files {
			if !bytes.Equal(file, second[i].files[f]) {
				t.Errorf("%s: file %d differs", c.name, f)
			}
		}
	}
}

func TestCorporaHoldWhatTheySay(t *testing.T) {
	t.Parallel()
	type count struct{ Files, Pairs, Local, Namespaces, Others int }
	want := map[string]count{
		"one-file":           {Files: 1, Pairs: 1, Local: 1, Namespaces: 1, Others: 1},
		"pairs-1000":         {Files: 20, Pairs: 1_000, Local: 500, Namespaces: 20},
		"pairs-10000":        {Files: 20, Pairs: 10_000, Local: 5_000, Namespaces: 20},
		"one-namespace-1000": {Files: 20, Pairs: 1_000, Local: 500, Namespaces: 1},
		"one-namespace-5000": {Files: 20, Pairs: 5_000, Local: 2_500, Namespaces: 1},
		"irrelevant":         {Files: 20, Pairs: 1_000, Local: 500, Namespaces: 20, Others: 240},
	}
	got := map[string]count{}
	for _, c := range corpora() {
		n := count{Files: len(c.files)}
		namespaces := map[string]bool{}
		deployments := map[string]bool{}
		for _, file := range c.files {
			for document := range bytes.SplitSeq(file, []byte("---\n")) {
				kind, _ := lineAfter(document, "\nkind: ")
				switch kind {
				case "":
					continue
				case "Deployment", "Service":
				default:
					n.Others++
					continue
				}
				name, _ := lineAfter(document, "\n  name: ")
				namespace, _ := lineAfter(document, "\n  namespace: ")
				namespaces[namespace] = true
				if kind == "Deployment" {
					deployments[namespace+"/"+name] = true
				} else if deployments[namespace+"/"+name] {
					n.Pairs++
				}
				if strings.Contains(string(document), "externalTrafficPolicy: Local") {
					n.Local++
				}
			}
		}
		n.Namespaces = len(namespaces)
		got[c.name] = n
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("corpora() mismatch (-want +got):\n%s", diff)
	}
}

func lineAfter(document []byte, prefix string) (string, bool) {
	_, rest, ok := strings.Cut("\n"+string(document), prefix)
	line, _, _ := strings.Cut(rest, "\n")
	return line, ok
}

func TestIrrelevantObjectsAreNineTenthsAndValid(t *testing.T) {
	t.Parallel()
	pairs, all := corpus{files: pairs(1_000, 20)}.size(), corpus{files: irrelevant(1_000)}.size()
	if share := float64(pairs) / float64(all); share < 0.08 || share > 0.1 {
		t.Errorf("pairs are %.3f of the bytes, want about a tenth", share)
	}
	decoder := yaml.NewDecoder(bytes.NewReader(irrelevant(1_000)[0]))
	kinds := map[string]bool{}
	for {
		var document struct{ Kind string }
		if err := decoder.Decode(&document); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		kinds[document.Kind] = true
	}
	want := map[string]bool{
		"CustomResourceDefinition": true, "ConfigMap": true, "Secret": true, "Deployment": true, "Service": true,
	}
	if diff := cmp.Diff(want, kinds); diff != "" {
		t.Errorf("kinds mismatch (-want +got):\n%s", diff)
	}
}

// runsOf returns runs with the same number of seconds and of MiB.
func runsOf(figures ...float64) []usage {
	runs := make([]usage, len(figures))
	for i, f := range figures {
		took := time.Duration(f * float64(time.Second))
		runs[i] = usage{Wall: took, CPU: took, Memory: int64(f * (1 << 20))}
	}
	return runs
}

func TestMedian(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		runs []usage
		want float64
	}{
		"the middle of an odd number":            {runsOf(9, 1, 5), 5},
		"between the two of an even number":      {runsOf(9, 1, 5, 3), 4},
		"a single run":                           {runsOf(2), 2},
		"one slow run does not change the value": {runsOf(1, 1, 1, 1, 60), 1},
	} {
		if got := median(test.runs, usage.cpu); got != test.want {
			t.Errorf("%s: median() = %v, want %v", name, got, test.want)
		}
	}
	if got := median(nil, usage.cpu); !math.IsNaN(got) {
		t.Errorf("median() of no runs = %v, want NaN", got)
	}
}

func TestReportsOfProgramsAreRead(t *testing.T) {
	t.Parallel()
	want := map[string]bool{"edge/web": true}
	for name, test := range map[string]struct {
		read   func([]byte) (map[string]bool, error)
		report string
	}{
		check: {bySourceward, `{"findings": [
			{"rule": "unspread-behind-local", "object": {"kind": "Deployment", "namespace": "edge", "name": "web"}},
			{"rule": "missing-readiness", "object": {"kind": "Deployment", "namespace": "edge", "name": "other"}},
			{"rule": "unspread-behind-local", "object": {"kind": "StatefulSet", "namespace": "edge", "name": "db"}}]}`},
		gator: {byGator, `[
			{"msg": "m", "violatingObject": {"kind": "Deployment", "metadata": {"namespace": "edge", "name": "web"}}},
			{"msg": "m", "violatingObject": {"kind": "Service", "metadata": {"namespace": "edge", "name": "other"}}}]`},
		conftest: {byConftest, `[{"filename": "Combined", "failures": [
			{"msg": "m", "metadata": {"namespace": "edge", "name": "web", "query": "data.main.deny"}}]}]`},
	} {
		got, err := test.read([]byte(test.report))
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: Deployments mismatch (-want +got):\n%s", name, diff)
		}
	}
}

func TestCompareNoticesDifferences(t *testing.T) {
	t.Parallel()
	set := func(names ...string) map[string]bool {
		all := map[string]bool{}
		for _, name := range names {
			all[name] = true
		}
		return all
	}
	for name, test := range map[string]struct {
		ours, theirs map[string]bool
		want         agreement
	}{
		"equal sets":             {set("a", "b"), set("b", "a"), agreement{peer: "p", both: 2, neither: 3}},
		"one that only we find":  {set("a", "b"), set("a"), agreement{peer: "p", both: 1, neither: 3, ours: []string{"b"}}},
		"one that only it finds": {set(), set("c"), agreement{peer: "p", neither: 4, theirs: []string{"c"}}},
	} {
		got := compare("p", 5, test.ours, test.theirs)
		if diff := cmp.Diff(test.want, got, cmp.AllowUnexported(agreement{})); diff != "" {
			t.Errorf("%s: compare() mismatch (-want +got):\n%s", name, diff)
		}
		if want := len(test.want.ours)+len(test.want.theirs) == 0; got.agree() != want {
			t.Errorf("%s: agree() = %t, want %t", name, got.agree(), want)
		}
	}
}

func TestGoals(t *testing.T) {
	t.Parallel()
	for want, g := range map[string]goal{
		"met":          {limit: 3, measured: 3},
		"**missed**":   {limit: 3, atLeast: true, measured: 2.9},
		"not measured": {limit: 3, atLeast: true, measured: math.NaN()},
	} {
		if got := g.outcome(); got != want {
			t.Errorf("outcome() of %v for %s = %q, want %q", g.measured, g, got, want)
		}
	}
	r := fixture(t)
	got := map[string]string{}
	for _, g := range r.goals() {
		got[g.what] = number(g.measured)
	}
	// The worst of all lines counts, and what was not measured has no value.
	for what, want := range map[string]string{
		"1 000 pairs, kube-score against us, CPU":                    "4.00",
		"10 000 pairs, kube-score against us, CPU":                   "",
		"webhook, warn, against one that allows everything, CPU":     "1.80",
		"webhook, warn, that ratio with 5 000 Services against 10":   "1.20",
		"webhook, mutate, p50 added for 8 clients against the same":  "2.00",
		"decision with 100 policies of ten rules, all match":         "9.00",
		"Service with ten annotations against one line of plain OPA": "7.50",
		"heap for each cached Deployment":                            "2400",
	} {
		if value, ok := got[what]; !ok || value != want {
			t.Errorf("goal %q: measured %q, want %q", what, value, want)
		}
	}
}

// fixture returns results with the output of benchmarks in testdata.
func fixture(t *testing.T) *results {
	t.Helper()
	file, err := os.Open("testdata/benchmarks.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close() //nolint:errcheck // nothing was written
	benchmarks, err := readBenchmarks(file)
	if err != nil {
		t.Fatal(err)
	}
	return &results{
		machine: []string{"Go: 1.26.8"},
		tables: []table{{
			corpus: corpus{
				name: "pairs-1000", title: "1 000 pairs", contents: "1 000 pairs in 20 namespaces.",
				files: [][]byte{make([]byte, 600_000), make([]byte, 600_000)},
			},
			rows: []row{
				{program: check, command: []string{"sourceward", "check", "-q", "pairs-1000"}, runs: runsOf(1, 0.9, 20)},
				{
					program: kubeScore, runs: runsOf(4, 4, 4),
					command: []string{"kube-score", "score", "pairs-1000/00.yaml", "pairs-1000/01.yaml"},
				},
				{program: gator, notRun: "one run takes longer than 5m0s"},
			},
		}},
		agreements: []agreement{
			{peer: gator, both: 500, neither: 500},
			{peer: conftest, both: 499, neither: 500, ours: []string{"team-0/web-0"}},
		},
		benchmarks: benchmarks,
	}
}

func TestReadBenchmarks(t *testing.T) {
	t.Parallel()
	got := fixture(t).benchmarks
	want := benchmark{group: "Admission", name: "services=10/clients=1/none", values: []benchfmt.Value{
		{Value: 2.5, Unit: "p50-ms"}, {Value: 6, Unit: "p99-ms"},
	}}
	if diff := cmp.Diff(want, got[0], cmp.AllowUnexported(benchmark{})); diff != "" {
		t.Errorf("readBenchmarks() mismatch (-want +got):\n%s", diff)
	}
	if _, err := readBenchmarks(strings.NewReader("BenchmarkX-2 1 what?\n")); err == nil {
		t.Error("readBenchmarks() of a broken line returns no error")
	}
}

func TestWriteReport(t *testing.T) {
	t.Parallel()
	want, err := os.ReadFile("testdata/report.md")
	if err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	writeReport(&got, fixture(t), true)
	if diff := cmp.Diff(string(want), got.String()); diff != "" {
		t.Errorf("writeReport() mismatch (-want +got):\n%s", diff)
	}
}

func TestReportIsAtMost120ColumnsWide(t *testing.T) {
	t.Parallel()
	r := fixture(t)
	for _, c := range corpora() {
		measured := table{corpus: c}
		for _, p := range programs() {
			measured.rows = append(measured.rows, row{
				program: p.name, command: p.command(c), runs: runsOf(1_000, 1_000, 1_000), notRun: c.skip[p.name],
			})
		}
		r.tables = append(r.tables, measured)
	}
	var report bytes.Buffer
	writeReport(&report, r, true)
	for line := range strings.Lines(report.String()) {
		if columns := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); columns > 120 {
			t.Errorf("%d columns: %s", columns, line)
		}
	}
}

func TestPlotHasAllNames(t *testing.T) {
	t.Parallel()
	svg, err := drawPlot(fixture(t).tables)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"1 000 pairs", check, kubeScore, "CPU time, seconds", "peak memory, MiB"} {
		if !strings.Contains(string(svg), ">"+name+"<") {
			t.Errorf("the plot does not show %q", name)
		}
	}
	if len(glyphs) != len(programs()) {
		t.Errorf("%d glyphs for %d programs", len(glyphs), len(programs()))
	}
}
