package policies

// recreateBehindLocal finds a workload that removes all of its pods before new ones are ready.
//
// Fields: of the Services what makes them Local and which pods they select; of the workload spec.replicas, and
// spec.strategy or spec.updateStrategy. maxSurge does not help: the additional pods are not ready yet when the old ones
// are removed. A single pod is reported by single-replica-local.
var recreateBehindLocal = Rule{
	ID:            "recreate-behind-local",
	Title:         "All pods behind a Local Service are replaced at once",
	Severity:      SeverityWarning,
	DefaultMode:   Warn,
	Kinds:         kindNames(func(k WorkloadKind) bool { return k.updatePath != "" }),
	NeedsRelated:  true,
	NeedsReplicas: true,
	What: "A workload with two or more pods behind a Local Service has strategy Recreate, or a maxUnavailable that " +
		"comes to all of its pods.",
	Why: "When the pods are removed, every node loses its last ready pod at the same time and answers the load " +
		"balancer's health check with 503. Traffic is dropped until new pods are ready and the load balancer has found " +
		"each node healthy again, which takes longer than with Cluster.",
	Remedy: "Use RollingUpdate with maxUnavailable 1, or with a number smaller than all pods.",
	Exempt: "When two versions must never run side by side, and the gap is acceptable.",
	Since:  "All versions. maxUnavailable of a StatefulSet takes effect from 1.37 on.",
	Sources: []string{
		"https://kubernetes.io/docs/concepts/workloads/controllers/deployment/#recreate-deployment",
		"https://github.com/kubernetes/kubernetes/blob/v1.37.1/pkg/controller/deployment/rolling.go",
		"https://github.com/kubernetes/kubernetes/blob/v1.37.1/pkg/proxy/healthcheck/service_health.go",
	},
	check: checkRecreateBehindLocal,
}

// statefulSetUnavailableVersion is the minor version from which maxUnavailable of a StatefulSet takes effect: the
// feature gate MaxUnavailableStatefulSet is on by default (kubernetes v1.37.1, pkg/features/kube_features.go).
const statefulSetUnavailableVersion = 37

func checkRecreateBehindLocal(r *run) []result {
	if r.Object.Workload == nil {
		return nil
	}
	var results []result
	services := r.localServices()
	for _, maker := range r.makers() {
		how, fix := r.replacesAll(maker)
		if how == "" {
			continue
		}
		if len(services) == 0 {
			return r.noLocalService()
		}
		message := how + " removes all pods of " + serviceNames(services) + " at once"
		results = append(results, r.makerResult(maker, maker.kind().updatePath, message, fix, services))
	}
	return results
}

// replacesAll returns what makes a rollout by one of makers remove all pods at once, and the fix; empty for nothing.
func (r *run) replacesAll(maker *Workload) (how, fix string) {
	// Of the numbers of pods above one, maxUnavailable is all of the smallest first.
	replicas := r.replicasBy(maker)
	pods := max(replicas.least, 2)
	most := replicas.most
	if r.Object.Workload.Kind == daemonSetKind {
		pods = r.Cluster.eligible(r.Object.Workload)
		if pods == 0 {
			pods = 1_000 // of which a percentage can be all, and a number cannot
		}
		most = pods
	}
	if most < 2 {
		return "", ""
	}
	switch maker.Update.Type {
	case UpdateRecreate:
		return "strategy Recreate", "use RollingUpdate"
	case UpdateRolling:
		ignored := maker.Kind == statefulSetKind && !maker.kind().Custom &&
			!r.Cluster.Version.atLeast(statefulSetUnavailableVersion)
		if unavailable, _ := maker.Update.limits(pods); unavailable < pods || ignored || maker.Update.partitioned {
			return "", ""
		}
		return "maxUnavailable " + maker.Update.MaxUnavailable.String(), "set maxUnavailable 1"
	default:
		return "", ""
	}
}
