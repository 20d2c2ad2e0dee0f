package policies

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
)

// shared returns an index with Local Services that all select the pods of all these workloads.
func shared(t *testing.T, services, workloads int) (*Index, []*Object) {
	t.Helper()
	index := NewIndex(ViewFiles)
	var objects []*Object
	for i := range services {
		objects = append(objects, objectOf(t, fmt.Sprintf(`{apiVersion: v1, kind: Service,
			metadata: {namespace: edge, name: s%03d},
			spec: {type: LoadBalancer, externalTrafficPolicy: Local, selector: {app: web}, ports: [{port: 443}]}}`, i)))
	}
	for i := range workloads {
		objects = append(objects, objectOf(t, fmt.Sprintf(`{apiVersion: apps/v1, kind: Deployment,
			metadata: {namespace: edge, name: w%03d}, spec: {replicas: 3, selector: {matchLabels: {app: web, i: w%[1]d}},
			template: {metadata: {labels: {app: web, i: w%[1]d}}}}}`, i)))
	}
	for _, object := range objects {
		index.Put(object)
	}
	return index, objects
}

// TestBecauseHoldsTheFirstTen checks the objects that cause the findings of a workload: the Services in front of it,
// and for shared-selector the workloads beside it as well.
func TestBecauseHoldsTheFirstTen(t *testing.T) {
	t.Parallel()
	names := func(prefix string, from, to int) []string {
		var list []string
		for i := from; i < to; i++ {
			list = append(list, fmt.Sprintf("%s%03d", prefix, i))
		}
		return list
	}
	type because struct {
		Names   []string
		Omitted int
	}
	tests := map[string]struct {
		services, workloads int
		want                map[string]because
	}{
		"one Service and one workload": {1, 1, map[string]because{unspreadBehindLocal.ID: {Names: []string{"s000"}}}},
		"ten objects": {1, 10, map[string]because{
			unspreadBehindLocal.ID: {Names: []string{"s000"}},
			sharedSelector.ID:      {Names: append([]string{"s000"}, names("w", 1, 10)...)},
		}},
		"eleven objects": {2, 10, map[string]because{
			unspreadBehindLocal.ID: {Names: names("s", 0, 2)},
			sharedSelector.ID:      {Names: append(names("s", 0, 2), names("w", 1, 9)...), Omitted: 1},
		}},
		"one Service and 400 workloads": {1, 400, map[string]because{
			unspreadBehindLocal.ID: {Names: []string{"s000"}},
			sharedSelector.ID:      {Names: append([]string{"s000"}, names("w", 1, 10)...), Omitted: 390},
		}},
		"400 Services and two workloads": {400, 2, map[string]because{
			unspreadBehindLocal.ID: {Names: names("s", 0, 10), Omitted: 390},
			sharedSelector.ID:      {Names: names("s", 0, 10), Omitted: 391},
		}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			index, objects := shared(t, test.services, test.workloads)
			object := objects[test.services]
			in := Input{
				Operation: Create, Object: object, Namespace: Namespace{Name: "edge"}, Related: index.Related(object),
			}
			decision, err := Decide(t.Context(), in, &fakeRules{}, Settings{})
			if err != nil {
				t.Fatal(err)
			}
			got := map[string]because{}
			for _, finding := range decision.Findings {
				if finding.Rule != unspreadBehindLocal.ID && finding.Rule != sharedSelector.ID {
					continue
				}
				of := because{Omitted: finding.BecauseOmitted}
				for _, ref := range finding.Because {
					of.Names = append(of.Names, ref.Name)
				}
				got[finding.Rule] = of
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("Because mismatch (-want +got):\n%s", diff)
			}
		})
	}
}

// countingRules counts the evaluations for neighbours.
type countingRules struct{ neighbours int }

func (c *countingRules) Evaluate(_ context.Context, document Document, _ []AppliedPolicy) []Answer {
	if document.Neighbour {
		c.neighbours++
	}
	return []Answer{{}}
}

