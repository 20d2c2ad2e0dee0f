package policies

import (
	"cmp"
	"encoding/json"
	"fmt"
	"iter"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/sourceward/sourceward/api/v1alpha1"
)

// Strategy is the word of a policy's spec.spread.
type Strategy = v1alpha1.SpreadStrategy

// WhenUnsatisfiable is the word of a policy's spec.spread.
type WhenUnsatisfiable = v1alpha1.WhenUnsatisfiable

// Settings are what the policies that match an object make of it. The zero value is the built-in
// defaults.
type Settings struct {
	// Modes are the modes that policies set for rules of the catalogue, by rule id. A rule that is
	// not in it has the mode of the catalogue.
	Modes map[string]Mode
	// Spread says how workloads are spread. Fields that are zero have the built-in values:
	// TopologySpread, ScheduleAnyway and 1.
	Spread v1alpha1.Spread
	// Exemptions says whose exemption annotations count; empty means Objects.
	Exemptions v1alpha1.Exemptions
	// LoadBalancers names providers where an annotation does not tell.
	LoadBalancers v1alpha1.LoadBalancers
	// Parameters is what the built-in modules read as input.parameters.
	Parameters map[string]any
	// Applied are the policies that match, in their order.
	Applied []AppliedPolicy

	// of are the policies that were resolved, for the neighbours of the object.
	of Policies
}

// AppliedPolicy is one policy that matches the object.
type AppliedPolicy struct {
	Name string
	// Modes are the modes that it sets, by rule id. For its own rules they are what counts: a rule of
	// the same id in another policy is another rule.
	Modes map[string]Mode
	// Parameters is what its own modules read as input.parameters.
	Parameters map[string]any
	// EvaluationFailure is the mode of a fault in its modules.
	EvaluationFailure Mode
}

// Policies are SourceIPPolicies, ready to be matched with objects. The zero value is none. It is safe for concurrent use.
type Policies struct {
	// ordered are in the order in which their settings count.
	ordered []preparedPolicy
}

// preparedPolicy is a policy with what would otherwise be parsed for each object.
type preparedPolicy struct {
	v1alpha1.SourceIPPolicy
	// namespaces and objects are the selectors of its match.
	namespaces, objects labels.Selector
	applied             AppliedPolicy
}

// NewPolicies prepares policies, in any order. They must not be changed afterwards.
// The error is non-nil when one is invalid in a way that its Validate would have told.
func NewPolicies(list []v1alpha1.SourceIPPolicy) (Policies, error) {
	prepared := Policies{ordered: make([]preparedPolicy, len(list))}
	for i, policy := range list {
		var err error
		if prepared.ordered[i], err = prepare(policy); err != nil {
			return Policies{}, fmt.Errorf("SourceIPPolicy %s: %w", policy.Name, err)
		}
	}
	slices.SortStableFunc(prepared.ordered, func(a, b preparedPolicy) int {
		return cmp.Or(cmp.Compare(b.Spec.Priority, a.Spec.Priority), strings.Compare(a.Name, b.Name))
	})
	return prepared, nil
}

func prepare(policy v1alpha1.SourceIPPolicy) (preparedPolicy, error) {
	p := preparedPolicy{
		SourceIPPolicy: policy, namespaces: labels.Everything(), objects: labels.Everything(),
		applied: AppliedPolicy{Name: policy.Name, EvaluationFailure: failureMode(policy.Spec.EvaluationFailure)},
	}
	if match := policy.Spec.Match; match != nil {
		var err error
		if p.namespaces, err = selector(match.NamespaceSelector); err != nil {
			return p, fmt.Errorf("spec.match.namespaceSelector: %w", err)
		}
		if p.objects, err = selector(match.ObjectSelector); err != nil {
			return p, fmt.Errorf("spec.match.objectSelector: %w", err)
		}
	}
	if policy.Spec.Parameters != nil {
		if err := json.Unmarshal(policy.Spec.Parameters.Raw, &p.applied.Parameters); err != nil {
			return p, fmt.Errorf("spec.parameters: %w", err)
		}
	}
	for _, rule := range policy.Spec.Rules {
		setOnce(&p.applied.Modes, rule.ID, Mode(strings.ToLower(string(rule.Mode))))
	}
	return p, nil
}

// selector selects all where there is none: a part of a match that is omitted selects all.
func selector(of *metav1.LabelSelector) (labels.Selector, error) {
	if of == nil {
		return labels.Everything(), nil
	}
	return metav1.LabelSelectorAsSelector(of)
}

// All yields the policies, in the order in which their settings count.
func (p Policies) All() iter.Seq[v1alpha1.SourceIPPolicy] {
	return func(yield func(v1alpha1.SourceIPPolicy) bool) {
		for _, policy := range p.ordered {
			if !yield(policy.SourceIPPolicy) {
				return
			}
		}
	}
}

// Resolve returns what policies make of an object in a Namespace.
func Resolve(policies Policies, object *Object, namespace Namespace) Settings {
	settings := Settings{of: policies}
	for i := range policies.ordered {
		if policy := &policies.ordered[i]; policy.matches(object, namespace) {
			settings.add(policy)
		}
	}
	return settings
}

