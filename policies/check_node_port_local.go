package policies

import (
	corev1 "k8s.io/api/core/v1"
)

// nodePortLocal finds Local Services of type NodePort: nothing tells their clients which nodes have pods.
//
// Fields: spec.type, spec.clusterIP, spec.externalTrafficPolicy; the DaemonSets behind it.
var nodePortLocal = Rule{
	ID:           "node-port-local",
	Title:        "Local node port without a health check",
	Severity:     SeverityWarning,
	DefaultMode:  Warn,
	Kinds:        []string{kindService},
	NeedsRelated: true,
	What:         "A Service of type NodePort has externalTrafficPolicy Local, and no DaemonSet behind it that runs on every node.",
	Why: "Every node opens the port, and under Local only those with a ready pod answer on it: the others drop the packet without a " +
		"word, and the client waits until it gives up. Only type LoadBalancer has a health check port that tells the two apart. Clients " +
		"that know the nodes by DNS or by a list lose the share of the nodes without pods.",
	Remedy: "Set type LoadBalancer; or put a load balancer in front that checks the node port itself, and exempt the Service; or set " +
		"externalTrafficPolicy: Cluster.",
	Exempt: "When what is in front checks the port on each node, and passes over those that do not answer: so ingress controllers " +
		"often stand behind an external load balancer. When a pod runs on every node that clients know. When clients know the nodes " +
		"by ExternalDNS, which publishes only those with pods.",
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
	if service == nil || service.Spec.Type != corev1.ServiceTypeNodePort || !isLocal(service, r.Cluster.Version) || r.isOnEachNode() {
		return nil
	}
	return []result{{Finding: Finding{
		Path:    "/spec/externalTrafficPolicy",
		Message: "Local on type NodePort has no health check: clients that reach a node without pods are dropped",
		Fix:     "set type LoadBalancer or externalTrafficPolicy: Cluster, unless what is in front checks each node",
	}}}
}
