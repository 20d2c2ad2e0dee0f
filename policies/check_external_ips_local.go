package policies

import (
	corev1 "k8s.io/api/core/v1"
)

// deprecatedExternalIPsVersion is the minor version from which an API server warns of every externalIPs
// (kubernetes v1.36.4, pkg/api/service/warnings.go:60-63).
const deprecatedExternalIPsVersion = 36

// externalIPsLocal finds externalIPs of a ClusterIP Service that are Local: nothing tells those who route them which nodes
// have pods.
//
// Fields: spec.type, spec.clusterIP, spec.externalIPs, spec.externalTrafficPolicy; the DaemonSets behind it. Before 1.29 the API server refuses the
// policy, which local-on-cluster-ip tells.
var externalIPsLocal = Rule{
	ID:           "external-ips-local",
	Title:        "External IPs that are Local, without a health check",
	Severity:     SeverityWarning,
	DefaultMode:  Warn,
	Kinds:        []string{kindService},
	NeedsRelated: true,
	What:         "A Service of type ClusterIP has externalIPs and externalTrafficPolicy Local, and no DaemonSet behind it that runs on every node.",
	Why: "Whoever routes an external IP to a node, such as a router or a floating address, chooses the node. Under Local, kube-proxy on " +
		"a node without a ready pod drops the packet. Only type LoadBalancer has a health check port at which nodes can be asked " +
		"for pods; here there is none, so a pod that moves takes the Service away from the address.",
	Remedy: "Set type LoadBalancer, which has a health check, with a controller that announces the address; or set " +
		"externalTrafficPolicy: Cluster. Kubernetes 1.36 deprecates spec.externalIPs, and a cluster may have its kube-proxy ignore it.",
	Exempt: "When what routes the address follows the pods by itself, such as an agent on each node that announces it only beside a ready " +
		"pod, or when a pod runs on every node that the address is routed to.",
	Since: "1.29. Before, the API server refuses the policy on type ClusterIP, so that the same manifest does not work there.",
	Sources: []string{
		"https://kubernetes.io/docs/concepts/services-networking/service/#external-ips",
		"https://kubernetes.io/blog/2026/05/14/kubernetes-v1-36-deprecation-and-removal-of-service-externalips/",
		"https://github.com/kubernetes/kubernetes/blob/v1.37.1/pkg/api/v1/service/util.go#L71-L99",
	},
	check: checkExternalIPsLocal,
}

func checkExternalIPsLocal(r *run) []result {
	service := r.Object.Service
	if service == nil || !isLocal(service, r.Cluster.Version) || r.isOnEachNode() {
		return nil
	}
	if service.Spec.Type != corev1.ServiceTypeClusterIP && service.Spec.Type != "" {
		return nil
	}
	fix := "set type LoadBalancer, or externalTrafficPolicy: Cluster"
	if r.Cluster.Version.atLeast(deprecatedExternalIPsVersion) {
		fix += "; externalIPs are deprecated"
	}
	return []result{{Finding: Finding{
		Path:    "/spec/externalTrafficPolicy",
		Message: "Local on externalIPs has no health check, so nodes without pods drop traffic; invalid before 1.29",
		Fix:     fix,
	}}}
}
