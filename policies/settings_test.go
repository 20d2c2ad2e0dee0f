package policies

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/sourceward/sourceward/api/v1alpha1"
)

func policy(name string, tweak func(*v1alpha1.SourceIPPolicySpec)) v1alpha1.SourceIPPolicy {
	p := v1alpha1.SourceIPPolicy{ObjectMeta: metav1.ObjectMeta{Name: name}}
	tweak(&p.Spec)
	p.Default()
	return p
}

func prepared(t *testing.T, list ...v1alpha1.SourceIPPolicy) Policies {
	t.Helper()
	policies, err := NewPolicies(list)
	if err != nil {
		t.Fatal(err)
	}
	return policies
}

// TestSelectsNamespace checks that a policy selects a Namespace just if Resolve applies it to some object there.
func TestSelectsNamespace(t *testing.T) {
	t.Parallel()
	team := func(name string) *metav1.LabelSelector {
		return &metav1.LabelSelector{MatchLabels: map[string]string{"team": name}}
	}
	edge := Namespace{Name: "edge", Labels: map[string]string{"team": "a"}}
	assumed := Namespace{Name: "mail", Labels: map[string]string{corev1.LabelMetadataName: "mail"}, Assumed: true}
	tests := map[string]struct {
		match *v1alpha1.Match
		want  bool
	}{
		"no match":                      {nil, true},
		"an empty match":                {&v1alpha1.Match{}, true},
		"labels that the Namespace has": {&v1alpha1.Match{NamespaceSelector: team("a")}, true},
		"labels that no Namespace has":  {&v1alpha1.Match{NamespaceSelector: team("b")}, false},
		"one of two is excluded":        {&v1alpha1.Match{ExcludeNamespaces: []string{"edge"}}, true},
		"all are excluded":              {&v1alpha1.Match{ExcludeNamespaces: []string{"mail", "edge"}}, false},
		"the only one with them is excluded": {
			&v1alpha1.Match{NamespaceSelector: team("a"), ExcludeNamespaces: []string{"edge"}}, false,
		},
		"labels of objects do not count": {&v1alpha1.Match{ObjectSelector: &metav1.LabelSelector{}}, true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			all := []Namespace{edge, assumed}
			if got := SelectsNamespace(test.match, all); got != test.want {
				t.Errorf("SelectsNamespace() = %t, want %t", got, test.want)
			}
			list := prepared(t, policy("p", func(s *v1alpha1.SourceIPPolicySpec) { s.Match = test.match }))
			applies := slices.ContainsFunc(all, func(n Namespace) bool {
				object := &Object{Ref: Ref{Namespace: n.Name}, Service: &corev1.Service{}}
				return len(Resolve(list, object, n).Applied) > 0
			})
			if applies != test.want {
				t.Errorf("Resolve() applies the policy: %t, want %t", applies, test.want)
			}
		})
	}
	invalid := &v1alpha1.Match{NamespaceSelector: &metav1.LabelSelector{
		MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "team", Operator: "Is"}},
	}}
	if SelectsNamespace(invalid, []Namespace{edge}) {
		t.Error("SelectsNamespace() = true for a selector that is not valid")
	}
	if !SelectsNamespace(nil, nil) {
		t.Error("SelectsNamespace() = false without a match")
	}
}

