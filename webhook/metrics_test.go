package webhook

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/sourceward/sourceward/policies"
	"github.com/sourceward/sourceward/policies/bundle"
	"github.com/sourceward/sourceward/policies/review"
)

// TestSeriesOfPolicies checks which series end when a policy is deleted, or no longer declares a rule.
func TestSeriesOfPolicies(t *testing.T) {
	t.Parallel()
	policy := func(name string, rules ...string) compiledPolicy {
		return compiledPolicy{name: name, inForce: &bundle.Policy{Rules: rules}}
	}
	before := []compiledPolicy{policy("corp", "ports", "names"), policy("edge", "names")}
	tests := map[string]struct {
		now []compiledPolicy
		// policies and rules are those that have series afterwards.
		policies, rules []string
	}{
		"nothing changes": {before, []string{"", "corp", "edge"}, []string{"internal-local", "names", "ports"}},
		"a policy is deleted, and another has a rule of the same name": {
			before[1:], []string{"", "edge"}, []string{"internal-local", "names"},
		},
		"a policy no longer has a rule": {
			[]compiledPolicy{policy("corp", "names"), before[1]},
			[]string{"", "corp", "edge"}, []string{"internal-local", "names"},
		},
		"a rule moves to another policy": {
			[]compiledPolicy{policy("edge", "ports", "names")},
			[]string{"", "edge"}, []string{"internal-local", "names", "ports"},
		},
		"the last policy is deleted": {nil, []string{""}, []string{"internal-local"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			registry := prometheus.NewPedanticRegistry()
			metrics, err := NewMetrics(registry)
			if err != nil {
				t.Fatal(err)
			}
			metrics.policies(nil, before)
			for _, rule := range []string{"internal-local", "names", "ports"} {
				found := policies.Finding{Rule: rule, Mode: policies.Warn}
				exempt := policies.Finding{Rule: rule, Mode: policies.Warn, Exempt: &policies.Exemption{Reason: "known"}}
				metrics.answered(review.Validate, &result{found: []policies.Finding{found, exempt}}, 0)
			}
			metrics.policies(before, test.now)
			got := map[string][]string{
				"policies": labelsOf(t, registry, "sourceward_policy_failures_total", "policy"),
				"findings": labelsOf(t, registry, "sourceward_decisions_total", "rule"),
				"exempt":   labelsOf(t, registry, "sourceward_exemptions_total", "rule"),
			}
			want := map[string][]string{"policies": test.policies, "findings": test.rules, "exempt": test.rules}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("series (-want +got):\n%s", diff)
			}
		})
	}
}

// labels returns the values of a label of all series of a metric, sorted.
func labelsOf(t *testing.T, registry *prometheus.Registry, metric, label string) []string {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var values []string
	for _, family := range families {
		if family.GetName() != metric {
			continue
		}
		for _, sample := range family.GetMetric() {
			for _, pair := range sample.GetLabel() {
				if pair.GetName() == label {
					values = append(values, pair.GetValue())
				}
			}
		}
	}
	slices.Sort(values)
	return values
}
