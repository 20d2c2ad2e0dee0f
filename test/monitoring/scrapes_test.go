package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/prometheus/model/relabel"
	"github.com/prometheus/prometheus/util/teststorage"
)

// write writes scrapes, each a map of texts by their targets, and returns the folders.
func write(t *testing.T, scrapes ...map[string]string) []string {
	t.Helper()
	var folders []string
	for _, scrape := range scrapes {
		folder := t.TempDir()
		for target, text := range scrape {
			if err := os.WriteFile(filepath.Join(folder, target), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		folders = append(folders, folder)
	}
	return folders
}

// TestRun checks which alerts fire after a series of scrapes.
func TestRun(t *testing.T) {
	t.Parallel()
	const (
		replica   = "sourceward_build_info{version=\"devel\"} 1\n"
		failOpen  = `apiserver_admission_webhook_fail_open_count{name="scale.validate.sourceward.dev",type="validating"} 1`
		apiserver = "apiserver_storage_objects 1\n"
	)
	tests := map[string]struct {
		scrapes []map[string]string
		want    string
	}{
		"all is well": {[]map[string]string{{"a": replica, "apiserver": apiserver}}, ""},
		"a replica stops, and API servers notice": {
			[]map[string]string{
				{"a": replica, "apiserver": apiserver}, {"apiserver": apiserver + failOpen + "\n"},
			},
			"SourcewardAbsent: Prometheus finds no replica of the Sourceward webhook.\n" +
				"SourcewardFailOpen: API servers have admitted objects without an answer of webhook " +
				"scale.validate.sourceward.dev.\n",
		},
		"a counter goes up": {
			[]map[string]string{
				{"a": replica + "sourceward_refused_clients_total 4\n"}, {"a": replica + "sourceward_refused_clients_total 5\n"},
			},
			"SourcewardClientsRefused: The Sourceward webhook refuses clients because of their certificates.\n",
		},
		"a counter went up before": {
			[]map[string]string{{"a": replica + "sourceward_refused_clients_total 5\n"}}, "",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var out strings.Builder
			const names = false
			if err := run(t.Context(), component, names, write(t, test.scrapes...), &out); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, out.String()); diff != "" {
				t.Errorf("alerts (-want +got):\n%s", diff)
			}
		})
	}
	const names = false
	if err := run(t.Context(), component, names, nil, &strings.Builder{}); err == nil {
		t.Error("an empty input gives no error")
	}
	rubbish := write(t, map[string]string{"a": "no metrics\n"})
	if err := run(t.Context(), component, names, rubbish, &strings.Builder{}); err == nil {
		t.Error("a scrape that is not of metrics gives no error")
	}
}

// TestNames checks what is found wrong with expressions.
func TestNames(t *testing.T) {
	t.Parallel()
	folders := write(t, map[string]string{
		"a": "sourceward_requests_total{endpoint=\"mutate\",outcome=\"allowed\"} 1\n" +
			"process_resident_memory_bytes 5\n",
	})
	relabelings, err := readRelabelings(component)
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		e           expression
		relabelings []*relabel.Config
		want        []string
	}{
		"everything exists": {
			e: expression{
				query: `sum by (endpoint, pod) (rate(sourceward_requests_total{outcome="allowed"}[5m]))`,
				shown: []string{"endpoint", "pod"}, isShown: true,
			},
			relabelings: relabelings,
		},
		"a metric does not exist": {
			e:           expression{query: "sourceward_request_total"},
			relabelings: relabelings,
			want:        []string{"here: no series matches sourceward_request_total"},
		},
		"a label never has this value": {
			e:           expression{query: `sourceward_requests_total{outcome="admitted"} > 0`},
			relabelings: relabelings,
			want:        []string{`here: no series matches sourceward_requests_total{outcome="admitted"}`},
		},
		"a sum is by a label that does not exist": {
			e:           expression{query: "sum by (code) (sourceward_requests_total)"},
			relabelings: relabelings,
			want:        []string{"here: no series of sum by (code) (sourceward_requests_total) has the label code"},
		},
		"two metrics are matched on a label that does not exist": {
			e:           expression{query: "process_resident_memory_bytes and on (node) sourceward_requests_total"},
			relabelings: relabelings,
			want: []string{"here: no series of process_resident_memory_bytes and on (node) sourceward_requests_total " +
				"has the label node"},
		},
		"a legend shows a label that the sum removes": {
			e: expression{
				query: "sum by (endpoint) (sourceward_requests_total)", shown: []string{"outcome"}, isShown: true,
			},
			relabelings: relabelings,
			want:        []string{"here: no result of sum by (endpoint) (sourceward_requests_total) has the label outcome"},
		},
		"a panel shows nothing": {
			e:           expression{query: "sourceward_requests_total > 1", isShown: true},
			relabelings: relabelings,
			want:        []string{"here: nothing is the result of sourceward_requests_total > 1"},
		},
		"the operator overwrites a label of ours": {
			e:    expression{query: `sourceward_requests_total{endpoint="mutate"}`},
			want: []string{`here: no series matches sourceward_requests_total{endpoint="mutate"}`},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			storage := teststorage.New(t)
			start, end, err := load(t.Context(), storage, folders, test.relabelings, time.Unix(1e9, 0))
			if err != nil {
				t.Fatal(err)
			}
			engine := newEngine()
			t.Cleanup(func() {
				if err := engine.Close(); err != nil {
					t.Error(err)
				}
			})
			test.e.where = "here"
			checker := &checker{engine, storage, start, end}
			got, err := checker.unknown(t.Context(), []expression{test.e})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("names (-want +got):\n%s", diff)
			}
		})
	}
}
