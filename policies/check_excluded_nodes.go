package policies

import (
	"fmt"
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"
)

// excludedNodes finds workloads whose pods may run on nodes that load balancers leave out.
//
// Fields: of the Services, spec.type and what makes them Local; of the workload, the tolerations, nodeSelector and node
// affinity in spec.template; labels and taints of the nodes. Nothing is found if the nodes are not known, nor for pods
// with spec.nodeName, which are not scheduled. A DaemonSet that tolerates everything, such as a node agent, is meant to
// run on every node: an operator who takes nodes out of service accepts that.
var excludedNodes = Rule{
	ID:           "excluded-nodes",
	Title:        "Pods may run on nodes that get no traffic",
	Severity:     SeverityInfo,
	DefaultMode:  Audit,
	Kinds:        workloadKinds,
	NeedsRelated: true,
	What: "Pods behind a Local Service of type LoadBalancer may run on nodes with the label " +
		"node.kubernetes.io/exclude-from-external-load-balancers, because the nodes have no taints or the pods tolerate " +
		"them, as often on control planes. A DaemonSet that tolerates every taint is meant to run there and is not " +
		"reported.",
	Why: "Load balancers leave out nodes with this label; kubeadm sets it on every control plane. Traffic of a Cluster " +
		"Service reaches pods there through other nodes. Traffic of a Local Service never does: the pods count as replicas " +
		"and serve no external client.",
	Remedy: "Keep the pods off these nodes by node affinity (operator DoesNotExist on the label), remove the " +
		"toleration, or remove the label from nodes that should get traffic.",
	Exempt: "When the load balancer ignores the label, or when the pods there serve clients in the cluster.",
	Since: "All versions. The value false means not excluded if the cloud controller is 1.34 or newer; before, any " +
		"value excludes the node. MetalLB respects the label unless ignoreExcludeLB is set.",
	Sources: []string{
		"https://kubernetes.io/docs/reference/labels-annotations-taints/#node-kubernetes-io-exclude-from-external-load-balancers",
		"https://github.com/kubernetes/enhancements/tree/master/keps/sig-architecture/1143-node-role-labels",
		"https://github.com/kubernetes/kubernetes/blob/v1.37.1/staging/src/k8s.io/cloud-provider/controllers/service/controller.go",
		"https://github.com/kubernetes/kubernetes/pull/131085",
		"https://github.com/metallb/metallb/issues/2285",
	},
	check: checkExcludedNodes,
}

func checkExcludedNodes(r *run) []result {
	workload := r.Object.Workload
	if workload == nil || r.Cluster.Known == nil || workload.Template.Spec.NodeName != "" ||
		workload.Kind == daemonSetKind && toleratesAll(workload.Template.Spec) {
		return nil
	}
	services := balancedServices(r.localServices())
	if len(services) == 0 {
		return r.noLocalService()
	}
	nodes := r.Cluster.Known.eligible(workload.scheduledPod())
	excluded := slices.DeleteFunc(slices.Clone(nodes), func(n *corev1.Node) bool {
		return !isExcluded(n, r.Cluster.Version)
	})
	if len(excluded) == 0 {
		return nil
	}
	services = slices.DeleteFunc(services, func(s *corev1.Service) bool {
		_, pastNodes := verdict(r.askNeighbour(s), VerdictUseless)
		return pastNodes
	})
	if len(services) == 0 {
		return nil
	}
	names := firstOf(len(excluded), func(i int) string { return excluded[i].Name })
	fix := fmt.Sprintf("keep the pods off %s by node affinity on the label %s", names, corev1.LabelNodeExcludeBalancers)
	if len(excluded) == len(nodes) {
		fix = fmt.Sprintf("remove the label %s from %s, or let the pods run on other nodes",
			corev1.LabelNodeExcludeBalancers, names)
	}
	return []result{{Finding: Finding{
		Path: workload.podPath() + "/affinity",
		Message: fmt.Sprintf("pods of %s get no traffic on %d of %s",
			serviceNames(services), len(excluded), plural(len(nodes), "node")),
		Fix:     fix,
		Because: serviceRefs(services),
	}}}
}

// excludesFalseVersion is the minor version from which a cloud controller reads the value of the label; a value that is
// not a boolean counts as true. Before, only the presence of the label counted (kubernetes#131085).
const excludesFalseVersion = 34

// isExcluded reports whether load balancers leave out a node.
func isExcluded(node *corev1.Node, version Version) bool {
	value, ok := node.Labels[corev1.LabelNodeExcludeBalancers]
	if !ok || !version.atLeast(excludesFalseVersion) {
		return ok
	}
	excluded, err := strconv.ParseBool(value)
	return err != nil || excluded
}
