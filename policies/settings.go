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

// Strategy is the strategy in spec.spread of a policy.
type Strategy = v1alpha1.SpreadStrategy

// WhenUnsatisfiable is the field of the same name in spec.spread of a policy.
type WhenUnsatisfiable = v1alpha1.WhenUnsatisfiable

// Settings is the effective configuration for one object. Resolve merges it from every policy that matches the object,
// and Decide reads it. The zero value is the built-in defaults.
type Settings struct {
	// Modes holds the modes that policies set for rules of the catalogue, by rule id. A rule without an entry has its
	// default mode.
	Modes map[string]Mode
	// DenyExisting holds the ids of the rules in Modes whose mode comes from a policy with existingViolations: Deny. What
	// they find is denied or repaired even if the stored object had the finding already.
	DenyExisting map[string]bool
	// Spread says how workloads should be spread. Zero fields have the built-in values: TopologySpread, ScheduleAnyway
	// and 1.
	Spread v1alpha1.Spread
	// Exemptions says which exemption annotations count; empty means Objects.
	Exemptions v1alpha1.Exemptions
	// LoadBalancers names the load balancer provider of Services whose annotations do not identify it.
	LoadBalancers v1alpha1.LoadBalancers
	// Parameters is input.parameters of the built-in modules.
	Parameters map[string]any
	// Applied holds the policies that match, highest precedence first.
	Applied []AppliedPolicy

	// of holds all policies, matching or not, from which settings for neighbours of the object are resolved.
	of Policies
}

// AppliedPolicy is one policy that matches the object.
type AppliedPolicy struct {
	Name string
	// Modes holds the modes that the policy sets, by rule id. For rules in the policy's own Rego only these count: a rule
	// with the same id in another policy is a different rule.
	Modes map[string]Mode
	// Parameters is input.parameters of the policy's own modules.
	Parameters map[string]any
	// EvaluationFailure is the mode of findings about modules that could not be evaluated.
	EvaluationFailure Mode
	// DenyExisting is true if the policy has existingViolations: Deny. It applies to the rules in its own Rego.
	DenyExisting bool
}

// Policies is a list of SourceIPPolicies that are ready to be matched with objects. Their precedence is by
// spec.priority, highest first, then by name. The zero value is the empty list. It is safe for concurrent use.
type Policies struct {
	// Declared holds the ids of the rules that the Rego of the policies declares. It is not set by NewPolicies.
	Declared []string
	// Complete is true if there are no other policies, so that each id of a rule is in the catalogue or in Declared. It is
	// false where the policies were given as files.
	Complete bool

	// ordered is sorted by precedence, highest first.
	ordered []preparedPolicy
}

// preparedPolicy is a policy with the parts that would otherwise be parsed again for each object.
type preparedPolicy struct {
	v1alpha1.SourceIPPolicy
	// namespaces and objects are the selectors in spec.match.
	namespaces, objects labels.Selector
	applied             AppliedPolicy
}

// NewPolicies prepares policies, which may be in any order. The caller must not change them afterwards.
// The error is non-nil when a policy is invalid in a way that its Validate method reports.
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
		applied: AppliedPolicy{
			Name: policy.Name, EvaluationFailure: failureMode(policy.Spec.EvaluationFailure),
			DenyExisting: policy.Spec.ExistingViolations == v1alpha1.ExistingDeny,
		},
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

// selector converts a label selector. A nil selector selects everything, since an omitted part of a match does.
func selector(of *metav1.LabelSelector) (labels.Selector, error) {
	if of == nil {
		return labels.Everything(), nil
	}
	return metav1.LabelSelectorAsSelector(of)
}

// All yields the policies, highest precedence first.
func (p Policies) All() iter.Seq[v1alpha1.SourceIPPolicy] {
	return func(yield func(v1alpha1.SourceIPPolicy) bool) {
		for _, policy := range p.ordered {
			if !yield(policy.SourceIPPolicy) {
				return
			}
		}
	}
}

// Resolve returns the effective settings for an object in a Namespace, merged from every policy that matches it. If
// several of them set the same setting, the one with the highest precedence wins.
func Resolve(policies Policies, object *Object, namespace Namespace) Settings {
	settings := Settings{of: policies}
	for i := range policies.ordered {
		if policy := &policies.ordered[i]; policy.matches(object, namespace) {
			settings.add(policy)
		}
	}
	return settings
}

// SelectsNamespace reports whether spec.match of a policy selects at least one of these Namespaces, so that the policy
// can apply to an object. A nil match selects all. A selector that is not valid, which the Validate method of a policy
// reports, selects none.
func SelectsNamespace(match *v1alpha1.Match, namespaces []Namespace) bool {
	if match == nil {
		return true
	}
	p := preparedPolicy{SourceIPPolicy: v1alpha1.SourceIPPolicy{Spec: v1alpha1.SourceIPPolicySpec{Match: match}}}
	var err error
	p.namespaces, err = selector(match.NamespaceSelector)
	return err == nil && slices.ContainsFunc(namespaces, func(namespace Namespace) bool {
		return !p.excludes(namespace.Name) && p.selectsNamespace(namespace)
	})
}

