package policies

import "fmt"

// singleReplicaLocal finds a single pod behind a Local Service.
//
// Fields: of the Services what makes them Local and which pods they select; of the workload spec.replicas, or the range
// of an autoscaler. Nothing is found if another workload behind the same Service has pods too; nor if the pods can only
// run on one node, where the successor of a pod serves at once; nor for kinds whose other objects behind the Service
// are not seen.
var singleReplicaLocal = Rule{
	ID:            "single-replica-local",
	Title:         "A single pod behind a Local Service",
	Severity:      SeverityWarning,
	DefaultMode:   Audit,
	Kinds:         kindNames(func(k WorkloadKind) bool { return k.Kind != daemonSetKind && k.Door == Everywhere }),
	NeedsRelated:  true,
	NeedsReplicas: true,
	What:          "A Local Service selects the pods of one workload only, which never has more than one pod.",
	Why: "One node serves all traffic, and the others fail the load balancer's health check. When the pod moves in a " +
		"rollout or a drain, the old node drops packets until its check fails, and the new node gets none until its check " +
		"succeeds. With Cluster, every node would forward them.",
	Remedy: "Run two or more replicas and spread them over nodes.",
	Exempt: "When only one instance of the program can run, and the gap is acceptable.",
	Since:  "All versions.",
	Sources: []string{
		"https://kubernetes.io/docs/reference/networking/virtual-ips/#external-traffic-policy",
		"https://github.com/kubernetes/kubernetes/issues/85643",
	},
	check: checkSingleReplicaLocal,
}

func checkSingleReplicaLocal(r *run) []result {
	w := r.Object.Workload
	if w == nil || w.kind().Door != Everywhere || r.replicas.most != 1 || r.Cluster.eligibleInTime(w) == 1 ||
		r.spreading(w).Spreading == SpreadPinned {
		return nil
	}
	services := r.aloneBehind(r.localServices())
	if len(services) == 0 {
		return r.noLocalService()
	}
	message := fmt.Sprintf("Local %s %s one pod: moving it can cause an outage",
		serviceNames(services), form(len(services), "has", "have"))
	const fix = "run two or more replicas, spread over nodes"
	return []result{r.makerResult(r.maker(), "/spec/replicas", message, fix, services)}
}
