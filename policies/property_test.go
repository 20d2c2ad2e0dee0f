package policies_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"sync"
	"testing"
	"time"
	"weak"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
	utiljson "k8s.io/apimachinery/pkg/util/json"

	"github.com/sourceward/sourceward/api/v1alpha1"
	"github.com/sourceward/sourceward/policies"
	"github.com/sourceward/sourceward/policies/bundle"
)

// rules holds the built-in Rego modules, compiled once.
var rules = sync.OnceValue(func() *bundle.Set {
	set, errs := bundle.Compile(context.Background(), nil, nil)
	if errs != nil {
		panic(errs[0])
	}
	return set
})

// generator generates objects that are close to the border at which rules begin to report findings.
type generator struct{ *rand.Rand }

func newGenerator(seed uint64) generator { return generator{rand.New(rand.NewPCG(seed, 0))} }

func pick[T any](g generator, from ...T) T { return from[g.IntN(len(from))] }

func (g generator) labels() map[string]any {
	labels := map[string]any{"app": pick(g, "web", "api")}
	if g.IntN(2) == 0 {
		labels["track"] = pick(g, "stable", "canary")
	}
	return labels
}

// selector returns a label selector in any of its forms, including nil.
func (g generator) selector() any {
	switch g.IntN(6) {
	case 0:
		return nil
	case 1:
		return map[string]any{}
	case 2:
		return map[string]any{"matchExpressions": []any{map[string]any{
			"key": "app", "operator": pick(g, "In", "NotIn"), "values": []any{pick(g, "web", "api")},
		}}}
	default:
		return map[string]any{"matchLabels": g.labels()}
	}
}

func (g generator) key() string {
	return pick(g, corev1.LabelHostname, corev1.LabelHostname, corev1.LabelTopologyZone, "example.com/rack")
}

func (g generator) service(name string) map[string]any {
	spec := map[string]any{
		"type":  pick(g, "ClusterIP", "NodePort", "LoadBalancer", "LoadBalancer", "ExternalName"),
		"ports": []any{map[string]any{"port": int64(80)}},
	}
	if g.IntN(8) > 0 {
		spec["selector"] = g.labels()
	}
	if policy := pick(g, "", "Cluster", "Local", "Local", "local", "Nearest"); policy != "" {
		spec["externalTrafficPolicy"] = policy
	}
	if g.IntN(5) == 0 {
		spec["externalIPs"] = []any{"192.0.2.1"}
	}
	switch g.IntN(12) {
	case 0, 1:
		spec["healthCheckNodePort"] = pick[int64](g, 0, 32500, 32501, 70000)
	case 2:
		spec["publishNotReadyAddresses"] = true
	case 3:
		spec["internalTrafficPolicy"] = pick(g, "Cluster", "Local")
	case 4:
		spec["trafficDistribution"] = pick(g, "PreferClose", "PreferSameNode")
	}
	annotations := map[string]any{}
	for range g.IntN(3) {
		annotation := pick(g,
			[2]string{v1alpha1.AnnotationSourceIP, "preserve"},
			[2]string{v1alpha1.AnnotationSourceIP, "ignore"},
			[2]string{"networking.gke.io/weighted-load-balancing", "pods-per-node"},
			[2]string{"kube-vip.io/egress", "true"},
			[2]string{"service.cilium.io/forwarding-mode", "dsr"},
			[2]string{"service.beta.kubernetes.io/external-traffic", "OnlyLocal"},
			[2]string{"exempt.sourceward.dev/source-ip-needs-local", "known; until=2030-01-01"})
		annotations[annotation[0]] = annotation[1]
	}
	return map[string]any{
		"apiVersion": "v1", "kind": "Service",
		"metadata": map[string]any{"name": name, "namespace": "edge", "annotations": annotations},
		"spec":     spec,
	}
}