func TestResolve(t *testing.T) {
	service := &Object{
		Ref: Ref{APIVersion: "v1", Kind: "Service", Namespace: "edge", Name: "web"},
		Service: &corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Namespace: "edge", Name: "web", Labels: map[string]string{"tier": "front"}},
		},
	}
	namespace := Namespace{Name: "edge", Labels: map[string]string{"team": "a"}}
	mode := func(id string, mode v1alpha1.Mode) func(*v1alpha1.SourceIPPolicySpec) {
		return func(s *v1alpha1.SourceIPPolicySpec) { s.Rules = []v1alpha1.RuleMode{{ID: id, Mode: mode}} }
	}
	matching := func(match v1alpha1.Match) func(*v1alpha1.SourceIPPolicySpec) {
		return func(s *v1alpha1.SourceIPPolicySpec) { s.Match = &match }
	}
	applied := func(names ...string) []AppliedPolicy {
		var list []AppliedPolicy
		for _, name := range names {
			list = append(list, AppliedPolicy{Name: name, EvaluationFailure: Warn})
		}
		return list
	}
	tests := map[string]struct {
		policies []v1alpha1.SourceIPPolicy
		want     Settings
	}{
		"without policies, the defaults apply": {nil, Settings{}},
		"the higher priority wins, independent of the name": {
			[]v1alpha1.SourceIPPolicy{
				policy("a", mode("r", v1alpha1.ModeWarn)),
				policy("b", func(s *v1alpha1.SourceIPPolicySpec) { mode("r", v1alpha1.ModeDeny)(s); s.Priority = 1 }),
			},
			Settings{Modes: map[string]Mode{"r": Deny}, Applied: []AppliedPolicy{
				{Name: "b", EvaluationFailure: Warn, Modes: map[string]Mode{"r": Deny}},
				{Name: "a", EvaluationFailure: Warn, Modes: map[string]Mode{"r": Warn}},
			}},
		},
		"with equal priorities, the first name wins, in any order": {
			[]v1alpha1.SourceIPPolicy{policy("b", mode("r", v1alpha1.ModeDeny)), policy("a", mode("r", v1alpha1.ModeOff))},
			Settings{Modes: map[string]Mode{"r": off}, Applied: []AppliedPolicy{
				{Name: "a", EvaluationFailure: Warn, Modes: map[string]Mode{"r": off}},
				{Name: "b", EvaluationFailure: Warn, Modes: map[string]Mode{"r": Deny}},
			}},
		},
		"each rule's mode is a setting of its own": {
			[]v1alpha1.SourceIPPolicy{policy("a", mode("r", v1alpha1.ModeAudit)), policy("b", mode("s", v1alpha1.ModeMutate))},
			Settings{Modes: map[string]Mode{"r": Audit, "s": Mutate}, Applied: []AppliedPolicy{
				{Name: "a", EvaluationFailure: Warn, Modes: map[string]Mode{"r": Audit}},
				{Name: "b", EvaluationFailure: Warn, Modes: map[string]Mode{"s": Mutate}},
			}},
		},
		"each field of spread is a setting of its own": {
			[]v1alpha1.SourceIPPolicy{
				policy("a", func(s *v1alpha1.SourceIPPolicySpec) { s.Spread = &v1alpha1.Spread{MaxSkew: 2} }),
				policy("b", func(s *v1alpha1.SourceIPPolicySpec) {
					s.Spread = &v1alpha1.Spread{MaxSkew: 3, Strategy: v1alpha1.StrategyPodAntiAffinity}
				}),
			},
			Settings{
				Spread:  v1alpha1.Spread{MaxSkew: 2, Strategy: v1alpha1.StrategyPodAntiAffinity},
				Applied: applied("a", "b"),
			},
		},
		"each top-level key of parameters is a setting, and each policy gets its own": {
			[]v1alpha1.SourceIPPolicy{
				policy("a", func(s *v1alpha1.SourceIPPolicySpec) {
					s.Parameters = &runtime.RawExtension{Raw: []byte(`{"x": {"deep": 1}}`)}
				}),
				policy("b", func(s *v1alpha1.SourceIPPolicySpec) {
					s.Parameters = &runtime.RawExtension{Raw: []byte(`{"x": {"other": 2}, "y": "z"}`)}
				}),
			},
			Settings{
				Parameters: map[string]any{"x": map[string]any{"deep": 1.0}, "y": "z"},
				Applied: []AppliedPolicy{
					{Name: "a", EvaluationFailure: Warn, Parameters: map[string]any{"x": map[string]any{"deep": 1.0}}},
					{Name: "b", EvaluationFailure: Warn, Parameters: map[string]any{"x": map[string]any{"other": 2.0}, "y": "z"}},
				},
			},
		},
		"exemptions and load balancers come from the first policy that sets them": {
			[]v1alpha1.SourceIPPolicy{
				policy("a", func(s *v1alpha1.SourceIPPolicySpec) {
					s.LoadBalancers = &v1alpha1.LoadBalancers{Classes: map[string]string{"c": "metallb-l2"}}
				}),
				policy("b", func(s *v1alpha1.SourceIPPolicySpec) {
					s.Exemptions = v1alpha1.ExemptionsNone
					s.LoadBalancers = &v1alpha1.LoadBalancers{
						Default: "metallb-bgp",
						Classes: map[string]string{"c": "aws-nlb-ip", "d": "aws-nlb-ip"},
					}
				}),
			},
			Settings{
				Exemptions: v1alpha1.ExemptionsNone,
				LoadBalancers: v1alpha1.LoadBalancers{
					Default: "metallb-bgp",
					Classes: map[string]string{"c": "metallb-l2", "d": "aws-nlb-ip"},
				},
				Applied: applied("a", "b"),
			},
		},
		"the parts of a match are ANDed": {
			[]v1alpha1.SourceIPPolicy{
				policy("both", matching(v1alpha1.Match{
					NamespaceSelector: selecting("team", "a"), ObjectSelector: selecting("tier", "front"),
				})),
				policy("namespace-only", matching(v1alpha1.Match{
					NamespaceSelector: selecting("team", "a"), ObjectSelector: selecting("tier", "back"),
				})),
				policy("object-only", matching(v1alpha1.Match{
					NamespaceSelector: selecting("team", "b"), ObjectSelector: selecting("tier", "front"),
				})),
				policy("excluded", matching(v1alpha1.Match{ExcludeNamespaces: []string{"edge"}})),
				policy("empty", matching(v1alpha1.Match{NamespaceSelector: &metav1.LabelSelector{}})),
			},
			Settings{Applied: applied("both", "empty")},
		},
		"evaluationFailure is each policy's own": {
			[]v1alpha1.SourceIPPolicy{
				policy("a", func(s *v1alpha1.SourceIPPolicySpec) { s.EvaluationFailure = v1alpha1.FailureIgnore }),
				policy("b", func(s *v1alpha1.SourceIPPolicySpec) { s.EvaluationFailure = v1alpha1.FailureDeny }),
			},
			Settings{Applied: []AppliedPolicy{{Name: "a", EvaluationFailure: Audit}, {Name: "b", EvaluationFailure: Deny}}},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := Resolve(prepared(t, test.policies...), service, namespace)
			if diff := cmp.Diff(test.want, got, cmpopts.IgnoreUnexported(Settings{})); diff != "" {
				t.Errorf("Resolve() mismatch (-want +got):\n%s", diff)
			}
		})
	}
}

