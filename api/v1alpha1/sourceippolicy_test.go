package v1alpha1

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

func TestDefaultLeavesSettingsUnset(t *testing.T) {
	t.Parallel()
	tests := map[string]struct{ in, want SourceIPPolicySpec }{
		"existingViolations is Warn": {SourceIPPolicySpec{}, SourceIPPolicySpec{ExistingViolations: ExistingWarn}},
		"a value that is set stays, and settings stay unset": {
			SourceIPPolicySpec{
				EvaluationFailure: FailureDeny, ExistingViolations: ExistingDeny,
				Spread: &Spread{}, LoadBalancers: &LoadBalancers{},
			},
			SourceIPPolicySpec{
				EvaluationFailure: FailureDeny, ExistingViolations: ExistingDeny,
				Spread: &Spread{}, LoadBalancers: &LoadBalancers{},
			},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := SourceIPPolicy{Spec: test.in}
			got.Default()
			if diff := cmp.Diff(SourceIPPolicy{Spec: test.want}, got); diff != "" {
				t.Errorf("Default() mismatch (-want +got):\n%s", diff)
			}
		})
	}
}

func TestValidateReportsPathAndError(t *testing.T) {
	t.Parallel()
	const (
		subdomain = `a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', ` +
			`and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is ` +
			`'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')`
		label = `a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start ` +
			`and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is ` +
			`'[a-z0-9]([-a-z0-9]*[a-z0-9])?')`
		labelValue = `a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and ` +
			`must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used ` +
			`for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')`
	)
	parameters := func(text string) *runtime.RawExtension { return &runtime.RawExtension{Raw: []byte(text)} }
	tests := map[string]struct {
		tweak func(*SourceIPPolicy)
		want  []string
	}{
		"the smallest policy": {func(*SourceIPPolicy) {}, nil},
		"no name": {
			func(p *SourceIPPolicy) { p.Name = "" },
			[]string{`metadata.name: Required value: name the policy`},
		},
		"a name with capitals": {
			func(p *SourceIPPolicy) { p.Name = "Edge" },
			[]string{`metadata.name: Invalid value: "Edge": ` + subdomain},
		},
		"a namespace": {
			func(p *SourceIPPolicy) { p.Namespace = "edge" },
			[]string{`metadata.namespace: Forbidden: a SourceIPPolicy is cluster-scoped; remove the namespace`},
		},
		"an empty match":                {func(p *SourceIPPolicy) { p.Spec.Match = &Match{} }, nil},
		"a match that sets every field": {func(p *SourceIPPolicy) { p.Spec.Match = wholeMatch() }, nil},
		"invalid selectors and an invalid namespace": {
			func(p *SourceIPPolicy) {
				p.Spec.Match = &Match{
					NamespaceSelector: &metav1.LabelSelector{
						MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "a", Operator: "Equals"}},
					},
					ObjectSelector:    &metav1.LabelSelector{MatchLabels: map[string]string{"a": "b c"}},
					ExcludeNamespaces: []string{"kube-system", "Kube"},
				}
			},
			[]string{
				`spec.match.namespaceSelector.matchExpressions[0].operator: Invalid value: "Equals": not a valid selector operator`,
				`spec.match.objectSelector.matchLabels: Invalid value: "b c": ` + labelValue,
				`spec.match.excludeNamespaces[1]: Invalid value: "Kube": ` + label,
			},
		},
		"a rule in every mode": {func(p *SourceIPPolicy) {
			for _, mode := range Modes {
				p.Spec.Rules = append(p.Spec.Rules, RuleMode{ID: strings.ToLower(string(mode)), Mode: mode})
			}
		}, nil},
		"rules without an id, listed twice, without a mode or in an unknown mode": {
			func(p *SourceIPPolicy) {
				p.Spec.Rules = []RuleMode{{"", ModeDeny}, {"a", ModeDeny}, {"a", ModeWarn}, {"b", ""}, {"c", "deny"}}
			},
			[]string{
				`spec.rules[0].id: Required value: set the id of a rule; "sourceward rules" lists them`,
				`spec.rules[2].id: Duplicate value: "a": list each rule once`,
				`spec.rules[3].mode: Unsupported value: "": supported values: "Off", "Audit", "Warn", "Deny", "Mutate"`,
				`spec.rules[4].mode: Unsupported value: "deny": supported values: "Off", "Audit", "Warn", "Deny", "Mutate"`,
			},
		},
		"an empty spread": {func(p *SourceIPPolicy) { p.Spec.Spread = &Spread{} }, nil},
		"a spread that sets every field": {
			func(p *SourceIPPolicy) { p.Spec.Spread = &Spread{StrategyPodAntiAffinity, DoNotSchedule, 1} },
			nil,
		},
		"unknown values in a spread": {
			func(p *SourceIPPolicy) { p.Spec.Spread = &Spread{"Even", "Never", -1} },
			[]string{
				`spec.spread.strategy: Unsupported value: "Even": supported values: "TopologySpread", "PodAntiAffinity"`,
				`spec.spread.whenUnsatisfiable: Unsupported value: "Never": supported values: "ScheduleAnyway", "DoNotSchedule"`,
				`spec.spread.maxSkew: Invalid value: -1: must be at least 1`,
			},
		},
		"parameters that are an object": {func(p *SourceIPPolicy) { p.Spec.Parameters = parameters(`{"a": [1]}`) }, nil},
		"parameters that are a list": {
			func(p *SourceIPPolicy) { p.Spec.Parameters = parameters(`[1]`) },
			[]string{`spec.parameters: Invalid value: "[1]": must be an object`},
		},
		"parameters that are null": {
			func(p *SourceIPPolicy) { p.Spec.Parameters = parameters(`null`) },
			[]string{`spec.parameters: Invalid value: "null": must be an object`},
		},
		"a probe window of 0 seconds": {func(p *SourceIPPolicy) {
			p.Spec.Parameters = parameters(`{"probeWindowSeconds": 0}`)
		}, nil},
		"a probe window that is a string": {
			func(p *SourceIPPolicy) { p.Spec.Parameters = parameters(`{"probeWindowSeconds": "30s"}`) },
			[]string{`spec.parameters.probeWindowSeconds: Invalid value: "30s": must be a number of seconds, at least 0`},
		},
		"a probe window that is null": {
			func(p *SourceIPPolicy) { p.Spec.Parameters = parameters(`{"probeWindowSeconds": null}`) },
			[]string{`spec.parameters.probeWindowSeconds: Invalid value: null: must be a number of seconds, at least 0`},
		},
		"a negative probe window": {
			func(p *SourceIPPolicy) { p.Spec.Parameters = parameters(`{"probeWindowSeconds": -1}`) },
			[]string{`spec.parameters.probeWindowSeconds: Invalid value: -1: must be a number of seconds, at least 0`},
		},
		"modules without a name, with the same name, or empty": {
			func(p *SourceIPPolicy) {
				p.Spec.Rego = []RegoModule{{"", "package a"}, {"a.rego", "package a"}, {"a.rego", " \n"}}
			},
			[]string{
				`spec.rego[0].name: Required value: name the module, for example corp.rego`,
				`spec.rego[2].name: Duplicate value: "a.rego": give each module its own name`,
				`spec.rego[2].module: Required value: write a Rego module in a package sourceward.custom.<name>`,
			},
		},
		"an unknown evaluationFailure": {
			func(p *SourceIPPolicy) { p.Spec.EvaluationFailure = "Fail" },
			[]string{`spec.evaluationFailure: Unsupported value: "Fail": supported values: "Deny", "Warn", "Ignore"`},
		},
		"unknown exemptions": {
			func(p *SourceIPPolicy) { p.Spec.Exemptions = "All" },
			[]string{`spec.exemptions: Unsupported value: "All": supported values: "Objects", "Namespaces", "None"`},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			policy := SourceIPPolicy{ObjectMeta: metav1.ObjectMeta{Name: "edge"}}
			policy.Default()
			test.tweak(&policy)
			var got []string
			for _, e := range policy.Validate() {
				got = append(got, e.Error())
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("Validate() mismatch (-want +got):\n%s", diff)
			}
		})
	}
}

