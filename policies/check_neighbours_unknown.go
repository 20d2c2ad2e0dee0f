package policies

// neighboursUnknown tells that a rule needed to see other objects and could not.
var neighboursUnknown = Rule{
	ID:           "neighbours-unknown",
	Title:        "Related objects could not be seen",
	Severity:     SeverityInfo,
	DefaultMode:  Audit,
	Kinds:        append([]string{kindService}, kindNames(func(k WorkloadKind) bool { return k.Door != FilesOnly })...),
	NeedsRelated: true,
	What: "A rule depends on the Services or workloads beside this object, and the look-up failed, or objects of a custom kind could " +
		"not be listed. The rules that need no neighbours ran; where only a kind was missing, all did.",
	Why: "Nobody is refused on a guess, and nothing is passed over in silence: what was not seen is told, and the next audit " +
		"looks again with all objects at hand.",
	Remedy: "Nothing on the object. If it comes often, look at the webhook's readiness and its access to Services and workloads.",
	Exempt: "Never needed: it refuses nothing.",
	Since:  "All versions. Files that are given to the dry-run binary are taken to be complete.",
	Sources: []string{
		"https://kubernetes.io/docs/concepts/cluster-administration/admission-webhooks-good-practices/",
	},
	check: checkNeighboursUnknown,
}

func checkNeighboursUnknown(r *run) []result {
	if r.Related.View != ViewNone {
		return r.unseenKinds()
	}
	isOn := func(rule string, byDefault Mode) bool { return r.settings.mode(rule, byDefault) != off }
	var results []result
	unknown := func(message string) {
		results = append(results, result{Finding: Finding{Message: message, Fix: "nothing now; the next audit will see them"}})
	}
	switch asked := isOn(unspreadBehindLocal.ID, Warn) || isOn(ineffectiveSpread.ID, off); {
	// An autoscaler that was not seen may ask for more than one pod.
	case asked && r.Object.Workload != nil && r.Cluster.Nodes != 1 && !spreadingOf(r.Object.Workload, r.Namespace).kept():
		unknown("the Services in front of it could not be looked up, so whether its pods are spread is not known")
	case asked && r.Object.Service != nil && r.needsSpread():
		unknown("the workloads behind it could not be looked up, so whether its pods are spread is not known")
	case r.missed:
		unknown("the Services in front of it could not be looked up, so whether it suits a Local one is not known")
	}
	if r.Object.Service != nil && len(sharingPairs(r.Object.Service)) > 0 && isOn("local-forbidden", Deny) {
		unknown("the Services that ask to share its address could not be looked up, so whether they can is not known")
	}
	return results
}

// unseenKinds is the finding where all is seen but objects of some kinds, and the object meets a Local policy.
func (r *run) unseenKinds() []result {
	isConcerned := r.Object.Service != nil && isLocal(r.Object.Service, r.Cluster.Version) ||
		r.Object.Workload != nil && len(r.localServices()) > 0
	if len(r.Related.Unseen) == 0 || !isConcerned {
		return nil
	}
	kinds := firstOf(len(r.Related.Unseen), func(i int) string { return r.Related.Unseen[i] })
	return []result{{Finding: Finding{
		Message: "objects of kind " + kinds + " could not be listed, so whether they belong to it is not known",
		Fix:     "let the webhook list and watch them, if this lasts",
	}}}
}
