package webhook

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sourceward/sourceward/api/v1alpha1"
	"github.com/sourceward/sourceward/policies"
)

const (
	// lookupTimeout and maxLookups bound what a look-up may cost a request and the API server. One takes
	// a few milliseconds; one that takes longer is better given up.
	lookupTimeout = 300 * time.Millisecond
	maxLookups    = 8
	// versionInterval is how often the version of the API server is read again: it may be upgraded. discoveryInterval is how
	// often it is asked which custom kinds it has; an answer takes it no time.
	versionInterval   = time.Hour
	discoveryInterval = 10 * time.Second
	// customPatience is how long a replica that starts waits for the objects of a custom kind.
	customPatience = 30 * time.Second
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

// cacheOptions are what is cached, and how much of each object.
func cacheOptions() cache.Options {
	return cache.Options{
		DefaultTransform: reduced,
		ByObject: map[client.Object]cache.ByObject{
			// Read at each request, and never changed.
			&corev1.Namespace{}:        {UnsafeDisableDeepCopy: new(true)},
			&v1alpha1.SourceIPPolicy{}: {Transform: cache.TransformStripManagedFields()},
		},
	}
}

// cached is what the cache holds of an object that only the index reads.
type cached struct {
	metav1.ObjectMeta // name and version
	ref               policies.Ref
	// neighbour is a *policies.Workload or a policies.Autoscaler, or an error if it is not to be read as one.
	neighbour any
}

// reduced is made before an object enters the cache, so that what is not needed is never kept.
func reduced(object any) (any, error) {
	switch o := object.(type) {
	case *corev1.Service:
		service := policies.ReducedService(o)
		service.ResourceVersion = o.ResourceVersion
		return service, nil
	case *corev1.Node:
		node := policies.ReducedNode(o)
		node.ResourceVersion = o.ResourceVersion
		return node, nil
	case *corev1.Namespace:
		return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
			Name: o.Name, ResourceVersion: o.ResourceVersion, Labels: o.Labels, Annotations: o.Annotations,
		}}, nil
	case *unstructured.Unstructured:
		return reducedCustom(o)
	}
	if workload := policies.NewWorkload(object); workload != nil {
		return newCached(object.(metav1.Object), workload.Ref, workload), nil
	}
	return object, nil // It was reduced before, or is deleted.
}

// reducedCustom reduces what has no type here. What cannot be read is kept as that: it must not keep the others from being read.
func reducedCustom(o *unstructured.Unstructured) (any, error) {
	ref := policies.Ref{APIVersion: o.GetAPIVersion(), Kind: o.GetKind(), Namespace: o.GetNamespace(), Name: o.GetName()}
	var neighbour any
	if policies.Autoscales(ref.APIVersion, ref.Kind) {
		autoscaler, err := policies.NewAutoscaler(o.Object)
		if neighbour = autoscaler; err != nil {
			neighbour = err
		}
	} else {
		object, err := policies.NewObject(o.Object)
		if neighbour = err; err == nil {
			workload := ofOneVersion(object.Workload)
			neighbour, ref = workload, workload.Ref
		}
	}
	return newCached(o, ref, neighbour), nil
}

// ofOneVersion is a workload by the first version of its kind: what is admitted and what is watched may come in different ones.
func ofOneVersion(workload *policies.Workload) *policies.Workload {
	of := *workload
	kind, _ := policies.WorkloadKindOf(of.APIVersion, of.Kind)
	of.APIVersion = kind.APIVersion()
	return &of
}

func newCached(object metav1.Object, ref policies.Ref, neighbour any) *cached {
	return &cached{
		metav1.ObjectMeta{Namespace: ref.Namespace, Name: ref.Name, ResourceVersion: object.GetResourceVersion()},
		ref, neighbour,
	}
}

// watched is a kind of objects that is cached.
type watched struct {
	// name is the kind, with its group where it is custom.
	kind, name string
	// versions are those that a cluster may have; nil for a kind that each cluster has.
	versions []schema.GroupVersion
	// object is one of the kind, as the cache wants to be asked; nil for a custom kind that is not watched.
	object client.Object

	count atomic.Int64
	// mu is held while what a watch tells is taken. end makes the watch tell nothing more; it is nil before there is one.
	mu  sync.Mutex
	end func()
	// synced tells whether all that there was when the watch began is in the index. It is nil while there is no watch.
	synced atomic.Pointer[func() bool]
	// until is when a custom kind is no longer waited for: one that cannot be listed must not stop all others.
	until atomic.Pointer[time.Time]
}

