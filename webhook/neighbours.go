package webhook

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/discovery"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"github.com/sourceward/sourceward/policies"
)

// neighbours implements Neighbours. It holds what this replica knows of the cluster.
type neighbours struct {
	index    *policies.Index
	admitted *admitted
	// reader reads Namespaces from the cache, live asks the API server.
	reader  client.Reader
	live    client.Reader
	lookups chan struct{}
	metrics *Metrics
	log     logr.Logger

	nodes nodes
	// kinds has an entry for each kind that is cached. informers watches them, and watches observes their watches.
	kinds     []*watched
	informers cache.Informers
	watches   *Watches

	discovery discovery.DiscoveryInterface
	version   atomic.Pointer[policies.Version]
	// discovered is true once the API server has answered which custom kinds it serves.
	discovered atomic.Bool
	ready      atomic.Bool
}

// newNeighbours returns neighbours that watch the built-in kinds in the cache of mgr. Custom kinds are watched after
// Start. The error is non-nil if a kind cannot be watched.
func newNeighbours(
	ctx context.Context, mgr manager.Manager, options Options, counters *Metrics, watches *Watches,
) (*neighbours, error) {
	live, err := client.New(options.Config, client.Options{
		Scheme: mgr.GetScheme(), Mapper: mgr.GetRESTMapper(), HTTPClient: mgr.GetHTTPClient(),
	})
	if err != nil {
		return nil, err
	}
	discoveryClient, err := discovery.NewDiscoveryClientForConfigAndClient(options.Config, mgr.GetHTTPClient())
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
		discovery: discoveryClient,
		kinds:     kinds(),
		informers: mgr.GetCache(),
		watches:   watches,
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

// Ready implements Neighbours. A replica that was ready once stays ready: a watch that breaks is restarted, and until
// then the objects that it has delivered are better than nothing. Watches.Ready makes API servers call other replicas.
func (n *neighbours) Ready() error {
	if n.ready.Load() {
		return nil
	}
	if n.version.Load() == nil {
		return fmt.Errorf("the version of the API server is not known yet")
	}
	if !n.discovered.Load() {
		return fmt.Errorf("the custom kinds of the API server are not known yet")
	}
	for _, w := range n.kinds {
		synced := w.synced.Load()
		if synced == nil || (*synced)() {
			continue
		}
		if until := w.until.Load(); until == nil || time.Now().Before(*until) {
			return fmt.Errorf("the %ss are not cached yet", w.name)
		}
		n.log.Error(nil, "objects of a kind are not cached yet; neighbours-unknown reports it until they are", "kind", w.name)
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

// Admit implements Neighbours. It keeps the parts of the object that the index keeps. An object of a kind that is not
// watched is not remembered, because no watch would deliver its deletion either.
func (n *neighbours) Admit(object, old *policies.Object) *Admission {
	kept := &policies.Object{Ref: object.Ref, Service: object.Service}
	if object.Workload != nil {
		if kind, _ := policies.WorkloadKindOf(object.APIVersion, object.Kind); kind.Door != policies.Everywhere {
			return nil
		}
		kept.Workload = inFirstVersion(object.Workload)
		kept.Ref = kept.Workload.Ref
	}
	replaces := object.Revision()
	if old != nil {
		replaces = old.Revision()
	}
	return n.admitted.add(kept, replaces)
}

// Namespace implements Neighbours. It looks up a Namespace that is not cached, which may have been created a moment
// ago.
func (n *neighbours) Namespace(ctx context.Context, name string) policies.Namespace {
	var namespace corev1.Namespace
	key := client.ObjectKey{Name: name}
	err := n.reader.Get(ctx, key, &namespace)
	if apierrors.IsNotFound(err) {
		err = n.lookup(ctx, resourceNamespaces, func(ctx context.Context) (bool, error) {
			err := n.live.Get(ctx, key, &namespace, &client.GetOptions{Raw: &metav1.GetOptions{ResourceVersion: "0"}})
			return err == nil, err
		})
	}
	if err != nil {
		n.log.Error(err, "Namespace not read; policies that select by its labels do not apply", "namespace", name)
		return policies.Namespace{Name: name, Labels: map[string]string{corev1.LabelMetadataName: name}, Assumed: true}
	}
	return policies.Namespace{Name: name, Labels: namespace.Labels, Annotations: namespace.Annotations}
}

// Namespaces implements Neighbours.
func (n *neighbours) Namespaces(ctx context.Context) []policies.Namespace {
	all, err := listNamespaces(ctx, n.reader)
	if err != nil {
		n.log.Error(err, "Namespaces not listed; policies that match none are not recognized")
	}
	return all
}

// listNamespaces returns all Namespaces that reader lists.
func listNamespaces(ctx context.Context, reader client.Reader) ([]policies.Namespace, error) {
	var list corev1.NamespaceList
	if err := reader.List(ctx, &list); err != nil {
		return nil, err
	}
	all := make([]policies.Namespace, len(list.Items))
	for i, namespace := range list.Items {
		all[i] = policies.Namespace{Name: namespace.Name, Labels: namespace.Labels, Annotations: namespace.Annotations}
	}
	return all, nil
}

// Related implements Neighbours.
//
// A Service that was created a moment ago may not be in the index yet. There are two remedies: Related adds the
// objects that this replica has just admitted or is about to admit, and it looks up the Services of the namespace at
// the API server. It makes the look-up only where a Local Service that is not known yet could change the decision.
//
// In a test on a busy machine, 8 clients created 1 000 Deployments, each immediately after the Service in front of
// it. This many Deployments were not recognized as being behind a Service, where the Service was judged by
//
//	                           the same replica   another replica
//	without a remedy                          4                15
//	with admitted objects                     0                 2
//	with the look-up                          0                 0
//	with both                                 0                 0
//	waiting 5 ms instead                      2                14
//
// With both, no look-up was made where the same replica judged the Service.
func (n *neighbours) Related(ctx context.Context, in policies.Input, admission *Admission) policies.Related {
	// Read admitted before the index: an object that a watch delivers is put into the index before admitted forgets it, so
	// that it is always in one of the two.
	admitted := n.admitted.before(admission, in.Object.Namespace)
	in.Related = n.index.Related(in.Object)
	for _, w := range n.kinds {
		if synced := w.synced.Load(); synced != nil && !(*synced)() {
			in.Related.Unseen = append(in.Related.Unseen, w.name)
		}
	}
	var services []*corev1.Service
	var workloads []*policies.Workload
	for _, object := range admitted {
		switch {
		case object.Ref == in.Object.Ref:
		case object.Service != nil:
			services = append(services, object.Service)
		default:
			workloads = append(workloads, object.Workload)
		}
	}
	n.addServices(&in.Related, in.Object, services)
	if in.Operation == policies.Create && policies.LacksLocalService(in) {
		var list corev1.ServiceList
		err := n.lookup(ctx, resourceServices, func(ctx context.Context) (bool, error) {
			// A ClusterIP Service with externalIPs can be Local too, but is not worth listing all ClusterIP Services.
			err := n.live.List(ctx, &list, &client.ListOptions{
				Namespace:     in.Object.Namespace,
				FieldSelector: fields.OneTermNotEqualSelector("spec.type", string(corev1.ServiceTypeClusterIP)),
				Raw:           &metav1.ListOptions{ResourceVersion: "0"},
			})
			listed := make([]*corev1.Service, len(list.Items))
			for i := range list.Items {
				listed[i] = policies.ReducedService(&list.Items[i])
			}
			n.addServices(&in.Related, in.Object, listed)
			return !policies.LacksLocalService(in), err
		})
		if err != nil {
			n.log.Error(err, "Services not looked up; the neighbours of the workload are unknown",
				"namespace", in.Object.Namespace)
			return policies.Related{}
		}
	}
	if policies.NeedsEndpoints(in) && in.Object != in.Old {
		in.Related.Endpoints = n.endpoints(ctx, in.Object.Ref)
	}
	// Workloads come last, because they are newer than those that addServices takes from the index.
	addWorkloads(&in.Related, workloads)
	return in.Related
}

// endpoints returns the endpoints of a Service; nil if it has none, or if they cannot be looked up. They are not
// cached: a cluster has many of them, and only Local Services without a selector need them.
func (n *neighbours) endpoints(ctx context.Context, service policies.Ref) []policies.Endpoints {
	var list discoveryv1.EndpointSliceList
	err := n.lookup(ctx, resourceEndpoints, func(ctx context.Context) (bool, error) {
		err := n.live.List(ctx, &list, &client.ListOptions{
			Namespace:     service.Namespace,
			LabelSelector: labels.SelectorFromSet(labels.Set{discoveryv1.LabelServiceName: service.Name}),
			Raw:           &metav1.ListOptions{ResourceVersion: "0"},
		})
		return len(list.Items) > 0, err
	})
	if err != nil {
		n.log.Error(err, "EndpointSlices not looked up; the nodes of the endpoints are unknown", "service", service.String())
		return nil
	}
	var found []policies.Endpoints
	for i := range list.Items {
		found = append(found, policies.EndpointsOf(&list.Items[i]))
	}
	return found
}

// addServices replaces the Services of the same names in related by those of services that select the workload object.
// The index may lack these, but has other workloads behind them: those are added, too. Nothing changes if object is not
// a workload.
func (n *neighbours) addServices(related *policies.Related, object *policies.Object, services []*corev1.Service) {
	if object.Workload == nil || len(services) == 0 {
		return
	}
	isNewer := map[string]bool{}
	for _, service := range services {
		isNewer[service.Name] = true
	}
	related.Services = slices.DeleteFunc(related.Services, func(s *corev1.Service) bool { return isNewer[s.Name] })
	var workloads []*policies.Workload
	var selectors []map[string]string
	for _, service := range services {
		if !policies.Selects(service, object.Workload) {
			continue
		}
		related.Services = append(related.Services, service)
		isSame := func(other map[string]string) bool { return maps.Equal(other, service.Spec.Selector) }
		if slices.ContainsFunc(selectors, isSame) {
			continue
		}
		selectors = append(selectors, service.Spec.Selector)
		behind := n.index.Related(&policies.Object{Ref: refOf(service), Service: service})
		workloads = append(workloads, behind.Workloads...)
		related.Users = append(related.Users, behind.Users...)
		related.Autoscalers = append(related.Autoscalers, behind.Autoscalers...)
	}
	addWorkloads(related, workloads)
}

// addWorkloads adds workloads to related, and removes their older versions.
func addWorkloads(related *policies.Related, workloads []*policies.Workload) {
	isNewer := map[policies.Ref]bool{}
	for _, workload := range workloads {
		isNewer[workload.Ref] = true
	}
	isOlder := func(w *policies.Workload) bool { return isNewer[w.Ref] }
	related.Users = slices.DeleteFunc(slices.Clone(related.Users), isOlder) // the index may share it
	related.Workloads = slices.DeleteFunc(related.Workloads, isOlder)
	for _, workload := range workloads {
		if !isNewer[workload.Ref] {
			continue // added
		}
		isNewer[workload.Ref] = false
		related.Workloads = append(related.Workloads, workload)
		if workload.TemplateOf != (policies.WorkloadRef{}) {
			related.Users = append(related.Users, workload)
		}
	}
}
