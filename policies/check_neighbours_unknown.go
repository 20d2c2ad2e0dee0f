package policies

import "slices"

// neighboursUnknown reports that a check needed to see other objects and could not.
var neighboursUnknown = Rule{
	ID:           "neighbours-unknown",
	Title:        "Related objects could not be seen",
	Severity:     SeverityInfo,
	DefaultMode:  Audit,
	Kinds:        append([]string{kindService}, kindNames(func(k WorkloadKind) bool { return k.Door != FilesOnly })...),
	NeedsRelated: true,
	What: "A rule depends on Services or workloads related to this object, and the look-up failed, or objects of a " +
		"custom kind could not be listed. Rules that need no related objects were evaluated; if only a kind was missing, " +
		"all rules were. In files, it warns of an object that is defined several times, equally near to this one, if the " +
		"findings depend on which definition exists.",
	Why: "No request is denied on a guess. In mode Warn, the client sees what could not be looked up. In mode Audit, " +
		"the audit log, the webhook's log and the metric sourceward_lookups_total show it.",
	Remedy: "In files, check the folder of each cluster by itself, or move the object next to the definition that " +
		"belongs to it. In a cluster, nothing on the object. \"sourceward check\" with all related objects finds what was " +
		"missed. If it happens often, look at the webhook's readiness and at its access to Services and workloads.",
	Exempt: "Never needed: it denies nothing.",
	Since:  "All versions. Files that are given to \"sourceward check\" are assumed to be complete.",
	Sources: []string{
		"https://kubernetes.io/docs/concepts/cluster-administration/admission-webhooks-good-practices/",
	},
	check: checkNeighboursUnknown,
}

func checkNeighboursUnknown(r *run) []result {
	if r.Related.View != ViewNone {
		return r.unseenKinds()
	}
	var results []result
	var reported []string
	for _, unseen := range r.unseen {
		// The first question about the same objects is enough.
		if slices.Contains(reported, unseen.objects) {
			continue
		}
		reported = append(reported, unseen.objects)
		results = append(results, result{Finding: Finding{
			Message: "could not look up " + unseen.objects + ": it is unknown whether " + unseen.question,
			Fix:     "run kubectl get services,deployments,statefulsets,daemonsets -A -o yaml | sourceward check -",
		}})
	}
	return results
}

// unseenKinds returns the finding for an object that Local concerns where all was seen but the objects of some kinds.
func (r *run) unseenKinds() []result {
	isConcerned := r.Object.Service != nil && isLocal(r.Object.Service, r.Cluster.Version) ||
		r.Object.Workload != nil && len(r.localServices()) > 0
	if len(r.Related.Unseen) == 0 || !isConcerned {
		return nil
	}
	count := len(r.Related.Unseen)
	kinds := form(count, "kind ", "kinds ") + firstOf(count, func(i int) string { return r.Related.Unseen[i] })
	return []result{{Finding: Finding{
		Message: "could not list objects of " + kinds + ": it is unknown whether any are related to it",
		Fix:     "if this lasts, allow the webhook to list and watch them",
	}}}
}
