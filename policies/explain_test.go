package policies

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/sourceward/sourceward/api/v1alpha1"
)

// explainedService is the object that the tests explain, and explainedNamespace its Namespace, which has a team label.
var (
	explainedService = &Object{
		Ref: Ref{APIVersion: "v1", Kind: "Service", Namespace: "edge", Name: "web"},
		Service: &corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Namespace: "edge", Name: "web", Labels: map[string]string{"tier": "front"}},
		},
	}
	explainedNamespace = Namespace{
		Name:   "edge",
		Labels: map[string]string{corev1.LabelMetadataName: "edge", "team": "web"},
	}
)

func TestExplainSaysWhyAPolicyMatches(t *testing.T) {
	t.Parallel()
	assumed := Namespace{Name: "edge", Labels: map[string]string{corev1.LabelMetadataName: "edge"}, Assumed: true}
	notIn := &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{
		{Key: "team", Operator: metav1.LabelSelectorOpNotIn, Values: []string{"web", "mail"}},
		{Key: "team", Operator: metav1.LabelSelectorOpExists},
	}}
	tests := map[string]struct {
		match     *v1alpha1.Match
		namespace Namespace
		matches   bool
		why       string
	}{
		"no match":    {nil, explainedNamespace, true, "match is not set: all objects"},
		"empty match": {&v1alpha1.Match{}, explainedNamespace, true, "match is empty: all objects"},
		"excluded": {&v1alpha1.Match{ExcludeNamespaces: []string{"mail", "edge"}}, explainedNamespace, false,
			"excludeNamespaces lists edge"},
		"not excluded": {&v1alpha1.Match{ExcludeNamespaces: []string{"mail"}}, explainedNamespace, true,
			"excludeNamespaces does not list edge"},
		"the Namespace has another value": {
			&v1alpha1.Match{NamespaceSelector: selecting("team", "mail")},
			explainedNamespace,
			false,
			"namespaceSelector team=mail does not select Namespace edge (team=web)",
		},
		"the Namespace lacks the label": {
			&v1alpha1.Match{NamespaceSelector: selecting("zone", "a")},
			explainedNamespace,
			false,
			"namespaceSelector zone=a does not select Namespace edge (no zone)",
		},
		"a label that is read twice is listed once": {&v1alpha1.Match{NamespaceSelector: notIn}, explainedNamespace, false,
			"namespaceSelector team notin (mail,web),team does not select Namespace edge (team=web)"},
		"the Namespace is selected": {&v1alpha1.Match{NamespaceSelector: selecting("team", "web")}, explainedNamespace, true,
			"namespaceSelector team=web selects Namespace edge"},
		"an empty selector": {&v1alpha1.Match{NamespaceSelector: &metav1.LabelSelector{}}, assumed, true,
			"namespaceSelector is empty and selects all"},
		"labels that are not known": {&v1alpha1.Match{NamespaceSelector: selecting("team", "web")}, assumed, false,
			"namespaceSelector team=web: the labels of Namespace edge are not known"},
		"the name is known": {&v1alpha1.Match{NamespaceSelector: selecting(corev1.LabelMetadataName, "edge")}, assumed, true,
			"namespaceSelector kubernetes.io/metadata.name=edge selects Namespace edge"},
		"the object has another label": {
			&v1alpha1.Match{ObjectSelector: selecting("tier", "back")},
			explainedNamespace,
			false,
			"objectSelector tier=back does not select Service edge/web (tier=front)",
		},
		"if all parts select, all are listed": {
			&v1alpha1.Match{
				NamespaceSelector: selecting("team", "web"),
				ObjectSelector:    selecting("tier", "front"),
				ExcludeNamespaces: []string{"mail"},
			},
			explainedNamespace, true,
			"excludeNamespaces does not list edge; namespaceSelector team=web selects Namespace edge; " +
				"objectSelector tier=front selects Service edge/web",
		},
		"if some parts exclude, only those are listed": {
			&v1alpha1.Match{
				NamespaceSelector: selecting("team", "mail"),
				ObjectSelector:    selecting("tier", "front"),
				ExcludeNamespaces: []string{"edge"},
			},
			explainedNamespace, false,
			"excludeNamespaces lists edge; namespaceSelector team=mail does not select Namespace edge (team=web)",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := policy("p", func(s *v1alpha1.SourceIPPolicySpec) { s.Match, s.Priority = test.match, 3 })
			got := Explain(prepared(t, p), explainedService, test.namespace).Policies
			want := []ExplainedPolicy{
				{Name: "p", Priority: 3, Matches: test.matches, Why: test.why, EvaluationFailure: v1alpha1.FailureWarn},
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("Explain() mismatch (-want +got):\n%s", diff)
			}
		})
	}
}

