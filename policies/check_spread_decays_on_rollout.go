package policies

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// spreadDecaysOnRollout finds a spread constraint that counts the pods of the old revision together with the new ones.
//
// Fields: of the Services what makes them Local and which pods they select; of the workload spec.replicas,
// spec.strategy and spec.template.spec.topologySpreadConstraints. Nothing is found if old pods are removed before new
// ones are made, so that there are never more than the replicas; nor if a host port or a required anti-affinity spreads
// the pods anyway; nor if several workloads share a Service, since the label would leave out the pods of the others.
var spreadDecaysOnRollout = Rule{
	ID:            "spread-decays-on-rollout",
	Title:         "Spread that is lost with every rollout",
	Severity:      SeverityWarning,
	DefaultMode:   Warn,
	Kinds:         kindNames(func(k WorkloadKind) bool { return k.RevisionLabel != "" }),
	NeedsRelated:  true,
	NeedsReplicas: true,
	Fixable:       true,
	What: "Only one workload is behind a Local Service, and a constraint on kubernetes.io/hostname spreads its pods. " +
		"The matchLabelKeys of that constraint lack the label of a revision (pod-template-hash of a Deployment or " +
		"CloneSet, rollouts-pod-template-hash of a Rollout), and rollouts make new pods before old ones are removed.",
	Why: "The scheduler evaluates the constraint when it places a pod, while the old pods still exist. New pods go " +
		"where the old ones leave room, not where they are even among themselves. After the old pods are gone, three pods " +
		"may be placed 2/1/0, and with Local the single pod gets half of the traffic. Nothing moves them until the next " +
		"rollout.",
	Remedy: "Add matchLabelKeys: [pod-template-hash] to the constraint (for a Rollout, rollouts-pod-template-hash); or " +
		"set maxSurge 0.",
	Exempt: "When something evens out the pods after a rollout, such as the descheduler.",
	Since: "From 1.27 on, with the feature gate MatchLabelKeysInPodTopologySpread, which is on by default; earlier " +
		"versions have no remedy.",
	Sources: []string{
		"https://kubernetes.io/docs/concepts/scheduling-eviction/topology-spread-constraints/#spread-constraint-definition",
		"https://github.com/kubernetes/kubernetes/issues/98215",
		"https://github.com/kubernetes/kubernetes/issues/105661",
	},
	check: checkSpreadDecaysOnRollout,
}

func checkSpreadDecaysOnRollout(r *run) []result {
	w := r.Object.Workload
	if w == nil || r.replicas.most < 2 || r.Cluster.eligibleInTime(w) == 1 ||
		!r.Cluster.Version.atLeast(spreadMatchLabelsVersion) {
		return nil
	}
	label := r.revisionLabel()
	overlaps := func(maker *Workload) bool {
		_, surge := maker.Update.limits(r.replicasBy(maker).most)
		return maker.Update.Type == UpdateRolling && surge > 0
	}
	if label == "" || !slices.ContainsFunc(r.makers(), overlaps) {
		return nil
	}
	found := decaying(w, label)
	if found < 0 || !r.spreading(w).kept() {
		return nil
	}
	without := *w
	without.Template.Spec.TopologySpreadConstraints = nil
	if by := r.spreading(&without).Spreading; by == SpreadStrong || by == SpreadPinned {
		return nil
	}
	services := r.evenServices()
	if len(services) == 0 {
		return r.noLocalService()
	}
	if len(r.aloneBehind(services)) < len(services) {
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
			Message: fmt.Sprintf("constraint #%d counts old and new pods together: a rollout leaves them uneven", found),
			Fix:     fmt.Sprintf("add %s to its matchLabelKeys", label),
			Because: serviceRefs(services),
		},
		repair: []PatchOperation{repair},
	}}
}

// decaying returns the index of the first constraint that spreads the pods strongly but counts those of all revisions
// together; -1 if there is none, or if another constraint counts the pods of each revision by themselves.
func decaying(w *Workload, label string) int {
	found := -1
	for i, constraint := range w.Template.Spec.TopologySpreadConstraints {
		if constraint.TopologyKey != corev1.LabelHostname || constraint.MaxSkew > 1 ||
			constraintProblem(constraint.LabelSelector, constraint.MatchLabelKeys, podLabelsOf(w)) != "" {
			continue
		}
		// The API server rejects a key that is in both.
		if slices.Contains(constraint.MatchLabelKeys, label) || mentions(constraint.LabelSelector, label) {
			return -1
		}
		if found < 0 {
			found = i
		}
	}
	return found
}