func (g generator) deployment(name string) map[string]any {
	pod := map[string]any{"containers": []any{map[string]any{"name": "web", "image": "example.com/web:1"}}}
	if g.IntN(8) == 0 {
		pod["containers"].([]any)[0].(map[string]any)["ports"] = []any{
			map[string]any{"containerPort": int64(80), "hostPort": int64(80)},
		}
	}
	switch g.IntN(3) {
	case 0:
		constraints := []any{}
		for range g.IntN(3) {
			constraint := map[string]any{
				"maxSkew":           int64(1 + g.IntN(2)),
				"topologyKey":       g.key(),
				"whenUnsatisfiable": pick(g, "ScheduleAnyway", "DoNotSchedule"),
			}
			if selector := g.selector(); selector != nil {
				constraint["labelSelector"] = selector
			}
			if keys := pick(g, nil, nil, []any{}, []any{"track"}, []any{"pod-template-hash"}); keys != nil {
				constraint["matchLabelKeys"] = keys
			}
			if policy := pick(g, "", "", "Ignore", "Honor"); policy != "" {
				constraint["nodeTaintsPolicy"] = policy
			}
			constraints = append(constraints, constraint)
		}
		pod["topologySpreadConstraints"] = constraints
	case 1:
		pod["topologySpreadConstraints"] = nil
	}
	switch g.IntN(4) {
	case 0:
		pod["affinity"] = map[string]any{}
	case 1:
		term := map[string]any{"topologyKey": g.key()}
		if selector := g.selector(); selector != nil {
			term["labelSelector"] = selector
		}
		if g.IntN(3) == 0 {
			term["namespaces"] = []any{pick(g, "edge", "mail")}
		}
		anti := map[string]any{}
		if g.IntN(2) == 0 {
			anti["requiredDuringSchedulingIgnoredDuringExecution"] = []any{term}
		} else {
			anti["preferredDuringSchedulingIgnoredDuringExecution"] = []any{
				map[string]any{"weight": int64(1), "podAffinityTerm": term},
			}
		}
		pod["affinity"] = map[string]any{"podAntiAffinity": anti}
	}
	labels := g.labels()
	spec := map[string]any{
		"selector": map[string]any{"matchLabels": labels},
		"template": map[string]any{"metadata": map[string]any{"labels": labels}, "spec": pod},
	}
	if g.IntN(4) == 0 {
		spec["strategy"] = pick(g,
			map[string]any{"type": "Recreate"},
			map[string]any{"rollingUpdate": map[string]any{"maxUnavailable": "100%"}},
			map[string]any{"rollingUpdate": map[string]any{"maxSurge": int64(0), "maxUnavailable": int64(1)}})
	}
	if replicas := g.IntN(6); replicas < 5 {
		spec["replicas"] = int64(replicas)
	}
	return map[string]any{
		"apiVersion": "apps/v1", "kind": "Deployment",
		"metadata": map[string]any{"name": name, "namespace": "edge"},
		"spec":     spec,
	}
}

func (g generator) settings() policies.Settings {
	return policies.Settings{
		Modes: map[string]policies.Mode{
			"unspread-behind-local": pick(g, policies.Warn, policies.Mutate, policies.Deny, policies.Audit),
		},
		Spread: v1alpha1.Spread{
			Strategy:          pick(g, "", v1alpha1.StrategyTopologySpread, v1alpha1.StrategyPodAntiAffinity),
			WhenUnsatisfiable: pick(g, "", v1alpha1.ScheduleAnyway, v1alpha1.DoNotSchedule),
			MaxSkew:           int32(g.IntN(3)),
		},
		LoadBalancers: v1alpha1.LoadBalancers{Default: pick(g, "", "", "metallb-l2", "aws-nlb-ip")},
	}
}

func newObject(t testing.TB, content map[string]any) *policies.Object {
	t.Helper()
	object, err := policies.NewObject(content)
	if err != nil {
		t.Fatal(err)
	}
	return object
}

