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

// Minor versions from which the API server keeps the fields that a repair sets. In these versions the feature gates are
// beta and on by default, according to kubernetes v1.37.1, pkg/features/kube_features.go.
const (
	nodeTaintsPolicyVersion  = 26 // NodeInclusionPolicyInPodTopologySpread
	spreadMatchLabelsVersion = 27 // MatchLabelKeysInPodTopologySpread
	antiMatchLabelsVersion   = 31 // MatchLabelKeysInPodAffinity
)

// preferredWeight is the weight of a preferred anti-affinity term that a repair adds: the largest that is valid.
const preferredWeight = 100

// spreadRepair returns the operations that spread the pods of the workload under review over nodes. If that is not
// possible without changing what the user wrote or doing harm, it returns none, and problem says why.
//
// services holds the Local Services whose traffic the pods receive, sorted by name.
func (r *run) spreadRepair(
	spread v1alpha1.Spread, services []*corev1.Service,
) (operations []PatchOperation, problem string) {
	workload, version := r.Object.Workload, r.Cluster.Version
	selector, alone, problem := repairSelector(workload, services, behind(services, r.behind, r.Object))
	if problem != "" {
		return nil, problem
	}
	// Without a revision label, old and new pods are counted together, and the spread decays with every rollout. But if
	// several workloads share a Service, a revision label would leave the pods of the others uncounted.
	revisionLabel := r.revisionLabel()
	if !alone || mentions(selector, revisionLabel) {
		revisionLabel = ""
	}

	if spread.Strategy == v1alpha1.StrategyPodAntiAffinity {
		if !version.atLeast(antiMatchLabelsVersion) {
			revisionLabel = ""
		}
		required := spread.WhenUnsatisfiable == v1alpha1.DoNotSchedule
		if stuck, _ := r.stuckRollout(); stuck != "" && revisionLabel == "" && required {
			return nil, fmt.Sprintf("with %s and maxUnavailable 0, %s", requiredAntiAffinity, stuck)
		}
		return antiAffinityRepair(r.Object, spread, selector, revisionLabel), ""
	}
	for i, constraint := range workload.Template.Spec.TopologySpreadConstraints {
		// The API server allows only one constraint for each {topologyKey, whenUnsatisfiable}, and a repair never
		// changes the user's own.
		isTaken := constraint.TopologyKey == corev1.LabelHostname &&
			string(constraint.WhenUnsatisfiable) == string(spread.WhenUnsatisfiable)
		if isTaken {
			return nil, fmt.Sprintf("constraint #%d already uses %s with %s",
				i, corev1.LabelHostname, spread.WhenUnsatisfiable)
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
		// By default the scheduler counts cordoned and tainted nodes as empty, and the pods cannot run there.
		constraint["nodeTaintsPolicy"] = string(corev1.NodeInclusionPolicyHonor)
	}
	return addToList(placement(r.Object), constraintsPath, constraint), ""
}

func antiAffinityRepair(
	object *Object, spread v1alpha1.Spread, selector *metav1.LabelSelector, revisionLabel string,
) []PatchOperation {
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

// repairSelector returns the selector of the pods to spread. If no other workload shares the Services, alone is true,
// and it is the workload's own selector, which is immutable. Else it is the selector of the first Service that selects
// all of these workloads.
func repairSelector(
	workload *Workload, services []*corev1.Service, behind []*Workload,
) (selector *metav1.LabelSelector, alone bool, problem string) {
	if len(behind) == 0 {
		if constraintProblem(workload.Selector, nil, podLabels{Set: workload.Template.Labels}) != "" {
			return nil, false, "spec.selector does not match the labels of the pod template"
		}
		return workload.Selector, true, ""
	}
	for _, service := range services {
		misses := func(w *Workload) bool { return !selects(service, w.Template.Labels) }
		if !slices.ContainsFunc(behind, misses) {
			return &metav1.LabelSelector{MatchLabels: podSelector(service)}, false, ""
		}
	}
	return nil, false, "no Service selects it together with " + firstOf(len(behind), func(i int) string {
		return behind[i].Kind + " " + behind[i].Name
	})
}

// mentions reports whether a selector reads a label.
func mentions(selector *metav1.LabelSelector, label string) bool {
	_, ok := selector.MatchLabels[label]
	return ok || slices.ContainsFunc(selector.MatchExpressions, func(r metav1.LabelSelectorRequirement) bool {
		return r.Key == label
	})
}

// selectorContent returns a selector in JSON types.
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

// placement returns the part of a workload's Content that addToList reads. Decoding the whole Content is only necessary
// for a workload without containers, whose parent objects may be missing too.
func placement(object *Object) map[string]any {
	pod := object.Workload.Template.Spec
	if len(pod.Containers) == 0 {
		return object.Content()
	}
	spec := map[string]any{"topologySpreadConstraints": make([]any, len(pod.TopologySpreadConstraints))}
	if pod.Affinity != nil {
		affinity := map[string]any{}
		if anti := pod.Affinity.PodAntiAffinity; anti != nil {
			required := make([]any, len(anti.RequiredDuringSchedulingIgnoredDuringExecution))
			preferred := make([]any, len(anti.PreferredDuringSchedulingIgnoredDuringExecution))
			affinity["podAntiAffinity"] = map[string]any{
				"requiredDuringSchedulingIgnoredDuringExecution":  required,
				"preferredDuringSchedulingIgnoredDuringExecution": preferred,
			}
		}
		spec["affinity"] = affinity
	}
	return map[string]any{"spec": map[string]any{"template": map[string]any{"spec": spec}}}
}

// addToList returns the operations that append an element to the list at path. If the list is missing, they add it.
func addToList(content map[string]any, path string, element any) []PatchOperation {
	parts := strings.Split(strings.TrimPrefix(path, "/"), "/")
	parent, operations := addParents(content, parts)
	// An empty list counts as missing: the API server drops it, and both must give the same patch.
	if list, _ := parent[parts[len(parts)-1]].([]any); len(list) > 0 {
		return append(operations, PatchOperation{Op: "add", Path: path + "/-", Value: element})
	}
	return append(operations, PatchOperation{Op: "add", Path: path, Value: []any{element}})
}

// addParents returns the object that contains the last part of a path, or nil if it is missing. The operations add an
// empty object for each missing part on the way to it.
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

// repairsToLocal reports whether applying all repairs of this decision would make the Service Local.
func (r *run) repairsToLocal() bool {
	found := slices.Concat(r.repairs(sourceIPNeedsLocal), r.repairs(unknownTrafficPolicy))
	return slices.ContainsFunc(found, func(found result) bool {
		return found.repair[0].Value == string(corev1.ServiceExternalTrafficPolicyLocal)
	})
}

// repairs returns the results of another rule that carry a repair.
func (r *run) repairs(rule Rule) []result {
	if exempt, _ := exemption(r.Input, r.settings.Exemptions, rule.ID); exempt != nil {
		return nil
	}
	return slices.DeleteFunc(rule.check(r), func(found result) bool {
		mode := r.settings.mode(rule.ID, cmp.Or(found.mode, rule.DefaultMode))
		return mode == off || found.repair == nil
	})
}
