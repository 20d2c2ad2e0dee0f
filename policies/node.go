package policies

import (
	"slices"
	"strings"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
)

// ReducedNode returns a copy of a Node that holds only what rules and selectors read: its name, its labels, when it is
// being deleted, and the taints that keep pods away, which excludes those with effect PreferNoSchedule. The copy of a
// cordoned node always has the taint node.kubernetes.io/unschedulable, by which the scheduler recognizes it.
func ReducedNode(node *corev1.Node) *corev1.Node {
	reduced := &corev1.Node{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Node"},
		ObjectMeta: metav1.ObjectMeta{
			Name: node.Name, Labels: node.Labels, DeletionTimestamp: node.DeletionTimestamp,
		},
	}
	isCordon := func(t corev1.Taint) bool { return t.Key == corev1.TaintNodeUnschedulable }
	reduced.Spec.Taints = slices.DeleteFunc(slices.Clone(node.Spec.Taints), func(t corev1.Taint) bool {
		return t.Effect == corev1.TaintEffectPreferNoSchedule
	})
	if node.Spec.Unschedulable && !slices.ContainsFunc(reduced.Spec.Taints, isCordon) {
		reduced.Spec.Taints = append(reduced.Spec.Taints,
			corev1.Taint{Key: corev1.TaintNodeUnschedulable, Effect: corev1.TaintEffectNoSchedule})
	}
	return reduced
}

// Nodes holds the nodes of a cluster. It never changes.
type Nodes struct {
	// nodes holds all nodes, sorted by name. open holds those that accept pods without node selectors and tolerations.
	nodes, open []*corev1.Node
	// isEachDomain is true if all nodes have a hostname label, as nodes of most clusters do.
	isEachDomain bool
}

// NewNodes returns the Nodes for a list of ReducedNodes, in any order. It takes ownership of the list, which it sorts.
func NewNodes(nodes []*corev1.Node) *Nodes {
	slices.SortFunc(nodes, func(a, b *corev1.Node) int { return strings.Compare(a.Name, b.Name) })
	n := &Nodes{nodes: nodes, isEachDomain: true}
	for _, node := range nodes {
		n.isEachDomain = n.isEachDomain && isDomain(node)
		if len(node.Spec.Taints) == 0 && isDomain(node) {
			n.open = append(n.open, node)
		}
	}
	return n
}

// isDomain reports whether the scheduler spreads pods over the node. It ignores nodes without a hostname label.
func isDomain(node *corev1.Node) bool {
	_, ok := node.Labels[corev1.LabelHostname]
	return ok
}

// schedulable returns the number of nodes that accept pods without node selectors and tolerations; 0 if it is unknown.
func (c Cluster) schedulable() int {
	if c.Nodes > 0 || c.Known == nil {
		return c.Nodes
	}
	return len(c.Known.open)
}

// eligible returns the number of nodes over which the scheduler may spread a workload's pods: those that its
// nodeSelector and node affinity allow, whose taints it tolerates, and that have a hostname label. It is 0 if there is
// no such node, and if the number is unknown.
func (c Cluster) eligible(w *Workload) int {
	if c.Nodes > 0 || c.Known == nil {
		return c.Nodes
	}
	return len(c.Known.eligible(w.scheduledPod()))
}

// eligibleInTime returns the same number as eligible, but also counts nodes that reject pods only for the time being:
// because they are cordoned, not ready, or under resource pressure.
func (c Cluster) eligibleInTime(w *Workload) int {
	if c.Nodes > 0 || c.Known == nil {
		return c.Nodes
	}
	pod := w.scheduledPod()
	pod.Tolerations = slices.Concat(pod.Tolerations, tolerationsOf(passingTaints))
	return len(c.Known.eligible(pod))
}

// scheduledPod returns the spec of a workload's pods as the scheduler sees it, with the tolerations that the DaemonSet
// controller adds.
// Source: kubernetes v1.37.1, pkg/controller/daemon/util/daemonset_util.go, AddOrUpdateDaemonPodTolerations.
func (w *Workload) scheduledPod() corev1.PodSpec {
	pod := w.Template.Spec
	if w.Kind != daemonSetKind {
		return pod
	}
	pod.Tolerations = slices.Concat(pod.Tolerations, tolerationsOf(daemonTaints))
	if pod.HostNetwork {
		pod.Tolerations = append(pod.Tolerations, tolerationsOf([]corev1.Taint{networkUnavailable})...)
	}
	return pod
}

