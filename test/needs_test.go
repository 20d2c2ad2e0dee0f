package test

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/sourceward/sourceward/policies"
	"github.com/sourceward/sourceward/policies/suite"
)

// TestRulesNeedWhatTheyRead compares the needs that the rules declare with what changes their findings in the cases:
// the neighbours of the object, and the number of pods that an autoscaler allows.
func TestRulesNeedWhatTheyRead(t *testing.T) {
	t.Parallel()
	if *update {
		t.Skip("it takes long and writes nothing")
	}
	related, replicas := map[string]string{}, map[string]string{}
	for _, folder := range entries(t, casesDir) {
		for _, name := range entries(t, filepath.Join(casesDir, folder)) {
			c := readCase(t, filepath.Join(casesDir, folder, name))
			// On an update, the stored object decides as well. A case that is silent may become firing, but that is not needed.
			if c.Input.Operation != policies.Create || strings.HasPrefix(name, "silent-") {
				continue
			}
			decide := func(in policies.Input) policies.Decision {
				decision, _ := policies.Decide(t.Context(), in, c.rules, c.settings)
				return decision
			}
			before := decide(c.Input)
			alone := c.Input
			alone.Related = policies.Related{View: c.Input.Related.View}
			note(related, before, decide(alone), folder+"/"+name, func(f suite.WantFinding) string { return f.Rule + f.Message })
			if c.Input.Object.Workload == nil {
				continue
			}
			for _, pods := range []int32{1, 4} {
				scaled := c.Input
				var err error
				scaled.Object, err = c.Input.Object.Patched([]policies.PatchOperation{
					{Op: "add", Path: "/spec/replicas", Value: int64(pods)},
				})
				if err != nil {
					continue // a PodTemplate has no spec
				}
				scaled.Related.Autoscalers = nil
				note(replicas, before, decide(scaled), folder+"/"+name, func(f suite.WantFinding) string { return f.Rule })
			}
		}
	}
	for _, rule := range policies.Catalogue() {
		if rule.ID == "neighbours-unknown" || rule.ID == "policy-not-evaluated" {
			continue // they depend on what could not be seen or evaluated
		}
		if _, reads := related[rule.ID]; reads != rule.NeedsRelated {
			t.Errorf("%s: NeedsRelated is %t; related objects change its findings: %t %s",
				rule.ID, rule.NeedsRelated, reads, related[rule.ID])
		}
		if _, reads := replicas[rule.ID]; reads != rule.NeedsReplicas {
			t.Errorf("%s: NeedsReplicas is %t; the number of pods changes its findings: %t %s",
				rule.ID, rule.NeedsReplicas, reads, replicas[rule.ID])
		}
	}
}

// note records the rules of the findings that only one of two decisions has, as far as key tells them apart.
func note(found map[string]string, a, b policies.Decision, in string, key func(suite.WantFinding) string) {
	for _, pair := range [][2]policies.Decision{{a, b}, {b, a}} {
		has := suite.WantOf(pair[1]).Findings
		for _, f := range suite.WantOf(pair[0]).Findings {
			isSame := func(other suite.WantFinding) bool { return key(other) == key(f) }
			if !slices.ContainsFunc(has, isSame) {
				found[f.Rule] = in
			}
		}
	}
}

// TestFixableRulesAreRepaired checks that a rule is said to be fixable exactly if it has a repair in a case.
func TestFixableRulesAreRepaired(t *testing.T) {
	t.Parallel()
	repaired := map[string]bool{}
	for _, folder := range entries(t, casesDir) {
		for _, name := range entries(t, filepath.Join(casesDir, folder)) {
			c := readCase(t, filepath.Join(casesDir, folder, name))
			decision, _ := policies.Decide(t.Context(), c.Input, c.rules, c.settings)
			for _, patch := range decision.Patches {
				repaired[patch.Rule] = true
			}
		}
	}
	for _, rule := range policies.Catalogue() {
		if repaired[rule.ID] != rule.Fixable {
			t.Errorf("%s: Fixable is %t; it has a repair in a case: %t", rule.ID, rule.Fixable, repaired[rule.ID])
		}
	}
}
