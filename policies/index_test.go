package policies

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// randomLabels returns up to most labels from a small set, so that matches are common.
func randomLabels(random *rand.Rand, most int) map[string]string {
	set := map[string]string{}
	for range random.IntN(most + 1) {
		set[fmt.Sprintf("k%d", random.IntN(4))] = fmt.Sprintf("v%d", random.IntN(3))
	}
	return set
}

// TestIndexEqualsLinearScan compares the index with the selectors of apimachinery for more than 100 000 pairs of a
// Service and a workload, in both directions, after some were replaced and some deleted.
func TestIndexEqualsLinearScan(t *testing.T) {
	const seed, services, workloads = 1, 450, 250
	random := rand.New(rand.NewPCG(seed, 0))
	index := NewIndex(ViewFiles)
	namespaces := []string{"a", "b"}

	allServices := map[string]*Object{}
	for i := range services + services/10 {
		namespace, name := namespaces[random.IntN(2)], fmt.Sprintf("s%d", i%services)
		object := &Object{
			Ref: Ref{APIVersion: "v1", Kind: "Service", Namespace: namespace, Name: name},
			Service: &corev1.Service{
				ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
				Spec:       corev1.ServiceSpec{Selector: randomLabels(random, 3)},
			},
		}
		index.Put(object)
		allServices[namespace+"/"+name] = object
	}
	allWorkloads := map[string]*Object{}
	for i := range workloads + workloads/10 {
		namespace, name := namespaces[random.IntN(2)], fmt.Sprintf("w%d", i%workloads)
		ref := Ref{APIVersion: "apps/v1", Kind: "Deployment", Namespace: namespace, Name: name}
		object := &Object{Ref: ref, Workload: &Workload{
			Ref:      ref,
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: randomLabels(random, 5)}},
		}}
		index.Put(object)
		allWorkloads[namespace+"/"+name] = object
	}

	for _, all := range []map[string]*Object{allServices, allWorkloads} {
		for i, name := range slices.Sorted(maps.Keys(all)) {
			if i%10 == 0 {
				index.Delete(all[name].Ref)
				delete(all, name)
			}
		}
	}

	selects := func(service, workload *Object) bool {
		selector := service.Service.Spec.Selector
		return service.Namespace == workload.Namespace && len(selector) > 0 &&
			labels.SelectorFromSet(selector).Matches(labels.Set(workload.Workload.Template.Labels))
	}
	pairs, matches := 0, 0
	for _, workload := range allWorkloads {
		var want, got []string
		for name, service := range allServices {
			pairs++
			if selects(service, workload) {
				matches++
				want = append(want, name)
			}
		}
		for _, service := range index.Related(workload).Services {
			got = append(got, service.Namespace+"/"+service.Name)
		}
		slices.Sort(want)
		slices.Sort(got)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("Services of %s with %v mismatch (-want +got), seed %d:\n%s",
				workload.Ref, workload.Workload.Template.Labels, seed, diff)
		}
	}
	for _, service := range allServices {
		var want, got []string
		for name, workload := range allWorkloads {
			if selects(service, workload) {
				want = append(want, name)
			}
		}
		for _, workload := range index.Related(service).Workloads {
			got = append(got, workload.Namespace+"/"+workload.Name)
		}
		slices.Sort(want)
		slices.Sort(got)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("workloads of %s with %v mismatch (-want +got), seed %d:\n%s",
				service.Ref, service.Service.Spec.Selector, seed, diff)
		}
	}
	if pairs < 100_000 || matches < 1_000 {
		t.Errorf("%d pairs with %d matches are too few", pairs, matches)
	}
	t.Logf("%d pairs, %d matches, seed %d", pairs, matches, seed)
}

// TestLookUpDoesNotGrowWithTheNamespace counts the Services that a look-up visits. If all Services have a label in
// common, they must not end up in one bucket.
func TestLookUpDoesNotGrowWithTheNamespace(t *testing.T) {
	index := NewIndex(ViewFiles)
	const services = 5_000
	for i := range services {
		ref := Ref{APIVersion: "v1", Kind: "Service", Namespace: "edge", Name: fmt.Sprintf("s%d", i)}
		index.Put(&Object{Ref: ref, Service: &corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Namespace: ref.Namespace, Name: ref.Name},
			Spec:       corev1.ServiceSpec{Selector: map[string]string{"app.kubernetes.io/part-of": "shop", "app": ref.Name}},
		}})
	}
	for pair, bucket := range index.namespaces["edge"].servicesBy {
		if len(bucket) > 2 {
			t.Errorf("%d of %d Services are in the bucket of %v", len(bucket), services, pair)
		}
	}
}

