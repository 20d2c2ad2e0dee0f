package policies

import (
	"slices"
	"strings"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
)

// ReducedNode is a Node without what no rule and no selector reads: its name, its labels, and what keeps pods away. A node that is
// cordoned has the taint by which the scheduler knows it.
func ReducedNode(node *corev1.Node) *corev1.Node {
	reduced := &corev1.Node{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Node"},
		ObjectMeta: metav1.ObjectMeta{Name: node.Name, Labels: node.Labels},
	}
	isCordon := func(t corev1.Taint) bool { return t.Key == corev1.TaintNodeUnschedulable }
	reduced.Spec.Taints = slices.DeleteFunc(slices.Clone(node.Spec.Taints), func(t corev1.Taint) bool {
		return t.Effect == corev1.TaintEffectPreferNoSchedule
	})
	if node.Spec.Unschedulable && !slices.ContainsFunc(reduced.Spec.Taints, isCordon) {
		reduced.Spec.Taints = append(reduced.Spec.Taints, corev1.Taint{Key: corev1.TaintNodeUnschedulable, Effect: corev1.TaintEffectNoSchedule})
	}
	return reduced
}

// Nodes are the nodes of a cluster. They are never changed.
type Nodes struct {
	// nodes are sorted by name, and open are those of them that take pods which neither choose nodes nor tolerate taints.
	nodes, open []*corev1.Node
}

// NewNodes returns nodes, each a ReducedNode, in any order. It takes the list over.
func NewNodes(nodes []*corev1.Node) *Nodes {
	slices.SortFunc(nodes, func(a, b *corev1.Node) int { return strings.Compare(a.Name, b.Name) })
	n := &Nodes{nodes: nodes}
	for _, node := range nodes {
		if len(node.Spec.Taints) == 0 && isDomain(node) {
			n.open = append(n.open, node)
		}
	}
	return n
}

// isDomain tells whether a node is one of those over which pods are spread: one without a hostname is none.
func isDomain(node *corev1.Node) bool {
	_, ok := node.Labels[corev1.LabelHostname]
	return ok
}

// schedulable is the number of nodes that take pods which neither choose nodes nor tolerate taints; 0 where it is not known.
func (c Cluster) schedulable() int {
	if c.Nodes > 0 || c.Known == nil {
		return c.Nodes
	}
	return len(c.Known.open)
}

// eligible is the number of nodes over which the scheduler may spread a workload's pods: those that its nodeSelector and node affinity
// allow, whose taints it tolerates, and that have a hostname. It is 0 where that is not known, and where there is none.
func (c Cluster) eligible(w *Workload) int {
	if c.Nodes > 0 || c.Known == nil {
		return c.Nodes
	}
	return len(c.Known.eligible(w.scheduledPod()))
}

// eligibleInTime is eligible, with the nodes that take no pods only as long as they are in their present state: cordoned, not ready,
// or short of something.
func (c Cluster) eligibleInTime(w *Workload) int {
	if c.Nodes > 0 || c.Known == nil {
		return c.Nodes
	}
	pod := w.scheduledPod()
	pod.Tolerations = slices.Concat(pod.Tolerations, tolerationsOf(passingTaints))
	return len(c.Known.eligible(pod))
}

// scheduledPod is the spec of a workload's pods as the scheduler gets it, with the tolerations that its controller adds.
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

// daemonTaints are those that pods of a DaemonSet tolerate, and passingTaints those that come and go with the state of a node.
var (
	daemonTaints = []corev1.Taint{
		{Key: corev1.TaintNodeNotReady, Effect: corev1.TaintEffectNoExecute},
		{Key: corev1.TaintNodeUnreachable, Effect: corev1.TaintEffectNoExecute},
		{Key: corev1.TaintNodeDiskPressure, Effect: corev1.TaintEffectNoSchedule},
		{Key: corev1.TaintNodeMemoryPressure, Effect: corev1.TaintEffectNoSchedule},
		{Key: corev1.TaintNodePIDPressure, Effect: corev1.TaintEffectNoSchedule},
		{Key: corev1.TaintNodeUnschedulable, Effect: corev1.TaintEffectNoSchedule},
	}
	networkUnavailable = corev1.Taint{Key: corev1.TaintNodeNetworkUnavailable, Effect: corev1.TaintEffectNoSchedule}
	passingTaints      = append([]corev1.Taint{
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

// eligible are the nodes that eligible of a Cluster counts, by name.
func (n *Nodes) eligible(pod corev1.PodSpec) []*corev1.Node {
	if len(pod.NodeSelector) == 0 && len(pod.Tolerations) == 0 && (pod.Affinity == nil || pod.Affinity.NodeAffinity == nil) {
		return n.open
	}
	var found []*corev1.Node
	affinity := nodeaffinity.NewRequiredNodeAffinity(pod.NodeSelector, pod.Affinity)
	for _, node := range n.nodes {
		// A term that does not parse matches nothing, as the scheduler takes it.
		chosen, err := affinity.Match(node)
		if err == nil && chosen && isDomain(node) && tolerates(pod.Tolerations, node) {
			found = append(found, node)
		}
	}
	return found
}

// choosesNodes tells whether pods ask for some of the nodes that take pods at all. Their operating system, which charts write down by
// habit, is no such choice.
func choosesNodes(pod corev1.PodSpec) bool {
	for label := range pod.NodeSelector {
		if label != corev1.LabelOSStable {
			return true
		}
	}
	if pod.Affinity == nil || pod.Affinity.NodeAffinity == nil || pod.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution == nil {
		return false
	}
	terms := pod.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms
	return slices.ContainsFunc(terms, func(term corev1.NodeSelectorTerm) bool {
		return len(term.MatchFields) > 0 || slices.ContainsFunc(term.MatchExpressions, func(e corev1.NodeSelectorRequirement) bool {
			return e.Key != corev1.LabelOSStable
		})
	})
}

// domains is the number of nodes over which the scheduler spreads pods when it does not look at taints.
func (n *Nodes) domains(pod corev1.PodSpec) int {
	pod.Tolerations = []corev1.Toleration{{Operator: corev1.TolerationOpExists}}
	return len(n.eligible(pod))
}

// toleratesAll tells whether pods are placed on nodes whatever taints NoSchedule these have.
func toleratesAll(pod corev1.PodSpec) bool {
	return slices.ContainsFunc(pod.Tolerations, func(t corev1.Toleration) bool {
		return t.Key == "" && t.Operator == corev1.TolerationOpExists && (t.Effect == "" || t.Effect == corev1.TaintEffectNoSchedule)
	})
}

// tolerates tells whether pods may be placed on a node in spite of its taints.
func tolerates(tolerations []corev1.Toleration, node *corev1.Node) bool {
	return !slices.ContainsFunc(node.Spec.Taints, func(taint corev1.Taint) bool {
		return !slices.ContainsFunc(tolerations, func(t corev1.Toleration) bool {
			return t.ToleratesTaint(logr.Discard(), &taint, false)
		})
	})
}