func TestExplainSaysWhichPolicySetsASetting(t *testing.T) {
	t.Parallel()
	modes := func(pairs ...string) func(*v1alpha1.SourceIPPolicySpec) {
		return func(s *v1alpha1.SourceIPPolicySpec) {
			for i := 0; i < len(pairs); i += 2 {
				s.Rules = append(s.Rules, v1alpha1.RuleMode{ID: pairs[i], Mode: v1alpha1.Mode(pairs[i+1])})
			}
		}
	}
	balancers := func(provider string, classes map[string]string) func(*v1alpha1.SourceIPPolicySpec) {
		return func(s *v1alpha1.SourceIPPolicySpec) {
			s.LoadBalancers = &v1alpha1.LoadBalancers{Default: provider, Classes: classes}
		}
	}
	parameters := func(raw string) func(*v1alpha1.SourceIPPolicySpec) {
		return func(s *v1alpha1.SourceIPPolicySpec) { s.Parameters = &runtime.RawExtension{Raw: []byte(raw)} }
	}
	const unspread, ineffective = "unspread-behind-local", "ineffective-spread"
	tests := map[string]struct {
		policies []v1alpha1.SourceIPPolicy
		// want holds, by name, the values of the settings that the case checks, each as value/policy/by.
		want map[string][][]string
	}{
		"no policy": {nil, map[string][][]string{
			"rules[unspread-behind-local]": {{"Warn//"}},
			"spread.maxSkew":               {{"1//"}},
			"exemptions":                   {{"Objects//"}},
			"loadBalancers.default":        {{"//"}},
		}},
		"the first policy wins, and the others are listed in their order": {
			[]v1alpha1.SourceIPPolicy{
				policy("a", modes(unspread, "Mutate")),
				policy("b", modes(unspread, "Off")),
				policy("c", modes("local-on-cluster-ip", "Audit")),
			},
			map[string][][]string{
				"rules[unspread-behind-local]": {{"Mutate/a/", "Off/b/", "Warn//"}},
				"rules[local-on-cluster-ip]":   {{"Audit/c/", "Deny//"}},
			},
		},
		"a rule that follows another one has its mode": {
			[]v1alpha1.SourceIPPolicy{policy("a", modes(unspread, "Mutate"))},
			map[string][][]string{"rules[ineffective-spread]": {{"Mutate/a/rules[unspread-behind-local]", "Warn//"}}},
		},
		"a rule's own mode wins over that of the rule that it follows, in any order": {
			[]v1alpha1.SourceIPPolicy{policy("a", modes(unspread, "Mutate")), policy("b", modes(ineffective, "Deny"))},
			map[string][][]string{"rules[ineffective-spread]": {{"Deny/b/", "Mutate/a/rules[unspread-behind-local]", "Warn//"}}},
		},
		"two policies may have rules with the same id": {
			[]v1alpha1.SourceIPPolicy{policy("a", modes("corp", "Audit")), policy("b", modes("corp", "Deny"))},
			map[string][][]string{
				"rules[corp]": {{"Audit/a/", "Deny or Warn/a/its Rego"}, {"Deny/b/", "Deny or Warn/b/its Rego"}},
			},
		},
		"the default applies to classes that a policy does not list": {
			[]v1alpha1.SourceIPPolicy{
				policy("a", balancers("metallb-l2", nil)),
				policy("b", balancers("metallb-bgp", map[string]string{"c": "aws-nlb-ip"})),
			},
			map[string][][]string{
				"loadBalancers.default": {{"metallb-l2/a/", "metallb-bgp/b/", "//"}},
				"loadBalancers.classes[c]": {
					{"aws-nlb-ip/b/", "metallb-l2/a/loadBalancers.default", "metallb-bgp/b/loadBalancers.default", "//"},
				},
			},
		},
		"parameters are compact and sorted, and each key is a setting": {
			[]v1alpha1.SourceIPPolicy{
				policy("a", parameters(`{"x": {"z": [1, "<&>"], "a": null}, "n": null}`)),
				policy("b", parameters(`{"x": 2}`)),
			},
			map[string][][]string{
				`parameters[x]`: {{`{"a":null,"z":[1,"<&>"]}/a/`, "2/b/"}},
				`parameters[n]`: {{"null/a/"}},
			},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			all := prepared(t, test.policies...)
			explanation := Explain(all, explainedService, explainedNamespace)
			settings := Resolve(all, explainedService, explainedNamespace)
			if diff := cmp.Diff(resolved(settings), explained(explanation)); diff != "" {
				t.Errorf("values mismatch (-Resolve +Explain):\n%s", diff)
			}
			got := map[string][][]string{}
			for _, setting := range explanation.Settings {
				if _, ok := test.want[setting.Name]; !ok {
					continue
				}
				var values []string
				for _, v := range setting.Values {
					values = append(values, v.Value+"/"+v.Policy+"/"+v.By)
				}
				got[setting.Name] = append(got[setting.Name], values)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("Explain() mismatch (-want +got):\n%s", diff)
			}
		})
	}
}

