package policies

import (
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

// topology holds the nodes on which the pods of a workload may run. If none is known, the name of a label decides
// whether nodes carry it.
type topology []*corev1.Node

// topologyOf returns the topology of a workload. It includes nodes that reject pods only for the time being.
func (c Cluster) topologyOf(w *Workload) topology {
	if c.Known == nil {
		return nil
	}
	pod := w.scheduledPod()
	pod.Tolerations = slices.Concat(pod.Tolerations, tolerationsOf(passingTaints))
	return c.Known.admitting(pod)
}

// carrying returns which nodes carry a label.
func (t topology) carrying(label string) carriers {
	count := 0
	for _, node := range t {
		if _, ok := node.Labels[label]; ok {
			count++
		}
	}
	switch {
	case t == nil && meantLabel(label) == "", count > 0 && count == len(t):
		return allNodes
	case count > 0:
		return someNodes
	default:
		return noNode
	}
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
	case slices.Contains(hostnames, strings.ToLower(last)):
		return corev1.LabelHostname
	case slices.Contains(ownDomains, domain):
		return Nearest(label, nodeLabels, 1)[0]
	default:
		return ""
	}
}

// domains returns the number of values that a label has on the nodes.
func (t topology) domains(label string) int {
	values := map[string]bool{}
	for _, node := range t {
		values[node.Labels[label]] = true
	}
	return len(values)
}

// fixOf returns what to do about a label that nodes lack.
func (t topology) fixOf(label string) string {
	meant := meantLabel(label)
	if meant == "" {
		meant = corev1.LabelHostname
	}
	lack := "nodes have no label "
	if t.carrying(label) == someNodes {
		lack = "some nodes have no label "
	}
	return "set its topologyKey to " + meant + ": " + lack + label
}
