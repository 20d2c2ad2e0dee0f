package policies

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// Spreading says how well the template of a workload keeps its pods on different nodes.
type Spreading string

// The values of Spreading. The zero value is for objects that create no pods.
const (
	// SpreadStrong means that the pods are spread as evenly as the nodes allow, or run one on each node.
	SpreadStrong Spreading = "strong"
	// SpreadWeak means that the pods are spread better than by chance, but not evenly: by a constraint with a maxSkew of
	// more than 1, by one that another constraint weakens, or by a preferred anti-affinity.
	SpreadWeak Spreading = "weak"
	// SpreadPinned means that the pods cannot be spread, because all of them are assigned to one node.
	SpreadPinned Spreading = "pinned"
	// SpreadIneffective means that the pods are not spread, although a constraint or an anti-affinity term seems to
	// spread them.
	SpreadIneffective Spreading = "ineffective"
	// SpreadNone means that nothing spreads the pods.
	SpreadNone Spreading = "none"
)

// spreading is the result of spreadingOf.
type spreading struct {
	Spreading
	// ineffective is set only for SpreadIneffective.
	ineffective *ineffective
}

// kept reports whether something keeps the pods on different nodes, or nothing could.
func (s spreading) kept() bool {
	return s.Spreading == SpreadStrong || s.Spreading == SpreadWeak || s.Spreading == SpreadPinned
}

// ineffective is a constraint or an anti-affinity term that never keeps the workload's own pods apart.
type ineffective struct {
	// path is its JSON Pointer in the workload.
	path string
	// problem says why it has no effect. It has at most 36 bytes if the index has one digit, so that the warning with the
	// namespace and name of a Service, 40 bytes together, fits into 120 bytes.
	problem string
	// fix says what to do about it.
	fix string
}

// zoneKeys lists the well-known topology keys that are coarser than a node.
var zoneKeys = []string{
	corev1.LabelTopologyZone, corev1.LabelTopologyRegion,
	corev1.LabelFailureDomainBetaZone, corev1.LabelFailureDomainBetaRegion,
}

const (
	podSpecPath     = "/spec/template/spec"
	constraintsPath = podSpecPath + "/topologySpreadConstraints"
	affinityPath    = podSpecPath + "/affinity"
	antiPath        = affinityPath + "/podAntiAffinity"
	requiredPath    = antiPath + "/requiredDuringSchedulingIgnoredDuringExecution"
	preferredPath   = antiPath + "/preferredDuringSchedulingIgnoredDuringExecution"
)

