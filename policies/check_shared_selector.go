package policies

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// sharedSelector finds workloads behind one Local Service that are not spread together.
//
// Fields: of the Services, spec.selector and what makes them Local; of the workloads, spec.replicas, and of
// spec.template what spreads the pods by hostname. A workload that uses the template of another counts as one with it.
// A workload that is scaled to zero and has no autoscaler has no pods to count: the idle half of a blue-green pair is
// not reported until both run. Pods without an owner are not seen next to others, so the rule does not apply to them.
var sharedSelector = Rule{
	ID:            "shared-selector",
	Title:         "Workloads behind one Local Service are spread separately",
	Severity:      SeverityInfo,
	DefaultMode:   Audit,
	Kinds:         kindNames(func(k WorkloadKind) bool { return k.Kind != podKind }),
	NeedsRelated:  true,
	NeedsReplicas: true,
	What: "A Local Service selects the pods of more than one workload, such as a stable and a canary Deployment, and " +
		"nothing spreads them together: no constraint or anti-affinity on kubernetes.io/hostname counts the pods of all of " +
		"them. Each workload whose own constraint does not is reported. If a DaemonSet, or a pin to one node, places the " +
		"pods of one workload, the others must count them.",
	Why: "The load balancer sends each node that has any pod of the Service the same share of the traffic, whichever " +
		"workload made the pod. Two workloads that are each spread perfectly may both have their odd pod on the same node, " +
		"and a single canary pod on a node of its own gets the share of a whole node.",
	Remedy: "In each workload, use the Service's selector as the labelSelector of the spread constraint, and leave out " +
		"matchLabelKeys, which would only count the pods of one revision of one workload.",
	Exempt: "When the workloads exist together only during a rollout.",
	Since:  "All versions.",
	Sources: []string{
		"https://kubernetes.io/docs/concepts/scheduling-eviction/topology-spread-constraints/#spread-constraint-definition",
		"https://github.com/kubernetes/kubernetes/blob/v1.37.1/pkg/scheduler/framework/plugins/helper/spread.go",
		"https://github.com/kubernetes/kubernetes/issues/134810",
	},
	check: checkSharedSelector,
}

func checkSharedSelector(r *run) []result {
	workload := r.Object.Workload
	if workload == nil || workload.Kind == podKind || len(r.behind) == 0 || r.scaling.idle(workload) ||
		r.Cluster.eligibleInTime(workload) == 1 {
		return nil
	}
	isApart := map[*backend]bool{}
	for _, b := range r.backends.different(r.evenServices()) {
		isApart[b] = len(r.running(b, 1)) > 0 && !r.spreadTogether(b)
	}
	services := slices.DeleteFunc(slices.Clone(r.evenServices()), func(service *corev1.Service) bool {
		return !isApart[r.backends[service]]
	})
	if len(services) == 0 {
		return nil
	}
	behind := r.union(services)
	others := r.running(behind, maxBecause)
	count := r.countRunning(behind)
	because := serviceRefs(services)
	for _, other := range others {
		because = append(because, other.Ref)
	}
	return []result{{Finding: Finding{
		Path: workload.podPath() + "/topologySpreadConstraints",
		Message: fmt.Sprintf("not spread with %s behind %s",
			firstOf(count, func(i int) string { return others[i].Kind + " " + others[i].Name }), serviceNames(services)),
		Fix:     "use the Service's selector as labelSelector on kubernetes.io/hostname, without matchLabelKeys",
		Because: because, BecauseOmitted: count - len(others),
	}}}
}

// running returns the first workloads of a backend, at most most of them, that are neither the object nor idle.
func (r *run) running(b *backend, most int) []*Workload {
	var found []*Workload
	for _, w := range b.workloads {
		if len(found) == most {
			break
		}
		if !r.Object.is(w) && !b.idle[w] {
			found = append(found, w)
		}
	}
	return found
}

// countRunning returns the number of all workloads that running could return.
func (r *run) countRunning(b *backend) int {
	count := r.others(b) - len(b.idle)
	if i := b.index(r.Object); i >= 0 && b.idle[b.workloads[i]] {
		count++ // its former state is not one of the others
	}
	return count
}

// spreadTogether reports whether the workload under review is spread together with the others in a backend, as far as
// its own template is concerned. If the scheduler has no choice for its pods, that is up to the others.
func (r *run) spreadTogether(b *backend) bool {
	isPlaced := func(w *Workload) bool {
		return w.Kind == daemonSetKind || r.spreading(w).Spreading == SpreadPinned
	}
	if !isPlaced(r.Object.Workload) {
		return r.countsAll(r.Object.Workload, b)
	}
	return !slices.ContainsFunc(b.workloads, func(w *Workload) bool {
		return !r.Object.is(w) && !b.idle[w] && !isPlaced(w) && !r.countsAll(w, b)
	})
}

// countsAll reports whether a constraint or term that keeps a workload's pods on different nodes also counts the pods
// of all workloads in a backend.
func (r *run) countsAll(workload *Workload, b *backend) bool {
	pod, own := workload.Template.Spec, podLabelsOf(workload)
	return slices.ContainsFunc(pod.TopologySpreadConstraints, func(c corev1.TopologySpreadConstraint) bool {
		return c.TopologyKey == corev1.LabelHostname && len(c.MatchLabelKeys) == 0 &&
			constraintProblem(c.LabelSelector, nil, own) == "" && r.selectsAll(c.LabelSelector, b)
	}) || slices.ContainsFunc(antiAffinityTerms(pod.Affinity), func(t antiAffinityTerm) bool {
		return t.TopologyKey == corev1.LabelHostname && len(t.MatchLabelKeys)+len(t.MismatchLabelKeys) == 0 &&
			termProblem(t.PodAffinityTerm, own, r.Namespace) == "" && r.selectsAll(t.LabelSelector, b)
	})
}

// selectsAll reports whether a selector selects the pods of the workload under review and of all workloads in a backend
// that are not idle.
func (r *run) selectsAll(selector *metav1.LabelSelector, b *backend) bool {
	if b.commonRunning != nil && !hasAll(b.commonRunning, selector.MatchLabels) {
		return false
	}
	m, err := newMatcher(selector)
	misses := func(w *Workload) bool { return !b.idle[w] && !m.selects(w.Template.Labels) }
	if err != nil || misses(r.Object.Workload) {
		return false
	}
	return len(selector.MatchExpressions) == 0 || !slices.ContainsFunc(b.workloads, misses)
}