func TestRelatedOfWorkloadHoldsThoseBehindTheSameServices(t *testing.T) {
	index := NewIndex(ViewFiles)
	workload := func(name string, labels map[string]string) *Object {
		ref := Ref{APIVersion: "apps/v1", Kind: "Deployment", Namespace: "edge", Name: name}
		return &Object{
			Ref:      ref,
			Workload: &Workload{Ref: ref, Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}}},
		}
	}
	stable := workload("stable", map[string]string{"app": "web", "track": "stable"})
	canary := workload("canary", map[string]string{"app": "web", "track": "canary"})
	canary.Workload.Replicas = new(int32)
	index.Put(stable)
	index.Put(canary)
	index.Put(workload("running", map[string]string{"app": "web", "track": "running"}))
	index.Put(workload("other", map[string]string{"app": "api"}))
	ref := Ref{APIVersion: "v1", Kind: "Service", Namespace: "edge", Name: "web"}
	index.Put(&Object{Ref: ref, Service: &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "edge", Name: "web"},
		Spec:       corev1.ServiceSpec{Selector: map[string]string{"app": "web"}},
	}})
	scaler := Autoscaler{
		Ref:         Ref{Kind: "HorizontalPodAutoscaler", Namespace: "edge", Name: "web"},
		Target:      WorkloadRef{"apps", "Deployment", "canary"},
		MaxReplicas: 3,
	}
	index.PutAutoscaler(Autoscaler{Ref: scaler.Ref, Target: WorkloadRef{"apps", "Deployment", "other"}, MaxReplicas: 9})
	ofRunning := Ref{Kind: "HorizontalPodAutoscaler", Namespace: "edge", Name: "running"}
	index.PutAutoscaler(Autoscaler{Ref: ofRunning, Target: WorkloadRef{"apps", "Deployment", "running"}, MaxReplicas: 9})
	index.PutAutoscaler(scaler)

	related := index.Related(stable)
	if len(related.Services) != 1 || related.Services[0].Name != "web" || related.View != ViewFiles {
		t.Errorf("Related().Services = %v, View %q; want Service web, View Files", related.Services, related.View)
	}
	running := Ref{APIVersion: "apps/v1", Kind: "Deployment", Namespace: "edge", Name: "running"}
	if diff := cmp.Diff([]Ref{canary.Ref, running}, refsOf(related.Workloads)); diff != "" {
		t.Errorf("Related().Workloads mismatch (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]Autoscaler{scaler}, related.Autoscalers); diff != "" {
		t.Errorf("Related().Autoscalers mismatch (-want +got):\n%s", diff)
	}
}

func TestObjectsWithGenerateNameAreDifferent(t *testing.T) {
	index := NewIndex(ViewFiles)
	var workloads []*Object
	for range 2 {
		ref := Ref{APIVersion: "apps/v1", Kind: "Deployment", Namespace: "edge", Name: "web-*"}
		object := &Object{Ref: ref, Workload: &Workload{Ref: ref, Template: corev1.PodTemplateSpec{
			ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "web"}},
		}}}
		index.Put(object)
		workloads = append(workloads, object)
	}
	service := Ref{APIVersion: "v1", Kind: "Service", Namespace: "edge", Name: "web-*"}
	for range 2 {
		index.Put(&Object{Ref: service, Service: &corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Namespace: "edge", GenerateName: "web-"},
			Spec:       corev1.ServiceSpec{Selector: map[string]string{"app": "web"}},
		}})
	}
	related := index.Related(workloads[0])
	if len(related.Services) != 2 || len(related.Workloads) != 1 || related.Workloads[0] != workloads[1].Workload {
		t.Errorf("Related() = %d Services and %d other workloads, want 2 and 1",
			len(related.Services), len(related.Workloads))
	}
}