// spreadingOf returns how the template of w keeps its pods on different nodes. namespace is the Namespace of w; a
// namespaceSelector may read its labels. cluster may hold the nodes, whose labels decide which constraints have an
// effect.
//
// Each of the following keeps pods on different nodes:
//
//   - A topology spread constraint on kubernetes.io/hostname with a labelSelector that selects the pods' own labels. If
//     the labelSelector is nil or empty, the scheduler counts no pods. matchLabelKeys add labels of the pod to an empty
//     selector, so it then counts pods; but a key that has a different value on each pod leaves each pod alone. The
//     spread is weak if maxSkew is more than 1. The scheduler scores no node that lacks the label of any soft
//     constraint. So if both this constraint and one on another key are soft, the spread is weak, and there is none if
//     no node has that other label.
//   - A pod anti-affinity term, required or preferred, on kubernetes.io/hostname that selects the pods' own labels in
//     their own namespace. Here an empty labelSelector selects every pod. A preferred term is weak, because it is only
//     one score among others. A required term on any other key counts as well: one pod in each zone or rack is at most
//     one pod on each node. But the scheduler lets pods onto every node that lacks the key, so all nodes must have it.
//     If only some have it, it makes soft constraints weak.
//   - A hostPort, or a containerPort in the host network: a second pod does not fit on the node. Among init containers,
//     the scheduler considers only those that keep running.
//   - The kind DaemonSet, which runs one pod on each node.
//
// Nothing can keep pods apart that must all run on one node: because of spec.nodeName, of a nodeSelector or node
// affinity that allows one node, or of a required affinity to each other. A constraint with DoNotSchedule on a key that
// no node has keeps the pods off all nodes. Other constraints on coarser topologies, and the scheduler's default
// constraints (hostname, maxSkew 3, soft), do not count.
//
// Source: kubernetes v1.36.3, pkg/scheduler/framework/plugins/podtopologyspread/common.go, filtering.go and scoring.go;
// interpodaffinity/filtering.go; pkg/scheduler/util/utils.go GetHostPorts.
// test/e2e checks this against the real scheduler.
func spreadingOf(w *Workload, namespace Namespace, cluster Cluster) spreading {
	pod, own, nodes := w.Template.Spec, podLabelsOf(w), cluster.topologyOf(w)
	if isPinned(pod, own, namespace) {
		return spreading{Spreading: SpreadPinned}
	}
	for i, c := range pod.TopologySpreadConstraints {
		if c.WhenUnsatisfiable == corev1.DoNotSchedule && nodes.carrying(c.TopologyKey) == noNode {
			problem := lacksKey // a guess by the name
			if nodes.isKnown() {
				problem = "keeps all pods Pending"
			}
			return spreading{SpreadIneffective, &ineffective{
				path:    fmt.Sprintf("%s/%d", constraintsPath, i),
				problem: fmt.Sprintf("constraint #%d %s", i, problem),
				fix:     nodes.fixOf(pod.TopologySpreadConstraints, i),
			}}
		}
	}
	if w.Kind == daemonSetKind || usesHostPorts(pod) {
		return spreading{Spreading: SpreadStrong}
	}

	// Such a term lets one pod onto each node that has its key, and all others onto the nodes that lack it.
	crowds := slices.ContainsFunc(antiAffinityTerms(pod.Affinity), func(term antiAffinityTerm) bool {
		return term.required && termProblem(term.PodAffinityTerm, own, namespace) == "" &&
			nodes.carrying(term.TopologyKey) == someNodes
	})
	weak := false
	var onHostname, onZone *ineffective
	for i, constraint := range pod.TopologySpreadConstraints {
		path := fmt.Sprintf("%s/%d", constraintsPath, i)
		name := fmt.Sprintf("constraint #%d ", i)
		if nodes.carrying(constraint.TopologyKey) == noNode {
			onHostname = first(onHostname, path, name+lacksKey, nodes.fixOf(pod.TopologySpreadConstraints, i))
			continue
		}
		if constraint.TopologyKey != corev1.LabelHostname {
			onZone = firstZone(onZone, constraint.TopologyKey, path, name+"spreads")
			continue
		}
		problem := constraintProblem(constraint.LabelSelector, constraint.MatchLabelKeys, own)
		by, carried := dilutedBy(pod.TopologySpreadConstraints, i, nodes)
		crowded := crowds && constraint.WhenUnsatisfiable == corev1.ScheduleAnyway
		switch {
		case problem == "" && carried == noNode:
			onHostname = first(onHostname, fmt.Sprintf("%s/%d", constraintsPath, by),
				fmt.Sprintf("constraint #%d disables %s", by, strings.TrimSpace(name)),
				nodes.fixOf(pod.TopologySpreadConstraints, by))
		case problem == "" && constraint.MaxSkew <= 1 && by < 0 && !crowded:
			return spreading{Spreading: SpreadStrong}
		case problem == "":
			weak = true
		case problem == countsEachPodAlone:
			fix := fmt.Sprintf(fixKey, unsharedKey(constraint.MatchLabelKeys, own))
			onHostname = first(onHostname, path, name+problem, fix)
		default:
			onHostname = first(onHostname, path, name+problem, fixSelector)
		}
	}
	for _, term := range antiAffinityTerms(pod.Affinity) {
		problem := termProblem(term.PodAffinityTerm, own, namespace)
		onNode := term.TopologyKey == corev1.LabelHostname
		carried := nodes.carrying(term.TopologyKey)
		switch {
		case problem == "" && term.required && carried == allNodes:
			return spreading{Spreading: SpreadStrong}
		case carried == noNode, problem == "" && term.required:
			onHostname = first(onHostname, term.path, "anti-affinity "+lacksKey, nodes.fixKeyOf(term.TopologyKey))
		case problem == "" && onNode:
			weak = true
		case onNode:
			fix := fixAdd + termDetail(problem, term.PodAffinityTerm, own, namespace)
			onHostname = first(onHostname, term.path, "anti-affinity "+problem, fix)
		default:
			onZone = firstZone(onZone, term.TopologyKey, term.path, "anti-affinity is")
		}
	}
	found := onHostname
	if found == nil {
		found = onZone
	}
	switch {
	case weak:
		return spreading{Spreading: SpreadWeak}
	case found != nil:
		return spreading{Spreading: SpreadIneffective, ineffective: found}
	default:
		return spreading{Spreading: SpreadNone}
	}
}

// spreading returns how the template of a workload in the Namespace of the object under review keeps its pods apart.
func (r *run) spreading(w *Workload) spreading { return spreadingOf(w, r.Namespace, r.Cluster) }

