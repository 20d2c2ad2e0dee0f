package policies

import (
	corev1 "k8s.io/api/core/v1"
)

// internalLocal finds Services that are Local for clients inside the cluster as well.
//
// Fields: spec.internalTrafficPolicy and what makes the Service Local; the DaemonSets behind it.
var internalLocal = Rule{
	ID:           "internal-local",
	Title:        "Local for clients inside the cluster as well",
	Severity:     SeverityInfo,
	DefaultMode:  Audit,
	Kinds:        []string{kindService},
	NeedsRelated: true,
	What: "A Service has externalTrafficPolicy Local and internalTrafficPolicy Local, and no DaemonSet behind it runs " +
		"on every node.",
	Why: "The two fields are independent. externalTrafficPolicy applies to clients outside the cluster and keeps their " +
		"address; internalTrafficPolicy applies to clients in the cluster that use the cluster IP. With " +
		"internalTrafficPolicy Local, kube-proxy on a node without a pod of the Service drops what pods on that node send " +
		"to the cluster IP.",
	Remedy: "Remove internalTrafficPolicy, unless every node with a client also has a pod of the Service. The source IP " +
		"of external clients does not depend on it.",
	Exempt: "When the pods and their clients are agents that run on the same nodes.",
	Since:  "1.22.",
	Sources: []string{
		"https://kubernetes.io/docs/concepts/services-networking/service-traffic-policy/",
		"https://github.com/kubernetes/kubernetes/blob/v1.37.1/pkg/proxy/iptables/proxier.go#L899-L906",
	},
	check: checkInternalLocal,
}

func checkInternalLocal(r *run) []result {
	service := r.Object.Service
	if service == nil || service.Spec.InternalTrafficPolicy == nil ||
		*service.Spec.InternalTrafficPolicy != corev1.ServiceInternalTrafficPolicyLocal ||
		!isLocal(service, r.Cluster.Version) || r.isOnEachNode() {
		return nil
	}
	return []result{{Finding: Finding{
		Path:    "/spec/internalTrafficPolicy",
		Message: "internalTrafficPolicy is Local too: from nodes without its pods the cluster IP is unreachable",
		Fix:     "remove internalTrafficPolicy; the source IP does not depend on it",
	}}}
}