// TestDeleteLeavesNothingBehind: the index of a webhook may run for months, so a leak would add up.
func TestDeleteLeavesNothingBehind(t *testing.T) {
	index := NewIndex(ViewCluster)
	service := Ref{APIVersion: "v1", Kind: "Service", Namespace: "edge", Name: "web"}
	workload := Ref{APIVersion: "apps/v1", Kind: "Deployment", Namespace: "edge", Name: "web"}
	scaler := Ref{APIVersion: "autoscaling/v2", Kind: "HorizontalPodAutoscaler", Namespace: "edge", Name: "web"}
	slice := Ref{APIVersion: "discovery.k8s.io/v1", Kind: "EndpointSlice", Namespace: "edge", Name: "web-1"}
	for range 2 {
		index.PutService(&corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Namespace: "edge", Name: "web"},
			Spec:       corev1.ServiceSpec{Selector: map[string]string{"app": "web"}},
		})
		index.PutWorkload(&Workload{
			Ref:      workload,
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "web"}}},
		})
		index.PutAutoscaler(Autoscaler{Ref: scaler, Target: WorkloadRef{"apps", "Deployment", "web"}, MaxReplicas: 3})
		index.PutEndpointsCopy(Endpoints{Ref: slice, Service: "web", Count: 1}, 0)
	}
	if index.Workload(workload) == nil {
		t.Error("Workload() does not find the workload that was put")
	}
	for _, ref := range []Ref{service, workload, scaler, slice} {
		n := index.namespaces["edge"]
		index.Delete(ref)
		index.Delete(ref)
		if ref == slice && len(n.servicesBy)+len(n.workloadsBy)+len(n.autoscalersOf)+len(n.endpointsOf) > 0 {
			t.Errorf("the index keeps %v, %v, %v and %v", n.servicesBy, n.workloadsBy, n.autoscalersOf, n.endpointsOf)
		}
	}
	if len(index.namespaces) > 0 || index.Workload(workload) != nil {
		t.Errorf("the index keeps %v", index.namespaces)
	}
}

// TestServicesThatShareAnAddress puts, replaces and deletes Services in several namespaces, with and without a
// selector.
func TestServicesThatShareAnAddress(t *testing.T) {
	const key, deprecated = "metallb.io/allow-shared-ip", "metallb.universe.tf/allow-shared-ip"
	service := func(namespace, name string, annotations, selector map[string]string) *corev1.Service {
		return &corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Annotations: annotations},
			Spec:       corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer, Selector: selector},
		}
	}
	web := map[string]string{"app": "web"}
	edge, infra := map[string]string{key: "edge"}, map[string]string{key: "infra"}
	index := NewIndex(ViewCluster)
	wantSharers := func(when string, of *corev1.Service, want ...string) {
		t.Helper()
		var got []string
		for _, other := range index.Related(&Object{Ref: serviceRef(of), Service: of}).Services {
			got = append(got, other.Namespace+"/"+other.Name)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: Services that share the address of %s/%s mismatch (-want +got):\n%s",
				when, of.Namespace, of.Name, diff)
		}
	}
	one := service("edge", "web", edge, web)
	wantSharers("before any Put", one)

	nodePort := service("edge", "node-port", edge, web)
	nodePort.Spec.Type = corev1.ServiceTypeNodePort
	for _, other := range []*corev1.Service{
		one, nodePort,
		service("edge", "dns", edge, map[string]string{"app": "dns"}),
		service("edge", "no-selector", map[string]string{deprecated: "edge", key: "edge"}, nil),
		service("other", "web", map[string]string{deprecated: "edge"}, web),
		service("edge", "infra", infra, web),
		service("edge", "overridden", map[string]string{deprecated: "edge", key: "infra"}, web),
		service("edge", "empty", map[string]string{key: "", "lbipam.cilium.io/sharing-key": ""}, web),
		service("edge", "cilium", map[string]string{"lbipam.cilium.io/sharing-key": "edge"}, web),
		service("edge", "nothing", nil, nil),
	} {
		index.PutService(other)
	}
	wantSharers("after all were put", one, "edge/dns", "edge/no-selector", "other/web")
	wantSharers("after all were put", service("new", "one", map[string]string{deprecated: "edge"}, nil),
		"edge/dns", "edge/no-selector", "edge/web", "other/web")
	wantSharers("two annotations",
		service("new", "two", map[string]string{key: "infra", "lbipam.cilium.io/sharing-key": "edge"}, nil),
		"edge/cilium", "edge/infra", "edge/overridden")
	wantSharers("type NodePort", nodePort)
	workload := Ref{APIVersion: "apps/v1", Kind: "Deployment", Namespace: "other", Name: "web"}
	behind := &Object{
		Ref:      workload,
		Workload: &Workload{Ref: workload, Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: web}}},
	}
	if services := index.Related(behind).Services; len(services) != 1 || services[0].Namespace != "other" {
		t.Errorf("the Services in front of a workload are %v, want other/web only", services)
	}

	index.PutService(service("edge", "dns", infra, map[string]string{"app": "dns"}))
	index.PutService(service("edge", "no-selector", edge, web))
	index.PutService(service("other", "web", nil, nil))
	wantSharers("after some were replaced", one, "edge/no-selector")
	wantSharers("after some were replaced", service("new", "one", infra, nil),
		"edge/dns", "edge/infra", "edge/overridden")

	index.Delete(Ref{APIVersion: "v1", Kind: "Service", Namespace: "edge", Name: "no-selector"})
	wantSharers("after one was deleted", one)
	for _, namespace := range []string{"edge", "other", "new"} {
		for _, name := range []string{"web", "node-port", "dns", "infra", "overridden", "empty", "cilium", "nothing"} {
			index.Delete(Ref{APIVersion: "v1", Kind: "Service", Namespace: namespace, Name: name})
		}
	}
	if len(index.namespaces)+len(index.sharers) > 0 {
		t.Errorf("the index keeps %v and %v", index.namespaces, index.sharers)
	}
}