func TestExplainNotesModesThatDependOnTheFinding(t *testing.T) {
	t.Parallel()
	notes := func(list ...v1alpha1.SourceIPPolicy) map[string]string {
		notes := map[string]string{}
		for _, setting := range Explain(prepared(t, list...), explainedService, explainedNamespace).Settings {
			if setting.Note != "" {
				notes[setting.Name] = setting.Note
			}
		}
		return notes
	}
	want := map[string]string{
		"rules[anti-affinity-deadlock]": antiAffinityDeadlock.DefaultModeNote,
		"rules[policy-not-evaluated]":   policyNotEvaluated.DefaultModeNote,
		"rules[source-ip-needs-local]":  sourceIPNeedsLocal.DefaultModeNote,
	}
	if diff := cmp.Diff(want, notes()); diff != "" {
		t.Errorf("notes mismatch (-want +got):\n%s", diff)
	}
	set := policy("a", func(s *v1alpha1.SourceIPPolicySpec) {
		s.Rules = []v1alpha1.RuleMode{{ID: sourceIPNeedsLocal.ID, Mode: v1alpha1.ModeDeny}}
	})
	delete(want, "rules[source-ip-needs-local]")
	if diff := cmp.Diff(want, notes(set)); diff != "" {
		t.Errorf("notes of a mode that is set mismatch (-want +got):\n%s", diff)
	}
}

// resolved returns the values in Settings, by the name of the setting in an Explanation. Several settings may have the
// same name.
func resolved(s Settings) map[string][]string {
	spread, exemptions := s.with(nil), s.Exemptions
	if exemptions == "" {
		exemptions = v1alpha1.ExemptionsObjects
	}
	values := map[string][]string{
		"spread.strategy":          {string(spread.Strategy)},
		"spread.whenUnsatisfiable": {string(spread.WhenUnsatisfiable)},
		"spread.maxSkew":           {fmt.Sprint(spread.MaxSkew)},
		"exemptions":               {string(exemptions)},
		"loadBalancers.default":    {s.provider(nil)},
	}
	for _, rule := range catalogue {
		values["rules["+rule.ID+"]"] = []string{modeWord(s.modeOf(&rule, rule.DefaultMode))}
	}
	for _, applied := range s.Applied {
		for rule, mode := range applied.Modes {
			if _, known := RuleByID(rule); !known {
				values["rules["+rule+"]"] = append(values["rules["+rule+"]"], modeWord(mode))
			}
		}
	}
	for class := range s.LoadBalancers.Classes {
		values["loadBalancers.classes["+class+"]"] = []string{s.provider(&class)}
	}
	for key, value := range s.Parameters {
		values["parameters["+key+"]"] = []string{compactJSON(value)}
	}
	return values
}