// input returns an object with a few neighbours.
func (g generator) input(t testing.TB) policies.Input {
	object := g.service("web")
	if g.IntN(2) == 0 {
		object = g.deployment("web")
	}
	in := policies.Input{
		Operation: policies.Create,
		Object:    newObject(t, object),
		Namespace: policies.Namespace{Name: "edge", Labels: map[string]string{corev1.LabelMetadataName: "edge"}},
		Related:   policies.Related{View: pick(g, policies.ViewFiles, policies.ViewCluster, policies.ViewNone)},
		Cluster: policies.Cluster{
			Nodes:   g.IntN(4),
			Version: pick(g, policies.Version{}, policies.Version{Major: 1, Minor: 26}, policies.Version{Major: 1, Minor: 30}),
		},
		InFile: pick(g, policies.InFileUnknown, policies.InFileAbsent, policies.InFileWritten),
		Now:    time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC),
	}
	if g.IntN(3) == 0 {
		in.Operation, in.Old = policies.Update, newObject(t, clone(t, object))
		if g.IntN(2) == 0 {
			g2 := newGenerator(g.Uint64())
			old := g2.service("web")
			if in.Object.Workload != nil {
				old = g2.deployment("web")
			}
			in.Old = newObject(t, old)
		}
	}
	for i := range g.IntN(4) {
		in.Related.Services = append(in.Related.Services, newObject(t, g.service(fmt.Sprintf("s%d", i))).Service)
	}
	for i := range g.IntN(4) {
		in.Related.Workloads = append(in.Related.Workloads, newObject(t, g.deployment(fmt.Sprintf("w%d", i))).Workload)
	}
	for i := range g.IntN(3) {
		in.Related.Autoscalers = append(in.Related.Autoscalers, policies.Autoscaler{
			Ref: policies.Ref{
				APIVersion: "autoscaling/v2",
				Kind:       "HorizontalPodAutoscaler",
				Namespace:  "edge",
				Name:       fmt.Sprintf("h%d", i),
			},
			Target: policies.WorkloadRef{"apps", "Deployment", pick(g, "web", "w0")}, MaxReplicas: int32(1 + g.IntN(5)),
		})
	}
	for i := range g.IntN(3) {
		count := g.IntN(4)
		in.Related.Endpoints = append(in.Related.Endpoints, policies.Endpoints{
			Ref: policies.Ref{
				APIVersion: "discovery.k8s.io/v1",
				Kind:       "EndpointSlice",
				Namespace:  "edge",
				Name:       fmt.Sprintf("e%d", i),
			},
			Service: pick(g, "web", "s0"), Count: count, WithoutNode: g.IntN(count + 1),
		})
	}
	if in.Old != nil {
		in.OldRelated = in.Related
	}
	return in
}

func clone(t testing.TB, content map[string]any) map[string]any {
	t.Helper()
	raw, err := json.Marshal(content)
	if err != nil {
		t.Fatal(err)
	}
	var copied map[string]any
	if err := utiljson.Unmarshal(raw, &copied); err != nil {
		t.Fatal(err)
	}
	return copied
}

// patched returns the object with the operations applied.
func patched(t testing.TB, object *policies.Object, operations []policies.PatchOperation) *policies.Object {
	t.Helper()
	repaired, err := object.Patched(operations)
	if err != nil {
		t.Fatal(err)
	}
	return repaired
}

// checkProperties generates an object, decides about it, and checks the properties that every decision must have. It
// returns the number of patches.
func checkProperties(t testing.TB, seed uint64) int {
	t.Helper()
	g := newGenerator(seed)
	in, settings := g.input(t), g.settings()
	before := newGenerator(seed).input(t)

	decision, err := policies.Decide(t.Context(), in, rules(), settings)
	if err != nil {
		t.Fatalf("Decide() error, seed %d: %v", seed, err)
	}
	only := in
	only.MutationsOnly = true
	fewer, err := policies.Decide(t.Context(), only, rules(), settings)
	if err != nil {
		t.Fatalf("Decide() of mutations only error, seed %d: %v", seed, err)
	}
	if diff := cmp.Diff(decision.Findings, fewer.Findings); diff != "" {
		t.Fatalf("Decide() finds something else without other repairs, seed %d (-all +mutations only):\n%s", seed, diff)
	}
	if diff := cmp.Diff(decision.Mutations(), fewer.Mutations()); diff != "" {
		t.Fatalf("Decide() changes something else without other repairs, seed %d (-all +mutations only):\n%s", seed, diff)
	}
	isCache := cmp.Options{
		cmp.Comparer(func(_, _ weak.Pointer[map[string]any]) bool { return true }),
		cmp.Comparer(func(a, b func() map[string]any) bool { return (a == nil) == (b == nil) }),
	}
	if diff := cmp.Diff(before, in, cmp.Exporter(func(reflect.Type) bool { return true }), isCache); diff != "" {
		t.Fatalf("Decide() changed its input, seed %d (-before +after):\n%s", seed, diff)
	}
	if diff := cmp.Diff(before.Object.Content(), in.Object.Content()); diff != "" {
		t.Fatalf("Decide() changed the content of the object, seed %d (-before +after):\n%s", seed, diff)
	}

	shuffled := in
	shuffled.Related.Services = shuffle(g, in.Related.Services)
	shuffled.Related.Workloads = shuffle(g, in.Related.Workloads)
	shuffled.Related.Autoscalers = shuffle(g, in.Related.Autoscalers)
	shuffled.Related.Endpoints = shuffle(g, in.Related.Endpoints)
	again, err := policies.Decide(t.Context(), shuffled, rules(), settings)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(decision, again); diff != "" {
		t.Fatalf("Decide() depends on the order of related objects, seed %d:\n%s", seed, diff)
	}

	if mutations := decision.Mutations(); len(mutations) > 0 {
		repaired := in
		repaired.Object, repaired.Final = patched(t, in.Object, mutations), true
		stored, err := policies.Decide(t.Context(), repaired, rules(), settings)
		if err != nil {
			t.Fatal(err)
		}
		isRepaired := func(f policies.Finding) bool { return f.Mode == policies.Mutate && f.Exempt == nil }
		rest := slices.DeleteFunc(slices.Clone(decision.Findings), isRepaired)
		if diff := cmp.Diff(rest, stored.Findings, cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("findings without repair differ from those of the repaired object, seed %d (-before +after):\n%s",
				seed, diff)
		}
	}

	for _, patch := range decision.Patches {
		repaired := in
		repaired.Object = patched(t, in.Object, patch.Operations)
		after, err := policies.Decide(t.Context(), repaired, rules(), settings)
		if err != nil {
			t.Fatal(err)
		}
		for _, finding := range after.Findings {
			if finding.Rule == patch.Rule {
				t.Fatalf("after its repair, %s still has a finding, seed %d: %+v\n%+v", patch.Rule, seed, patch, finding)
			}
		}
		for _, more := range after.Patches {
			if more.Rule == patch.Rule {
				t.Fatalf("after its repair, %s has another repair, seed %d: %+v", patch.Rule, seed, more)
			}
		}
	}
	return len(decision.Patches)
}