func refsOf(workloads []*Workload) []Ref {
	var refs []Ref
	for _, w := range workloads {
		refs = append(refs, w.Ref)
	}
	return refs
}

// recordingRules keeps the document about the object.
type recordingRules struct{ document Document }

func (c *recordingRules) Evaluate(_ context.Context, document Document, _ []AppliedPolicy) []Answer {
	if !document.Neighbour {
		c.document = document
	}
	return []Answer{{}}
}

// TestRelatedOfAUserOfATemplate checks that Rego sees the same neighbours for a workload and for the Rollout that uses
// its template.
func TestRelatedOfAUserOfATemplate(t *testing.T) {
	t.Parallel()
	const workload = `{apiVersion: apps/v1, kind: Deployment, metadata: {namespace: edge, name: %s}, spec: {replicas: 0,
		selector: {matchLabels: {app: web}},
		template: {metadata: {labels: {app: web}}, spec: {containers: [{name: web}]}}}}`
	owner := objectOf(t, fmt.Sprintf(workload, "web"))
	rollout := objectOf(t, `{apiVersion: argoproj.io/v1alpha1, kind: Rollout, metadata: {namespace: edge, name: canary},
		spec: {replicas: 3, workloadRef: {apiVersion: apps/v1, kind: Deployment, name: web}, strategy: {canary: {}}}}`)
	lost := objectOf(t, `{apiVersion: argoproj.io/v1alpha1, kind: Rollout, metadata: {namespace: edge, name: lost},
		spec: {replicas: 3, workloadRef: {apiVersion: apps/v1, kind: Deployment, name: gone}, strategy: {canary: {}}}}`)
	service := objectOf(t, `{apiVersion: v1, kind: Service, metadata: {namespace: edge, name: web},
		spec: {type: LoadBalancer, externalTrafficPolicy: Local, selector: {app: web}, ports: [{port: 80}]}}`)
	for _, number := range []int{0, 1} { // in a cluster and in files
		index := NewIndex(ViewCluster)
		for i, object := range []*Object{owner, rollout, lost, service, objectOf(t, fmt.Sprintf(workload, "beside"))} {
			index.PutCopy(object, number*(i+1))
		}
		related := map[*Object]string{}
		for _, object := range []*Object{owner, rollout, lost} {
			rules := &recordingRules{}
			in := Input{
				Operation: Create, Object: object, Namespace: Namespace{Name: "edge"}, Related: index.Related(object),
			}
			decision, err := Decide(t.Context(), in, rules, Settings{})
			if err != nil || object != owner && len(decision.Findings) > 0 {
				t.Errorf("Decide(%s) = %v, %v; want no findings of a workload without a template", object.Ref, decision, err)
			}
			for _, service := range rules.document.Related.Services {
				related[object] += service.Name + " "
			}
			for _, workload := range rules.document.Related.Workloads {
				related[object] += workload.Ref.String() + " "
			}
		}
		if want := "web Deployment edge/beside "; related[owner] != want || related[rollout] != want || related[lost] != "" {
			t.Errorf("the neighbours are %q, %q and %q; want %q twice, and none",
				related[owner], related[rollout], related[lost], want)
		}
	}
}
