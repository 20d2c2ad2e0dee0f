package webhook

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
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
	// versionInterval is how often the version of the API server is read again: it may be upgraded.
	versionInterval = time.Hour
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

	discovery discovery.ServerVersionInterface
	version   atomic.Pointer[policies.Version]
	// synced tells of each watch whether all that there was when it began is in the index.
	synced map[string]func() bool
	ready  atomic.Bool
	counts map[string]*atomic.Int64
}

// cacheOptions are what is cached, and how much of each object.
func cacheOptions() cache.Options {
	return cache.Options{ByObject: map[client.Object]cache.ByObject{
		&corev1.Service{}:                        {Transform: reduceService},
		&appsv1.Deployment{}:                     {Transform: reduceDeployment},
		&autoscalingv2.HorizontalPodAutoscaler{}: {Transform: reduceAutoscaler},
		// Read at each request, and never changed.
		&corev1.Namespace{}:        {Transform: reduceNamespace, UnsafeDisableDeepCopy: new(true)},
		&v1alpha1.SourceIPPolicy{}: {Transform: cache.TransformStripManagedFields()},
	}}
}

// The reductions are made before an object enters the cache, so that what is not needed is never kept.

func reduceService(object any) (any, error) {
	service, ok := object.(*corev1.Service)
	if !ok {
		return object, nil
	}
	reduced := policies.ReducedService(service)
	reduced.ResourceVersion = service.ResourceVersion
	return reduced, nil
}

func reduceDeployment(object any) (any, error) {
	deployment, ok := object.(*appsv1.Deployment)
	if !ok {
		return object, nil
	}
	workload := policies.NewDeployment(deployment)
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: deployment.Namespace, Name: deployment.Name, ResourceVersion: deployment.ResourceVersion,
			Labels: workload.Labels, Annotations: workload.Annotations,
		},
		Spec: appsv1.DeploymentSpec{Replicas: workload.Replicas, Selector: workload.Selector, Template: workload.Template},
	}, nil
}

func reduceAutoscaler(object any) (any, error) {
	autoscaler, ok := object.(*autoscalingv2.HorizontalPodAutoscaler)
	if !ok {
		return object, nil
	}
	return &autoscalingv2.HorizontalPodAutoscaler{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: autoscaler.Namespace, Name: autoscaler.Name, ResourceVersion: autoscaler.ResourceVersion,
		},
		Spec: autoscalingv2.HorizontalPodAutoscalerSpec{
			ScaleTargetRef: autoscaler.Spec.ScaleTargetRef, MaxReplicas: autoscaler.Spec.MaxReplicas,
		},
	}, nil
}

func reduceNamespace(object any) (any, error) {
	namespace, ok := object.(*corev1.Namespace)
	if !ok {
		return object, nil
	}
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		Name: namespace.Name, ResourceVersion: namespace.ResourceVersion,
		Labels: namespace.Labels, Annotations: namespace.Annotations,
	}}, nil
}

// watch fills the index from a cache that is not started yet, made with cacheOptions.
// The error is non-nil when the API server cannot be asked for its kinds.
func (n *neighbours) watch(ctx context.Context, informers cache.Informers) error {
	watches := []struct {
		object client.Object
		put    func(any)
		ref    func(metav1.Object) policies.Ref
	}{
		{&corev1.Service{}, func(o any) { n.index.PutService(o.(*corev1.Service)) }, refOf("v1", "Service")},
		{&appsv1.Deployment{}, func(o any) { n.index.PutWorkload(policies.NewDeployment(o.(*appsv1.Deployment))) }, refOf("apps/v1", "Deployment")},
		{&autoscalingv2.HorizontalPodAutoscaler{}, func(o any) {
			hpa := o.(*autoscalingv2.HorizontalPodAutoscaler)
			n.index.PutAutoscaler(policies.Autoscaler{
				Ref:         refOf("autoscaling/v2", "HorizontalPodAutoscaler")(hpa),
				TargetKind:  hpa.Spec.ScaleTargetRef.Kind,
				TargetName:  hpa.Spec.ScaleTargetRef.Name,
				MaxReplicas: hpa.Spec.MaxReplicas,
			})
		}, refOf("autoscaling/v2", "HorizontalPodAutoscaler")},
		{&corev1.Namespace{}, func(any) {}, refOf("v1", "Namespace")},
	}
	n.synced, n.counts = map[string]func() bool{}, map[string]*atomic.Int64{}
	for _, w := range watches {
		informer, err := informers.GetInformer(ctx, w.object, cache.BlockUntilSynced(false))
		if err != nil {
			return err
		}
		count := &atomic.Int64{}
		registration, err := informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
			AddFunc: func(o any) {
				count.Add(1)
				w.put(o)
				n.admitted.forget(w.ref(o.(metav1.Object)))
			},
			UpdateFunc: func(_, o any) {
				w.put(o)
				n.admitted.forget(w.ref(o.(metav1.Object)))
			},
			DeleteFunc: func(o any) {
				if missed, ok := o.(toolscache.DeletedFinalStateUnknown); ok {
					o = missed.Obj
				}
				count.Add(-1)
				n.index.Delete(w.ref(o.(metav1.Object)))
				n.admitted.forget(w.ref(o.(metav1.Object)))
			},
		})
		if err != nil {
			return err
		}
		kind := w.ref(w.object).Kind
		n.synced[kind] = registration.HasSynced
		n.counts[kind] = count
	}
	return nil
}

func refOf(apiVersion, kind string) func(metav1.Object) policies.Ref {
	return func(o metav1.Object) policies.Ref {
		return policies.Ref{APIVersion: apiVersion, Kind: kind, Namespace: o.GetNamespace(), Name: o.GetName()}
	}
}

// NeedLeaderElection implements manager.LeaderElectionRunnable: every replica decides.
func (*neighbours) NeedLeaderElection() bool { return false }

// Start reads the version of the API server, now and then, until ctx ends.
func (n *neighbours) Start(ctx context.Context) error {
	for {
		interval := versionInterval
		if err := n.readVersion(); err != nil {
			n.log.Error(err, "version of the API server not read")
			interval = time.Second
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(interval):
		}
	}
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
	for _, kind := range slices.Sorted(maps.Keys(n.synced)) {
		if !n.synced[kind]() {
			return fmt.Errorf("the %ss are not cached", kind)
		}
	}
	n.ready.Store(true)
	return nil
}

// observe adds the metrics of what is cached.
func (n *neighbours) observe() error {
	var errs []error
	for kind, count := range n.counts {
		errs = append(errs, n.metrics.observe("sourceward_cache_objects", "Objects in memory, by kind.",
			prometheus.Labels{"kind": kind}, func() float64 { return float64(count.Load()) }))
	}
	return errors.Join(errs...)
}

// Version implements Neighbours.
func (n *neighbours) Version() policies.Version { return *n.version.Load() }

// Workload implements Neighbours.
func (n *neighbours) Workload(ref policies.Ref) *policies.Workload { return n.index.Workload(ref) }

// Admitted implements Neighbours. Of the object it keeps what an index would.
func (n *neighbours) Admitted(object *policies.Object) {
	n.admitted.add(&policies.Object{Ref: object.Ref, Service: object.Service, Workload: object.Workload})
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
				service := policies.ReducedService(&list.Items[i])
				n.addService(&in.Related, in.Object, &policies.Object{Ref: refOf("v1", "Service")(service), Service: service})
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
	related.Autoscalers = append(related.Autoscalers, behind.Autoscalers...)
}

func addWorkload(related *policies.Related, workload *policies.Workload) {
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
