package policies

import (
	corev1 "k8s.io/api/core/v1"
)

// nodePortLocal finds Local Services of type NodePort, whose clients cannot know which nodes have pods.
//
// Fields: spec.type, spec.clusterIP, spec.externalTrafficPolicy; the DaemonSets behind it.
var nodePortLocal = Rule{
	ID:           "node-port-local",
	Title:        "Local node ports have no health check",
	Severity:     SeverityWarning,
	DefaultMode:  Warn,
	Kinds:        []string{kindService},
	NeedsRelated: true,
	What: "A Service of type NodePort has externalTrafficPolicy Local, and no DaemonSet behind it runs on " +
		"every node.",
	Why: "The port is open on every node, but with Local only nodes with a ready pod answer. The others drop the packet " +
		"silently, and the client waits until it times out. Only type LoadBalancer has a health check port that tells the " +
		"two apart. Clients that find nodes by DNS or from a list lose the requests that they send to nodes without pods.",
	Remedy: "Set type LoadBalancer; or put a load balancer in front that checks the node port on each node, and exempt " +
		"the Service; or set externalTrafficPolicy: Cluster.",
	Exempt: "When a load balancer in front checks the port on each node and skips those that do not answer, which is " +
		"how ingress controllers often run behind an external load balancer. When a pod runs on every node that clients " +
		"know. When clients find the nodes through ExternalDNS, which publishes only nodes with pods.",
	Since: "All versions.",
	Sources: []string{
		"https://kubernetes.io/docs/tutorials/services/source-ip/#source-ip-for-services-with-type-nodeport",
		"https://github.com/kubernetes/kubernetes/blob/v1.37.1/pkg/api/v1/service/util.go#L94-L99",
		"https://github.com/kubernetes/kubernetes/blob/v1.37.1/pkg/proxy/iptables/proxier.go#L907-L915",
	},
	check: checkNodePortLocal,
}

func checkNodePortLocal(r *run) []result {
	service := r.Object.Service
	if service == nil || service.Spec.Type != corev1.ServiceTypeNodePort || !isLocal(service, r.Cluster.Version) ||
		r.isOnEachNode() {
		return nil
	}
	return []result{{Finding: Finding{
		Path:    trafficPolicyPath,
		Message: "Local on type NodePort has no health check: nodes without pods drop their traffic",
		Fix:     "set type LoadBalancer or externalTrafficPolicy: Cluster, unless a load balancer in front checks the nodes",
	}}}
}
