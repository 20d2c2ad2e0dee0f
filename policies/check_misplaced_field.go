package policies

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/agnivade/levenshtein"
	corev1 "k8s.io/api/core/v1"
)

// misplacedField finds a traffic policy, a spread constraint or pod anti-affinity in a place where nothing reads it.
//
// Fields: all of the names below in the document, its metadata, spec, ports and pod template; annotations and labels of
// Services. In a cluster only annotations and labels can be seen: the API server drops unknown fields, or rejects them
// if the client asks for that, as kubectl does.
var misplacedField = Rule{
	ID:          "misplaced-field",
	Title:       "Field in a place where nothing reads it",
	Severity:    SeverityWarning,
	DefaultMode: Warn,
	Kinds:       append([]string{kindService}, SpreadKinds...),
	Fixable:     true,
	What: "externalTrafficPolicy is an annotation or label of a Service, or is at the top of the document, in " +
		"metadata or in ports, or is misspelt in one character, or written in another letter case, with underscores or as " +
		"trafficPolicy; or topologySpreadConstraints or " +
		"an affinity with podAntiAffinity is beside the pod template, or the first is written in another letter case or " +
		"the singular.",
	Why: "The API server drops a field that it does not know, and nothing reads such an annotation or label. The " +
		"Service stays Cluster, or the pods stay unspread, although the manifest seems to say otherwise.",
	Remedy: "Move the field to the place that the finding names.",
	Exempt: "When a program of your own reads the annotation or label.",
	Since:  "All versions. kubectl apply rejects unknown fields since 1.27, unless it is told not to validate.",
	Sources: []string{
		"https://kubernetes.io/docs/reference/using-api/api-concepts/#setting-the-field-validation-level",
		"https://kubernetes.io/docs/reference/kubernetes-api/service-resources/service-v1/#ServiceSpec",
	},
	check: checkMisplacedField,
}

func checkMisplacedField(r *run) []result {
	if r.Object.Service != nil {
		return r.misplacedPolicy()
	}
	if r.InFile == InFileUnknown || r.Object.wellPlaced {
		return nil
	}
	w, content := r.Object.Workload, r.Object.Content()
	var found []result
	for _, place := range placesOf(r.Object, content) {
		parent, _ := valueIn(content, place).(map[string]any)
		for _, key := range slices.Sorted(maps.Keys(parent)) {
			target, isMisplaced := w.podPath()+"/topologySpreadConstraints", false
			list, isList := parent[key].([]any)
			switch anti, _ := parent[key].(map[string]any); {
			case key == "affinity":
				terms, _ := anti["podAntiAffinity"].(map[string]any) // charts write empty maps by habit
				target, isMisplaced = w.podPath()+"/affinity", len(terms) > 0
			case meansConstraints(key):
				isMisplaced = parent[key] != nil && (!isList || len(list) > 0) // charts write empty lists by habit
			}
			path := place + "/" + key
			if !isMisplaced || path == target {
				continue
			}
			misplaced := misplacement(path, target)
			if valueIn(content, target) == nil && (key == "affinity" || len(list) > 0) {
				misplaced.repair = []PatchOperation{
					{Op: "remove", Path: path}, {Op: "add", Path: target, Value: parent[key]},
				}
			}
			found = append(found, misplaced)
		}
	}
	return onlyCertain(found)
}

// placesOf returns the places in a document, as JSON Pointers, at which the fields may be that the rule looks for.
func placesOf(object *Object, content map[string]any) []string {
	places := []string{"", "/metadata", "/spec"}
	if object.Workload != nil {
		places = append(places, "/spec/template", "/spec/template/metadata")
		if pod := object.Workload.podPath(); !slices.Contains(places, pod) {
			places = append(places, pod)
		}
		return places
	}
	ports, _ := valueIn(content, "/spec/ports").([]any)
	for i := range ports {
		places = append(places, "/spec/ports/"+strconv.Itoa(i))
	}
	return places
}

// hasMisplaced reports whether a document has a key, anywhere but in its right place, with the name of a field that the
// rule looks for. It takes a fraction of the time that the rule takes, and most documents have none.
func hasMisplaced(object *Object, content map[string]any) bool {
	for _, place := range placesOf(object, content) {
		parent, _ := valueIn(content, place).(map[string]any)
		isPod := object.Workload != nil && place == object.Workload.podPath()
		for key := range parent {
			switch {
			case object.Service != nil:
				isRight := place == "/spec" && key == "externalTrafficPolicy"
				if !isRight && (meansTrafficPolicy(key) || strings.EqualFold(key, "trafficPolicy")) {
					return true
				}
			case isPod && (key == "affinity" || key == "topologySpreadConstraints"):
			case key == "affinity" || meansConstraints(key):
				return true
			}
		}
	}
	return false
}

// meansConstraints reports whether a key is topologySpreadConstraints in any letter case, or the singular.
func meansConstraints(key string) bool {
	return strings.TrimSuffix(strings.ToLower(key), "s") == "topologyspreadconstraint"
}