// TestNeighbourIsAskedAboutOnce checks that a decision asks about each Service in front of a workload once, although
// it judges the workload again after each repair that it tries.
func TestNeighbourIsAskedAboutOnce(t *testing.T) {
	t.Parallel()
	for _, services := range []int{1, 10, 100} {
		index, objects := shared(t, services, 2)
		object := objects[services]
		in := Input{
			Operation: Create, Object: object, Namespace: Namespace{Name: "edge"}, Related: index.Related(object),
		}
		rules := &countingRules{}
		settings := Settings{Modes: map[string]Mode{unspreadBehindLocal.ID: Mutate}}
		decision, err := Decide(t.Context(), in, rules, settings)
		if err != nil || len(decision.Mutations()) == 0 {
			t.Fatalf("Decide() = %+v, %v; want a repair", decision, err)
		}
		if rules.neighbours != services {
			t.Errorf("Decide() asks %d times about %d Services, want once for each", rules.neighbours, services)
		}
	}
}

// TestBackends compares what Services select, by different and by equal selectors, with each Service alone.
func TestBackends(t *testing.T) {
	t.Parallel()
	service := func(name, selector string) *Object {
		return objectOf(t, fmt.Sprintf(`{apiVersion: v1, kind: Service, metadata: {namespace: edge, name: %s},
			spec: {selector: %s, ports: [{port: 443}]}}`, name, selector))
	}
	workload := func(namespace, name, labels string) *Object {
		return objectOf(t, fmt.Sprintf(`{apiVersion: apps/v1, kind: Deployment, metadata: {namespace: %s, name: %s},
			spec: {selector: {matchLabels: %s}, template: {metadata: {labels: %[3]s}}}}`, namespace, name, labels))
	}
	object := workload("edge", "web", "{app: web, tier: front}")
	services := []*Object{
		service("all", "{app: web}"), service("all-2", "{app: web}"), service("front", "{tier: front}"),
		service("own", "{app: web, tier: front}"),
	}
	var workloads []*Workload
	for _, other := range []*Object{
		workload("edge", "z", "{app: web}"), workload("edge", "a", "{app: web}"), workload("edge", "mail", "{tier: front}"),
		workload("edge", "other", "{app: other}"), workload("far", "web", "{app: web, tier: front}"), object,
	} {
		workloads = append(workloads, other.Workload)
	}
	var fronts []*corev1.Service
	for _, s := range services {
		fronts = append(fronts, s.Service)
	}
	before := slices.Clone(workloads)
	related := Related{Services: fronts, Workloads: workloads}
	r := &run{Input: Input{Object: object}, selecting: fronts}
	r.neighbourhood = related.neighbourhood(fronts, object)
	if !slices.Equal(before, workloads) {
		t.Error("neighbourhood() changed its argument")
	}
	got := map[string][]string{}
	add := func(of string, list []*Workload) {
		got[of] = []string{}
		for _, w := range list {
			got[of] = append(got[of], w.Name)
		}
	}
	behind := func(services ...*corev1.Service) []*Workload {
		return r.union(services).without(object)
	}
	add("behind", r.behind)
	for _, s := range fronts {
		add(s.Name, r.backends[s].without(object))
	}
	add("all and all-2", behind(fronts[:2]...))
	add("all-2 and front", behind(fronts[1:3]...))
	add("front and own", behind(fronts[2:]...))
	add("all four", behind(fronts...))
	add("none", behind())
	want := map[string][]string{
		"behind": {"a", "mail", "z"},
		"all":    {"a", "z"}, "all-2": {"a", "z"}, "front": {"mail"}, "own": {},
		"all and all-2": {"a", "z"}, "all-2 and front": {"a", "mail", "z"}, "front and own": {"mail"},
		"all four": {"a", "mail", "z"}, "none": {},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("workloads behind Services mismatch (-want +got):\n%s", diff)
	}
	if alone := r.aloneBehind(fronts); len(alone) != 1 || alone[0].Name != "own" {
		t.Errorf("aloneBehind() = %v, want own", alone)
	}
	if r.backends[fronts[0]] != r.backends[fronts[1]] {
		t.Error("Services with the same selector have different backends")
	}
}

