package policies

import "fmt"

// ineffectiveSpread finds a constraint that looks as if it spread the pods, and does not. It is reported instead of
// unspread-behind-local on the same workload, and carries the same repair.
//
// Fields: spec.template.metadata.labels, spec.template.spec.topologySpreadConstraints and affinity.podAntiAffinity.
var ineffectiveSpread = Rule{
	ID:              "ineffective-spread",
	Title:           "Constraint that never spreads the workload's own pods",
	Severity:        SeverityWarning,
	DefaultMode:     Warn,
	DefaultModeNote: "the mode of unspread-behind-local, unless a policy sets one",
	Kinds:           SpreadKinds,
	NeedsRelated:    true,
	NeedsReplicas:   true,
	Fixable:         true,
	Mutable:         true,
	What: "Behind a Local Service, a constraint looks as if it spread the pods over nodes, and does not. A spread " +
		"constraint or anti-affinity term on kubernetes.io/hostname has no labelSelector or an empty one, or one that " +
		"does not match the pods' own labels; or its matchLabelKeys have a different value on each pod, so that each pod " +
		"is counted alone; or its mismatchLabelKeys exclude the workload's own pods; or it applies to other namespaces " +
		"(\"may skip\" means that the labels of the Namespace are not known). Or the only constraints are on zones or " +
		"regions, which leave pods on the same node. Or nodes do not have the label that is its topologyKey: they are " +
		"looked at if they are known; otherwise the name decides, such as topology.kubernetes.io/hostname, which " +
		"Kubernetes does not define.",
	Why: "The scheduler counts only the pods that a constraint selects. If these are not the workload's own, every " +
		"node looks empty, all pods fit on one node, and with Local they share that node's part of the traffic. A " +
		"required anti-affinity does not apply to nodes without its topologyKey; a constraint with DoNotSchedule admits " +
		"no pod to them; and one with ScheduleAnyway keeps the scheduler from scoring them by any constraint.",
	Remedy: "Make the labelSelector match labels of spec.template.metadata.labels; the workload's own spec.selector " +
		"always does. A constraint on zones can stay: add a second one on kubernetes.io/hostname. Replace a topologyKey " +
		"that nodes do not have, or label the nodes.",
	Exempt: "When the topologyKey is a label of your own that has a different value on each node.",
	Since:  "All versions.",
	Sources: []string{
		"https://kubernetes.io/docs/concepts/scheduling-eviction/topology-spread-constraints/#spread-constraint-definition",
		"https://github.com/kubernetes/kubernetes/blob/v1.36.3/pkg/scheduler/framework/plugins/podtopologyspread/common.go#L91-L160",
	},
	follows: "unspread-behind-local",
	check:   checkIneffectiveSpread,
}

func checkIneffectiveSpread(r *run) []result {
	found := r.unspread()
	if found == nil {
		return r.unseenSpread()
	}
	if found.ineffective == nil {
		return nil
	}
	message := fmt.Sprintf("%s (%s)", found.ineffective.problem, serviceNames(found.services))
	return []result{found.finding(r, found.ineffective.path, message, found.ineffective.fix)}
}