func shuffle[T any](g generator, list []T) []T {
	shuffled := append([]T(nil), list...)
	g.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
	return shuffled
}

// TestNothingThatExistsIsDenied: whatever an object is like, it can be updated without being changed, even if every
// rule denies.
func TestNothingThatExistsIsDenied(t *testing.T) {
	t.Parallel()
	denying := policies.Settings{Modes: map[string]policies.Mode{}}
	for _, rule := range policies.Catalogue() {
		denying.Modes[rule.ID] = policies.Deny
	}
	const objects = 2_000
	denied := 0
	for seed := range uint64(objects) {
		in := newGenerator(seed).input(t)
		in.Operation, in.Old, in.OldRelated = policies.Create, nil, policies.Related{}
		created, err := policies.Decide(t.Context(), in, rules(), denying)
		if err != nil {
			t.Fatal(err)
		}
		isDenied := func(f policies.Finding) bool { return f.Mode == policies.Deny }
		if slices.ContainsFunc(created.Findings, isDenied) {
			denied++
		}
		in.Operation, in.Old, in.OldRelated = policies.Update, in.Object, in.Related
		content := clone(t, in.Object.Content())
		content["metadata"].(map[string]any)["finalizers"] = []any{"example.com/wait"}
		in.Object = newObject(t, content)
		updated, err := policies.Decide(t.Context(), in, rules(), denying)
		if err != nil {
			t.Fatal(err)
		}
		if slices.ContainsFunc(updated.Findings, isDenied) || updated.Mutations() != nil {
			t.Errorf("seed %d: an update of %s that changes nothing: %v", seed, in.Object.Ref, updated.Findings)
		}
	}
	if denied < objects/2 {
		t.Errorf("%d of %d creations are denied; want at least half", denied, objects)
	}
}

// TestPropertiesOfDecide checks that a repair removes the findings of its rule, that the repaired object has the same
// other findings as the original one, that Decide does not change its input, and that the order of related objects does
// not matter.
func TestPropertiesOfDecide(t *testing.T) {
	const objects = 5_000
	patches := 0
	for seed := range uint64(objects) {
		patches += checkProperties(t, seed)
	}
	if patches < objects/20 {
		t.Errorf("%d patches for %d objects are too few", patches, objects)
	}
	t.Logf("%d objects, %d patches, seeds 0 to %d", objects, patches, objects-1)
}