// onlyCertain returns the results without their repairs if these would set one field to different values. If several
// set it to the same value, the first one removes what is misplaced elsewhere, too.
func onlyCertain(found []result) []result {
	first := map[string]int{}
	certain := true
	for i, f := range found {
		if f.repair == nil {
			continue
		}
		move := f.repair[1]
		former, isSet := first[move.Path]
		if !isSet {
			first[move.Path] = i
			continue
		}
		certain = certain && reflect.DeepEqual(found[former].repair[1].Value, move.Value)
		found[former].repair = append(found[former].repair, f.repair[0])
		found[i].repair = nil
	}
	for i := range found {
		if !certain {
			found[i].repair = nil
		}
	}
	return found
}

// misplacedPolicy returns the results for a Service.
func (r *run) misplacedPolicy() []result {
	var found []result
	for _, in := range []struct {
		noun, field string
		values      map[string]string
	}{
		{"annotation", "annotations", r.Object.Service.Annotations}, {"label", "labels", r.Object.Service.Labels},
	} {
		for _, key := range slices.Sorted(maps.Keys(in.values)) {
			policy := trafficPolicyNamed(in.values[key])
			if !meansTrafficPolicy(key[strings.LastIndex(key, "/")+1:]) || policy == "" {
				continue
			}
			misplaced := result{Finding: Finding{
				Path:    pointer("metadata", in.field, key),
				Message: fmt.Sprintf("%s %s=%s has no effect: the traffic policy is a field", in.noun, key, in.values[key]),
				Fix:     fmt.Sprintf("set spec.externalTrafficPolicy: %s, and remove the %s", policy, in.noun),
			}}
			if !ExternallyAccessible(r.Object.Service, r.Cluster.Version) {
				misplaced.Fix = fmt.Sprintf("remove the %s: type %s has no traffic policy", in.noun, serviceType(r.Object.Service))
			}
			misplaced.repair = r.moved(misplaced.Path, policy)
			found = append(found, misplaced)
		}
	}
	if r.InFile == InFileUnknown || r.Object.wellPlaced {
		return onlyCertain(found)
	}
	content := r.Object.Content()
	for _, place := range placesOf(r.Object, content) {
		parent, _ := valueIn(content, place).(map[string]any)
		for _, key := range slices.Sorted(maps.Keys(parent)) {
			value, _ := parent[key].(string)
			policy, path := trafficPolicyNamed(value), place+pointer(key)
			isName := meansTrafficPolicy(key) && parent[key] != nil
			if path == trafficPolicyPath || !isName && (!strings.EqualFold(key, "trafficPolicy") || policy == "") {
				continue
			}
			misplaced := misplacement(path, trafficPolicyPath)
			if isName && policy != "" { // trafficPolicy could be meant for traffic inside the cluster
				misplaced.repair = r.moved(path, policy)
			}
			found = append(found, misplaced)
		}
	}
	return onlyCertain(found)
}

// moved returns the repair that replaces a misplaced traffic policy by the field; nil unless the file has no traffic
// policy, the policy is valid on the type of the Service, and nothing asks for the other one.
func (r *run) moved(path, policy string) []PatchOperation {
	isContested := policy != local && len(r.reasonsForLocal()) > 0
	if r.InFile != InFileAbsent || isContested || !ExternallyAccessible(r.Object.Service, r.Cluster.Version) {
		return nil
	}
	return []PatchOperation{{Op: "remove", Path: path}, {Op: "add", Path: trafficPolicyPath, Value: policy}}
}

// misplacement returns the finding for a field that belongs elsewhere.
func misplacement(path, target string) result {
	return result{Finding: Finding{
		Path: path, Message: fieldName(path) + " is not a field: the API server drops it",
		Fix: "move it to " + fieldName(target),
	}}
}

// meansTrafficPolicy reports whether a key is externalTrafficPolicy in any letter case, with hyphens, underscores or
// dots between its words, or with one character that is wrong. internalTrafficPolicy differs in two.
func meansTrafficPolicy(key string) bool {
	const name = "externaltrafficpolicy"
	if len(key) < len(name)-1 {
		return false // the most frequent case, at no cost
	}
	return levenshtein.ComputeDistance(betweenWords.Replace(strings.ToLower(key)), name) <= 1
}

var betweenWords = strings.NewReplacer("-", "", "_", "", ".", "")

// trafficPolicyNamed returns the traffic policy that a text names in any letter case; empty for none.
func trafficPolicyNamed(text string) string {
	for _, policy := range []corev1.ServiceExternalTrafficPolicy{
		corev1.ServiceExternalTrafficPolicyLocal, corev1.ServiceExternalTrafficPolicyCluster,
	} {
		if strings.EqualFold(text, string(policy)) {
			return string(policy)
		}
	}
	return ""
}

// valueIn returns the value at a JSON Pointer of names and indices without special characters; nil if there is none.
func valueIn(content map[string]any, pointer string) any {
	var value any = content
	for _, part := range strings.FieldsFunc(pointer, func(r rune) bool { return r == '/' }) {
		switch parent := value.(type) {
		case map[string]any:
			value = parent[part]
		case []any:
			i, err := strconv.Atoi(part)
			if err != nil || i >= len(parent) {
				return nil
			}
			value = parent[i]
		default:
			return nil
		}
	}
	return value
}