func wholeMatch() *Match {
	return &Match{
		NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"team": "edge"}},
		ObjectSelector: &metav1.LabelSelector{
			MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "a", Operator: metav1.LabelSelectorOpExists}},
		},
		ExcludeNamespaces: []string{"kube-system"},
	}
}

func TestEveryListedValueIsValid(t *testing.T) {
	t.Parallel()
	var specs []SourceIPPolicySpec
	for _, strategy := range SpreadStrategies {
		specs = append(specs, SourceIPPolicySpec{Spread: &Spread{Strategy: strategy}})
	}
	for _, when := range WhenUnsatisfiables {
		specs = append(specs, SourceIPPolicySpec{Spread: &Spread{WhenUnsatisfiable: when}})
	}
	for _, failure := range EvaluationFailures {
		specs = append(specs, SourceIPPolicySpec{EvaluationFailure: failure})
	}
	for _, scope := range ExemptionScopes {
		specs = append(specs, SourceIPPolicySpec{Exemptions: scope})
	}
	for _, spec := range specs {
		policy := SourceIPPolicy{ObjectMeta: metav1.ObjectMeta{Name: "edge"}, Spec: spec}
		policy.Default()
		if errs := policy.Validate(); errs != nil {
			t.Errorf("Validate() of %+v = %v, want nil", spec, errs)
		}
	}
}