// add takes from a policy what no policy before it has set.
func (s *Settings) add(policy *preparedPolicy) {
	spec := policy.Spec
	for _, rule := range spec.Rules {
		setOnce(&s.Modes, rule.ID, policy.applied.Modes[rule.ID])
	}
	s.Applied = append(s.Applied, policy.applied)
	if spread := spec.Spread; spread != nil {
		s.Spread.Strategy = cmp.Or(s.Spread.Strategy, spread.Strategy)
		s.Spread.WhenUnsatisfiable = cmp.Or(s.Spread.WhenUnsatisfiable, spread.WhenUnsatisfiable)
		s.Spread.MaxSkew = cmp.Or(s.Spread.MaxSkew, spread.MaxSkew)
	}
	s.Exemptions = cmp.Or(s.Exemptions, spec.Exemptions)
	if balancers := spec.LoadBalancers; balancers != nil {
		s.LoadBalancers.Default = cmp.Or(s.LoadBalancers.Default, balancers.Default)
		for class, provider := range balancers.Classes {
			setOnce(&s.LoadBalancers.Classes, class, provider)
		}
	}
	for key, value := range policy.applied.Parameters {
		setOnce(&s.Parameters, key, value)
	}
}

func setOnce[V any](m *map[string]V, key string, value V) {
	if *m == nil {
		*m = map[string]V{}
	}
	if _, ok := (*m)[key]; !ok {
		(*m)[key] = value
	}
}

func (p *preparedPolicy) matches(object *Object, namespace Namespace) bool {
	return p.Spec.Match == nil || !p.excludes(object) && p.selectsNamespace(namespace) && p.selectsObject(object)
}

// These are the parts of the match of a policy that has one. Explain asks them too, one by one.

func (p *preparedPolicy) excludes(object *Object) bool {
	return slices.Contains(p.Spec.Match.ExcludeNamespaces, object.Namespace)
}

func (p *preparedPolicy) selectsNamespace(namespace Namespace) bool {
	return namespace.knows(p.Spec.Match.NamespaceSelector) && p.namespaces.Matches(labels.Set(namespace.Labels))
}

func (p *preparedPolicy) selectsObject(object *Object) bool {
	return p.objects.Matches(labels.Set(object.labels()))
}

func failureMode(failure v1alpha1.EvaluationFailure) Mode {
	switch failure {
	case v1alpha1.FailureDeny:
		return Deny
	case v1alpha1.FailureIgnore:
		return Audit
	default:
		return Warn
	}
}

// modeOf returns the mode of a finding of a rule of the catalogue that itself asks for byDefault, which counts where no
// policy set the mode of the rule, nor of the one that it follows.
func (s Settings) modeOf(rule Rule, byDefault Mode) Mode {
	return s.mode(rule.ID, s.mode(rule.follows, byDefault))
}

// mode returns the mode that a policy set for a rule, or else the default.
func (s Settings) mode(rule string, byDefault Mode) Mode {
	if mode, ok := s.Modes[rule]; ok {
		return mode
	}
	return byDefault
}

// forNeighbour returns the settings for a Service beside the object that these settings are for.
// Settings that were not resolved from policies are those of the neighbours too.
func (s Settings) forNeighbour(service *corev1.Service, namespace Namespace) Settings {
	if len(s.of.ordered) == 0 {
		return s
	}
	return Resolve(s.of, &Object{Ref: serviceRef(service), Service: service}, namespace)
}

// provider returns what is said of a Service's load balancer; empty where nothing is.
func (s Settings) provider(class *string) string {
	if class != nil {
		if provider, ok := s.LoadBalancers.Classes[*class]; ok {
			return provider
		}
	}
	return s.LoadBalancers.Default
}

// probeWindow is how many seconds a load balancer takes to leave a node without pods.
func (s Settings) probeWindow() float64 {
	// What is no number the Validate of a policy refuses.
	if seconds, ok := s.Parameters[v1alpha1.ParameterProbeWindowSeconds].(float64); ok {
		return seconds
	}
	return v1alpha1.DefaultProbeWindowSeconds
}

// with returns the settings with what Rego wishes for the spread of one workload, which wins.
func (s Settings) with(wishes []SpreadWish) v1alpha1.Spread {
	var spread v1alpha1.Spread
	for _, wish := range wishes {
		spread.Strategy = cmp.Or(spread.Strategy, wish.Strategy)
		spread.WhenUnsatisfiable = cmp.Or(spread.WhenUnsatisfiable, wish.WhenUnsatisfiable)
		spread.MaxSkew = cmp.Or(spread.MaxSkew, wish.MaxSkew)
	}
	spread.Strategy = cmp.Or(spread.Strategy, s.Spread.Strategy, builtInSpread.Strategy)
	spread.WhenUnsatisfiable = cmp.Or(spread.WhenUnsatisfiable, s.Spread.WhenUnsatisfiable, builtInSpread.WhenUnsatisfiable)
	spread.MaxSkew = cmp.Or(spread.MaxSkew, s.Spread.MaxSkew, builtInSpread.MaxSkew)
	return spread
}

// builtInSpread is how workloads are spread where no policy says otherwise.
var builtInSpread = v1alpha1.Spread{
	Strategy:          v1alpha1.StrategyTopologySpread,
	WhenUnsatisfiable: v1alpha1.ScheduleAnyway,
	MaxSkew:           1,
}
