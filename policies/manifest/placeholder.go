package manifest

import (
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/runtime"
)

// placeholder matches what is replaced before a manifest is applied: ${VAR}, also with a default, $VAR, $(VAR), the
// <path:…> of Argo CD Vault Plugin, {{ … }} in quotes, %%x%%, @x@, or a whole value such as REPLACE_ME, CHANGEME,
// __NAME__ or <NAME>.
var placeholder = regexp.MustCompile(`\$\{[^{}]*\}|\$[A-Z_][A-Z0-9_]*|\$\([^()]*\)|<path:[^>]*>|\{\{.*\}\}|%%[^%]+%%|` +
	`@[A-Za-z][\w.-]*@|^[A-Z][A-Z0-9]*(_[A-Z0-9]+)+$|^(CHANGE|REPLACE)-?ME$|` +
	`^__[A-Z][A-Z0-9_]*__$|^<[A-Z][A-Z0-9_-]*>$`)

// isPlaceholder reports whether a value is, or contains, a placeholder. REGIONAL_NETWORK is a value that rules know.
func isPlaceholder(value any) bool {
	text, isText := value.(string)
	return isText && mayHoldPlaceholder(text) && placeholder.MatchString(text) && text != "REGIONAL_NETWORK"
}

// mayHoldPlaceholder reports whether a text has a character without which placeholder does not match. Few texts do, and
// the expression is slow.
func mayHoldPlaceholder(text string) bool {
	if strings.ContainsAny(text, "$<{%@") {
		return true
	}
	// All others begin with two characters that are no small letters.
	return len(text) > 1 && (text[0] >= 'A' && text[0] <= 'Z' || text[0] == '_') && (text[1] < 'a' || text[1] > 'z')
}

// The values that a placeholder may stand for, as far as rules distinguish them. One that a field cannot have is not
// tried. TestFindingsBesidePlaceholdersHold checks that none is missing.
var fieldValues = []any{
	// numbers, as of replicas, ports, seconds and skews
	int64(0), int64(1), int64(2), int64(3), int64(30), int64(100), int64(30000),
	true, false,
	// of Services
	"ClusterIP", "NodePort", "LoadBalancer", "ExternalName", "Local", "Cluster", "None", "ClientIP", "PreferClose",
	"192.0.2.1", "TCP", "UDP", "service.k8s.aws/nlb", "eks.amazonaws.com/nlb", "tailscale",
	// of workloads
	"kubernetes.io/hostname", "topology.kubernetes.io/zone", "DoNotSchedule", "ScheduleAnyway", "Honor", "Ignore",
	"RollingUpdate", "Recreate", "OnDelete", "Exists", "Equal", "NoSchedule", "NoExecute", "0%", "25%", "100%",
	"pod-template-hash", "controller-revision-hash",
	// of parts that are no single value
	[]any{}, []any{"192.0.2.1"}, map[string]any{"kubernetes.io/os": "linux"}, map[string]any{"type": "Recreate"},
	[]any{map[string]any{"operator": "Exists"}},
	[]any{map[string]any{
		"maxSkew": int64(1), "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "DoNotSchedule",
		"labelSelector": map[string]any{},
	}},
	map[string]any{"podAntiAffinity": map[string]any{"requiredDuringSchedulingIgnoredDuringExecution": []any{
		map[string]any{"topologyKey": "kubernetes.io/hostname", "labelSelector": map[string]any{}},
	}}},
	map[string]any{
		"preStop": map[string]any{"sleep": map[string]any{"seconds": int64(60)}},
		"httpGet": map[string]any{"port": int64(80)},
	},
}

// annotationValues are those of annotations: the values in policies/bundle/sourceward/providers/data.yaml.
var annotationValues = []any{
	"", "true", "false", "1", "0", "on", "off", "t", "f", "preserve", "ignore", "nlb", "nlb-ip", "ip", "instance",
	"external", "internal", "Internal", "lb", "dsr", "snat", "tcp", "http", "none", "v1", "v2", "v2-ssl", "v2-ssl-cn", "*",
	"OnlyLocal", "Global", "tunnel", "enabled", "disabled", "default", "eni", "cookies", "delegate-if-local", "onearm",
	"hostonearm",
	"fullnat", "fullproxy", "pods-per-node", "REGIONAL_NETWORK", "REGIONAL", "traffic-port", "proxy-protocol", "ipvs",
	"proxy_protocol_v2.enabled=true", "preserve_client_ip.enabled=true", "preserve_client_ip.enabled=false",
	`{"proxy-protocol":"v2"}`, `{"proxy-protocol":"none"}`, `{"ingress":true}`, `{"exposed_ports":"80:http"}`,
}

// gone stands for a value that is removed.
type gone struct{}

