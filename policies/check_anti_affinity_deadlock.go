package policies

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// antiAffinityDeadlock finds a workload whose rollout waits for a pod that has no node to go to.
//
// Fields: of the Services what makes them Local and whom they select; of the workload spec.replicas, spec.strategy or
// spec.updateStrategy, and of its template ports and affinity.podAntiAffinity. What an autoscaler allows counts as replicas. Where
// nodes are not known there are taken to be enough for the most replicas, but for one pod only where there are several.
var antiAffinityDeadlock = Rule{
	ID:              "anti-affinity-deadlock",
	Title:           "Rollout that waits for itself",
	Severity:        SeverityWarning,
	DefaultMode:     Warn,
	DefaultModeNote: "deny where the request makes the workload or changes its template, and the pods are known to fill all nodes",
	Kinds:           kindNames(func(k WorkloadKind) bool { return k.surges }),
	NeedsRelated:    true,
	NeedsReplicas:   true,
	What: "Behind a Local Service, a hostPort or a required anti-affinity on kubernetes.io/hostname allows one pod on each node, a rollout " +
		"makes a new pod before an old one goes (maxUnavailable comes to 0, and maxSurge does not), and the pods may fill all nodes.",
	Why: "The new pod fits on no node, since an old one is on each. The old ones stay until it is ready, which it never is: the rollout is " +
		"stuck, and Local goes on sending traffic to the old version. The default maxUnavailable, 25 %, is rounded down to 0 for three " +
		"pods or fewer. A blue-green Rollout needs as many free nodes as it has pods.",
	Remedy: "Set maxSurge 0 and maxUnavailable 1, so that each new pod takes the place of an old one; or spread the pods by a constraint on " +
		"kubernetes.io/hostname with maxSkew 1 in the place of the anti-affinity.",
	Exempt: "When there always is a free node, or an autoscaler makes one.",
	Since:  "All versions; from 1.31 on, matchLabelKeys of an anti-affinity term can name the label of a revision, so that old and new pods may meet.",
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
	means := r.onePerNode()
	stuck, certain := r.stuckRollout()
	if means == "" || stuck == "" {
		return nil
	}
	services := r.localServices()
	if len(services) == 0 {
		return nil
	}
	fix := "set maxSurge 0 and maxUnavailable 1"
	if r.maker().Update.byTraffic {
		fix = "use a canary without trafficRouting, with maxSurge 0 and maxUnavailable 1"
	}
	found := r.makerResult(r.maker().kind().updatePath, fmt.Sprintf("%s: %s and maxUnavailable 0", stuck, means), fix, services)
	if means != hostPort {
		found.Fix += ", or a spread constraint in the place of the anti-affinity"
	}
	// Only a request that makes the workload or begins such a rollout is refused: another one may well be what frees a node.
	if certain && r.templateChanged() && !r.maker().Update.paused {
		found.mode = Deny
	}
	return []result{found}
}

// onePerNode is what keeps an old and a new pod from sharing a node; empty for nothing.
func (r *run) onePerNode() string {
	w := r.Object.Workload
	if usesHostPorts(w.Template.Spec) {
		return hostPort
	}
	for _, term := range antiAffinityTerms(w.Template.Spec.Affinity) {
		keys := slices.Concat(term.MatchLabelKeys, term.MismatchLabelKeys)
		byRevision := r.Cluster.Version.atLeast(antiMatchLabelsVersion) &&
			slices.ContainsFunc(keys, func(key string) bool { return slices.Contains(r.maker().kind().revisionLabels, key) })
		if term.required && term.TopologyKey == corev1.LabelHostname && !byRevision &&
			termProblem(term.PodAffinityTerm, podLabelsOf(w), r.Namespace) == "" {
			return requiredAntiAffinity
		}
	}
	return ""
}
