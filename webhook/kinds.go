package webhook

import (
	"sync"
	"sync/atomic"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sourceward/sourceward/policies"
)

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
