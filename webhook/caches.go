package webhook

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sourceward/sourceward/api/v1alpha1"
	"github.com/sourceward/sourceward/policies"
)

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

func newCached(object metav1.Object, ref policies.Ref, neighbour any) *cached {
	return &cached{
		metav1.ObjectMeta{Namespace: ref.Namespace, Name: ref.Name, ResourceVersion: object.GetResourceVersion()},
		ref, neighbour,
	}
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

// observe adds the metrics of what is cached.
func (n *neighbours) observe() error {
	var errs []error
	for _, w := range n.kinds {
		errs = append(errs, n.metrics.observe("sourceward_cache_objects", "Objects in memory, by kind.",
			prometheus.Labels{"kind": w.name}, func() float64 { return float64(w.count.Load()) }))
	}
	return errors.Join(errs...)
}