// kinds are all that is cached but policies. Custom ones are watched as soon as the cluster has them.
func kinds() []*watched {
	all := []*watched{
		{kind: "Namespace", name: "Namespace", object: &corev1.Namespace{}},
		{kind: "Node", name: "Node", object: &corev1.Node{}},
		{kind: "Service", name: "Service", object: &corev1.Service{}},
	}
	typed := map[string]client.Object{
		"Deployment": &appsv1.Deployment{}, "StatefulSet": &appsv1.StatefulSet{}, "DaemonSet": &appsv1.DaemonSet{},
	}
	for _, kind := range policies.WorkloadKinds {
		switch {
		case kind.Door != policies.Everywhere:
		case kind.Custom:
			all = append(all, customKind(kind.Group, kind.Versions, kind.Kind))
		default:
			all = append(all, &watched{kind: kind.Kind, name: kind.Kind, object: typed[kind.Kind]})
		}
	}
	for _, kind := range policies.AutoscalerKinds {
		custom := customKind(kind.Group, kind.Versions, kind.Kind)
		if !kind.Custom {
			object := &unstructured.Unstructured{}
			object.SetGroupVersionKind(custom.versions[0].WithKind(kind.Kind))
			custom = &watched{kind: kind.Kind, name: kind.Kind, object: object}
		}
		all = append(all, custom)
	}
	return all
}

func customKind(group string, versions []string, kind string) *watched {
	w := &watched{kind: kind, name: schema.GroupKind{Group: group, Kind: kind}.String()}
	for _, version := range versions {
		w.versions = append(w.versions, schema.GroupVersion{Group: group, Version: version})
	}
	return w
}

// watch fills the index from a cache that was made with cacheOptions. The error is non-nil when the API server cannot be asked.
func (n *neighbours) watch(ctx context.Context, w *watched) error {
	informer, err := n.informers.GetInformer(ctx, w.object, cache.BlockUntilSynced(false))
	if err != nil {
		return err
	}
	ended := new(bool)
	whileWatched := func(take func()) {
		w.mu.Lock()
		defer w.mu.Unlock()
		if !*ended {
			take()
		}
	}
	registration, err := informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
		AddFunc: func(o any) {
			whileWatched(func() {
				w.count.Add(1)
				n.put(o)
			})
		},
		UpdateFunc: func(_, o any) { whileWatched(func() { n.put(o) }) },
		DeleteFunc: func(o any) {
			if missed, ok := o.(toolscache.DeletedFinalStateUnknown); ok {
				o = missed.Obj
			}
			whileWatched(func() {
				w.count.Add(-1)
				n.remove(o)
			})
		},
	})
	if err != nil {
		return err
	}
	w.end = func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		*ended = true
	}
	synced := registration.HasSynced
	w.synced.Store(&synced)
	return nil
}

// put takes what a watch tells of.
func (n *neighbours) put(object any) {
	switch o := object.(type) {
	case *corev1.Service:
		n.index.PutService(o)
	case *corev1.Node:
		n.nodes.put(o)
	case *cached:
		switch neighbour := o.neighbour.(type) {
		case *policies.Workload:
			n.index.PutWorkload(neighbour)
		case policies.Autoscaler:
			n.index.PutAutoscaler(neighbour)
		case error:
			n.log.Error(neighbour, "object not read: it is taken to be absent", "object", o.ref.String())
			n.index.Delete(o.ref)
		}
	}
	n.admitted.forget(refOf(object))
}

// remove takes back what put took.
func (n *neighbours) remove(object any) {
	if node, ok := object.(*corev1.Node); ok {
		n.nodes.remove(node.Name)
		return
	}
	ref := refOf(object)
	n.index.Delete(ref)
	n.admitted.forget(ref)
}

// refOf is the name of an object that is in the index; that of another kind is in no index.
func refOf(object any) policies.Ref {
	switch o := object.(type) {
	case *corev1.Service:
		return policies.Ref{APIVersion: "v1", Kind: "Service", Namespace: o.Namespace, Name: o.Name}
	case *cached:
		return o.ref
	default:
		return policies.Ref{}
	}
}

// NeedLeaderElection implements manager.LeaderElectionRunnable: every replica decides.
func (*neighbours) NeedLeaderElection() bool { return false }

