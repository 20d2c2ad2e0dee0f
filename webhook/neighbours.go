package webhook

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/discovery"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"github.com/sourceward/sourceward/policies"
)

// neighbours is what this replica knows of the cluster.
type neighbours struct {
	index    *policies.Index
	admitted *admitted
	// reader has the Namespaces from memory, live asks the API server.
	reader  client.Reader
	live    client.Reader
	lookups chan struct{}
	metrics *Metrics
	log     logr.Logger

	nodes nodes
	// kinds are all that is cached, by informers.
	kinds     []*watched
	informers cache.Informers

	discovery discovery.DiscoveryInterface
	version   atomic.Pointer[policies.Version]
	// discovered tells whether the API server has told once which custom kinds it has.
	discovered atomic.Bool
	ready      atomic.Bool
}

func newNeighbours(ctx context.Context, mgr manager.Manager, options Options, counters *Metrics) (*neighbours, error) {
	live, err := client.New(options.Config, client.Options{Scheme: mgr.GetScheme(), Mapper: mgr.GetRESTMapper(), HTTPClient: mgr.GetHTTPClient()})
	if err != nil {
		return nil, err
	}
	asked, err := discovery.NewDiscoveryClientForConfigAndClient(options.Config, mgr.GetHTTPClient())
	if err != nil {
		return nil, err
	}
	n := &neighbours{
		index:     policies.NewIndex(policies.ViewCluster),
		admitted:  newAdmitted(clock.RealClock{}),
		reader:    mgr.GetCache(),
		live:      live,
		lookups:   make(chan struct{}, maxLookups),
		metrics:   counters,
		log:       options.Log.WithName("neighbours"),
		discovery: asked,
		kinds:     kinds(),
		informers: mgr.GetCache(),
	}
	for _, w := range n.kinds {
		if w.versions != nil {
			continue
		}
		if err := n.watch(ctx, w); err != nil {
			return nil, fmt.Errorf("watch %ss: %w", w.name, err)
		}
	}
	return n, n.observe()
}

// Ready implements Neighbours. What was ready once stays so: a watch that breaks is taken up again, and what it has
// told until then is better than nothing.
func (n *neighbours) Ready() error {
	if n.ready.Load() {
		return nil
	}
	if n.version.Load() == nil {
		return fmt.Errorf("the version of the API server is not known")
	}
	if !n.discovered.Load() {
		return fmt.Errorf("the kinds of the API server are not known")
	}
	for _, w := range n.kinds {
		synced := w.synced.Load()
		if synced == nil || (*synced)() {
			continue
		}
		if until := w.until.Load(); until == nil || time.Now().Before(*until) {
			return fmt.Errorf("the %ss are not cached", w.name)
		}
		n.log.Error(nil, "objects of a kind are not cached: findings neighbours-unknown tell of it until they are", "kind", w.name)
	}
	n.ready.Store(true)
	return nil
}

// Cluster implements Neighbours.
func (n *neighbours) Cluster() policies.Cluster {
	return policies.Cluster{Known: n.nodes.known(), Version: *n.version.Load()}
}

// Workload implements Neighbours.
func (n *neighbours) Workload(ref policies.Ref) *policies.Workload { return n.index.Workload(ref) }

// Admitted implements Neighbours. Of the object it keeps what an index would. What no watch tells of is not remembered: nor would one
// tell that it is gone.
func (n *neighbours) Admitted(object *policies.Object) {
	kept := &policies.Object{Ref: object.Ref, Service: object.Service}
	if object.Workload != nil {
		if kind, _ := policies.WorkloadKindOf(object.APIVersion, object.Kind); kind.Door != policies.Everywhere {
			return
		}
		kept.Workload = ofOneVersion(object.Workload)
		kept.Ref = kept.Workload.Ref
	}
	n.admitted.add(kept)
}