// domains holds the values of fields that have few, by their names.
var domains = map[string][]any{
	"externalTrafficPolicy": {"Local", "Cluster"}, "internalTrafficPolicy": {"Local", "Cluster"},
	"replicas":    {int64(0), int64(1), int64(2), int64(3), int64(100)},
	"minReplicas": {int64(1), int64(2), int64(100)}, "maxReplicas": {int64(1), int64(2), int64(100)},
	"whenUnsatisfiable": {"DoNotSchedule", "ScheduleAnyway"},
	"topologyKey":       {"kubernetes.io/hostname", "topology.kubernetes.io/zone", "topology.kubernetes.io/hostname"},
	"loadBalancerClass": {"service.k8s.aws/nlb", "eks.amazonaws.com/nlb", "tailscale"},
}

// opaque matches the paths at which a placeholder is a text like any other, of which only equality matters.
var opaque = regexp.MustCompile(`^((/spec)?/template)?/metadata/labels/|` +
	`^/spec/(selector|scaleTargetRef|workloadRef)/`)

// selector matches the paths in the label selectors of a pod template.
var selector = regexp.MustCompile(`/(topologySpreadConstraints|affinity)/.*/labelSelector/`)

// templatePath returns the path of the pod template of a workload.
func templatePath(content map[string]any) string {
	if content["kind"] == "PodTemplate" {
		return "/template"
	}
	return "/spec/template"
}

// ownLabels returns how the paths of the labels of a workload's pod template begin.
func ownLabels(content map[string]any) string { return templatePath(content) + "/metadata/labels/" }

// selectedValues returns the values that the label selectors of a pod template have for the label with a key, and the
// value of that label itself.
func selectedValues(content map[string]any, key string) (selected []any, own any) {
	var walk func(value any, inSelector bool)
	walk = func(value any, inSelector bool) {
		switch value := value.(type) {
		case map[string]any:
			if values, isList := value["values"].([]any); inSelector && isList && value["key"] == key {
				selected = append(selected, values...)
			}
			labels, _ := value["matchLabels"].(map[string]any)
			if text, isSet := labels[key]; inSelector && isSet {
				selected = append(selected, text)
			}
			for _, name := range slices.Sorted(maps.Keys(value)) {
				walk(value[name], inSelector || name == "labelSelector")
			}
		case []any:
			for _, element := range value {
				walk(element, inSelector)
			}
		}
	}
	walk(valueAt(content, templatePath(content)+"/spec/topologySpreadConstraints"), false)
	walk(valueAt(content, templatePath(content)+"/spec/affinity"), false)
	labels, _ := valueAt(content, strings.TrimSuffix(ownLabels(content), "/")).(map[string]any)
	return selected, labels[key]
}

// unread matches the paths of which no rule reads anything: their placeholders do not matter.
var unread = regexp.MustCompile(`^/(metadata|status)(/|$)|^((/spec)?/template)?/metadata(/annotations(/|$)|$)|` +
	`/(containers|initContainers)/\d+/(image|imagePullPolicy|env|envFrom|args|command|resources|volumeMounts|` +
	`securityContext|workingDir|name)(/|$)|/(exec/command|httpGet/(path|host|httpHeaders))(/|$)|` +
	`/spec/(volumes|volumeClaimTemplates|imagePullSecrets|securityContext)(/|$)|` +
	`/spec/(loadBalancerIP|externalName|loadBalancerSourceRanges)(/|$)|` +
	`^/spec/ports/\d+/(name|port|targetPort|appProtocol)$`)

const annotations = "/metadata/annotations/"

// maxPlaceholders bounds the number of placeholders in one object that rules may read, and maxCombined the number of
// combinations of their values that are tried. With more, one value is tried at a time.
const (
	maxPlaceholders = 16
	maxCombined     = 400
)

// name matches the paths of names, without which an object cannot be read.
var name = regexp.MustCompile(`^/metadata/(name|generateName|namespace)$`)

// placeholders returns the paths of the placeholders in an object, in its order: those that rules may read, and others.
// Among the others are those at which a placeholder is a text like any other, but not names. In a pod template, a
// placeholder in a label or in a label selector may be read if the other one has another text.
func placeholders(content map[string]any, reads func(annotation string) bool) (read, others []string) {
	if !holdsPlaceholder(content) {
		return nil, nil
	}
	var walk func(path string, value any)
	walk = func(path string, value any) {
		switch value := value.(type) {
		case map[string]any:
			for _, key := range slices.Sorted(maps.Keys(value)) {
				walk(path+"/"+escape.Replace(key), value[key])
			}
		case []any:
			for i, element := range value {
				walk(path+"/"+strconv.Itoa(i), element)
			}
		case string:
			if !isPlaceholder(value) {
				return
			}
			annotation, isAnnotation := strings.CutPrefix(path, annotations)
			matters := !opaque.MatchString(path) && !unread.MatchString(path)
			if isAnnotation {
				matters = reads == nil || reads(unescape.Replace(annotation))
			}
			if selector.MatchString(path) || strings.HasPrefix(path, ownLabels(content)) {
				others := valuesOf(content, path)
				matters = len(others) > 0 && !slices.Contains(others, any(value))
			}
			switch {
			case name.MatchString(path):
			case matters:
				read = append(read, path)
			default:
				others = append(others, path)
			}
		}
	}
	for _, part := range []string{"metadata", "spec", "template", "status", "endpoints", "subsets"} {
		walk("/"+part, content[part])
	}
	return read, others
}

