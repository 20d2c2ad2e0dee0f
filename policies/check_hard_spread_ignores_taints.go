package policies

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
)

// hardSpreadIgnoresTaints finds a hard spread constraint that waits for pods on nodes where they may not run.
//
// Fields: spec.replicas, and of the template spec.topologySpreadConstraints, nodeSelector, affinity.nodeAffinity and tolerations.
// Only constraints that count the pods are looked at; ineffectiveSpread tells of the others. Nothing is found where all pods fit with a
// node to spare, which a rollout or a drain needs. Where nodes are not known, pods that choose more of their nodes than the operating
// system, or tolerate every taint, get the benefit of the doubt.
var hardSpreadIgnoresTaints = Rule{
	ID:            "hard-spread-ignores-taints",
	Title:         "Hard spread that counts nodes where the pods may not run",
	Severity:      SeverityWarning,
	DefaultMode:   Warn,
	Kinds:         SpreadKinds,
	NeedsRelated:  true,
	NeedsReplicas: true,
	Fixable:       true,
	What: "Behind a Local Service, a spread constraint on kubernetes.io/hostname with whenUnsatisfiable DoNotSchedule does not have " +
		"nodeTaintsPolicy: Honor, and nodes may have taints that the pods do not tolerate.",
	Why: "By default the scheduler counts tainted and cordoned nodes as nodes without pods. No pod can fill them, so with maxSkew 1 each " +
		"other node gets one pod and the rest stay Pending: when replicas exceed the untainted nodes, in a rollout, or while a node is " +
		"drained. The Local Service then has fewer pods than it was given.",
	Remedy: "Add nodeTaintsPolicy: Honor to the constraint, or use whenUnsatisfiable: ScheduleAnyway.",
	Exempt: "When pods are meant to wait for a tainted node to come back.",
	Since: "From 1.26 on; older API servers drop the field unless the gate NodeInclusionPolicyInPodTopologySpread is on, so nothing is " +
		"said about them.",
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
		return nil
	}
	path := func(i int) string { return fmt.Sprintf("%s/%d", constraintsPath, i) }
	finding := Finding{
		Path:    path(found[0]),
		Message: fmt.Sprintf("spread constraint #%d counts %s as empty: pods may stay Pending", found[0], tainted),
		Fix:     "add nodeTaintsPolicy: Honor to it",
		Because: serviceRefs(services),
	}
	if written {
		finding.Fix = "write Honor in the place of nodeTaintsPolicy: Ignore"
		return []result{{Finding: finding}}
	}
	var repair []PatchOperation
	for _, i := range found {
		repair = append(repair, PatchOperation{Op: "add", Path: path(i) + "/nodeTaintsPolicy", Value: string(corev1.NodeInclusionPolicyHonor)})
	}
	return []result{{Finding: finding, repair: repair}}
}

// countsTaintedNodes tells whether a constraint lets pods wait for nodes that are tainted. It does not where all of them fit on the
// others with a node to spare.
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

// taintedNodes are the nodes on which only taints keep the pods from running, in words; empty where there are none or, as far as can be
// told, will be none.
func (r *run) taintedNodes() string {
	pod := r.Object.Workload.Template.Spec
	if all := r.Cluster.Known; all != nil && r.Cluster.Nodes == 0 {
		of := all.domains(pod)
		tainted := of - len(all.eligible(pod))
		if tainted == 0 {
			return ""
		}
		return fmt.Sprintf("%d tainted of %d nodes", tainted, of)
	}
	if choosesNodes(pod) || toleratesAll(pod) {
		return ""
	}
	return "cordoned and tainted nodes"
}