var (
	// daemonTaints lists the taints that pods of a DaemonSet tolerate.
	daemonTaints = []corev1.Taint{
		{Key: corev1.TaintNodeNotReady, Effect: corev1.TaintEffectNoExecute},
		{Key: corev1.TaintNodeUnreachable, Effect: corev1.TaintEffectNoExecute},
		{Key: corev1.TaintNodeDiskPressure, Effect: corev1.TaintEffectNoSchedule},
		{Key: corev1.TaintNodeMemoryPressure, Effect: corev1.TaintEffectNoSchedule},
		{Key: corev1.TaintNodePIDPressure, Effect: corev1.TaintEffectNoSchedule},
		{Key: corev1.TaintNodeUnschedulable, Effect: corev1.TaintEffectNoSchedule},
	}
	networkUnavailable = corev1.Taint{Key: corev1.TaintNodeNetworkUnavailable, Effect: corev1.TaintEffectNoSchedule}
	// passingTaints lists the taints that come and go with the condition of a node.
	passingTaints = append([]corev1.Taint{
		networkUnavailable,
		{Key: corev1.TaintNodeNotReady, Effect: corev1.TaintEffectNoSchedule},
		{Key: corev1.TaintNodeUnreachable, Effect: corev1.TaintEffectNoSchedule},
	}, daemonTaints...)
)

func tolerationsOf(taints []corev1.Taint) []corev1.Toleration {
	tolerations := make([]corev1.Toleration, len(taints))
	for i, taint := range taints {
		tolerations[i] = corev1.Toleration{Key: taint.Key, Operator: corev1.TolerationOpExists, Effect: taint.Effect}
	}
	return tolerations
}

// eligible returns the nodes that Cluster.eligible counts, sorted by name.
func (n *Nodes) eligible(pod corev1.PodSpec) []*corev1.Node {
	if len(pod.NodeSelector) == 0 && len(pod.Tolerations) == 0 && !hasNodeAffinity(pod) {
		return n.open
	}
	return slices.DeleteFunc(n.admitting(pod), func(node *corev1.Node) bool { return !isDomain(node) })
}

// accepting returns the nodes on which a pod may run, sorted by name. isSpread is true if a constraint that must be
// satisfied spreads it over hostnames: then it may not run on nodes without a hostname label.
func (n *Nodes) accepting(pod corev1.PodSpec, isSpread bool) []*corev1.Node {
	if isSpread || n.isEachDomain {
		return n.eligible(pod)
	}
	return n.admitting(pod)
}

// admitting returns the nodes that a pod's nodeSelector and node affinity allow, and whose taints it tolerates, sorted
// by name.
func (n *Nodes) admitting(pod corev1.PodSpec) []*corev1.Node {
	var found []*corev1.Node
	affinity := nodeaffinity.NewRequiredNodeAffinity(pod.NodeSelector, pod.Affinity)
	for _, node := range n.nodes {
		// As in the scheduler, a term that does not parse matches no node.
		chosen, err := affinity.Match(node)
		if err == nil && chosen && tolerates(pod.Tolerations, node) {
			found = append(found, node)
		}
	}
	return found
}

func hasNodeAffinity(pod corev1.PodSpec) bool {
	return pod.Affinity != nil && pod.Affinity.NodeAffinity != nil
}

// choosesNodes reports whether a nodeSelector or a required node affinity restricts the pods to certain nodes. A choice
// by operating system does not count: charts set it by habit.
func choosesNodes(pod corev1.PodSpec) bool {
	for label := range pod.NodeSelector {
		if label != corev1.LabelOSStable {
			return true
		}
	}
	if pod.Affinity == nil || pod.Affinity.NodeAffinity == nil {
		return false
	}
	required := pod.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution
	if required == nil {
		return false
	}
	isChoice := func(e corev1.NodeSelectorRequirement) bool { return e.Key != corev1.LabelOSStable }
	return slices.ContainsFunc(required.NodeSelectorTerms, func(term corev1.NodeSelectorTerm) bool {
		return len(term.MatchFields) > 0 || slices.ContainsFunc(term.MatchExpressions, isChoice)
	})
}

// domains returns the number of nodes over which the scheduler spreads pods if it ignores taints.
func (n *Nodes) domains(pod corev1.PodSpec) int {
	pod.Tolerations = []corev1.Toleration{{Operator: corev1.TolerationOpExists}}
	return len(n.eligible(pod))
}

// toleratesAll reports whether the pods tolerate every taint of effect NoSchedule.
func toleratesAll(pod corev1.PodSpec) bool {
	return slices.ContainsFunc(pod.Tolerations, func(t corev1.Toleration) bool {
		return t.Key == "" && t.Operator == corev1.TolerationOpExists &&
			(t.Effect == "" || t.Effect == corev1.TaintEffectNoSchedule)
	})
}

// tolerates reports whether the tolerations cover all taints of a node.
func tolerates(tolerations []corev1.Toleration, node *corev1.Node) bool {
	return !slices.ContainsFunc(node.Spec.Taints, func(taint corev1.Taint) bool {
		return !slices.ContainsFunc(tolerations, func(t corev1.Toleration) bool {
			return t.ToleratesTaint(logr.Discard(), &taint, false)
		})
	})
}