// Namespace implements Neighbours. A Namespace that was created a moment ago may not be cached yet.
func (n *neighbours) Namespace(ctx context.Context, name string) policies.Namespace {
	var namespace corev1.Namespace
	key := client.ObjectKey{Name: name}
	err := n.reader.Get(ctx, key, &namespace)
	if apierrors.IsNotFound(err) {
		err = n.lookup(ctx, "namespaces", func(ctx context.Context) (bool, error) {
			err := n.live.Get(ctx, key, &namespace, &client.GetOptions{Raw: &metav1.GetOptions{ResourceVersion: "0"}})
			return err == nil, err
		})
	}
	if err != nil {
		n.log.Error(err, "Namespace not seen: policies that select by its labels are not applied", "namespace", name)
		return policies.Namespace{Name: name, Labels: map[string]string{corev1.LabelMetadataName: name}, Assumed: true}
	}
	return policies.Namespace{Name: name, Labels: namespace.Labels, Annotations: namespace.Annotations}
}

// Related implements Neighbours.
//
// A Service that was created a moment ago may not be indexed yet. Of 1 000 Deployments, created by 8 clients on a busy
// machine as soon as the Service in front of them was, so many were not seen to be behind it, where the same
// replica judged both and where another did: without a remedy 4 and 15, with what this replica admitted 0 and 2, with
// a look-up 0 and 0, with both 0 and 0 and no look-up at all in the first case; waiting 5 ms instead, 2 and 14.
//
// The look-up is made where a Local Service that is not known yet could change the decision, and nowhere else.
func (n *neighbours) Related(ctx context.Context, in policies.Input) policies.Related {
	// In this order: what a watch tells of is put into the index first and forgotten then, so that it is in one of both.
	admitted := n.admitted.in(in.Object.Namespace)
	in.Related = n.index.Related(in.Object)
	for _, w := range n.kinds {
		if synced := w.synced.Load(); synced != nil && !(*synced)() {
			in.Related.Unseen = append(in.Related.Unseen, w.name)
		}
	}
	for _, object := range admitted {
		if object.Service != nil && object.Ref != in.Object.Ref {
			n.addService(&in.Related, in.Object, object)
		}
	}
	if in.Operation == policies.Create && policies.LacksLocalService(in) {
		var list corev1.ServiceList
		err := n.lookup(ctx, "services", func(ctx context.Context) (bool, error) {
			// A ClusterIP Service can be Local too, with externalIPs. It is not worth a list of all of them.
			err := n.live.List(ctx, &list, &client.ListOptions{
				Namespace:     in.Object.Namespace,
				FieldSelector: fields.OneTermNotEqualSelector("spec.type", string(corev1.ServiceTypeClusterIP)),
				Raw:           &metav1.ListOptions{ResourceVersion: "0"},
			})
			for i := range list.Items {
				n.addService(&in.Related, in.Object, &policies.Object{Ref: refOf(&list.Items[i]), Service: policies.ReducedService(&list.Items[i])})
			}
			return !policies.LacksLocalService(in), err
		})
		if err != nil {
			n.log.Error(err, "Services not looked up", "namespace", in.Object.Namespace)
			return policies.Related{}
		}
	}
	// Last, since they are newer than what the index has behind a Service.
	for _, object := range admitted {
		if object.Workload != nil && object.Ref != in.Object.Ref {
			addWorkload(&in.Related, object.Workload)
		}
	}
	return in.Related
}

// addService puts a Service in the place of the one with the same name, if it selects a workload. The index does not have
// it yet, but may have others behind it.
func (n *neighbours) addService(related *policies.Related, object, service *policies.Object) {
	if object.Workload == nil {
		return
	}
	related.Services = slices.DeleteFunc(related.Services, func(s *corev1.Service) bool { return s.Name == service.Service.Name })
	if !policies.Selects(service.Service, object.Workload) {
		return
	}
	related.Services = append(related.Services, service.Service)
	behind := n.index.Related(service)
	for _, workload := range behind.Workloads {
		addWorkload(related, workload)
	}
	related.Users = append(related.Users, behind.Users...)
	related.Autoscalers = append(related.Autoscalers, behind.Autoscalers...)
}

func addWorkload(related *policies.Related, workload *policies.Workload) {
	related.Users = slices.DeleteFunc(related.Users, func(w *policies.Workload) bool { return w.Ref == workload.Ref })
	if workload.TemplateOf != (policies.WorkloadRef{}) {
		related.Users = append(related.Users, workload)
	}
	related.Workloads = slices.DeleteFunc(related.Workloads, func(w *policies.Workload) bool { return w.Ref == workload.Ref })
	related.Workloads = append(related.Workloads, workload)
}
