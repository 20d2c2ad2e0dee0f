package webhook

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/go-logr/logr/testr"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sourceward/sourceward/policies"
)

// fakeReader is an API server or a cache that holds Services and Namespaces.
type fakeReader struct {
	services   []corev1.Service
	namespaces []corev1.Namespace
	slices     []discoveryv1.EndpointSlice
	err        error
	hang       bool
	asked      int
	options    client.ListOptions
}

func (f *fakeReader) Get(ctx context.Context, key client.ObjectKey, object client.Object, _ ...client.GetOption) error {
	f.asked++
	if f.hang {
		<-ctx.Done()
		return ctx.Err()
	}
	for i := range f.namespaces {
		if f.namespaces[i].Name == key.Name {
			f.namespaces[i].DeepCopyInto(object.(*corev1.Namespace))
			return nil
		}
	}
	if f.err != nil {
		return f.err
	}
	return apierrors.NewNotFound(schema.GroupResource{Resource: "namespaces"}, key.Name)
}

func (f *fakeReader) List(ctx context.Context, list client.ObjectList, options ...client.ListOption) error {
	f.asked++
	f.options = *(&client.ListOptions{}).ApplyOptions(options)
	if f.hang {
		<-ctx.Done()
		return ctx.Err()
	}
	switch list := list.(type) {
	case *corev1.ServiceList:
		list.Items = f.services
	case *discoveryv1.EndpointSliceList:
		for _, slice := range f.slices {
			if f.options.LabelSelector.Matches(labels.Set(slice.Labels)) {
				list.Items = append(list.Items, slice)
			}
		}
	}
	return f.err
}

func newTestNeighbours(t *testing.T, cached, live *fakeReader) (*neighbours, *prometheus.Registry) {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	metrics, err := NewMetrics(registry)
	if err != nil {
		t.Fatal(err)
	}
	return &neighbours{
		index: policies.NewIndex(policies.ViewCluster), admitted: newAdmitted(clock.RealClock{}),
		reader: cached, live: live, lookups: make(chan struct{}, maxLookups), metrics: metrics, log: testr.New(t),
	}, registry
}

func localService(name, app string) corev1.Service {
	return corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "edge", Name: name},
		Spec: corev1.ServiceSpec{
			Type: corev1.ServiceTypeLoadBalancer, ExternalTrafficPolicy: "Local", Selector: map[string]string{"app": app},
		},
	}
}

func workloadObject(name string) *policies.Object {
	workload := policies.NewWorkload(&appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: "edge", Name: name},
		Spec: appsv1.DeploymentSpec{
			Replicas: new(int32(3)),
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "web"}}},
		},
	})
	return &policies.Object{Ref: workload.Ref, Workload: workload}
}

func serviceObject(service corev1.Service) *policies.Object {
	return &policies.Object{
		Ref:     policies.Ref{APIVersion: "v1", Kind: "Service", Namespace: service.Namespace, Name: service.Name},
		Service: policies.ReducedService(&service),
	}
}

// TestEndpointsAreLookedUp checks for which Services the EndpointSlices are looked up, and what is returned.
func TestEndpointsAreLookedUp(t *testing.T) {
	t.Parallel()
	slice := func(service string, nodes ...*string) discoveryv1.EndpointSlice {
		of := discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{
			Namespace: "edge", Name: service + "-1", Labels: map[string]string{discoveryv1.LabelServiceName: service},
		}}
		for _, node := range nodes {
			of.Endpoints = append(of.Endpoints, discoveryv1.Endpoint{NodeName: node})
		}
		return of
	}
	bare := localService("web", "web")
	bare.Spec.Selector = nil
	cluster := *bare.DeepCopy()
	cluster.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyCluster
	stored := serviceObject(bare)
	found := []policies.Endpoints{{
		Ref:     policies.Ref{APIVersion: "discovery.k8s.io/v1", Kind: "EndpointSlice", Namespace: "edge", Name: "web-1"},
		Service: "web", Count: 3, WithoutNode: 2,
	}}
	tests := map[string]struct {
		object, old *policies.Object
		err         error
		want        []policies.Endpoints
		asked       int
	}{
		"a Local Service without a selector":          {object: serviceObject(bare), old: stored, want: found, asked: 1},
		"the stored Service":                          {object: stored, old: stored},
		"a Local Service with a selector":             {object: serviceObject(localService("web", "web"))},
		"a Service that is not Local":                 {object: serviceObject(cluster)},
		"they cannot be listed":                       {object: serviceObject(bare), err: errors.New("forbidden"), asked: 1},
		"a workload in a cluster with EndpointSlices": {object: workloadObject("web")},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			live := &fakeReader{
				slices: []discoveryv1.EndpointSlice{slice("web", new("a"), new(""), nil), slice("other", nil)}, err: test.err,
			}
			n, _ := newTestNeighbours(t, &fakeReader{}, live)
			got := n.Related(t.Context(), policies.Input{
				Operation: policies.Update, Object: test.object, Old: test.old, Cluster: policies.Cluster{Version: policies.Newest},
			}, nil)
			if diff := cmp.Diff(test.want, got.Endpoints); diff != "" || live.asked != test.asked {
				t.Errorf("asked %d times, want %d, endpoints mismatch (-want +got):\n%s", live.asked, test.asked, diff)
			}
		})
	}
}