// TestDecideTakesFromAnIndexWhatItWouldFind compares decisions about objects whose neighbours an index has found with
// those about the same objects beside the same neighbours from elsewhere.
func TestDecideTakesFromAnIndexWhatItWouldFind(t *testing.T) {
	t.Parallel()
	const objects = 2_000
	findings := map[string]int{}
	for seed := range uint64(objects) {
		g := newGenerator(seed)
		index := policies.NewIndex(policies.ViewCluster)
		for i := range g.IntN(5) {
			index.Put(newObject(t, g.service(fmt.Sprintf("s%d", i))))
		}
		for i := range g.IntN(8) {
			index.Put(newObject(t, g.deployment(fmt.Sprintf("w%d", i))))
		}
		for i := range g.IntN(4) {
			index.PutAutoscaler(policies.Autoscaler{
				Ref: policies.Ref{
					APIVersion: "autoscaling/v2", Kind: "HorizontalPodAutoscaler", Namespace: "edge", Name: fmt.Sprintf("h%d", i),
				},
				Target:      policies.WorkloadRef{Group: "apps", Kind: "Deployment", Name: pick(g, "web", "w0", "w1", "w2")},
				MaxReplicas: int32(1 + g.IntN(5)),
			})
			index.Put(newObject(t, map[string]any{
				"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout",
				"metadata": map[string]any{"name": fmt.Sprintf("r%d", i), "namespace": "edge"},
				"spec": map[string]any{"workloadRef": map[string]any{
					"apiVersion": "apps/v1", "kind": "Deployment", "name": pick(g, "web", "w0", "w3", "w4"),
				}},
			}))
		}
		in := policies.Input{
			Operation: policies.Create, Object: newObject(t, g.deployment("web")),
			Namespace: policies.Namespace{Name: "edge", Labels: map[string]string{corev1.LabelMetadataName: "edge"}},
			Cluster:   policies.Cluster{Nodes: g.IntN(4)},
		}
		switch g.IntN(4) {
		case 0:
			in.Object = newObject(t, g.service("web"))
		case 1: // its former state
			index.Put(newObject(t, g.deployment("web")))
		case 2:
			index.Put(in.Object)
		}
		in.Related = index.Related(in.Object)
		settings := g.settings()
		want, err := policies.Decide(t.Context(), in, rules(), settings)
		if err != nil {
			t.Fatal(err)
		}
		in.Related = policies.Related{
			View:     in.Related.View,
			Services: shuffle(g, in.Related.Services), Workloads: shuffle(g, in.Related.Workloads),
			Users: shuffle(g, in.Related.Users), Autoscalers: shuffle(g, in.Related.Autoscalers),
		}
		got, err := policies.Decide(t.Context(), in, rules(), settings)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(got, want); diff != "" {
			t.Fatalf("Decide() depends on who has found the neighbours, seed %d (-from elsewhere +from an index):\n%s",
				seed, diff)
		}
		for _, finding := range want.Findings {
			findings[finding.Rule]++
		}
	}
	for _, rule := range []string{"shared-selector", "unspread-behind-local", "single-replica-local"} {
		if findings[rule] < 10 {
			t.Errorf("%d findings of %s in %d objects are too few", findings[rule], rule, objects)
		}
	}
}

func FuzzProperties(f *testing.F) {
	f.Add(uint64(0))
	f.Fuzz(func(t *testing.T, seed uint64) { checkProperties(t, seed) })
}

// FuzzDecide checks that any JSON is either rejected or judged, without a panic.
func FuzzDecide(f *testing.F) {
	g := newGenerator(1)
	for range 20 {
		service, err := json.Marshal(g.service("web"))
		if err != nil {
			f.Fatal(err)
		}
		deployment, err := json.Marshal(g.deployment("web"))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(service, deployment, false)
		f.Add(deployment, service, true)
	}
	f.Fuzz(func(t *testing.T, object, neighbour []byte, update bool) {
		decode := func(raw []byte) *policies.Object {
			var content map[string]any
			if utiljson.Unmarshal(raw, &content) != nil {
				return nil
			}
			decoded, err := policies.NewObject(content)
			if err != nil {
				return nil
			}
			return decoded
		}
		in := policies.Input{
			Operation: policies.Create,
			Object:    decode(object),
			Related:   policies.Related{View: policies.ViewCluster},
		}
		if in.Object == nil {
			return
		}
		if other := decode(neighbour); other != nil {
			index := policies.NewIndex(policies.ViewCluster)
			index.Put(other)
			in.Related = index.Related(in.Object)
			if update {
				in.Operation, in.Old = policies.Update, other
			}
		}
		decision, err := policies.Decide(context.Background(), in, rules(), policies.Settings{})
		if err != nil {
			t.Fatalf("Decide() error: %v", err)
		}
		for _, patch := range decision.Patches {
			patched(t, in.Object, patch.Operations)
		}
	})
}
