package policies_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sourceward/sourceward/policies"
)

// decision returns one with a finding and a repair for each of these rules.
func decision(rules ...string) policies.Decision {
	var d policies.Decision
	for _, rule := range rules {
		d.Findings = append(d.Findings, policies.Finding{Rule: rule, Mode: policies.Warn, Path: "/spec", Fix: "repair it"})
		d.Patches = append(d.Patches, policies.Patch{Rule: rule, Mode: policies.Warn})
	}
	return d
}

func rulesOf(d policies.Decision) []string {
	rules := []string{}
	for _, f := range d.Findings {
		rules = append(rules, f.Rule)
	}
	return rules
}

// TestAgrees changes one thing of a decision after the other.
func TestAgrees(t *testing.T) {
	t.Parallel()
	const first, second = "unspread-behind-local", "missing-readiness"
	if d := decision(first, second); !d.Agrees(decision(first, second)) {
		t.Error("equal decisions do not agree")
	}
	for name, change := range map[string]func(*policies.Decision){
		"a finding less":  func(d *policies.Decision) { d.Findings = d.Findings[:1] },
		"a finding more":  func(d *policies.Decision) { d.Findings = append(d.Findings, d.Findings[0]) },
		"a patch less":    func(d *policies.Decision) { d.Patches = d.Patches[:1] },
		"a patch more":    func(d *policies.Decision) { d.Patches = append(d.Patches, d.Patches[0]) },
		"another patch":   func(d *policies.Decision) { d.Patches[0].Done = "repaired" },
		"another rule":    func(d *policies.Decision) { d.Findings[0].Rule = "no-drain-window" },
		"another mode":    func(d *policies.Decision) { d.Findings[0].Mode = policies.Deny },
		"another fix":     func(d *policies.Decision) { d.Findings[0].Fix = "leave it" },
		"another path":    func(d *policies.Decision) { d.Findings[0].Path = "/metadata" },
		"another message": func(d *policies.Decision) { d.Findings[0].Message = "wrong" },
		"an exemption":    func(d *policies.Decision) { d.Findings[0].Exempt = &policies.Exemption{Reason: "a test"} },
	} {
		d, other := decision(first, second), decision(first, second)
		change(&other)
		if d.Agrees(other) || other.Agrees(d) {
			t.Errorf("%s: the decisions agree", name)
		}
	}
}

