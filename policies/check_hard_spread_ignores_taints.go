package policies

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
)

// hardSpreadIgnoresTaints finds a DoNotSchedule constraint that makes pods wait for nodes where they may not run.
//
// Fields: spec.replicas, and of the template spec.topologySpreadConstraints, nodeSelector, affinity.nodeAffinity and
// tolerations. Only constraints that count the pods are looked at; ineffective-spread reports the others. Nothing is
// found if all pods fit and one node is spare, which a rollout or a drain needs. If nodes are not known, nothing is
// found for pods that choose nodes by more than the operating system, or that tolerate every taint.
var hardSpreadIgnoresTaints = Rule{
	ID:            "hard-spread-ignores-taints",
	Title:         "Hard spread that counts nodes where the pods may not run",
	Severity:      SeverityWarning,
	DefaultMode:   Warn,
	Kinds:         SpreadKinds,
	NeedsRelated:  true,
	NeedsReplicas: true,
	Fixable:       true,
	What: "Behind a Local Service, a spread constraint on kubernetes.io/hostname with whenUnsatisfiable DoNotSchedule " +
		"does not have nodeTaintsPolicy: Honor, and nodes may have taints that the pods do not tolerate.",
	Why: "By default the scheduler counts tainted and cordoned nodes as nodes without pods. No pod can fill them, so " +
		"with maxSkew 1 each other node gets one pod and the rest stay Pending: when there are more replicas than " +
		"untainted nodes, in a rollout, or while a node is drained. The Local Service then has fewer pods than intended.",
	Remedy: "Add nodeTaintsPolicy: Honor to the constraint, or use whenUnsatisfiable: ScheduleAnyway.",
	Exempt: "When pods should wait until a tainted node is available again.",
	Since: "From 1.26 on. Older API servers drop the field unless the feature gate " +
		"NodeInclusionPolicyInPodTopologySpread is on, so nothing is reported for them.",
	Sources: []string{
		"https://kubernetes.io/docs/concepts/scheduling-eviction/topology-spread-constraints/#spread-constraint-definition",
		"https://github.com/kubernetes/kubernetes/blob/v1.37.1/pkg/scheduler/framework/plugins/podtopologyspread/common.go#L108-L124",
		"https://github.com/kubernetes/kubernetes/issues/106127",
	},
	check: checkHardSpreadIgnoresTaints,
}

func checkHardSpreadIgnoresTaints(r *run) []result {
	w := r.Object.Workload
	if w == nil || r.replicas.most < 2 || !r.Cluster.Version.atLeast(nodeTaintsPolicyVersion) {
		return nil
	}
	var found []int
	written := false
	for i, constraint := range w.Template.Spec.TopologySpreadConstraints {
		if r.countsTaintedNodes(constraint) {
			found = append(found, i)
			written = written || constraint.NodeTaintsPolicy != nil
		}
	}
	if len(found) == 0 {
		return nil
	}
	tainted := r.taintedNodes()
	if tainted == "" {
		return nil
	}
	services := r.localServices()
	if len(services) == 0 {
		return r.noLocalService()
	}
	path := func(i int) string { return fmt.Sprintf("%s/%d", constraintsPath, i) }
	finding := Finding{
		Path:    path(found[0]),
		Message: fmt.Sprintf("constraint #%d counts %s as empty: pods may stay Pending", found[0], tainted),
		Fix:     "add nodeTaintsPolicy: Honor to it",
		Because: serviceRefs(services),
	}
	if written {
		finding.Fix = "set nodeTaintsPolicy: Honor in it, not Ignore"
		return []result{{Finding: finding}}
	}
	var repair []PatchOperation
	for _, i := range found {
		repair = append(repair, PatchOperation{
			Op: "add", Path: path(i) + "/nodeTaintsPolicy", Value: string(corev1.NodeInclusionPolicyHonor),
		})
	}
	return []result{{Finding: finding, repair: repair}}
}

// countsTaintedNodes reports whether a constraint can make pods wait for tainted nodes. It cannot if all pods fit on
// the other nodes and one of these is spare.
func (r *run) countsTaintedNodes(constraint corev1.TopologySpreadConstraint) bool {
	policy := constraint.NodeTaintsPolicy
	nodes := r.Cluster.eligible(r.Object.Workload)
	if nodes == 0 {
		nodes = 2 // the fewest over which anything is spread
	}
	return constraint.TopologyKey == corev1.LabelHostname &&
		constraint.WhenUnsatisfiable == corev1.DoNotSchedule &&
		(policy == nil || *policy != corev1.NodeInclusionPolicyHonor) &&
		constraintProblem(constraint.LabelSelector, constraint.MatchLabelKeys, podLabelsOf(r.Object.Workload)) == "" &&
		r.replicas.most > int(constraint.MaxSkew)*(nodes-1)
}

// taintedNodes describes the nodes on which only a taint keeps the pods from running; empty if there are none, or if
// nodes are not known and the pods probably tolerate the taints or choose other nodes.
func (r *run) taintedNodes() string {
	pod := r.Object.Workload.Template.Spec
	if all := r.Cluster.Known; all != nil && r.Cluster.Nodes == 0 {
		of := all.domains(pod)
		tainted := of - len(all.eligible(pod))
		if tainted == 0 {
			return ""
		}
		return fmt.Sprintf("%d tainted of %s", tainted, plural(of, "node"))
	}
	if choosesNodes(pod) || toleratesAll(pod) {
		return ""
	}
	return "cordoned and tainted nodes"
}
