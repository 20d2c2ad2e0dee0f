package policies

import (
	"cmp"
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// repairsToLocal tells whether the repairs of this very decision, if all are applied, make the Service Local.
func (r *review) repairsToLocal() bool {
	found := slices.Concat(r.repairs(sourceIPNeedsLocal), r.repairs(unknownTrafficPolicy))
	return slices.ContainsFunc(found, func(found result) bool {
		return found.repair[0].Value == string(corev1.ServiceExternalTrafficPolicyLocal)
	})
}

// repairs are the results of another rule that carry a repair.
func (r *review) repairs(rule Rule) []result {
	if exempt, _ := exemption(r.Input, r.settings.Exemptions, rule.ID); exempt != nil {
		return nil
	}
	return slices.DeleteFunc(rule.check(r), func(found result) bool {
		mode := r.settings.mode(rule.ID, cmp.Or(found.mode, rule.DefaultMode))
		return mode == off || found.repair == nil
	})
}

// isOnEachNode tells whether a DaemonSet behind the Service runs a pod on every node, so that no node drops what is Local. Taints do not
// count: who keeps pods away from a node seldom sends clients there.
func (r *review) isOnEachNode() bool {
	return slices.ContainsFunc(r.behind, func(w *Workload) bool {
		return w.Kind == daemonSetKind && !choosesNodes(w.Template.Spec)
	})
}
