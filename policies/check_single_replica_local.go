package policies

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// singleReplicaLocal finds a single pod behind a Local Service.
//
// Fields: of the Services what makes them Local and whom they select; of the workload spec.replicas, or what an autoscaler allows.
// Nothing is found where another workload behind the same Service has pods too, nor where all pods have the same node to run on, on
// which the successor of a pod serves at once; nor on kinds of which others of the same could be behind it unseen.
var singleReplicaLocal = Rule{
	ID:            "single-replica-local",
	Title:         "A single pod behind a Local Service",
	Severity:      SeverityWarning,
	DefaultMode:   Audit,
	Kinds:         kindNames(func(k WorkloadKind) bool { return k.Kind != daemonSetKind && k.Door == Everywhere }),
	NeedsRelated:  true,
	NeedsReplicas: true,
	What:          "A Local Service selects the pods of one workload only, which never has more than one.",
	Why: "One node serves all traffic, and the others fail the load balancer's health check. When the pod moves in a rollout or a drain, " +
		"the old node drops packets until its check fails, and the new one gets none until its check succeeds. With Cluster every node " +
		"would have passed them on.",
	Remedy: "Run two replicas or more and spread them over nodes.",
	Exempt: "When the program can only run once, and the gap is accepted.",
	Since:  "All versions.",
	Sources: []string{
		"https://kubernetes.io/docs/reference/networking/virtual-ips/#external-traffic-policy",
		"https://github.com/kubernetes/kubernetes/issues/85643",
	},
	check: checkSingleReplicaLocal,
}

func checkSingleReplicaLocal(r *run) []result {
	w := r.Object.Workload
	if w == nil || w.kind().Door != Everywhere || r.replicas.most != 1 || r.Cluster.eligibleInTime(w) == 1 || spreadingOf(w, r.Namespace).Spreading == SpreadPinned {
		return nil
	}
	services := slices.DeleteFunc(r.localServices(), func(s *corev1.Service) bool {
		return len(behind([]*corev1.Service{s}, r.behind, r.Object)) > 0
	})
	if len(services) == 0 {
		return nil
	}
	message := "a single pod is behind Local " + serviceNames(services) + ": a rollout or drain can be an outage"
	return []result{r.makerResult("/spec/replicas", message, "run two replicas or more, spread over nodes", services)}
}
