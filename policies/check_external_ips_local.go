package policies

import (
	corev1 "k8s.io/api/core/v1"
)

// deprecatedExternalIPsVersion is the minor version from which the API server warns about all externalIPs
// (kubernetes v1.36.4, pkg/api/service/warnings.go:60-63).
const deprecatedExternalIPsVersion = 36

// externalIPsLocal finds a ClusterIP Service with externalIPs that is Local, where no load balancer checks the nodes.
//
// Fields: spec.type, spec.clusterIP, spec.externalIPs, spec.externalTrafficPolicy; the DaemonSets behind the Service.
// API servers before 1.29 reject the traffic policy, which local-on-cluster-ip reports.
var externalIPsLocal = Rule{
	ID:           "external-ips-local",
	Title:        "Local externalIPs have no health check",
	Severity:     SeverityWarning,
	DefaultMode:  Warn,
	Kinds:        []string{kindService},
	NeedsRelated: true,
	What: "A Service of type ClusterIP has externalIPs and externalTrafficPolicy Local, and no DaemonSet behind it runs " +
		"on every node.",
	Why: "A router or a floating address decides which node gets the packets for an external IP. With Local, kube-proxy " +
		"on a node without a ready pod drops them. Only type LoadBalancer has a health check port that says which nodes " +
		"have pods. Here there is none, so when the pod moves to another node, the address stops working.",
	Remedy: "Set type LoadBalancer, which has a health check, with a controller that announces the address; or set " +
		"externalTrafficPolicy: Cluster. Kubernetes 1.36 deprecates spec.externalIPs, and kube-proxy can be configured to " +
		"ignore it.",
	Exempt: "When the route to the address follows the pods, for example because an agent on each node announces it " +
		"only while the node has a ready pod; or when a pod runs on every node that the address is routed to.",
	Since: "1.29. Older API servers reject externalTrafficPolicy on type ClusterIP, so the same manifest does not work " +
		"there.",
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
		Path:    trafficPolicyPath,
		Message: "Local externalIPs have no health check: nodes without pods drop their traffic",
		Fix:     fix,
	}}}
}