func TestRelated(t *testing.T) {
	t.Parallel()
	type want struct {
		View     policies.View
		Services []string
		Others   []string
		Asked    int
	}
	shared := localService("web", "web")
	inside := localService("inside", "web")
	inside.Spec.Type, inside.Spec.ExternalTrafficPolicy = corev1.ServiceTypeClusterIP, ""
	single := workloadObject("web")
	single.Workload.Replicas = new(int32(1))
	canary := workloadObject("canary")
	canary.Workload.Replicas = new(int32(9))
	tests := map[string]struct {
		indexed, admitted []*policies.Object
		live              fakeReader
		operation         policies.Operation
		object            *policies.Object
		want              want
	}{
		"a Service in the index needs no look-up": {
			indexed: []*policies.Object{serviceObject(shared)}, operation: policies.Create, object: workloadObject("web"),
			want: want{View: policies.ViewCluster, Services: []string{"web"}},
		},
		"a Service that this replica has just admitted needs no look-up": {
			admitted: []*policies.Object{serviceObject(shared)}, operation: policies.Create, object: workloadObject("web"),
			want: want{View: policies.ViewCluster, Services: []string{"web"}},
		},
		"Services are looked up once for a workload that none selects": {
			live:      fakeReader{services: []corev1.Service{shared, localService("api", "api")}},
			operation: policies.Create, object: workloadObject("web"),
			want: want{View: policies.ViewCluster, Services: []string{"web"}, Asked: 1},
		},
		"a Service that is looked up adds the workloads behind it": {
			indexed: []*policies.Object{workloadObject("stable")},
			live:    fakeReader{services: []corev1.Service{shared}}, operation: policies.Create,
			object: workloadObject("canary"),
			want:   want{View: policies.ViewCluster, Services: []string{"web"}, Others: []string{"stable of 3"}, Asked: 1},
		},
		"a ClusterIP Service that selects the workload does not prevent the look-up": {
			indexed:   []*policies.Object{serviceObject(inside)},
			live:      fakeReader{services: []corev1.Service{shared}},
			operation: policies.Create, object: workloadObject("web"),
			want: want{View: policies.ViewCluster, Services: []string{"inside", "web"}, Asked: 1},
		},
		"a workload of one pod needs no look-up": {
			operation: policies.Create, object: single,
			want: want{View: policies.ViewCluster},
		},
		"a Service that no longer selects the workload is not a neighbour": {
			indexed:   []*policies.Object{serviceObject(shared)},
			admitted:  []*policies.Object{serviceObject(localService("web", "other"))},
			operation: policies.Update, object: workloadObject("web"),
			want: want{View: policies.ViewCluster},
		},
		"a look-up that finds nothing leaves the view complete": {
			operation: policies.Create, object: workloadObject("web"),
			want: want{View: policies.ViewCluster, Asked: 1},
		},
		"a look-up that fails gives no view": {
			live: fakeReader{err: errors.New("connection refused")}, operation: policies.Create, object: workloadObject("web"),
			want: want{View: policies.ViewNone, Asked: 1},
		},
		"an update needs no look-up, since the watches have caught up": {
			operation: policies.Update, object: workloadObject("web"),
			want: want{View: policies.ViewCluster},
		},
		"a Service needs no look-up": {
			indexed: []*policies.Object{workloadObject("web")}, operation: policies.Create, object: serviceObject(shared),
			want: want{View: policies.ViewCluster, Others: []string{"web of 3"}},
		},
		"a workload that was just admitted is behind a Service": {
			admitted: []*policies.Object{workloadObject("web")}, operation: policies.Create, object: serviceObject(shared),
			want: want{View: policies.ViewCluster, Others: []string{"web of 3"}},
		},
		"admitted objects replace those in the index": {
			indexed:  []*policies.Object{serviceObject(localService("web", "other")), workloadObject("canary")},
			admitted: []*policies.Object{serviceObject(shared), canary},
			object:   workloadObject("web"), operation: policies.Create,
			want: want{View: policies.ViewCluster, Services: []string{"web"}, Others: []string{"canary of 9"}},
		},
		"an admitted workload is not its own neighbour": {
			indexed: []*policies.Object{serviceObject(shared)}, admitted: []*policies.Object{workloadObject("web")},
			object: workloadObject("web"), operation: policies.Update,
			want: want{View: policies.ViewCluster, Services: []string{"web"}},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n, _ := newTestNeighbours(t, &fakeReader{}, &test.live)
			for _, object := range test.indexed {
				n.index.Put(object)
			}
			for _, object := range test.admitted {
				n.Admit(object, nil)
			}
			related := n.Related(t.Context(), policies.Input{Operation: test.operation, Object: test.object}, nil)
			got := want{View: related.View, Asked: test.live.asked}
			for _, service := range related.Services {
				got.Services = append(got.Services, service.Name)
			}
			for _, workload := range related.Workloads {
				got.Others = append(got.Others, fmt.Sprintf("%s of %d", workload.Name, *workload.Replicas))
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("Related() mismatch (-want +got):\n%s", diff)
			}
			if test.live.asked > 0 {
				raw, namespace := test.live.options.AsListOptions(), test.live.options.Namespace
				if raw.ResourceVersion != "0" || raw.FieldSelector != "spec.type!=ClusterIP" || namespace != "edge" {
					t.Errorf("asked for %+v in %q: a read that waits for etcd, or that lists too much", raw, namespace)
				}
			}
		})
	}
}