// holdsPlaceholder reports whether a value is a placeholder, or has one somewhere below.
func holdsPlaceholder(value any) bool {
	switch value := value.(type) {
	case map[string]any:
		for _, below := range value {
			if holdsPlaceholder(below) {
				return true
			}
		}
	case []any:
		return slices.ContainsFunc(value, holdsPlaceholder)
	}
	return isPlaceholder(value)
}

var escape = strings.NewReplacer("~", "~0", "/", "~1")

// with returns a copy of content in which the value at a path is another one, or gone.
func with(content map[string]any, path string, value any) map[string]any {
	changed := runtime.DeepCopyJSON(content)
	parts := tokens(path)
	last := parts[len(parts)-1]
	var parent any = changed
	for _, part := range parts[:len(parts)-1] {
		switch at := parent.(type) {
		case map[string]any:
			parent = at[part]
		case []any:
			i, _ := strconv.Atoi(part)
			parent = at[i]
		}
	}
	switch at := parent.(type) {
	case map[string]any:
		if at[last] = value; value == (gone{}) {
			delete(at, last)
		}
	case []any:
		i, _ := strconv.Atoi(last)
		if at[i] = value; value == (gone{}) {
			at[i] = nil
		}
	}
	return changed
}

// without returns content, or a copy of it, without the values at some paths.
func without(content map[string]any, paths []string) map[string]any {
	for _, path := range paths {
		content = with(content, path, gone{})
	}
	return content
}

// variant is an object with values for some of its placeholders, whose paths it names.
type variant struct {
	content map[string]any
	paths   []string
}

// variants returns what an object with placeholders may be. The first one has each placeholder as a text where the
// field is a text, and else none. The others have values for one of the placeholders that rules read or, if there are
// few combinations, for several. decodes reports whether an object of that content can be read. There are no variants
// if not even the first one can be read.
func variants(content map[string]any, read, others []string, decodes func(map[string]any) bool) []variant {
	base := content
	if !decodes(base) {
		all := slices.Concat(read, others)
		if base = without(content, all); len(all) == 0 || !decodes(base) {
			return nil
		}
		for _, path := range all {
			if text := with(base, path, valueAt(content, path)); decodes(text) {
				base = text
			}
		}
	}
	possible := make([][]any, len(read))
	combinations := 1
	for i, path := range read {
		for _, value := range append([]any{gone{}}, valuesOf(content, path)...) {
			if decodes(with(base, path, value)) {
				possible[i] = append(possible[i], value)
			}
		}
		combinations *= len(possible[i]) + 1
	}
	found := []variant{{content: base}}
	for i, path := range read {
		former := found
		if combinations > maxCombined {
			former = found[:1]
		}
		for _, v := range slices.Clone(former) {
			for _, value := range possible[i] {
				found = append(found, variant{with(v.content, path, value), append(slices.Clip(v.paths), path)})
			}
		}
	}
	return slices.DeleteFunc(found, func(v variant) bool { return len(v.paths) > 1 && !decodes(v.content) })
}

// valuesOf returns the values that a placeholder at a path may stand for.
func valuesOf(content map[string]any, path string) []any {
	parts := tokens(path)
	if domain, ok := domains[parts[len(parts)-1]]; ok {
		return domain
	}
	switch {
	case strings.HasPrefix(path, ownLabels(content)):
		selected, own := selectedValues(content, unescape.Replace(strings.TrimPrefix(path, ownLabels(content))))
		return slices.DeleteFunc(selected, func(value any) bool { // one placeholder for another changes nothing
			return isPlaceholder(value) && value != own
		})
	case selector.MatchString(path):
		key := unescape.Replace(parts[len(parts)-1])
		if of, _, isExpression := strings.Cut(path, "/values/"); isExpression {
			key, _ = valueAt(content, of+"/key").(string)
		}
		_, own := selectedValues(content, key)
		return []any{own}
	case strings.HasPrefix(path, annotations):
		return annotationValues
	case path == "/spec/type":
		return []any{"ClusterIP", "NodePort", "LoadBalancer", "ExternalName"}
	}
	return fieldValues
}
