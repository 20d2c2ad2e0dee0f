package webhook

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"

	"github.com/sourceward/sourceward/policies"
)

// watch starts to watch a kind in n.informers, a cache that was made with cacheOptions, and updates the index with
// each event. The error is non-nil if the API server does not answer or does not serve the kind.
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

// put stores an object that a watch has delivered.
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
			n.log.Error(neighbour, "object not read; treating it as absent", "object", o.ref.String())
			n.index.Delete(o.ref)
		}
	}
	n.forget(object)
}

// remove undoes put for an object that is deleted.
func (n *neighbours) remove(object any) {
	if node, ok := object.(*corev1.Node); ok {
		n.nodes.remove(node.Name)
		return
	}
	n.index.Delete(refOf(object))
	n.forget(object)
}

func (n *neighbours) forget(delivered any) {
	if object, ok := delivered.(metav1.Object); ok {
		n.admitted.forget(refOf(delivered), policies.RevisionOf(object))
	}
}
