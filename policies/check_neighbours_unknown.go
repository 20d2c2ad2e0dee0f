package policies

// neighboursUnknown tells that a rule needed to see other objects and could not.
var neighboursUnknown = Rule{
	ID:           "neighbours-unknown",
	Title:        "Related objects could not be seen",
	Severity:     SeverityInfo,
	DefaultMode:  Audit,
	Kinds:        []string{kindService, kindWorkload},
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
	asked := r.settings.mode(unspreadBehindLocal.ID, Warn) != off || r.settings.mode(ineffectiveSpread.ID, off) != off
	if r.Related.View != ViewNone || !asked {
		return nil
	}
	needed, what := false, "the Services in front of it"
	if r.Object.Service != nil {
		needed, what = r.needsSpread(), "the workloads behind it"
	} else {
		// An autoscaler that was not seen may ask for more than one pod.
		needed = r.Cluster.Nodes != 1 && !spreadingOf(r.Object.Workload, r.Namespace).kept
	}
	if !needed {
		return nil
	}
	return []result{{Finding: Finding{
		Message: what + " could not be looked up, so whether its pods are spread is not known",
		Fix:     "nothing now; the next audit will see them",
	}}}
}
