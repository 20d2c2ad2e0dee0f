package policies

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sourceward/sourceward/api/v1alpha1"
)

// Versions from which the API server keeps the fields that a repair writes, by the feature gates of
// kubernetes v1.37.1, pkg/features/kube_features.go: beta and on by default.
const (
	nodeTaintsPolicyVersion  = 26 // NodeInclusionPolicyInPodTopologySpread
	spreadMatchLabelsVersion = 27 // MatchLabelKeysInPodTopologySpread
	antiMatchLabelsVersion   = 31 // MatchLabelKeysInPodAffinity
	preferredWeight          = 100
)

// spreadRepair returns the operations that spread the pods of the workload under review over nodes; or, where there are
// none that leave the user's own words alone and do no harm, why.
//
// services are the Local Services in whose traffic the pods share, by name.
func (r *run) spreadRepair(spread v1alpha1.Spread, services []*corev1.Service) (operations []PatchOperation, problem string) {
	workload, version := r.Object.Workload, r.Cluster.Version
	selector, alone, problem := repairSelector(workload, services, behind(services, r.behind, r.Object))
	if problem != "" {
		return nil, problem
	}
	// Counting old and new pods together lets the spread decay with every rollout. Where several
	// workloads share a Service, the label would hide the others' pods.
	revisionLabel := r.revisionLabel()
	if !alone || mentions(selector, revisionLabel) {
		revisionLabel = ""
	}

	if spread.Strategy == v1alpha1.StrategyPodAntiAffinity {
		if !version.atLeast(antiMatchLabelsVersion) {
			revisionLabel = ""
		}
		if stuck, _ := r.stuckRollout(); stuck != "" && revisionLabel == "" && spread.WhenUnsatisfiable == v1alpha1.DoNotSchedule {
			return nil, fmt.Sprintf("with %s and maxUnavailable 0, %s", requiredAntiAffinity, stuck)
		}
		return antiAffinityRepair(r.Object, spread, selector, revisionLabel), ""
	}
	for i, constraint := range workload.Template.Spec.TopologySpreadConstraints {
		if constraint.TopologyKey == corev1.LabelHostname && string(constraint.WhenUnsatisfiable) == string(spread.WhenUnsatisfiable) {
			// The API server allows one constraint for each {topologyKey, whenUnsatisfiable}, and a
			// user's own is not ours to change.
			return nil, fmt.Sprintf("constraint #%d takes the only place for %s with %s", i, corev1.LabelHostname, spread.WhenUnsatisfiable)
		}
	}
	constraint := map[string]any{
		"maxSkew":           int64(spread.MaxSkew),
		"topologyKey":       corev1.LabelHostname,
		"whenUnsatisfiable": string(spread.WhenUnsatisfiable),
		"labelSelector":     selectorContent(selector),
	}
	if revisionLabel != "" && version.atLeast(spreadMatchLabelsVersion) {
		constraint["matchLabelKeys"] = []any{revisionLabel}
	}
	if spread.WhenUnsatisfiable == v1alpha1.DoNotSchedule && version.atLeast(nodeTaintsPolicyVersion) {
		// The default counts cordoned and tainted nodes as empty, which no pod can fill.
		constraint["nodeTaintsPolicy"] = string(corev1.NodeInclusionPolicyHonor)
	}
	return addToList(placement(r.Object), constraintsPath, constraint), ""
}

func antiAffinityRepair(object *Object, spread v1alpha1.Spread, selector *metav1.LabelSelector, revisionLabel string) []PatchOperation {
	term := map[string]any{
		"topologyKey":   corev1.LabelHostname,
		"labelSelector": selectorContent(selector),
	}
	if revisionLabel != "" {
		term["matchLabelKeys"] = []any{revisionLabel}
	}
	if spread.WhenUnsatisfiable == v1alpha1.DoNotSchedule {
		return addToList(placement(object), requiredPath, term)
	}
	return addToList(placement(object), preferredPath, map[string]any{
		"weight":          int64(preferredWeight),
		"podAffinityTerm": term,
	})
}

// repairSelector returns the selector of the pods that are to be spread: the workload's own, which
// is immutable, where no other workload shares its Services; else that of the first Service that
// selects all of them.
func repairSelector(workload *Workload, services []*corev1.Service, behind []*Workload) (selector *metav1.LabelSelector, alone bool, problem string) {
	if len(behind) == 0 {
		if constraintProblem(workload.Selector, nil, podLabels{Set: workload.Template.Labels}) != "" {
			return nil, false, "its spec.selector does not select its own pods"
		}
		return workload.Selector, true, ""
	}
	for _, service := range services {
		selectsAll := !slices.ContainsFunc(behind, func(w *Workload) bool { return !selects(service, w.Template.Labels) })
		if selectsAll {
			return &metav1.LabelSelector{MatchLabels: podSelector(service)}, false, ""
		}
	}
	return nil, false, "no Service selects it together with " + firstOf(len(behind), func(i int) string {
		return behind[i].Kind + " " + behind[i].Name
	})
}