// dilutedBy returns the index of a soft constraint on another key that weakens a soft constraint, and which nodes carry
// that key, where a single node counts as none; -1 and allNodes if there is no such constraint. Which pods it selects
// does not matter. Of several, the one on the rarest key counts.
func dilutedBy(constraints []corev1.TopologySpreadConstraint, of int, nodes *topology) (by int, carried carriers) {
	by = -1
	for i, other := range constraints {
		if constraints[of].WhenUnsatisfiable != corev1.ScheduleAnyway || other.WhenUnsatisfiable != corev1.ScheduleAnyway ||
			other.TopologyKey == constraints[of].TopologyKey {
			continue
		}
		found := nodes.carrying(other.TopologyKey)
		if found == someNodes && nodes.number(other.TopologyKey) == 1 {
			found = noNode // The only node that is scored attracts the pods.
		}
		if by < 0 || found > carried {
			by, carried = i, found
		}
	}
	return by, carried
}

// isPinned reports whether all pods of a workload must run on one node.
func isPinned(pod corev1.PodSpec, own podLabels, namespace Namespace) bool {
	if _, pinned := pod.NodeSelector[corev1.LabelHostname]; pinned || pod.NodeName != "" {
		return true
	}
	if pod.Affinity == nil {
		return false
	}
	if pod.Affinity.NodeAffinity != nil && allowsOneNode(
		pod.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution) {
		return true
	}
	return pod.Affinity.PodAffinity != nil && slices.ContainsFunc(
		pod.Affinity.PodAffinity.RequiredDuringSchedulingIgnoredDuringExecution,
		func(term corev1.PodAffinityTerm) bool {
			return term.TopologyKey == corev1.LabelHostname && termProblem(term, own, namespace) == ""
		})
}

// allowsOneNode reports whether every term of a node affinity names the same node, by its name or hostname.
func allowsOneNode(required *corev1.NodeSelector) bool {
	if required == nil {
		return false
	}
	var only string
	for _, term := range required.NodeSelectorTerms {
		name := ""
		for _, r := range slices.Concat(term.MatchExpressions, term.MatchFields) {
			isName := r.Key == corev1.LabelHostname || r.Key == metav1.ObjectNameField
			if isName && r.Operator == corev1.NodeSelectorOpIn && len(r.Values) == 1 {
				name = r.Values[0]
			}
		}
		if name == "" || only != "" && name != only {
			return false
		}
		only = name
	}
	return only != ""
}

const (
	fixSelector = "make its labelSelector match the pods' own labels, as spec.selector does"
	fixKey      = "remove %s from its matchLabelKeys: no two pods have the same value"
	// A term on zones or other pods may serve its own purpose, so the fix does not change it.
	fixAdd = "add a spread constraint on kubernetes.io/hostname as well"
)

// first returns found, or a new ineffective if found is nil.
func first(found *ineffective, path, problem, fix string) *ineffective {
	if found != nil {
		return found
	}
	return &ineffective{path: path, problem: problem, fix: fix}
}

// firstZone does what first does, for a constraint or term on this topology key. It ignores keys that are not in
// zoneKeys. subject is the name of the constraint or term, with a verb.
func firstZone(found *ineffective, key, path, subject string) *ineffective {
	if !slices.Contains(zoneKeys, key) {
		return found
	}
	topology := "zone"
	if strings.HasSuffix(key, "/region") {
		topology = "region"
	}
	return first(found, path, subject+" by "+topology+" only", fixAdd)
}

func usesHostPorts(pod corev1.PodSpec) bool {
	uses := func(c corev1.Container) bool {
		return slices.ContainsFunc(c.Ports, func(p corev1.ContainerPort) bool {
			return p.HostPort > 0 || pod.HostNetwork && p.ContainerPort > 0
		})
	}
	usesOn := func(c corev1.Container) bool { return keepsRunning(c) && uses(c) }
	return slices.ContainsFunc(pod.Containers, uses) || slices.ContainsFunc(pod.InitContainers, usesOn)
}

// podLabels holds the labels that the pods of a workload will have.
type podLabels struct {
	// Set holds the labels of the template, and those that the controller adds, with the value unknownValue.
	labels.Set
	// single holds the keys of labels that have a different value on each pod.
	single []string
}

// unknownValue stands for the value of a label that the controller sets. It is not a valid label value, so no selector
// for a certain value matches it. That is right: a hash or counter of the controller has another value after the next
// change.
const unknownValue = "?"

func podLabelsOf(w *Workload) podLabels {
	kind := w.kind()
	all := podLabels{labels.Set{}, kind.singleLabels}
	maps.Copy(all.Set, w.Template.Labels)
	for _, key := range slices.Concat(kind.revisionLabels, kind.singleLabels) {
		all.Set[key] = unknownValue
	}
	return all
}

