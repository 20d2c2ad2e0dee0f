package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sourceward/sourceward/policies"
	"github.com/sourceward/sourceward/policies/bundle"
	"github.com/sourceward/sourceward/policies/manifest"
)

// work is what grows with the number of objects.
type work struct {
	// evaluated is the number of neighbours for which Rego was evaluated.
	evaluated int
	// json and text are the sizes of the reports.
	json, text int
}

// checked returns the work for Local Services that all select the pods of all these workloads.
func checked(t *testing.T, services, workloads int) work {
	t.Helper()
	var stream strings.Builder
	for i := range services {
		fmt.Fprintf(&stream, "---\napiVersion: v1\nkind: Service\nmetadata: {namespace: edge, name: web-%03d}\n"+
			"spec: {type: LoadBalancer, externalTrafficPolicy: Local, selector: {app: web}, ports: [{port: 443}]}\n", i)
	}
	for i := range workloads {
		fmt.Fprintf(&stream, "---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {namespace: edge, name: web-%03d}\n"+
			"spec:\n  replicas: 3\n  selector: {matchLabels: {app: web, i: w%[1]d}}\n"+
			"  template: {metadata: {labels: {app: web, i: w%[1]d}}, spec: {containers: [{name: web}]}}\n", i)
	}
	path := filepath.Join(t.TempDir(), "all.yaml")
	if err := os.WriteFile(path, []byte(stream.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	manifests, err := manifest.Load(manifest.Options{Paths: []string{path}})
	if err != nil {
		t.Fatal(err)
	}
	set, wrong := bundle.Compile(t.Context(), nil, nil)
	if wrong != nil {
		t.Fatal(wrong[0])
	}
	run := &checkRun{
		rules: newSlowRules(set), manifests: manifests, cluster: policies.Cluster{Version: policies.Newest}, now: time.Now(),
	}
	report, err := run.report(t.Context(), &progress{})
	if err != nil || len(report.Errors) > 0 || len(report.Findings) < workloads {
		t.Fatalf("report() has %d findings and the errors %v, %v", len(report.Findings), report.Errors, err)
	}
	var json, text bytes.Buffer
	if err := report.writeJSON(&json, checkFlags{}); err != nil {
		t.Fatal(err)
	}
	if err := report.writeText(&text, checkFlags{show: []string{"audit"}}); err != nil {
		t.Fatal(err)
	}
	return work{len(run.rules.answers), json.Len(), text.Len()}
}

// TestWorkIsLinear checks that Rego is evaluated once for each Service, however many workloads are behind it, and that
// the reports grow with the number of objects, not of pairs. The names of all objects have the same length.
func TestWorkIsLinear(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ services, workloads, times int }{
		{services: 20, workloads: 20, times: 4},
		{services: 1, workloads: 50, times: 8},
		{services: 50, workloads: 1, times: 8},
	} {
		few := checked(t, test.services, test.workloads)
		if test.services > 1 {
			test.services *= test.times
		}
		if test.workloads > 1 {
			test.workloads *= test.times
		}
		more := checked(t, test.services, test.workloads)
		if more.evaluated != test.services {
			t.Errorf("%d Services, %d workloads: Rego is evaluated for %d neighbours, want %[1]d",
				test.services, test.workloads, more.evaluated)
		}
		for name, sizes := range map[string][2]int{"JSON": {few.json, more.json}, "text": {few.text, more.text}} {
			if ratio := float64(sizes[1]) / float64(sizes[0]); ratio > 1.05*float64(test.times) {
				t.Errorf("%d Services, %d workloads: %s has %d bytes, %.1f times as many as for %d times fewer objects",
					test.services, test.workloads, name, sizes[1], ratio, test.times)
			}
		}
	}
}

func TestListsSayHowManyAreLeftOut(t *testing.T) {
	t.Parallel()
	list := []policies.Ref{
		{Kind: "Service", Namespace: "edge", Name: "a"}, {Kind: "Service", Namespace: "edge", Name: "b"},
	}
	eleven := strings.Split("abcdefghijk", "")
	got := []string{
		refs(list[:1], 0), refs(list, 0), refs(list, 390), listed(eleven[:1]), listed(eleven[:10]), listed(eleven),
	}
	want := []string{
		"Service edge/a", "Service edge/a, Service edge/b", "Service edge/a, Service edge/b and 390 more",
		"a", "a, b, c, d, e, f, g, h, i, j", "a, b, c, d, e, f, g, h, i, j and 1 more",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("refs() and listed() mismatch (-want +got):\n%s", diff)
	}
}
