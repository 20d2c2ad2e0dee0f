package policies

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"

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

// addition is an element that a repair adds to a list.
type addition struct {
	// list is the JSON Pointer of the list.
	list    string
	element map[string]any
	// name is what messages call the element, with an article.
	name string
}

// spreadRepair returns what spreads the pods of the workload under review over nodes. If that is not possible without
// changing what the user wrote or doing harm, problem says why.
//
// services holds the Local Services whose traffic the pods receive, sorted by name.
func (r *run) spreadRepair(spread v1alpha1.Spread, services []*corev1.Service) (repair addition, problem string) {
	workload, version := r.Object.Workload, r.Cluster.Version
	selector, alone, problem := r.repairSelector(services)
	if problem != "" {
		return addition{}, problem
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
		nodes := r.Cluster.eligibleInTime(workload)
		if least := r.replicas.least; spread.WhenUnsatisfiable == v1alpha1.DoNotSchedule && nodes > 0 && least > nodes {
			return addition{}, fmt.Sprintf("%d pods do not fit on %s, one on each", least, plural(nodes, "node"))
		}
		return antiAffinityRepair(spread, selector, revisionLabel), ""
	}
	// The scheduler rejects a node if one more pod on it makes the skew larger than maxSkew, which cannot happen then
	// (kubernetes v1.37.1, pkg/scheduler/framework/plugins/podtopologyspread/filtering.go).
	if most := r.replicas.most; spread.WhenUnsatisfiable == v1alpha1.DoNotSchedule && int(spread.MaxSkew) >= most {
		return addition{}, fmt.Sprintf("maxSkew %d allows all %d pods on one node", spread.MaxSkew, most)
	}
	for i, constraint := range workload.Template.Spec.TopologySpreadConstraints {
		// The API server allows only one constraint for each {topologyKey, whenUnsatisfiable}, and a repair never
		// changes the user's own.
		isTaken := constraint.TopologyKey == corev1.LabelHostname &&
			string(constraint.WhenUnsatisfiable) == string(spread.WhenUnsatisfiable)
		if isTaken {
			return addition{}, fmt.Sprintf("constraint #%d already uses %s with %s",
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
	return addition{constraintsPath, constraint, fmt.Sprintf("a %s spread constraint", spread.WhenUnsatisfiable)}, ""
}

func antiAffinityRepair(spread v1alpha1.Spread, selector *metav1.LabelSelector, revisionLabel string) addition {
	term := map[string]any{
		"topologyKey":   corev1.LabelHostname,
		"labelSelector": selectorContent(selector),
	}
	if revisionLabel != "" {
		term["matchLabelKeys"] = []any{revisionLabel}
	}
	if spread.WhenUnsatisfiable == v1alpha1.DoNotSchedule {
		return addition{requiredPath, term, "a required anti-affinity term"}
	}
	return addition{preferredPath, map[string]any{
		"weight":          int64(preferredWeight),
		"podAffinityTerm": term,
	}, "a preferred anti-affinity term"}
}

// holdsAsWhole reports whether the template has the list at path, and an apply of a manifest with that list replaces
// the whole list. That is true of every list of a custom kind, also of an empty one. Lists of other kinds are merged
// element by element, except those of anti-affinity terms (k8s.io/api v0.37.1, core/v1/types.go: listType=atomic).
func (w *Workload) holdsAsWhole(path string) bool {
	pod, custom := w.Template.Spec, w.kind().Custom
	if path == constraintsPath {
		return custom && pod.TopologySpreadConstraints != nil
	}
	if pod.Affinity == nil || pod.Affinity.PodAntiAffinity == nil {
		return false
	}
	required := pod.Affinity.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution
	preferred := pod.Affinity.PodAntiAffinity.PreferredDuringSchedulingIgnoredDuringExecution
	if path == requiredPath {
		return len(required) > 0 || custom && required != nil
	}
	// The API server drops an empty list of its own kinds before it calls a webhook.
	return len(preferred) > 0 || custom && preferred != nil
}

// inline returns a value in one line of JSON, which is YAML as well, with spaces at which it may be broken.
func inline(value map[string]any) string {
	text, err := json.Marshal(value)
	if err != nil {
		panic(err) // Repairs consist of JSON types.
	}
	var spaced bytes.Buffer
	_ = json.Indent(&spaced, text, "", "") // It is valid JSON.
	return strings.ReplaceAll(spaced.String(), "\n", " ")
}

// repairSelector returns the selector of the pods to spread. If no other workload shares the Services, alone is true,
// and it is the workload's own selector, which is immutable. Else it is the selector of the first Service that selects
// all of these workloads.
func (r *run) repairSelector(services []*corev1.Service) (selector *metav1.LabelSelector, alone bool, problem string) {
	workload, all := r.Object.Workload, r.union(services)
	if r.others(all) == 0 {
		own := workload.Selector
		if workload.Kind == podTemplateKind { // it has none
			own = r.maker().Selector
		}
		if constraintProblem(own, nil, podLabels{Set: workload.Template.Labels}) != "" {
			return nil, false, "spec.selector does not match the labels of the pod template"
		}
		return own, true, ""
	}
	if all.selector != nil {
		return &metav1.LabelSelector{MatchLabels: all.selector}, false, ""
	}
	behind := all.without(r.Object)
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

// trial is the run over the object after some operations.
type trial struct {
	operations []PatchOperation
	run        *run
}

// trial returns the run over the object after the operations; nil if they do not apply.
func (r *run) trial(operations []PatchOperation) *run {
	for _, t := range r.trials {
		if reflect.DeepEqual(t.operations, operations) {
			return t.run
		}
	}
	t := trial{operations: operations}
	in := r.Input
	var err error
	if in.Object, err = r.Object.Patched(operations); err != nil {
		r.fault(Answer{Err: fmt.Errorf("the repair does not apply: %w", err)}, r.settings)
	} else {
		t.run = newRun(r.ctx, in, r.rules, r.settings, r)
	}
	r.trials = append(r.trials, t)
	return t.run
}

// harmless returns a result without its repair if the repair does not apply, if the object would then be denied, or if
// it would have a finding whose remedy is to undo the repair.
func (r *run) harmless(found result) result {
	if r.MutationsOnly && found.Mode != Mutate {
		found.repair = nil
		return found
	}
	if exempt, _ := exemption(r.Input, r.settings.Exemptions, ruleOf(found.Rule)); found.repair == nil || exempt != nil {
		return found
	}
	problem := "the repair does not apply"
	if repaired := r.trial(found.repair); repaired != nil {
		problem = r.harm(found, repaired)
	}
	if problem == "" {
		return found
	}
	found.repair, found.byHand, found.harmful = nil, "", true
	if found.Mode == Mutate {
		found.Fix += notRepaired + problem
	}
	return found
}

// harm returns what speaks against a repair, after which the object is that of another run; empty for nothing.
func (r *run) harm(found result, repaired *run) string {
	results := slices.Concat(repaired.results(), repaired.faultResults())
	before := sync.OnceValue(func() map[kind]count { return r.counted(slices.Concat(r.results(), r.faultResults())) })
	after := sync.OnceValue(func() map[kind]count { return repaired.counted(results) })
	for _, brought := range results {
		exempt, _ := exemption(r.Input, r.settings.Exemptions, ruleOf(brought.Rule))
		of := repaired.kind(brought)
		isNew := after()[of].atLeast(weightSoft) > before()[of].atLeast(weightSoft)
		if brought.Rule == policyNotEvaluated.ID {
			// A fault is denied if spec changes, so a repair can turn a warning about it into a denial.
			isNew = isNew || r.possible(brought, before).Mode != Deny
		}
		switch {
		case exempt != nil || !isNew:
		case repaired.possible(brought, after).Mode == Deny:
			return brought.Rule + " would deny it"
		case r.undoes(brought, found):
			return brought.Rule + " would ask to undo it"
		}
	}
	return ""
}

// asksForCluster lists the rules whose remedy is to set the traffic policy to Cluster.
var asksForCluster = []string{
	nodePortLocal.ID, externalIPsLocal.ID, selectorlessLocal.ID, "local-has-no-effect", "local-hides-source-ip",
}

// undoes reports whether the remedy of a finding is to undo a repair.
func (r *run) undoes(found, repaired result) bool {
	for _, operation := range repaired.repair {
		switch {
		case operation.Path == trafficPolicyPath && (repaired.Rule == unknownTrafficPolicy.ID ||
			repaired.Rule == misplacedField.ID && operation.Value == local):
			// The owner wrote the value, in another letter case or another place.
		case operation.Path == trafficPolicyPath && found.Rule == nodePortLocal.ID && r.wishesLocal():
			// The owner asked for Local, and should know what it does to a node port.
		case operation.Path == trafficPolicyPath:
			// What a rule of a policy asks for is not known, except that it is about this field.
			isHouse := found.policy != "" && found.Path == trafficPolicyPath && found.Mode != Audit
			if slices.Contains(asksForCluster, found.Rule) || isHouse {
				return true
			}
		case found.Rule == antiAffinityDeadlock.ID &&
			strings.HasPrefix(operation.Path, r.Object.Workload.placed(requiredPath)):
			return true
		}
	}
	return false
}

// wishesLocal reports whether our own annotation on the Service asks for Local.
func (r *run) wishesLocal() bool {
	return r.Object.Annotations()[v1alpha1.AnnotationSourceIP] == v1alpha1.SourceIPPreserve
}

// repairsToLocal reports whether applying all repairs of this decision would make the Service Local.
func (r *run) repairsToLocal() bool {
	found := slices.Concat(
		r.repairs(sourceIPNeedsLocal), r.repairs(unknownTrafficPolicy), r.repairs(misplacedField))
	return slices.ContainsFunc(found, func(found result) bool {
		return slices.ContainsFunc(found.repair, func(o PatchOperation) bool {
			return o.Path == trafficPolicyPath && o.Value == local
		})
	})
}

// repairs returns the results of another rule that carry a repair.
func (r *run) repairs(rule Rule) []result {
	if exempt, _ := exemption(r.Input, r.settings.Exemptions, rule); exempt != nil {
		return nil
	}
	return slices.DeleteFunc(rule.check(r), func(found result) bool {
		mode := r.settings.mode(rule.ID, cmp.Or(found.mode, rule.DefaultMode))
		return mode == off || found.repair == nil
	})
}
