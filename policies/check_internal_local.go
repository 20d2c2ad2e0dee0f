package policies

import (
	corev1 "k8s.io/api/core/v1"
)

// internalLocal finds Services that are Local for clients inside the cluster too.
//
// Fields: spec.internalTrafficPolicy and what makes the Service Local; the DaemonSets behind it.
var internalLocal = Rule{
	ID:           "internal-local",
	Title:        "Local inside the cluster, too",
	Severity:     SeverityInfo,
	DefaultMode:  Audit,
	Kinds:        []string{kindService},
	NeedsRelated: true,
	What:         "A Service has externalTrafficPolicy Local and internalTrafficPolicy Local, and no DaemonSet behind it that runs on every node.",
	Why: "The two are independent: the external policy is about clients outside, and keeps their address; the internal one is about clients " +
		"in the cluster that use the cluster IP. Under internalTrafficPolicy Local, kube-proxy on a node without a pod of the Service " +
		"drops what the pods of that node send to the cluster IP.",
	Remedy: "Remove internalTrafficPolicy, unless every node that has a client also has a pod of the Service. " +
		"The source IP of clients outside does not depend on it.",
	Exempt: "When the pods are agents of some nodes only, and so are their clients.",
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
		*service.Spec.InternalTrafficPolicy != corev1.ServiceInternalTrafficPolicyLocal || !isLocal(service, r.Cluster.Version) || r.isOnEachNode() {
		return nil
	}
	return []result{{Finding: Finding{
		Path:    "/spec/internalTrafficPolicy",
		Message: "Local inside as well: on nodes without its pods, other pods cannot reach the cluster IP",
		Fix:     "remove internalTrafficPolicy; the source IP does not need it",
	}}}
}
