package policies

import "fmt"

// antiAffinityDeadlock finds a workload whose rollout waits for a pod that fits on no node.
//
// Fields: of the Services what makes them Local and which pods they select; of the workload spec.replicas,
// spec.strategy or spec.updateStrategy, and of its template ports and affinity.podAntiAffinity. The range of an
// autoscaler counts as replicas. If nodes are not known, several replicas are assumed to fill them, and a single one
// is not reported.
var antiAffinityDeadlock = Rule{
	ID:          "anti-affinity-deadlock",
	Title:       "Rollout that waits for itself",
	Severity:    SeverityWarning,
	DefaultMode: Warn,
	DefaultModeNote: "deny if the pods are known to fill all nodes, rollouts are not paused, and the request does " +
		"not change a label by which old and new pods exclude each other; a workload that had the finding before gets a " +
		"warning",
	Kinds:         kindNames(func(k WorkloadKind) bool { return k.surges }),
	NeedsRelated:  true,
	NeedsReplicas: true,
	What: "Behind a Local Service, a hostPort or a required anti-affinity allows one pod on each node, or in each " +
		"zone, region or other domain that all nodes belong to; a rollout makes a new pod before it removes an old one " +
		"(maxUnavailable comes to 0, and maxSurge does not); and the pods may fill all nodes or domains.",
	Why: "The new pod fits on no node, since each has an old one, or is in a zone that has one. The old pods stay " +
		"until the new one is ready, which never happens: the rollout is stuck, and Local keeps sending traffic to the " +
		"old version. The default maxUnavailable, 25 %, rounds down to 0 for three pods or fewer. A blue-green Rollout " +
		"needs as many free nodes as it has pods.",
	Remedy: "Set maxSurge 0 and maxUnavailable 1, so that each new pod replaces an old one; or spread the pods by a " +
		"constraint on kubernetes.io/hostname with maxSkew 1 instead of the anti-affinity.",
	Exempt: "When there always is a free node, or an autoscaler adds one.",
	Since: "All versions. From 1.31 on, matchLabelKeys of an anti-affinity term can name the label of a revision, so " +
		"that old and new pods may share a node.",
	Sources: []string{
		"https://github.com/kubernetes/kubernetes/blob/v1.37.1/pkg/controller/deployment/util/deployment_util.go#L883-L906",
		"https://github.com/kubernetes/kubernetes/issues/116891",
		"https://github.com/kubernetes/kubernetes/issues/56539",
		"https://argo-rollouts.readthedocs.io/en/stable/features/bluegreen/",
	},
	check: checkAntiAffinityDeadlock,
}

func checkAntiAffinityDeadlock(r *run) []result {
	w := r.Object.Workload
	if w == nil {
		return nil
	}
	by := r.exclusion()
	if by == nil {
		return nil
	}
	var results []result
	services := r.localServices()
	for _, maker := range r.makers() {
		stuck, certain := r.stuckRollout(maker, by.key)
		if stuck == "" {
			continue
		}
		if len(services) == 0 {
			return r.noLocalService()
		}
		fix := "set maxSurge 0 and maxUnavailable 1"
		if maker.Update.byTraffic {
			fix = "use a canary without trafficRouting, with maxSurge 0 and maxUnavailable 1"
		}
		message := fmt.Sprintf("%s: %s and maxUnavailable 0", stuck, by.means)
		found := r.makerResult(maker, maker.kind().updatePath, message, fix, services)
		if by.means != hostPort {
			found.Fix += ", or use a spread constraint instead of the anti-affinity"
		}
		if certain && !by.passes {
			found.weight = weightHard
			if !maker.Update.paused {
				found.mode = Deny
			}
		}
		results = append(results, found)
	}
	return results
}
