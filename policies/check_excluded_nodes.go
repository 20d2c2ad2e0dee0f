package policies

import (
	"fmt"
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"
)

// excludedNodes finds workloads whose pods may run where no load balancer sends traffic.
//
// Fields: of the Services, spec.type and what makes them Local; of the workload, the tolerations, nodeSelector and node affinity of
// spec.template; labels and taints of the nodes. It is silent where the nodes themselves are not known, and of pods whose spec.nodeName
// is written, which no scheduler places. A DaemonSet that tolerates everything is meant for every node, as an agent of nodes is: who
// keeps it off some takes them out of service.
var excludedNodes = Rule{
	ID:           "excluded-nodes",
	Title:        "Pods may run on nodes that get no traffic",
	Severity:     SeverityInfo,
	DefaultMode:  Audit,
	Kinds:        workloadKinds,
	NeedsRelated: true,
	What: "Pods behind a Local Service of type LoadBalancer may run on nodes with the label " + corev1.LabelNodeExcludeBalancers +
		", since the pods tolerate their taints, as those of control planes, or since they have none. A DaemonSet that tolerates every " +
		"taint is meant to run there.",
	Why: "Load balancers leave out nodes with this label; kubeadm gives it to every control plane. Traffic for a Cluster Service reaches " +
		"pods there by way of other nodes. That for a Local one never does: they count as replicas, and serve nobody.",
	Remedy: "Keep the pods off these nodes by node affinity (operator DoesNotExist on the label), remove the toleration, or take the label " +
		"off nodes that are to get traffic.",
	Exempt: "When the load balancer does not heed the label, or when the pods there serve clients in the cluster.",
	Since: "All versions. A value of false is no exclusion where the cloud controller is of 1.34 or newer; before, any value is one. " +
		"MetalLB heeds the label unless ignoreExcludeLB is set.",
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
		return nil
	}
	nodes := r.Cluster.Known.eligible(workload.scheduledPod())
	excluded := slices.DeleteFunc(slices.Clone(nodes), func(n *corev1.Node) bool { return !isExcluded(n, r.Cluster.Version) })
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
	verb := "is"
	if len(excluded) > 1 {
		verb = "are"
	}
	return []result{{Finding: Finding{
		Path: workload.podPath() + "/affinity",
		Message: fmt.Sprintf("%d of %d nodes for its pods (%s) %s excluded from load balancers: no traffic there from Local %s",
			len(excluded), len(nodes), firstOf(len(excluded), func(i int) string { return excluded[i].Name }), verb, serviceNames(services)),
		Fix:     "keep its pods off nodes with the label " + corev1.LabelNodeExcludeBalancers + " by node affinity",
		Because: serviceRefs(services),
	}}}
}

// excludesFalseVersion is the minor version from which a cloud controller reads the value of the label, where one that is no boolean is
// true; before, it only asked whether it is there (kubernetes#131085).
const excludesFalseVersion = 34

// isExcluded tells whether load balancers send nothing to a node.
func isExcluded(node *corev1.Node, version Version) bool {
	value, ok := node.Labels[corev1.LabelNodeExcludeBalancers]
	if !ok || !version.atLeast(excludesFalseVersion) {
		return ok
	}
	excluded, err := strconv.ParseBool(value)
	return err != nil || excluded
}
