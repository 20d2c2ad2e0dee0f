package policies

// recreateBehindLocal finds a workload that removes all of its pods before new ones serve.
//
// Fields: of the Services what makes them Local and whom they select; of the workload spec.replicas, and spec.strategy or
// spec.updateStrategy. maxSurge does not help: pods beyond the wanted number are not ready yet when the old ones go. One pod is for
// singleReplicaLocal to tell of.
var recreateBehindLocal = Rule{
	ID:            "recreate-behind-local",
	Title:         "All pods behind a Local Service are replaced at once",
	Severity:      SeverityWarning,
	DefaultMode:   Warn,
	Kinds:         kindNames(func(k WorkloadKind) bool { return k.updatePath != "" }),
	NeedsRelated:  true,
	NeedsReplicas: true,
	What: "A workload of two pods or more behind a Local Service has strategy Recreate, or a maxUnavailable that comes to all of its " +
		"pods.",
	Why: "When the pods end, every node loses its last ready one at the same time and answers the load balancer's health check with " +
		"503. Traffic is dropped until new pods are ready and, longer than with Cluster, until the load balancer has found each node " +
		"healthy again.",
	Remedy: "Use RollingUpdate with maxUnavailable 1, or a part of the pods.",
	Exempt: "When two versions must never run side by side, and the gap is accepted.",
	Since:  "All versions; maxUnavailable of a StatefulSet counts from 1.37 on.",
	Sources: []string{
		"https://kubernetes.io/docs/concepts/workloads/controllers/deployment/#recreate-deployment",
		"https://github.com/kubernetes/kubernetes/blob/v1.37.1/pkg/controller/deployment/rolling.go",
		"https://github.com/kubernetes/kubernetes/blob/v1.37.1/pkg/proxy/healthcheck/service_health.go",
	},
	check: checkRecreateBehindLocal,
}

// statefulSetUnavailableVersion is the minor version from which maxUnavailable of a StatefulSet counts, by the gate
// MaxUnavailableStatefulSet of kubernetes v1.37.1, pkg/features/kube_features.go: on by default.
const statefulSetUnavailableVersion = 37

func checkRecreateBehindLocal(r *run) []result {
	if r.Object.Workload == nil {
		return nil
	}
	how, fix := r.replacesAll()
	if how == "" {
		return nil
	}
	services := r.localServices()
	if len(services) == 0 {
		return nil
	}
	message := how + " ends all pods at once: no node answers behind Local " + serviceNames(services)
	return []result{r.makerResult(r.maker().kind().updatePath, message, fix, services)}
}

// replacesAll tells what makes all pods go at once, and what to do about it; empty for nothing.
func (r *run) replacesAll() (how, fix string) {
	// The fewest pods, where there are several, are the first to be all.
	pods := max(r.replicas.least, 2)
	most := r.replicas.most
	if r.Object.Workload.Kind == daemonSetKind {
		pods = r.Cluster.eligible(r.Object.Workload)
		if pods == 0 {
			pods = 1_000 // of so many, only a percentage is all
		}
		most = pods
	}
	if most < 2 {
		return "", ""
	}
	maker := r.maker()
	switch maker.Update.Type {
	case UpdateRecreate:
		return "strategy Recreate", "use RollingUpdate"
	case UpdateRolling:
		ignored := maker.Kind == statefulSetKind && !maker.kind().Custom && !r.Cluster.Version.atLeast(statefulSetUnavailableVersion)
		if unavailable, _ := maker.Update.limits(pods); unavailable < pods || ignored || maker.Update.partitioned {
			return "", ""
		}
		return "maxUnavailable " + maker.Update.MaxUnavailable.String(), "set maxUnavailable 1"
	default:
		return "", ""
	}
}