// TestRelatedReplacesManyAtOnce checks Services and workloads that were admitted, all at once, beside older ones of the
// same names in the index.
func TestRelatedReplacesManyAtOnce(t *testing.T) {
	t.Parallel()
	const number = 50
	n, _ := newTestNeighbours(t, &fakeReader{}, &fakeReader{})
	n.index.Put(workloadObject("behind"))
	for i := range number {
		n.index.Put(serviceObject(localService(fmt.Sprintf("s%02d", i), []string{"web", "other"}[i%2])))
		older := workloadObject(fmt.Sprintf("w%02d", i))
		older.Workload.Replicas = new(int32(1))
		n.index.Put(older)
		// The Services that selected the workload no longer do, and the others do.
		n.Admit(serviceObject(localService(fmt.Sprintf("s%02d", i), []string{"other", "web"}[i%2])), nil)
		n.Admit(workloadObject(fmt.Sprintf("w%02d", i)), nil)
	}
	related := n.Related(t.Context(), policies.Input{Operation: policies.Create, Object: workloadObject("w00")}, nil)
	got := map[string]int{}
	for _, service := range related.Services {
		got["Service "+service.Name+" of "+service.Spec.Selector["app"]]++
	}
	for _, workload := range related.Workloads {
		got[fmt.Sprintf("%s of %d", workload.Name, *workload.Replicas)]++
	}
	// The object itself is in the index. Decide ignores it.
	want := map[string]int{"behind of 3": 1, "w00 of 1": 1}
	for i := range number {
		if i%2 == 1 {
			want[fmt.Sprintf("Service s%02d of web", i)] = 1
		}
		if i > 0 {
			want[fmt.Sprintf("w%02d of 3", i)] = 1
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Related() mismatch (-want +got):\n%s", diff)
	}
}

// TestDecideAfterAReplacedService decides about a workload whose Service was admitted again a moment ago, so that the
// index has its former state.
func TestDecideAfterAReplacedService(t *testing.T) {
	t.Parallel()
	for name, others := range map[string]int{"alone": 0, "beside another workload": 1} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n, _ := newTestNeighbours(t, &fakeReader{}, &fakeReader{})
			n.index.Put(serviceObject(localService("web", "web")))
			for i := range others {
				n.index.Put(workloadObject(fmt.Sprint("other", i)))
			}
			n.Admit(serviceObject(localService("web", "web")), nil)
			labels := map[string]any{"app": "web"}
			object, err := policies.NewObject(map[string]any{
				"apiVersion": "apps/v1", "kind": "Deployment", "metadata": map[string]any{"namespace": "edge", "name": "web"},
				"spec": map[string]any{
					"replicas": int64(3), "selector": map[string]any{"matchLabels": labels},
					"template": map[string]any{"metadata": map[string]any{"labels": labels}, "spec": map[string]any{}},
				},
			})
			if err != nil {
				t.Fatal(err)
			}
			in := policies.Input{
				Operation: policies.Update, Object: object, Namespace: policies.Namespace{Name: "edge"},
			}
			in.Related = n.Related(t.Context(), in, nil)
			decision, err := policies.Decide(t.Context(), in, noRules{}, policies.Settings{})
			if err != nil {
				t.Fatal(err)
			}
			got := map[string]bool{}
			for _, finding := range decision.Findings {
				got[finding.Rule] = true
			}
			if !got["unspread-behind-local"] || got["shared-selector"] != (others > 0) {
				t.Errorf("findings of %v; want unspread-behind-local, and with others shared-selector", got)
			}
		})
	}
}

