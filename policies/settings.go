package policies

import (
	"cmp"
	"encoding/json"
	"fmt"
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

	// all are the policies that were resolved, for the neighbours of the object.
	all []v1alpha1.SourceIPPolicy
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

// Resolve returns what policies, in any order, make of an object in a Namespace.
// The error is non-nil when a policy is invalid in a way that its Validate would have told.
func Resolve(policies []v1alpha1.SourceIPPolicy, object *Object, namespace Namespace) (Settings, error) {
	settings := Settings{all: policies}
	for _, policy := range inOrder(policies) {
		matches, err := matches(policy.Spec.Match, object, namespace)
		if err != nil {
			return Settings{}, fmt.Errorf("SourceIPPolicy %s: %w", policy.Name, err)
		}
		if !matches {
			continue
		}
		applied := AppliedPolicy{Name: policy.Name, EvaluationFailure: failureMode(policy.Spec.EvaluationFailure)}
		if policy.Spec.Parameters != nil {
			if err := json.Unmarshal(policy.Spec.Parameters.Raw, &applied.Parameters); err != nil {
				return Settings{}, fmt.Errorf("SourceIPPolicy %s: spec.parameters: %w", policy.Name, err)
			}
		}
		settings.add(policy.Spec, applied)
	}
	return settings, nil
}

// add takes from a policy what no policy before it has set.
func (s *Settings) add(spec v1alpha1.SourceIPPolicySpec, applied AppliedPolicy) {
	for _, rule := range spec.Rules {
		mode := Mode(strings.ToLower(string(rule.Mode)))
		setOnce(&s.Modes, rule.ID, mode)
		setOnce(&applied.Modes, rule.ID, mode)
	}
	s.Applied = append(s.Applied, applied)
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
	for key, value := range applied.Parameters {
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

// inOrder sorts policies by priority, higher first, and then by name.
func inOrder(policies []v1alpha1.SourceIPPolicy) []v1alpha1.SourceIPPolicy {
	return slices.SortedStableFunc(slices.Values(policies), func(a, b v1alpha1.SourceIPPolicy) int {
		return cmp.Or(cmp.Compare(b.Spec.Priority, a.Spec.Priority), strings.Compare(a.Name, b.Name))
	})
}

func matches(match *v1alpha1.Match, object *Object, namespace Namespace) (bool, error) {
	if match == nil {
		return true, nil
	}
	if slices.Contains(match.ExcludeNamespaces, object.Namespace) {
		return false, nil
	}
	inNamespace, err := selectorMatches(match.NamespaceSelector, namespace.Labels)
	if err != nil {
		return false, fmt.Errorf("spec.match.namespaceSelector: %w", err)
	}
	inNamespace = inNamespace && namespace.knows(match.NamespaceSelector)
	inObject, err := selectorMatches(match.ObjectSelector, object.labels())
	if err != nil {
		return false, fmt.Errorf("spec.match.objectSelector: %w", err)
	}
	return inNamespace && inObject, nil
}

// selectorMatches is true where there is no selector: a part of a match that is omitted selects all.
func selectorMatches(selector *metav1.LabelSelector, set map[string]string) (bool, error) {
	if selector == nil {
		return true, nil
	}
	s, err := metav1.LabelSelectorAsSelector(selector)
	if err != nil {
		return false, err
	}
	return s.Matches(labels.Set(set)), nil
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

// mode returns the mode that a policy set for a rule, or else the default.
func (s Settings) mode(rule string, byDefault Mode) Mode {
	if mode, ok := s.Modes[rule]; ok {
		return mode
	}
	return byDefault
}

// forNeighbour returns the settings for a Service beside the object that these settings are for.
// Settings that were not resolved from policies are those of the neighbours too.
func (s Settings) forNeighbour(service *corev1.Service, namespace Namespace) (Settings, error) {
	if len(s.all) == 0 {
		return s, nil
	}
	return Resolve(s.all, &Object{Ref: serviceRef(service), Service: service}, namespace)
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

// with returns the settings with what Rego wishes for the spread of one workload, which wins.
func (s Settings) with(wishes []SpreadWish) v1alpha1.Spread {
	var spread v1alpha1.Spread
	for _, wish := range wishes {
		spread.Strategy = cmp.Or(spread.Strategy, wish.Strategy)
		spread.WhenUnsatisfiable = cmp.Or(spread.WhenUnsatisfiable, wish.WhenUnsatisfiable)
		spread.MaxSkew = cmp.Or(spread.MaxSkew, wish.MaxSkew)
	}
	spread.Strategy = cmp.Or(spread.Strategy, s.Spread.Strategy, v1alpha1.StrategyTopologySpread)
	spread.WhenUnsatisfiable = cmp.Or(spread.WhenUnsatisfiable, s.Spread.WhenUnsatisfiable, v1alpha1.ScheduleAnyway)
	spread.MaxSkew = cmp.Or(spread.MaxSkew, s.Spread.MaxSkew, 1)
	return spread
}
