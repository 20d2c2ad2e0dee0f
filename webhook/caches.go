package webhook

import (
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"

	"github.com/sourceward/sourceward/api/v1alpha1"
	"github.com/sourceward/sourceward/policies"
)

// cacheOptions returns the options of the manager's cache, which keeps only the parts of an object that are read. The
// watch of each kind is observed by watches. scheme holds all kinds but the custom ones.
func cacheOptions(scheme *runtime.Scheme, watches *Watches) cache.Options {
	return cache.Options{
		NewInformer: func(
			lw toolscache.ListerWatcher, object runtime.Object, resync time.Duration, indexers toolscache.Indexers,
		) toolscache.SharedIndexInformer {
			kind, isCustom := kindOf(object, scheme)
			return toolscache.NewSharedIndexInformer(watches.observe(kind, !isCustom, lw), object, resync, indexers)
		},
		DefaultTransform: reduced,
		ByObject: map[client.Object]cache.ByObject{
			// Namespaces are read for each request and never modified, so that no copy is needed.
			&corev1.Namespace{}:        {UnsafeDisableDeepCopy: new(true)},
			&v1alpha1.SourceIPPolicy{}: {Transform: cache.TransformStripManagedFields()},
		},
	}
}

// kindOf returns the name of the kind of object, as in watched.name, and whether it is custom: not in scheme.
func kindOf(object runtime.Object, scheme *runtime.Scheme) (name string, isCustom bool) {
	gvk, err := apiutil.GVKForObject(object, scheme)
	if err != nil { // never: the cache has found its kind before
		return fmt.Sprintf("%T", object), true
	}
	if scheme.Recognizes(gvk) {
		return gvk.Kind, false
	}
	return gvk.GroupKind().String(), true
}

// cached is the cache entry of an object that only the index reads.
type cached struct {
	metav1.ObjectMeta // namespace, name, uid and resourceVersion
	ref               policies.Ref
	// neighbour is a *policies.Workload or a policies.Autoscaler, or the error if the object could not be read.
	neighbour any
}

func newCached(object metav1.Object, ref policies.Ref, neighbour any) *cached {
	return &cached{
		metav1.ObjectMeta{
			Namespace: ref.Namespace, Name: ref.Name, UID: object.GetUID(), ResourceVersion: object.GetResourceVersion(),
		},
		ref, neighbour,
	}
}

// reduced is the transform of the cache. It returns the parts of an object that are read, so that the rest is never
// kept in memory.
func reduced(object any) (any, error) {
	switch o := object.(type) {
	case *corev1.Service:
		service := policies.ReducedService(o)
		service.UID, service.ResourceVersion = o.UID, o.ResourceVersion
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
	return object, nil // It was reduced before, or is a toolscache.DeletedFinalStateUnknown.
}

// reducedCustom reduces an object that has no Go type here. It keeps the error of an object that cannot be read,
// because an error of the transform would keep all other objects of the kind from being read.
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
			workload := inFirstVersion(object.Workload)
			neighbour, ref = workload, workload.Ref
		}
	}
	return newCached(o, ref, neighbour), nil
}

// inFirstVersion returns a copy of workload with the first version of its kind, since requests and watches may use
// different versions.
func inFirstVersion(workload *policies.Workload) *policies.Workload {
	converted := *workload
	kind, _ := policies.WorkloadKindOf(converted.APIVersion, converted.Kind)
	converted.APIVersion = kind.APIVersion()
	return &converted
}

// refOf returns the reference of an object of a kind that is in the index, and the zero Ref for other kinds.
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

// observe registers the metrics of the caches.
func (n *neighbours) observe() error {
	var errs []error
	for _, w := range n.kinds {
		errs = append(errs, n.metrics.observe("sourceward_cache_objects", "Objects in the cache, by kind.",
			prometheus.Labels{"kind": w.name}, func() float64 { return float64(w.count.Load()) }))
	}
	return errors.Join(errs...)
}
