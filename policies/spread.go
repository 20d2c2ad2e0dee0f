package policies

import (
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// Spreading is how well the pods of a workload are kept on different nodes, from its template alone.
type Spreading string

// The ways. The zero value is for objects that make no pods.
const (
	// SpreadStrong: as evenly as nodes allow, or one on each.
	SpreadStrong Spreading = "strong"
	// SpreadWeak: better than by chance, and no more: by a maxSkew of more than 1, or by a preferred anti-affinity.
	SpreadWeak Spreading = "weak"
	// SpreadPinned: not at all, since all are meant for one node.
	SpreadPinned Spreading = "pinned"
	// SpreadIneffective: not at all, by something that looks as if it did.
	SpreadIneffective Spreading = "ineffective"
	// SpreadNone: not at all.
	SpreadNone Spreading = "none"
)

// spreading is how the pods of a workload are kept apart.
type spreading struct {
	Spreading
	// ineffective is set only for SpreadIneffective.
	ineffective *ineffective
}

// kept tells that something keeps the pods on different nodes, or that nothing could.
func (s spreading) kept() bool {
	return s.Spreading == SpreadStrong || s.Spreading == SpreadWeak || s.Spreading == SpreadPinned
}

// ineffective is a constraint or a term that never keeps a workload's own pods apart.
type ineffective struct {
	// path is its JSON Pointer in the workload.
	path string
	// problem says why it has no effect, fix what to do about it.
	problem, fix string
}

// zoneKeys are the topology keys that are coarser than a node.
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

// spreadingOf reads how a workload's own pods are kept apart. namespace is the workload's, whose
// labels a namespaceSelector may ask for.
//
// The pods are kept on different nodes by
//
//   - a topology spread constraint on kubernetes.io/hostname whose labelSelector is neither nil nor
//     empty and selects the pods' own labels. The scheduler counts no pods for an empty one, but
//     matchLabelKeys fill it: they narrow it to values that the pod itself has, and only one that no
//     two pods share leaves it alone. With a maxSkew of more than 1 the pods are spread weakly; and
//     by a soft one beside a soft one on another key, since nodes that lack either label are scored
//     by neither;
//   - a pod anti-affinity term, required or preferred, on kubernetes.io/hostname that selects the
//     pods' own labels in its own namespace. Here an empty labelSelector selects every pod.
//     A preferred one is one wish among others, so it is weak. A required term on any other key does too: one pod in a zone or a
//     rack is one pod on a node;
//   - a hostPort, or containerPorts in the host's network: a second pod does not fit on the node.
//     Of init containers the scheduler looks only at those that keep running.
//
// Of a DaemonSet there is one on each node. And nothing could keep them apart where spec.nodeName or a nodeSelector on kubernetes.io/hostname
// pins them all to one node. Other constraints on coarser topologies, and the scheduler's defaults
// (hostname, maxSkew 3, soft), do not count.
//
// Source: kubernetes v1.36.3, pkg/scheduler/framework/plugins/podtopologyspread/common.go, podtopologyspread/scoring.go and
// interpodaffinity/filtering.go; pkg/scheduler/util/utils.go GetHostPorts. test/e2e asks the scheduler.
func spreadingOf(w *Workload, namespace Namespace) spreading {
	pod := w.Template.Spec
	if _, pinned := pod.NodeSelector[corev1.LabelHostname]; pinned || pod.NodeName != "" {
		return spreading{Spreading: SpreadPinned}
	}
	if w.Kind == daemonSetKind || usesHostPorts(pod) {
		return spreading{Spreading: SpreadStrong}
	}

	own := podLabelsOf(w)
	// The scheduler scores no node that lacks the label of any soft constraint, whatever that one selects.
	diluted := func(c corev1.TopologySpreadConstraint) bool {
		return c.WhenUnsatisfiable == corev1.ScheduleAnyway && slices.ContainsFunc(pod.TopologySpreadConstraints, func(other corev1.TopologySpreadConstraint) bool {
			return other.WhenUnsatisfiable == c.WhenUnsatisfiable && other.TopologyKey != c.TopologyKey
		})
	}
	weak := false
	var onHostname, onZone *ineffective
	for i, constraint := range pod.TopologySpreadConstraints {
		path := fmt.Sprintf("%s/%d", constraintsPath, i)
		if constraint.TopologyKey != corev1.LabelHostname {
			onZone = firstZone(onZone, constraint.TopologyKey, path, "spread constraint")
			continue
		}
		problem := constraintProblem(constraint.LabelSelector, constraint.MatchLabelKeys, own)
		switch {
		case problem == "" && constraint.MaxSkew <= 1 && !diluted(constraint):
			return spreading{Spreading: SpreadStrong}
		case problem == "":
			weak = true
		default:
			onHostname = first(onHostname, path, fmt.Sprintf("spread constraint #%d %s", i, problem), fixSelector)
		}
	}
	for _, term := range antiAffinityTerms(pod.Affinity) {
		problem := termProblem(term.PodAffinityTerm, own, namespace)
		onNode := term.TopologyKey == corev1.LabelHostname
		switch {
		case problem == "" && term.required:
			return spreading{Spreading: SpreadStrong}
		case problem == "" && onNode:
			weak = true
		case onNode:
			onHostname = first(onHostname, term.path, "anti-affinity term "+problem, fixBeside)
		default:
			onZone = firstZone(onZone, term.TopologyKey, term.path, "anti-affinity term")
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

const (
	fixSelector = "let it select the pods' own labels, as spec.selector does"
	// A term may be right for what it is meant for, such as other pods or zones.
	fixBeside = "add a spread constraint on kubernetes.io/hostname beside it"
)

func first(found *ineffective, path, problem, fix string) *ineffective {
	if found != nil {
		return found
	}
	return &ineffective{path: path, problem: problem, fix: fix}
}

func firstZone(found *ineffective, key, path, what string) *ineffective {
	if !slices.Contains(zoneKeys, key) {
		return found
	}
	return first(found, path, fmt.Sprintf("the %s is on %s, which leaves pods on the same node", what, key), fixBeside)
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

// podLabels are the labels of a workload's pods, as far as they are known before there are any.
type podLabels struct {
	// Set are those of the template, and with the value unknownValue those that its controller gives to pods.
	labels.Set
	// single are the keys of which no two pods have the same value.
	single []string
}

// unknownValue is the value of a label that only the controller knows. No value of a label can equal it, so nothing that asks for
// a certain value gets it: what a controller has hashed or counted is another one after the next change.
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

// constraintProblem says why a spread constraint never counts pods with these labels; empty if it does.
func constraintProblem(selector *metav1.LabelSelector, matchLabelKeys []string, own podLabels) string {
	if selector == nil {
		return "has no labelSelector, so it counts no pods"
	}
	s, err := metav1.LabelSelectorAsSelector(selector)
	switch {
	case err != nil:
		return "has a labelSelector that is not valid"
	case s.Empty() && !slices.ContainsFunc(matchLabelKeys, own.Has):
		return "has an empty labelSelector, which counts no pods"
	case !s.Matches(own):
		return "has a labelSelector that does not match the pods' own labels"
	default:
		return singleProblem(matchLabelKeys, own)
	}
}

// singleProblem says why matchLabelKeys leave each pod with itself; empty if they do not.
func singleProblem(matchLabelKeys []string, own podLabels) string {
	for _, key := range matchLabelKeys {
		if slices.Contains(own.single, key) {
			return fmt.Sprintf("has matchLabelKeys %s, of which no two pods have the same value", key)
		}
	}
	return ""
}

// termProblem says why an anti-affinity term never keeps pods with these labels apart; empty if it does.
func termProblem(term corev1.PodAffinityTerm, own podLabels, namespace Namespace) string {
	if term.LabelSelector == nil {
		return "has no labelSelector, so it matches no pods"
	}
	s, err := metav1.LabelSelectorAsSelector(term.LabelSelector)
	switch {
	case err != nil:
		return "has a labelSelector that is not valid"
	case !s.Matches(own):
		return "has a labelSelector that does not match the pods' own labels"
	}
	if problem := singleProblem(term.MatchLabelKeys, own); problem != "" {
		return problem
	}
	for _, key := range term.MismatchLabelKeys {
		// One that no two pods share excludes no pod but itself.
		if own.Has(key) && !slices.Contains(own.single, key) {
			return fmt.Sprintf("has mismatchLabelKeys %s, which excludes the workload's own pods", key)
		}
	}
	if !inNamespace(term, namespace) {
		if !namespace.knows(term.NamespaceSelector) {
			return fmt.Sprintf("does not look at pods in its own namespace %s, as far as its labels are known", namespace.Name)
		}
		return fmt.Sprintf("does not look at pods in its own namespace %s", namespace.Name)
	}
	return ""
}

// inNamespace tells whether a term looks at pods in a namespace, which is the term's own where it
// names none.
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
	s, err := metav1.LabelSelectorAsSelector(term.NamespaceSelector)
	return err == nil && s.Matches(labels.Set(namespace.Labels))
}

type antiAffinityTerm struct {
	corev1.PodAffinityTerm
	path     string
	required bool
}

// antiAffinityTerms are all terms of a pod's anti-affinity, the required ones first.
func antiAffinityTerms(affinity *corev1.Affinity) []antiAffinityTerm {
	if affinity == nil || affinity.PodAntiAffinity == nil {
		return nil
	}
	var terms []antiAffinityTerm
	for i, term := range affinity.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution {
		terms = append(terms, antiAffinityTerm{term, fmt.Sprintf("%s/%d", requiredPath, i), true})
	}
	for i, weighted := range affinity.PodAntiAffinity.PreferredDuringSchedulingIgnoredDuringExecution {
		terms = append(terms, antiAffinityTerm{weighted.PodAffinityTerm, fmt.Sprintf("%s/%d/podAffinityTerm", preferredPath, i), false})
	}
	return terms
}
