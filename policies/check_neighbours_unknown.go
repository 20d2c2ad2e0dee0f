package policies

// neighboursUnknown tells that a rule needed to see other objects and could not.
var neighboursUnknown = Rule{
	ID:           "neighbours-unknown",
	Title:        "Related objects could not be seen",
	Severity:     SeverityInfo,
	DefaultMode:  Audit,
	Kinds:        append([]string{kindService}, spreadKinds...),
	NeedsRelated: true,
	What: "A rule depends on the Services or workloads beside this object, and the look-up failed. " +
		"The rules that need no neighbours ran.",
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

func checkNeighboursUnknown(r *review) []result {
	if r.Related.View != ViewNone {
		return nil
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
	}
	if r.Object.Service != nil && len(sharingPairs(r.Object.Service)) > 0 && isOn("local-forbidden", Deny) {
		unknown("the Services that ask to share its address could not be looked up, so whether they can is not known")
	}
	return results
}