func mentions(selector *metav1.LabelSelector, label string) bool {
	_, ok := selector.MatchLabels[label]
	return ok || slices.ContainsFunc(selector.MatchExpressions, func(r metav1.LabelSelectorRequirement) bool {
		return r.Key == label
	})
}

// selectorContent is a selector in JSON types.
func selectorContent(selector *metav1.LabelSelector) map[string]any {
	content := map[string]any{}
	if len(selector.MatchLabels) > 0 {
		matchLabels := map[string]any{}
		for key, value := range selector.MatchLabels {
			matchLabels[key] = value
		}
		content["matchLabels"] = matchLabels
	}
	var expressions []any
	for _, requirement := range selector.MatchExpressions {
		expression := map[string]any{"key": requirement.Key, "operator": string(requirement.Operator)}
		var values []any
		for _, value := range requirement.Values {
			values = append(values, value)
		}
		if values != nil {
			expression["values"] = values
		}
		expressions = append(expressions, expression)
	}
	if expressions != nil {
		content["matchExpressions"] = expressions
	}
	return content
}

// placement is as much of a workload's Content as addToList looks at. One with containers has all that is on the way to
// them, so that the Content need not be made.
func placement(object *Object) map[string]any {
	pod := object.Workload.Template.Spec
	if len(pod.Containers) == 0 {
		return object.Content()
	}
	spec := map[string]any{"topologySpreadConstraints": make([]any, len(pod.TopologySpreadConstraints))}
	if pod.Affinity != nil {
		affinity := map[string]any{}
		if anti := pod.Affinity.PodAntiAffinity; anti != nil {
			affinity["podAntiAffinity"] = map[string]any{
				"requiredDuringSchedulingIgnoredDuringExecution":  make([]any, len(anti.RequiredDuringSchedulingIgnoredDuringExecution)),
				"preferredDuringSchedulingIgnoredDuringExecution": make([]any, len(anti.PreferredDuringSchedulingIgnoredDuringExecution)),
			}
		}
		spec["affinity"] = affinity
	}
	return map[string]any{"spec": map[string]any{"template": map[string]any{"spec": spec}}}
}

// addToList appends an element to the list at path, which is added with it where it is missing.
func addToList(content map[string]any, path string, element any) []PatchOperation {
	parts := strings.Split(strings.TrimPrefix(path, "/"), "/")
	parent, operations := addParents(content, parts)
	// The API server drops an empty list: online it is absent, so here it is too.
	if list, _ := parent[parts[len(parts)-1]].([]any); len(list) > 0 {
		return append(operations, PatchOperation{Op: "add", Path: path + "/-", Value: element})
	}
	return append(operations, PatchOperation{Op: "add", Path: path, Value: []any{element}})
}

// addParents returns the object that the last part of a path is a member of, nil if there is none yet, and adds, empty, what
// is missing on the way to it.
func addParents(content map[string]any, parts []string) (parent map[string]any, operations []PatchOperation) {
	parent = content
	for i, part := range parts[:len(parts)-1] {
		next, _ := parent[part].(map[string]any)
		if next == nil {
			operations = append(operations, PatchOperation{
				Op: "add", Path: "/" + strings.Join(parts[:i+1], "/"), Value: map[string]any{},
			})
		}
		parent = next
	}
	return parent, operations
}

// repairsToLocal tells whether the repairs of this very decision, if all are applied, make the Service Local.
func (r *run) repairsToLocal() bool {
	found := slices.Concat(r.repairs(sourceIPNeedsLocal), r.repairs(unknownTrafficPolicy))
	return slices.ContainsFunc(found, func(found result) bool {
		return found.repair[0].Value == string(corev1.ServiceExternalTrafficPolicyLocal)
	})
}

// repairs are the results of another rule that carry a repair.
func (r *run) repairs(rule Rule) []result {
	if exempt, _ := exemption(r.Input, r.settings.Exemptions, rule.ID); exempt != nil {
		return nil
	}
	return slices.DeleteFunc(rule.check(r), func(found result) bool {
		mode := r.settings.mode(rule.ID, cmp.Or(found.mode, rule.DefaultMode))
		return mode == off || found.repair == nil
	})
}
