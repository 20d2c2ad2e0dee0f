package policies

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// carriers says which of the nodes on which a workload's pods may run carry a label.
type carriers int

const (
	allNodes carriers = iota
	someNodes
	noNode
)

// topology answers which of the nodes on which the pods of a workload may run carry a label. It includes nodes that
// reject pods only for the time being. If all nodes lack the label of a constraint with DoNotSchedule, it includes all.
// If no such node is known, the name of a label decides.
type topology struct {
	known *Nodes
	pod   corev1.PodSpec
	// nodes are those nodes, valid if found. Most templates ask for no label, and then nobody has to look for them.
	found bool
	nodes []*corev1.Node
}

// topologyOf returns the topology of a workload.
func (c Cluster) topologyOf(w *Workload) *topology {
	return &topology{known: c.Known, pod: w.scheduledPod()}
}

// isKnown reports whether there is a node on which the pods may run.
func (t *topology) isKnown() bool {
	if t.known != nil && !t.found {
		pod := t.pod
		pod.Tolerations = slices.Concat(pod.Tolerations, tolerationsOf(passingTaints))
		t.nodes, t.found = t.known.admitting(pod), true
		// The scheduler places no pod on a node that lacks the label of a constraint with DoNotSchedule.
		rejects := func(node *corev1.Node) bool {
			return slices.ContainsFunc(pod.TopologySpreadConstraints, func(c corev1.TopologySpreadConstraint) bool {
				_, ok := node.Labels[c.TopologyKey]
				return !ok && c.WhenUnsatisfiable == corev1.DoNotSchedule
			})
		}
		if open := slices.DeleteFunc(slices.Clone(t.nodes), rejects); len(open) > 0 {
			t.nodes = open
		}
	}
	return len(t.nodes) > 0
}

// carrying returns which nodes carry a label.
func (t *topology) carrying(label string) carriers {
	switch {
	case t.known != nil && label == corev1.LabelHostname && t.known.isEachDomain:
		return allNodes
	case !t.isKnown() && meantLabel(label) == "":
		return allNodes
	case !t.isKnown():
		return noNode
	}
	switch t.number(label) {
	case len(t.nodes):
		return allNodes
	case 0:
		return noNode
	default:
		return someNodes
	}
}

// number returns the number of known nodes that carry a label.
func (t *topology) number(label string) int {
	count := 0
	for _, node := range t.nodes {
		if _, ok := node.Labels[label]; ok {
			count++
		}
	}
	return count
}

// domains returns the number of values that a label has on the nodes; 0 if no node is known.
func (t *topology) domains(label string) int {
	if !t.isKnown() {
		return 0
	}
	return distinct(t.nodes, label)
}

// distinct returns the number of values that a label has on nodes.
func distinct(nodes []*corev1.Node, label string) int {
	values := map[string]bool{}
	for _, node := range nodes {
		if value, ok := node.Labels[label]; ok {
			values[value] = true
		}
	}
	return len(values)
}

// nodeLabels lists the labels of nodes that Kubernetes defines in the domains that it keeps for itself.
// Source: https://kubernetes.io/docs/reference/labels-annotations-taints/
var nodeLabels = []string{
	corev1.LabelHostname, corev1.LabelArchStable, corev1.LabelOSStable, corev1.LabelInstanceTypeStable,
	corev1.LabelWindowsBuild, corev1.LabelNodeExcludeBalancers, corev1.LabelTopologyZone, corev1.LabelTopologyRegion,
}

// ownDomains lists the domains in which only Kubernetes defines labels. Their subdomains are free, such as
// node-restriction.kubernetes.io.
var ownDomains = []string{"kubernetes.io", "node.kubernetes.io", "topology.kubernetes.io"}

// hostnames lists the last parts of names that are mistaken for that of the label kubernetes.io/hostname.
var hostnames = []string{"hostname", "host", "node", "nodename"}

// meantLabel returns the label of Kubernetes that was probably meant by one that nodes do not have by themselves; empty
// if the label may be one of the user's own, or is one of Kubernetes.
func meantLabel(label string) string {
	if slices.Contains(nodeLabels, label) {
		return ""
	}
	last := label[strings.LastIndex(label, "/")+1:]
	domain := strings.TrimSuffix(label[:len(label)-len(last)], "/")
	switch {
	case slices.Contains(hostnames, strings.ToLower(last)) && (domain == "" || isOfKubernetes(domain)):
		return corev1.LabelHostname
	case slices.Contains(ownDomains, domain):
		return Nearest(label, nodeLabels, 1)[0]
	default:
		return ""
	}
}

// isOfKubernetes reports whether a domain is one of Kubernetes in which users define no labels. The domains of other
// projects have labels such as topology.topolvm.io/node, which is on every node.
// Source: https://github.com/topolvm/topolvm/blob/main/constants.go
func isOfKubernetes(domain string) bool {
	return domain != corev1.LabelNamespaceNodeRestriction &&
		(domain == "kubernetes.io" || strings.HasSuffix(domain, ".kubernetes.io"))
}

// fixKeyOf returns what to do about a topologyKey that nodes lack.
func (t *topology) fixKeyOf(label string) string {
	return "set its topologyKey to " + cmp.Or(meantLabel(label), corev1.LabelHostname) + ": " + t.lacking(label)
}

// fixOf returns what to do about one of the constraints, whose topologyKey nodes lack. The API server rejects two with
// the same topologyKey and whenUnsatisfiable.
func (t *topology) fixOf(constraints []corev1.TopologySpreadConstraint, i int) string {
	label := constraints[i].TopologyKey
	meant := cmp.Or(meantLabel(label), corev1.LabelHostname)
	isTaken := slices.ContainsFunc(constraints, func(c corev1.TopologySpreadConstraint) bool {
		return c.TopologyKey == meant && c.WhenUnsatisfiable == constraints[i].WhenUnsatisfiable
	})
	if isTaken {
		return fmt.Sprintf("remove constraint #%d, or label the nodes: %s", i, t.lacking(label))
	}
	return t.fixKeyOf(label)
}

func (t *topology) lacking(label string) string {
	if t.carrying(label) == someNodes {
		return "some nodes have no label " + label
	}
	return "nodes have no label " + label
}