// TestFormerLabelsDoNotCount: the index has a former state of the object, with other labels of its pods. Only the new
// ones are spread together with the pods of the other workload.
func TestFormerLabelsDoNotCount(t *testing.T) {
	t.Parallel()
	workload := func(name, labels, pod string) *Object {
		return objectOf(t, fmt.Sprintf(`{apiVersion: apps/v1, kind: Deployment, metadata: {namespace: edge, name: %s},
			spec: {replicas: 3, selector: {matchLabels: {app: web}},
			template: {metadata: {labels: %s}, spec: {%s}}}}`, name, labels, pod))
	}
	const spread = `topologySpreadConstraints: [{maxSkew: 1, topologyKey: kubernetes.io/hostname,
		whenUnsatisfiable: DoNotSchedule, labelSelector: {matchLabels: {track: stable}}}]`
	for _, former := range []string{
		"{app: web, track: stable}", "{app: web, track: canary}", "{app: web}", "{app: api}",
	} {
		index, _ := shared(t, 1, 0)
		index.Put(workload("other", "{app: web, track: stable}", ""))
		index.Put(workload("web", former, spread))
		object := workload("web", "{app: web, track: stable}", spread)
		in := Input{
			Operation: Create, Object: object, Namespace: Namespace{Name: "edge"}, Related: index.Related(object),
		}
		decision, err := Decide(t.Context(), in, &fakeRules{}, Settings{})
		if err != nil {
			t.Fatal(err)
		}
		isShared := func(f Finding) bool { return f.Rule == sharedSelector.ID }
		if slices.ContainsFunc(decision.Findings, isShared) {
			t.Errorf("former labels %s: a finding of shared-selector, want none", former)
		}
	}
}

// TestReplacedNeighboursCount: what an index has found is not used once a caller has replaced a part of it.
func TestReplacedNeighboursCount(t *testing.T) {
	t.Parallel()
	api := objectOf(t, `{apiVersion: apps/v1, kind: Deployment, metadata: {namespace: edge, name: api},
		spec: {replicas: 3, selector: {matchLabels: {app: api}}, template: {metadata: {labels: {app: api}}}}}`)
	front := objectOf(t, `{apiVersion: v1, kind: Service, metadata: {namespace: edge, name: s000},
		spec: {type: LoadBalancer, externalTrafficPolicy: Local, selector: {i: w0}, ports: [{port: 443}]}}`)
	for name, replace := range map[string]func(*Related){
		"the other workload":   func(r *Related) { r.Workloads[0] = api.Workload },
		"no other workload":    func(r *Related) { r.Workloads = nil },
		"the Service in front": func(r *Related) { r.Services[0] = front.Service },
	} {
		index, objects := shared(t, 1, 2)
		in := Input{
			Operation: Create, Object: objects[1], Namespace: Namespace{Name: "edge"}, Related: index.Related(objects[1]),
		}
		isShared := func(f Finding) bool { return f.Rule == sharedSelector.ID }
		for _, want := range []bool{true, false} {
			decision, err := Decide(t.Context(), in, &fakeRules{}, Settings{})
			if err != nil {
				t.Fatal(err)
			}
			if got := slices.ContainsFunc(decision.Findings, isShared); got != want {
				t.Errorf("%s: a finding of shared-selector: %t, want %t", name, got, want)
			}
			replace(&in.Related)
		}
		if again := index.Related(objects[1]); len(again.Workloads) != 1 || again.Workloads[0] != objects[2].Workload {
			t.Errorf("%s: replacing it changed the index", name)
		}
	}
}
