package policies

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// spreadDecaysOnRollout finds a spread constraint that counts the pods of a former revision together with the new ones.
//
// Fields: of the Services what makes them Local and whom they select; of the workload spec.replicas, spec.strategy and
// spec.template.spec.topologySpreadConstraints. Nothing is found where old pods go before new ones come, so that there are never more
// than wanted, nor where a host port or a required anti-affinity spreads the pods anyway. Where several workloads share a Service the
// label would hide the others' pods.
var spreadDecaysOnRollout = Rule{
	ID:            "spread-decays-on-rollout",
	Title:         "Spread that is lost with every rollout",
	Severity:      SeverityWarning,
	DefaultMode:   Warn,
	Kinds:         kindNames(func(k WorkloadKind) bool { return k.RevisionLabel != "" }),
	NeedsRelated:  true,
	NeedsReplicas: true,
	Fixable:       true,
	What: "A workload alone behind a Local Service is spread by a constraint on kubernetes.io/hostname whose matchLabelKeys lack the label " +
		"of a revision (pod-template-hash of a Deployment or CloneSet, rollouts-pod-template-hash of a Rollout), and its rollouts " +
		"make new pods before old ones go.",
	Why: "The constraint is looked at when a pod is placed, with the old pods still there. The new ones go where the old ones leave room, " +
		"not where they are even among themselves. When the old ones are gone, three pods may be left as 2/1/0, and Local gives the lone " +
		"pod half of the traffic. Nothing moves them until the next rollout.",
	Remedy: "Add matchLabelKeys: [pod-template-hash] to the constraint, of a Rollout rollouts-pod-template-hash; or set maxSurge 0.",
	Exempt: "When something else evens the pods out after a rollout, such as the descheduler.",
	Since:  "From 1.27 on, with the gate MatchLabelKeysInPodTopologySpread, which is on by default; before, there was no remedy.",
	Sources: []string{
		"https://kubernetes.io/docs/concepts/scheduling-eviction/topology-spread-constraints/#spread-constraint-definition",
		"https://github.com/kubernetes/kubernetes/issues/98215",
		"https://github.com/kubernetes/kubernetes/issues/105661",
	},
	check: checkSpreadDecaysOnRollout,
}

func checkSpreadDecaysOnRollout(r *run) []result {
	w := r.Object.Workload
	if w == nil || r.replicas.most < 2 || r.Cluster.eligibleInTime(w) == 1 || !r.Cluster.Version.atLeast(spreadMatchLabelsVersion) {
		return nil
	}
	update, label := r.maker().Update, r.revisionLabel()
	if _, surge := update.limits(r.replicas.most); label == "" || update.Type != UpdateRolling || surge == 0 {
		return nil
	}
	found := decaying(w, label)
	if found < 0 {
		return nil
	}
	without := *w
	without.Template.Spec.TopologySpreadConstraints = nil
	if by := spreadingOf(&without, r.Namespace).Spreading; by == SpreadStrong || by == SpreadPinned {
		return nil
	}
	services := r.evenServices()
	if len(services) == 0 || len(behind(services, r.behind, r.Object)) > 0 {
		return nil
	}

	path := fmt.Sprintf("%s/%d/matchLabelKeys", constraintsPath, found)
	repair := PatchOperation{Op: "add", Path: path, Value: []any{label}}
	if len(w.Template.Spec.TopologySpreadConstraints[found].MatchLabelKeys) > 0 {
		repair = PatchOperation{Op: "add", Path: path + "/-", Value: label}
	}
	return []result{{
		Finding: Finding{
			Path:    path,
			Message: fmt.Sprintf("spread constraint #%d counts old pods with new ones: a rollout leaves them uneven", found),
			Fix:     fmt.Sprintf("add %s to its matchLabelKeys", label),
			Because: serviceRefs(services),
		},
		repair: []PatchOperation{repair},
	}}
}

// decaying is the index of the first constraint that spreads a workload's pods strongly, but counts those of all revisions together;
// -1 if there is none, or if another one counts those of one revision.
func decaying(w *Workload, label string) int {
	found := -1
	for i, constraint := range w.Template.Spec.TopologySpreadConstraints {
		if constraint.TopologyKey != corev1.LabelHostname || constraint.MaxSkew > 1 ||
			constraintProblem(constraint.LabelSelector, constraint.MatchLabelKeys, podLabelsOf(w)) != "" {
			continue
		}
		// The API server refuses a key that stands in both.
		if slices.Contains(constraint.MatchLabelKeys, label) || mentions(constraint.LabelSelector, label) {
			return -1
		}
		if found < 0 {
			found = i
		}
	}
	return found
}