// add merges in the settings of a policy that no earlier policy has set.
func (s *Settings) add(policy *preparedPolicy) {
	spec := policy.Spec
	for _, rule := range spec.Rules {
		if _, isSet := s.Modes[rule.ID]; !isSet && policy.applied.DenyExisting {
			setOnce(&s.DenyExisting, rule.ID, true)
		}
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

// setOnce sets the value of a key unless the map has one.
func setOnce[V any](m *map[string]V, key string, value V) {
	if *m == nil {
		*m = map[string]V{}
	}
	if _, ok := (*m)[key]; !ok {
		(*m)[key] = value
	}
}

func (p *preparedPolicy) matches(object *Object, namespace Namespace) bool {
	return p.Spec.Match == nil || !p.excludes(object.Namespace) && p.selectsNamespace(namespace) && p.selectsObject(object)
}

// The following methods check the parts of spec.match, which must not be nil. Explain reports each part separately.

func (p *preparedPolicy) excludes(namespace string) bool {
	return slices.Contains(p.Spec.Match.ExcludeNamespaces, namespace)
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

// modeOf returns the mode for findings of a rule in the catalogue: the mode that a policy sets for the rule, else the
// mode that a policy sets for the rule that it follows, else byDefault.
func (s Settings) modeOf(rule *Rule, byDefault Mode) Mode {
	return s.mode(rule.ID, s.mode(rule.follows, byDefault))
}

// mode returns the mode that a policy sets for a rule, else byDefault.
func (s Settings) mode(rule string, byDefault Mode) Mode {
	if mode, ok := s.Modes[rule]; ok {
		return mode
	}
	return byDefault
}

// deniesExisting reports whether a finding is denied or repaired even if the stored object had it already.
func (s Settings) deniesExisting(found result) bool {
	if found.policy != "" {
		return slices.ContainsFunc(s.Applied, func(a AppliedPolicy) bool { return a.Name == found.policy && a.DenyExisting })
	}
	rule, _ := RuleByID(found.Rule)
	if _, ok := s.Modes[rule.ID]; !ok {
		return s.DenyExisting[rule.follows]
	}
	return s.DenyExisting[rule.ID]
}

// forNeighbour returns the settings for a Service that is a neighbour of the object. Settings that were not resolved
// from policies apply to neighbours as well.
func (s Settings) forNeighbour(service *corev1.Service, namespace Namespace) Settings {
	if len(s.of.ordered) == 0 {
		return s
	}
	return Resolve(s.of, &Object{Ref: serviceRef(service), Service: service}, namespace)
}

// provider returns the load balancer provider that policies name for a loadBalancerClass, else their default; empty if
// they name neither.
func (s Settings) provider(class *string) string {
	if class != nil {
		if provider, ok := s.LoadBalancers.Classes[*class]; ok {
			return provider
		}
	}
	return s.LoadBalancers.Default
}

// probeWindow returns the number of seconds that a load balancer takes to stop sending traffic to a node without pods.
func (s Settings) probeWindow() float64 {
	// The Validate method of a policy rejects values that are not numbers.
	if seconds, ok := s.Parameters[v1alpha1.ParameterProbeWindowSeconds].(float64); ok {
		return seconds
	}
	return v1alpha1.DefaultProbeWindowSeconds
}

// with returns how one workload should be spread. Each field comes from Rego if that sets it, else from the policies,
// else from builtInSpread.
func (s Settings) with(wishes []SpreadWish) v1alpha1.Spread {
	var spread v1alpha1.Spread
	for _, wish := range wishes {
		spread.Strategy = cmp.Or(spread.Strategy, wish.Strategy)
		spread.WhenUnsatisfiable = cmp.Or(spread.WhenUnsatisfiable, wish.WhenUnsatisfiable)
		spread.MaxSkew = cmp.Or(spread.MaxSkew, wish.MaxSkew)
	}
	set, builtIn := s.Spread, builtInSpread
	spread.Strategy = cmp.Or(spread.Strategy, set.Strategy, builtIn.Strategy)
	spread.WhenUnsatisfiable = cmp.Or(spread.WhenUnsatisfiable, set.WhenUnsatisfiable, builtIn.WhenUnsatisfiable)
	spread.MaxSkew = cmp.Or(spread.MaxSkew, set.MaxSkew, builtIn.MaxSkew)
	return spread
}

// builtInSpread is the default for workloads for which no policy sets spec.spread.
var builtInSpread = v1alpha1.Spread{
	Strategy:          v1alpha1.StrategyTopologySpread,
	WhenUnsatisfiable: v1alpha1.ScheduleAnyway,
	MaxSkew:           1,
}