// explained returns the first values in an Explanation, in the same form as resolved.
func explained(e Explanation) map[string][]string {
	values := map[string][]string{}
	for _, setting := range e.Settings {
		values[setting.Name] = append(values[setting.Name], setting.Values[0].Value)
	}
	return values
}

// TestExplainGivesWhatResolveReturns generates policies and checks that Explain lists the policies that Resolve applies
// and gives the values that Resolve returns. It also checks that Resolve returns the next value of a setting if the
// policy that sets the first value is removed.
func TestExplainGivesWhatResolveReturns(t *testing.T) {
	t.Parallel()
	matched, instead := 0, 0
	for seed := range uint64(400) {
		g := policyGenerator{rand.New(rand.NewPCG(seed, 0))}
		list := g.policies()
		namespace := explainedNamespace
		if g.IntN(4) == 0 {
			namespace = Namespace{Name: "edge", Labels: map[string]string{corev1.LabelMetadataName: "edge"}, Assumed: true}
		}
		all := prepared(t, list...)
		explanation, settings := Explain(all, explainedService, namespace), Resolve(all, explainedService, namespace)
		if diff := cmp.Diff(resolved(settings), explained(explanation)); diff != "" {
			t.Fatalf("seed %d: values mismatch (-Resolve +Explain):\n%s", seed, diff)
		}
		if diff := cmp.Diff(explanation, Explain(prepared(t, list...), explainedService, namespace)); diff != "" {
			t.Fatalf("seed %d: Explain() is not the same twice (-first +second):\n%s", seed, diff)
		}

		var applied, order, listed []string
		for _, a := range settings.Applied {
			applied = append(applied, a.Name)
		}
		for p := range all.All() {
			order = append(order, p.Name)
		}
		var matching []string
		for _, p := range explanation.Policies {
			listed = append(listed, p.Name)
			if p.Matches {
				matching = append(matching, p.Name)
				matched++
			}
			if refuses := refusal.MatchString(p.Why); refuses == p.Matches {
				t.Fatalf("seed %d: policy %s matches: %t, and why is %q", seed, p.Name, p.Matches, p.Why)
			}
		}
		if diff := cmp.Diff([][]string{applied, order}, [][]string{matching, listed}); diff != "" {
			t.Fatalf("seed %d: policies mismatch (-Resolve +Explain):\n%s", seed, diff)
		}

		for _, setting := range explanation.Settings {
			from := setting.Values[0].Policy
			if from == "" || setting.Values[len(setting.Values)-1].By == ByRego {
				continue
			}
			var want []string
			if next := slices.IndexFunc(setting.Values, func(v ExplainedValue) bool { return v.Policy != from }); next >= 0 {
				want = []string{setting.Values[next].Value}
				instead++
			}
			without := prepared(
				t,
				slices.DeleteFunc(slices.Clone(list), func(p v1alpha1.SourceIPPolicy) bool { return p.Name == from })...)
			rest := Resolve(without, explainedService, namespace)
			got := resolved(rest)[setting.Name]
			if class, ok := strings.CutPrefix(setting.Name, "loadBalancers.classes["); ok && want != nil {
				class = strings.TrimSuffix(class, "]")
				got = []string{rest.provider(&class)}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Fatalf("seed %d: %s without policy %s mismatch (-Explain +Resolve):\n%s", seed, setting.Name, from, diff)
			}
		}
	}
	if matched < 200 || instead < 200 {
		t.Errorf("%d policies matched and %d values were overridden: the generator makes too few", matched, instead)
	}
}