// Problems of constraints and terms. In messages they follow the name of the constraint or term.
const (
	lacksKey           = "uses a key nodes lack"
	hasNoSelector      = "has no labelSelector"
	hasInvalidSelector = "selector is not valid"
	ignoresOwnPods     = "ignores its own pods"
	countsEachPodAlone = "counts each pod alone"
	excludesOwnPods    = "excludes its own pods"
	maySkipNamespace   = "may skip its namespace"
)

// constraintProblem returns why a spread constraint never counts pods with these labels; empty if it counts them.
func constraintProblem(selector *metav1.LabelSelector, matchLabelKeys []string, own podLabels) string {
	if selector == nil {
		return hasNoSelector // The scheduler then counts no pods.
	}
	m, err := newMatcher(selector)
	isEmpty := len(selector.MatchLabels)+len(selector.MatchExpressions) == 0
	switch {
	case err != nil:
		return hasInvalidSelector
	case isEmpty && !slices.ContainsFunc(matchLabelKeys, own.Has):
		return "has an empty selector" // The scheduler then counts no pods.
	case !m.selects(own.Set):
		return ignoresOwnPods
	case unsharedKey(matchLabelKeys, own) != "":
		return countsEachPodAlone
	default:
		return ""
	}
}

// unsharedKey returns the first of matchLabelKeys that has a different value on each pod; empty if there is none.
func unsharedKey(matchLabelKeys []string, own podLabels) string {
	for _, key := range matchLabelKeys {
		if slices.Contains(own.single, key) {
			return key
		}
	}
	return ""
}

// termProblem returns why an anti-affinity term never keeps pods with these labels apart; empty if it does.
func termProblem(term corev1.PodAffinityTerm, own podLabels, namespace Namespace) string {
	if term.LabelSelector == nil {
		return hasNoSelector // The scheduler then matches no pods.
	}
	m, err := newMatcher(term.LabelSelector)
	switch {
	case err != nil:
		return hasInvalidSelector
	case !m.selects(own.Set):
		return ignoresOwnPods
	case unsharedKey(term.MatchLabelKeys, own) != "":
		return countsEachPodAlone
	case excludingKey(term.MismatchLabelKeys, own) != "":
		return excludesOwnPods
	case inNamespace(term, namespace):
		return ""
	case !namespace.knows(term.NamespaceSelector):
		return maySkipNamespace
	default:
		return "skips its namespace"
	}
}

// excludingKey returns the first of mismatchLabelKeys that excludes the workload's own pods; empty if there is none. A
// key that has a different value on each pod excludes only the pod itself.
func excludingKey(mismatchLabelKeys []string, own podLabels) string {
	for _, key := range mismatchLabelKeys {
		if own.Has(key) && !slices.Contains(own.single, key) {
			return key
		}
	}
	return ""
}

// termDetail returns what a termProblem is too short to say, to be appended to the fix; mostly empty.
func termDetail(problem string, term corev1.PodAffinityTerm, own podLabels, namespace Namespace) string {
	switch problem {
	case excludesOwnPods:
		return fmt.Sprintf("; mismatchLabelKeys %s excludes the workload's own pods",
			excludingKey(term.MismatchLabelKeys, own))
	case maySkipNamespace:
		return fmt.Sprintf("; the labels of Namespace %s are not known", namespace.Name)
	default:
		return ""
	}
}

// inNamespace reports whether a term considers pods in the given Namespace, which is the one of the term's workload. A
// term that names no namespaces considers those in its own.
func inNamespace(term corev1.PodAffinityTerm, namespace Namespace) bool {
	if len(term.Namespaces) == 0 && term.NamespaceSelector == nil {
		return true
	}
	if slices.Contains(term.Namespaces, namespace.Name) {
		return true
	}
	if term.NamespaceSelector == nil {
		return false
	}
	m, err := newMatcher(term.NamespaceSelector)
	return err == nil && m.selects(namespace.Labels)
}

type antiAffinityTerm struct {
	corev1.PodAffinityTerm
	path     string
	required bool
}

// antiAffinityTerms returns all terms of a pod's anti-affinity, the required ones first.
func antiAffinityTerms(affinity *corev1.Affinity) []antiAffinityTerm {
	if affinity == nil || affinity.PodAntiAffinity == nil {
		return nil
	}
	var terms []antiAffinityTerm
	for i, term := range affinity.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution {
		terms = append(terms, antiAffinityTerm{term, fmt.Sprintf("%s/%d", requiredPath, i), true})
	}
	for i, weighted := range affinity.PodAntiAffinity.PreferredDuringSchedulingIgnoredDuringExecution {
		path := fmt.Sprintf("%s/%d/podAffinityTerm", preferredPath, i)
		terms = append(terms, antiAffinityTerm{weighted.PodAffinityTerm, path, false})
	}
	return terms
}