func TestAssumedNamespaceHasOnlyItsName(t *testing.T) {
	object := &Object{Ref: Ref{Namespace: "edge"}, Service: &corev1.Service{}}
	expression := func(key string, operator metav1.LabelSelectorOperator, values ...string) *metav1.LabelSelector {
		return &metav1.LabelSelector{
			MatchExpressions: []metav1.LabelSelectorRequirement{{Key: key, Operator: operator, Values: values}},
		}
	}
	for name, test := range map[string]struct {
		selector *metav1.LabelSelector
		want     bool
	}{
		"by name":                   {selecting(corev1.LabelMetadataName, "edge"), true},
		"by name, negated":          {expression(corev1.LabelMetadataName, metav1.LabelSelectorOpNotIn, "mail"), true},
		"by another label":          {selecting("team", "a"), false},
		"by the absence of a label": {expression("team", metav1.LabelSelectorOpDoesNotExist), false},
		"by another label, negated": {expression("team", metav1.LabelSelectorOpNotIn, "a"), false},
		"all":                       {&metav1.LabelSelector{}, true},
	} {
		t.Run(name, func(t *testing.T) {
			p := policy("p", func(s *v1alpha1.SourceIPPolicySpec) {
				s.Match = &v1alpha1.Match{NamespaceSelector: test.selector}
			})
			namespace := Namespace{Name: "edge", Labels: map[string]string{corev1.LabelMetadataName: "edge"}, Assumed: true}
			settings := Resolve(prepared(t, p), object, namespace)
			if got := len(settings.Applied) > 0; got != test.want {
				t.Errorf("Resolve() applies the policy: %v, want %v", got, test.want)
			}
		})
	}
}

func TestNewPoliciesRejectsWhatValidateReports(t *testing.T) {
	for name, tweak := range map[string]func(*v1alpha1.SourceIPPolicySpec){
		"an invalid selector": func(s *v1alpha1.SourceIPPolicySpec) {
			s.Match = &v1alpha1.Match{ObjectSelector: &metav1.LabelSelector{
				MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "a", Operator: "Like"}},
			}}
		},
		"parameters that are not an object": func(s *v1alpha1.SourceIPPolicySpec) {
			s.Parameters = &runtime.RawExtension{Raw: []byte(`[]`)}
		},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := NewPolicies([]v1alpha1.SourceIPPolicy{policy("p", tweak)}); err == nil {
				t.Error("NewPolicies() error = nil, want one")
			}
		})
	}
}
