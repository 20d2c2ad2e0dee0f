package webhook

import (
	"maps"
	"reflect"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"

	"github.com/sourceward/sourceward/policies"
)

// nodes are the nodes of the cluster as the watch tells of them. The zero value has none.
type nodes struct {
	mu     sync.Mutex
	byName map[string]*corev1.Node
	// built is what known returned last; nil once the nodes have changed.
	built *policies.Nodes
}

// put adds a ReducedNode. Most of what a watch tells of nodes is that they are alive, which changes nothing.
func (n *nodes) put(node *corev1.Node) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if former, ok := n.byName[node.Name]; ok && reflect.DeepEqual(former.Labels, node.Labels) && reflect.DeepEqual(former.Spec, node.Spec) {
		return
	}
	if n.byName == nil {
		n.byName = map[string]*corev1.Node{}
	}
	n.byName[node.Name], n.built = node, nil
}

func (n *nodes) remove(name string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.byName, name)
	n.built = nil
}

// known returns all nodes; nil while there are none.
func (n *nodes) known() *policies.Nodes {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.built == nil && len(n.byName) > 0 {
		n.built = policies.NewNodes(slices.Collect(maps.Values(n.byName)))
	}
	return n.built
}
