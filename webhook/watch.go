package webhook

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"

	"github.com/sourceward/sourceward/policies"
)

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