// noRules has no modules.
type noRules struct{}

func (noRules) Evaluate(context.Context, policies.Document, []policies.AppliedPolicy) []policies.Answer {
	return []policies.Answer{{}}
}

// BenchmarkRelated measures one look-up beside objects that were admitted a moment ago: as many Services in front of
// the workload as workloads behind them.
func BenchmarkRelated(b *testing.B) {
	for _, number := range []int{100, 1_000, 10_000} {
		b.Run(fmt.Sprintf("admitted=%d", number), func(b *testing.B) {
			n := &neighbours{index: policies.NewIndex(policies.ViewCluster), admitted: newAdmitted(clock.RealClock{})}
			for i := range number / 2 {
				service, workload := serviceObject(localService(fmt.Sprintf("s%d", i), "web")), workloadObject(fmt.Sprint("w", i))
				n.index.Put(service)
				n.index.Put(workload)
			}
			for b.Loop() {
				b.StopTimer() // Admissions expire.
				n.admitted = newAdmitted(clock.RealClock{})
				for i := range number / 2 {
					n.Admit(serviceObject(localService(fmt.Sprintf("s%d", i), "web")), nil)
					n.Admit(workloadObject(fmt.Sprint("w", i)), nil)
				}
				b.StartTimer()
				n.Related(b.Context(), policies.Input{Operation: policies.Update, Object: workloadObject("web")}, nil)
			}
			b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/float64(number), "µs/admitted")
		})
	}
}

func TestNamespace(t *testing.T) {
	t.Parallel()
	edge := corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "edge", Labels: map[string]string{"team": "edge"}}}
	tests := map[string]struct {
		cached, live fakeReader
		assumed      bool
		asked        int
	}{
		"cached":                         {cached: fakeReader{namespaces: []corev1.Namespace{edge}}},
		"created a moment ago":           {live: fakeReader{namespaces: []corev1.Namespace{edge}}, asked: 1},
		"absent":                         {assumed: true, asked: 1},
		"the API server does not answer": {live: fakeReader{err: errors.New("connection refused")}, assumed: true, asked: 1},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n, _ := newTestNeighbours(t, &test.cached, &test.live)
			got := n.Namespace(t.Context(), "edge")
			want := policies.Namespace{Name: "edge", Labels: edge.Labels}
			if test.assumed {
				labels := map[string]string{corev1.LabelMetadataName: "edge"}
				want = policies.Namespace{Name: "edge", Labels: labels, Assumed: true}
			}
			if diff := cmp.Diff(want, got); diff != "" || test.live.asked != test.asked {
				t.Errorf("Namespace() asked %d times, want %d, mismatch (-want +got):\n%s", test.live.asked, test.asked, diff)
			}
		})
	}
}

// TestUnseen checks that a kind whose watch has not delivered all existing objects yet is reported as unseen.
func TestUnseen(t *testing.T) {
	t.Parallel()
	n, _ := newTestNeighbours(t, &fakeReader{}, &fakeReader{})
	n.kinds = []*watched{{name: "Deployment"}, {name: "Rollout.argoproj.io"}, {name: "CloneSet.apps.kruise.io"}}
	isSynced := false
	n.kinds[0].synced.Store(new(func() bool { return true }))
	n.kinds[1].synced.Store(new(func() bool { return isSynced }))
	related := func() policies.Related {
		return n.Related(t.Context(), policies.Input{Operation: policies.Update, Object: workloadObject("web")}, nil)
	}
	if diff := cmp.Diff([]string{"Rollout.argoproj.io"}, related().Unseen); diff != "" {
		t.Errorf("Unseen before the list (-want +got):\n%s", diff)
	}
	isSynced = true
	if got := related().Unseen; got != nil {
		t.Errorf("Unseen after the list is %v, want none", got)
	}
}

// TestRelatedWhileWatched checks that an object that this replica has admitted is seen at every moment, including the
// one in which a watch delivers it.
func TestRelatedWhileWatched(t *testing.T) {
	t.Parallel()
	stable, canary, service := workloadObject("stable"), workloadObject("canary"), localService("web", "web")
	for i := range 20_000 {
		n, _ := newTestNeighbours(t, &fakeReader{}, &fakeReader{})
		n.index.PutService(&service)
		n.Admit(stable, nil)
		delivered := make(chan struct{})
		go func() {
			defer close(delivered)
			n.index.PutWorkload(stable.Workload)
			n.admitted.forget(stable.Ref, policies.Revision{})
		}()
		related := n.Related(t.Context(), policies.Input{Operation: policies.Create, Object: canary}, nil)
		<-delivered
		if len(related.Workloads) != 1 {
			t.Fatalf("in run %d Related() has %d workloads, want 1", i+1, len(related.Workloads))
		}
	}
}