// refusal matches every Why of a policy that does not match, and no other.
var refusal = regexp.MustCompile("does not select| lists |not known")

// policyGenerator generates policies that mostly set the same settings.
type policyGenerator struct{ *rand.Rand }

func oneOf[T any](g policyGenerator, from ...T) T { return from[g.IntN(len(from))] }

func (g policyGenerator) policies() []v1alpha1.SourceIPPolicy {
	var list []v1alpha1.SourceIPPolicy
	for _, name := range []string{"a", "b", "c", "d", "e", "f"}[:g.IntN(7)] {
		list = append(list, policy(name, g.spec))
	}
	g.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	return list
}

func (g policyGenerator) spec(s *v1alpha1.SourceIPPolicySpec) {
	s.Priority = oneOf[int32](g, 0, 0, 1, -1)
	s.EvaluationFailure = oneOf(g, "", v1alpha1.FailureDeny, v1alpha1.FailureIgnore)
	if g.IntN(2) == 0 {
		s.Match = &v1alpha1.Match{
			NamespaceSelector: g.selector("team", "web", "mail"),
			ObjectSelector:    g.selector("tier", "front", "back"),
		}
		if g.IntN(4) == 0 {
			s.Match.ExcludeNamespaces = []string{oneOf(g, "edge", "mail")}
		}
	}
	for _, id := range []string{
		"unspread-behind-local", "ineffective-spread", "source-ip-needs-local", "local-on-cluster-ip", "corp", "x",
	} {
		if g.IntN(3) == 0 {
			s.Rules = append(s.Rules, v1alpha1.RuleMode{ID: id, Mode: oneOf(g, v1alpha1.Modes...)})
		}
	}
	if g.IntN(2) == 0 {
		s.Spread = &v1alpha1.Spread{
			Strategy:          oneOf(g, "", v1alpha1.StrategyPodAntiAffinity, v1alpha1.StrategyTopologySpread),
			WhenUnsatisfiable: oneOf(g, "", v1alpha1.ScheduleAnyway, v1alpha1.DoNotSchedule),
			MaxSkew:           oneOf[int32](g, 0, 2, 3),
		}
	}
	s.Exemptions = oneOf(g, "", "", v1alpha1.ExemptionsNone, v1alpha1.ExemptionsNamespaces)
	if g.IntN(2) == 0 {
		s.LoadBalancers = &v1alpha1.LoadBalancers{
			Default: oneOf(g, "", "metallb-l2", "metallb-bgp"),
			Classes: map[string]string{},
		}
		for _, class := range []string{"c", "d"}[:g.IntN(3)] {
			s.LoadBalancers.Classes[class] = oneOf(g, "aws-nlb-ip", "aws-nlb-instance")
		}
	}
	if g.IntN(2) == 0 {
		parameters := map[string]any{}
		for _, key := range []string{"x", "y", "z"} {
			if g.IntN(2) == 0 {
				parameters[key] = oneOf[any](g, nil, 1, "text", []any{1.5, true}, map[string]any{"b": 1, "a": nil})
			}
		}
		raw, err := json.Marshal(parameters)
		if err != nil {
			panic(err) // All values are JSON types.
		}
		s.Parameters = &runtime.RawExtension{Raw: raw}
	}
}

func (g policyGenerator) selector(key string, values ...string) *metav1.LabelSelector {
	switch g.IntN(6) {
	case 0, 1:
		return nil
	case 2:
		return &metav1.LabelSelector{}
	case 3:
		return &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{
			{Key: key, Operator: oneOf(g, metav1.LabelSelectorOpNotIn, metav1.LabelSelectorOpIn), Values: values[:1]},
		}}
	case 4:
		return selecting(corev1.LabelMetadataName, "edge")
	default:
		return selecting(key, oneOf(g, values...))
	}
}
