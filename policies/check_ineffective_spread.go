package policies

// ineffectiveSpread finds a constraint that looks as if it spread the pods, and does not. It stands
// for unspreadBehindLocal on the same workload, and carries its repair.
//
// Fields: spec.template.metadata.labels, spec.template.spec.topologySpreadConstraints and
// affinity.podAntiAffinity.
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
	What: "Behind a Local Service, a spread constraint or anti-affinity term on kubernetes.io/hostname does not select the pods' own " +
		"labels (or has no selector, or an empty one, or looks at other namespaces), or there are only constraints on zones.",
	Why: "The scheduler counts only the pods that a constraint selects. If they are not the workload's own, every node looks empty, " +
		"all pods fit on one, and Local gives that node's pods an unequal share.",
	Remedy: "Let the labelSelector match labels of spec.template.metadata.labels; the workload's own spec.selector always does. " +
		"A zone constraint may stay: add one on kubernetes.io/hostname beside it.",
	Exempt: "When a label of yours names single nodes and is used as the topologyKey in the place of kubernetes.io/hostname.",
	Since:  "All versions.",
	Sources: []string{
		"https://kubernetes.io/docs/concepts/scheduling-eviction/topology-spread-constraints/#spread-constraint-definition",
		"https://github.com/kubernetes/kubernetes/blob/v1.36.3/pkg/scheduler/framework/plugins/podtopologyspread/common.go#L91-L160",
	},
	follows: unspreadBehindLocal.ID,
	check:   checkIneffectiveSpread,
}

func checkIneffectiveSpread(r *run) []result {
	found := r.unspread()
	if found == nil || found.ineffective == nil {
		return nil
	}
	return []result{found.result(r, found.ineffective.path,
		found.ineffective.problem+", behind Local "+serviceNames(found.services), found.ineffective.fix)}
}
