package test

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/sourceward/sourceward/policies"
	"github.com/sourceward/sourceward/policies/review"
)

const (
	// maxWarning is the length to which an API server asks webhooks to keep each warning, in characters.
	maxWarning = 120
	// longName is as long as a Namespace and a name of 40 characters together.
	longName = "nnnnnnnnnnnnnnnnnnnn/mmmmmmmmmmmmmmmmmmmm"
)

// TestMessagesFitIntoAWarning checks that the message of each finding of each case fits into one warning where the
// Namespace and the name of each related object have 40 characters together. A word that is longer, such as the key of
// an annotation with its value, may be shortened in the middle. No line ends in an ellipsis.
func TestMessagesFitIntoAWarning(t *testing.T) {
	t.Parallel()
	if *update {
		t.Skip("it takes long and writes nothing")
	}
	seen := map[string]bool{}
	for _, rule := range entries(t, casesDir) {
		for _, name := range entries(t, filepath.Join(casesDir, rule)) {
			c := readCase(t, filepath.Join(casesDir, rule, name))
			decision, _ := policies.Decide(t.Context(), c.Input, c.rules, c.settings)
			for _, finding := range decision.Findings {
				rule, ok := policies.RuleByID(finding.Rule)
				if !ok || finding.Rule == "policy-not-evaluated" {
					continue // A policy of the case wrote this message, or an error is quoted in it.
				}
				finding.Exempt = nil
				// The problem of an exemption may take a second line.
				finding.Message, _, _ = strings.Cut(finding.Message, " (the exemption ")
				finding.Message, _, _ = strings.Cut(finding.Message, " (not exempt: ")
				for _, ref := range append(slices.Clone(finding.Because), finding.Object) {
					finding.Message = strings.ReplaceAll(finding.Message, ref.Namespace+"/"+ref.Name, longName)
				}
				finding.Mode = policies.Warn
				testWarning(t, review.Validate, finding, nil)
				for _, patch := range decision.Patches {
					if rule.Mutable && patch.Rule == rule.ID {
						finding.Mode, patch.Mode = policies.Mutate, policies.Mutate
						testWarning(t, review.Mutate, finding, []policies.Patch{patch})
					}
				}
				seen[finding.Rule] = true
			}
		}
	}
	for _, rule := range policies.Catalogue() {
		if !seen[rule.ID] && rule.ID != "policy-not-evaluated" {
			t.Errorf("no case has a finding of %s", rule.ID)
		}
	}
}

// testWarning checks the warnings about a finding. patches holds the repair that the warnings are about, if any: what
// it did comes first, and the message in the same line or in the next.
func testWarning(t *testing.T, endpoint review.Endpoint, finding policies.Finding, patches []policies.Patch) {
	t.Helper()
	fix := finding.Fix
	finding.Fix = ""
	decision := policies.Decision{Findings: []policies.Finding{finding}, Patches: patches}
	response, _, err := review.Respond(endpoint, decision)
	if err != nil {
		t.Fatal(err)
	}
	if len(response.Warnings) > 1+len(patches) {
		t.Errorf("the message of %s takes %d lines, want %d:\n%s",
			finding.Rule, len(response.Warnings), 1+len(patches), strings.Join(response.Warnings, "\n"))
	}
	for _, patch := range patches {
		if patch.Done == "" || !strings.HasPrefix(response.Warnings[0], finding.Rule+": repaired: "+patch.Done) {
			t.Errorf("the first warning is %q, want what was done: %q", response.Warnings[0], patch.Done)
		}
	}
	// A message about several objects may shorten the name of the first.
	if strings.Contains(finding.Message, longName) && !strings.Contains(finding.Message, " more") &&
		!strings.Contains(response.Warnings[len(response.Warnings)-1], longName) {
		t.Errorf("the name is shortened: %s", strings.Join(response.Warnings, "\n"))
	}
	finding.Message, finding.Fix = "x", fix
	fixed, _, err := review.Respond(review.Validate, policies.Decision{Findings: []policies.Finding{finding}})
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range slices.Concat(response.Warnings, fixed.Warnings) {
		if len([]rune(line)) > maxWarning || strings.HasSuffix(line, "…") || strings.HasSuffix(line, "...") {
			t.Errorf("a warning has %d characters, or ends in an ellipsis: %s", len([]rune(line)), line)
		}
	}
}