// Start reads now and then what the API server is and what it has, until ctx ends.
func (n *neighbours) Start(ctx context.Context) error {
	var versionRead time.Time
	for {
		interval := discoveryInterval
		err := n.discoverCustom(ctx)
		if err != nil {
			n.log.Error(err, "kinds of the API server not read")
		}
		n.discovered.Store(n.discovered.Load() || err == nil)
		if time.Since(versionRead) >= versionInterval {
			versionErr := n.readVersion()
			if versionErr != nil {
				n.log.Error(versionErr, "version of the API server not read")
			} else {
				versionRead = time.Now()
			}
			err = errors.Join(err, versionErr)
		}
		if err != nil {
			interval = time.Second
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(interval):
		}
	}
}

// discoverCustom watches the custom kinds that the cluster has by now, and no longer those that it has no more. The error is
// non-nil when the API server does not tell.
func (n *neighbours) discoverCustom(ctx context.Context) error {
	var errs []error
	for _, w := range n.kinds {
		if w.versions == nil {
			continue
		}
		if err := n.follow(ctx, w); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", w.name, err))
		}
	}
	return errors.Join(errs...)
}

// follow watches a custom kind in the version in which the cluster has it.
func (n *neighbours) follow(ctx context.Context, w *watched) error {
	served, err := n.served(w)
	if err != nil {
		return err
	}
	if w.object != nil && (served == nil || *served != w.object.GetObjectKind().GroupVersionKind()) {
		n.log.Info("kind is gone", "kind", w.name)
		if err := n.informers.RemoveInformer(ctx, w.object); err != nil {
			return err
		}
		// Nobody tells of the objects that went with it, and what was told of them before may be on its way.
		w.end()
		w.synced.Store(nil)
		w.object = nil
		w.count.Store(0)
		n.index.DeleteKind(w.versions[0].Group, w.kind)
	}
	if served == nil || w.object != nil {
		return nil
	}
	object := &unstructured.Unstructured{}
	object.SetGroupVersionKind(*served)
	w.object = object
	w.until.Store(new(time.Now().Add(customPatience)))
	if err := n.watch(ctx, w); err != nil {
		w.object = nil
		return err
	}
	n.log.Info("kind is watched", "kind", w.name, "apiVersion", served.GroupVersion().String())
	return nil
}

// served is the first of its versions in which the cluster has a kind; nil if it has none of them.
func (n *neighbours) served(w *watched) (*schema.GroupVersionKind, error) {
	for _, version := range w.versions {
		resources, err := n.discovery.ServerResourcesForGroupVersion(version.String())
		if apierrors.IsNotFound(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		for _, resource := range resources.APIResources {
			if resource.Kind == w.kind && !strings.Contains(resource.Name, "/") {
				return new(version.WithKind(w.kind)), nil
			}
		}
	}
	return nil, nil
}

func (n *neighbours) readVersion() error {
	info, err := n.discovery.ServerVersion()
	if err != nil {
		return err
	}
	version, err := policies.ParseVersion(info.GitVersion)
	if err != nil {
		// One that was built without saying what it is.
		n.log.Error(err, "version of the API server not understood: taken to be the newest that is known", "newest", policies.Newest.String())
		version = policies.Newest
	}
	n.version.Store(&version)
	return nil
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

// observe adds the metrics of what is cached.
func (n *neighbours) observe() error {
	var errs []error
	for _, w := range n.kinds {
		errs = append(errs, n.metrics.observe("sourceward_cache_objects", "Objects in memory, by kind.",
			prometheus.Labels{"kind": w.name}, func() float64 { return float64(w.count.Load()) }))
	}
	return errors.Join(errs...)
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

// lookup asks the API server, within bounds, for what it holds in memory: a read that waits for etcd
// takes up to 100 ms.
func (n *neighbours) lookup(ctx context.Context, resource string, ask func(context.Context) (found bool, err error)) error {
	select {
	case n.lookups <- struct{}{}:
		defer func() { <-n.lookups }()
	default:
		n.metrics.lookups.WithLabelValues(resource, "busy").Inc()
		return fmt.Errorf("%d look-ups are under way", maxLookups)
	}
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	found, err := ask(ctx)
	outcome := "absent"
	switch {
	case err != nil && !apierrors.IsNotFound(err):
		outcome = "failed"
	case found:
		outcome = "found"
	}
	n.metrics.lookups.WithLabelValues(resource, outcome).Inc()
	return err
}