// TestCertain checks what remains of a decision if neighbours have several definitions.
func TestCertain(t *testing.T) {
	t.Parallel()
	const first, second, doubtful = "unspread-behind-local", "missing-readiness", "neighbours-unknown"
	neighbour := policies.Ref{APIVersion: "v1", Kind: "Service", Namespace: "edge", Name: "web"}
	doubt := func(others ...policies.Decision) policies.Doubt {
		return policies.Doubt{Neighbour: neighbour, Places: []string{"a.yaml:1", "b.yaml:1"}, Others: others}
	}
	agree, differ := doubt(decision(first, second)), doubt(decision(first, second), decision(second))
	tests := map[string]struct {
		doubts []policies.Doubt
		spec   string
		want   []string
	}{
		"no doubt":              {nil, "", []string{first, second}},
		"others that agree":     {[]policies.Doubt{agree}, "", []string{first, second}},
		"one that differs":      {[]policies.Doubt{differ}, "", []string{second, doubtful}},
		"after one that agrees": {[]policies.Doubt{agree, differ}, "", []string{second, doubtful}},
		"two that differ":       {[]policies.Doubt{differ, differ}, "", []string{second, doubtful, doubtful}},
		"the rule is off": {
			[]policies.Doubt{differ}, `{rules: [{id: neighbours-unknown, mode: "Off"}]}`, []string{first, second},
		},
		"two that leave nothing": {
			[]policies.Doubt{doubt(decision(first)), doubt(decision(second))}, "", []string{doubtful, doubtful},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var specs []string
			if test.spec != "" {
				specs = []string{test.spec}
			}
			in := policies.Input{Object: parsed(t, annotated(deployment)), Namespace: policies.Namespace{Name: "edge"}}
			settings := policies.Resolve(compiled(t, specs).Policies, in.Object, in.Namespace)
			got := decision(first, second).Certain(in, settings, test.doubts)
			want := slices.Clone(test.want)
			slices.Sort(want)
			rules := rulesOf(got)
			slices.Sort(rules)
			if diff := cmp.Diff(want, rules); diff != "" {
				t.Errorf("rules mismatch (-want +got):\n%s", diff)
			}
			for _, f := range got.Findings {
				if f.Rule == doubtful && (f.Mode != policies.Warn || !slices.Contains(f.Because, neighbour)) {
					t.Errorf("finding %+v is not a warning about %s", f, neighbour)
				}
			}
		})
	}
	for annotation, isExempt := range map[string]bool{"a test": true, "''": false} {
		object := annotated(deployment, "exempt.sourceward.dev/neighbours-unknown: "+annotation)
		in := policies.Input{Object: parsed(t, object), Namespace: policies.Namespace{Name: "edge"}}
		settings := policies.Resolve(compiled(t, nil).Policies, in.Object, in.Namespace)
		got := decision(first).Certain(in, settings, []policies.Doubt{doubt(decision())})
		if len(got.Findings) != 1 || (got.Findings[0].Exempt != nil) != isExempt ||
			strings.HasSuffix(got.Findings[0].Message, ")") == isExempt {
			t.Errorf("an exemption %s: findings %+v; want one that is exempt: %t", annotation, got.Findings, isExempt)
		}
	}
}

// TestCommon checks what remains of a decision if placeholders have several values.
func TestCommon(t *testing.T) {
	t.Parallel()
	const first, second, custom, failed = "unspread-behind-local", "missing-readiness", "our-rule", "policy-not-evaluated"
	all := decision(first, second, custom, failed)
	with := func(list ...policies.Decision) []policies.Decision { return list }
	tests := map[string]struct {
		alternatives []policies.Decision
		placeholders []string
		want, silent []string
	}{
		"the same": {alternatives: with(all), want: rulesOf(all)},
		"one less": {
			alternatives: with(decision(second, custom, failed)), want: []string{second, custom, failed},
			silent: []string{first},
		},
		"one more": {
			alternatives: with(decision(first, second, custom, failed, "no-drain-window")), want: rulesOf(all),
			silent: []string{"no-drain-window"},
		},
		"two alternatives": {
			alternatives: with(all, decision(first)), want: []string{first, custom, failed}, silent: []string{second},
		},
		"a custom rule and one that failed are kept": {alternatives: with(decision(first, second)), want: rulesOf(all)},
		"a custom rule at a placeholder": {
			placeholders: []string{"/spec"}, want: []string{first, second, failed},
		},
		"a custom rule below a placeholder":  {placeholders: []string{""}, want: []string{first, second, failed}},
		"a custom rule beside a placeholder": {placeholders: []string{"/sp"}, want: rulesOf(all)},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, silent := all.Common(test.alternatives, test.placeholders)
			if diff := cmp.Diff([2][]string{test.want, test.silent}, [2][]string{rulesOf(got), silent}); diff != "" {
				t.Errorf("rules and silent rules mismatch (-want +got):\n%s", diff)
			}
			for _, p := range got.Patches {
				in := func(other policies.Decision) bool {
					return !slices.ContainsFunc(other.Patches, func(q policies.Patch) bool { return q.Rule == p.Rule })
				}
				if slices.ContainsFunc(test.alternatives, in) {
					t.Errorf("the patch of %s is not in all alternatives", p.Rule)
				}
			}
			if test.alternatives == nil && len(got.Patches) != len(all.Patches) {
				t.Errorf("%d patches, want %d", len(got.Patches), len(all.Patches))
			}
		})
	}
}
