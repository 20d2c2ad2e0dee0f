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

// watched is a kind of object that is cached.
type watched struct {
	// name is the kind, followed by its group if it is custom, such as Rollout.argoproj.io.
	kind, name string
	// versions are the versions in which a cluster may serve the kind; nil for a kind that every cluster serves.
	versions []schema.GroupVersion
	// object is an empty object of the kind, as the cache expects it; nil for a custom kind that is not watched.
	object client.Object

	count atomic.Int64
	// mu is held while an event of the watch is handled. end makes the handlers ignore all further events; it is nil
	// before the first watch.
	mu  sync.Mutex
	end func()
	// synced reports whether all objects that existed when the watch began are in the index. It is nil while there is no
	// watch.
	synced atomic.Pointer[func() bool]
	// until is when Ready stops waiting for a custom kind: one that cannot be listed must not keep the replica from
	// serving.
	until atomic.Pointer[time.Time]
}

// kinds returns all kinds that are cached, except SourceIPPolicy. Custom kinds are watched once the cluster serves
// them.
func kinds() []*watched {
	all := []*watched{
		{kind: "Namespace", name: "Namespace", object: &corev1.Namespace{}},
		{kind: "Node", name: "Node", object: &corev1.Node{}},
		{kind: "Service", name: "Service", object: &corev1.Service{}},
	}
	typed := map[string]client.Object{
		"PodTemplate": &corev1.PodTemplate{},
		"Deployment":  &appsv1.Deployment{}, "StatefulSet": &appsv1.StatefulSet{}, "DaemonSet": &appsv1.DaemonSet{},
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
