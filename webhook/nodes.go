package webhook

import (
	"maps"
	"reflect"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"

	"github.com/sourceward/sourceward/policies"
)

// nodes holds the nodes of the cluster, as a watch delivers them. The zero value has none.
type nodes struct {
	mu     sync.Mutex
	byName map[string]*corev1.Node
	// built is the last result of known; nil after a change.
	built *policies.Nodes
}

// put adds a node that policies.ReducedNode returned. Most events of a node only report that it is alive, and change
// nothing here.
func (n *nodes) put(node *corev1.Node) {
	n.mu.Lock()
	defer n.mu.Unlock()
	former, ok := n.byName[node.Name]
	if ok && reflect.DeepEqual(former.Labels, node.Labels) && reflect.DeepEqual(former.Spec, node.Spec) {
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

// known returns all nodes, or nil while there are none.
func (n *nodes) known() *policies.Nodes {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.built == nil && len(n.byName) > 0 {
		n.built = policies.NewNodes(slices.Collect(maps.Values(n.byName)))
	}
	return n.built
}
