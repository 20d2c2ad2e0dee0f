package bundle

import (
	"bytes"
	"fmt"
	"go/format"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/sourceward/sourceward/policies"
)

// TestRegoRulesMatchTheMetadata generates the catalogue's entries of rules in Rego from the METADATA of the modules,
// and compares them with those in package policies.
func TestRegoRulesMatchTheMetadata(t *testing.T) {
	modules := parsed(t)
	annotations, errs := ast.BuildAnnotationSet(slices.Collect(maps.Values(modules)))
	if errs != nil {
		t.Fatal(errs)
	}
	var page bytes.Buffer
	page.WriteString(
		"// Code generated from the METADATA of policies/bundle/sourceward/rules by make generate; DO NOT EDIT.\n\n" +
			"package policies\n\n// regoRules holds the rules of the catalogue that are Rego modules, sorted by id.\n" +
			"var regoRules = []Rule{\n",
	)
	for _, file := range slices.Sorted(maps.Keys(modules)) {
		module := modules[file]
		words := map[string]bool{}
		for _, rule := range module.Rules {
			words[ruleName(rule)] = true
		}
		if isTest(file) || !words["deny"] && !words["warn"] {
			continue
		}
		writeRule(t, &page, file, annotations.GetPackageScope(module.Package), words)
	}
	page.WriteString("}\n")
	generated, err := format.Source(page.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	const target = "../rego_rules.go"
	if *update {
		if err := os.WriteFile(target, generated, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	got, err := os.ReadFile(target)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(generated), string(got)); diff != "" {
		t.Errorf("%s does not match the METADATA; run make generate (-want +got):\n%s", target, diff)
	}
}

// writeRule writes the catalogue's entry of a module that has the sets in words. It reports missing METADATA.
func writeRule(t *testing.T, page *bytes.Buffer, file string, of *ast.Annotations, words map[string]bool) {
	t.Helper()
	text := func(key string) string {
		value, _ := of.Custom[key].(string)
		if value == "" {
			t.Errorf("%s: METADATA has no custom.%s", file, key)
		}
		return oneLine(value)
	}
	flag := func(key string) bool {
		value, ok := of.Custom[key]
		set, isFlag := value.(bool)
		if ok && !isFlag {
			t.Errorf("%s: METADATA custom.%s is neither true nor false", file, key)
		}
		return set
	}
	mode := policies.Mode(strings.ToLower(text("mode")))
	if !slices.Contains([]policies.Mode{policies.Deny, policies.Warn, policies.Audit}, mode) ||
		words["deny"] != (mode == policies.Deny) || mode != policies.Deny && !words["warn"] {
		t.Errorf("%s: custom.mode is %s; want Deny and a set deny, or else Warn or Audit and only a set warn", file, mode)
	}
	var kinds []string
	list, _ := of.Custom["kinds"].([]any)
	for _, kind := range list {
		kinds = append(kinds, fmt.Sprint(kind))
	}
	var sources []string
	for _, resource := range of.RelatedResources {
		sources = append(sources, resource.Ref.String())
	}
	if len(kinds) == 0 || len(sources) == 0 {
		t.Errorf("%s: METADATA has no custom.kinds, or no related_resources", file)
	}
	id := ruleID(path.Base(path.Dir(file)))
	// The rule whose finding replaces this rule's finding if both have one.
	yieldsTo := ""
	if rule, ok := of.Custom["yields_to"].(string); ok {
		if _, known := policies.RuleByID(rule); !known {
			t.Errorf("%s: METADATA custom.yields_to: there is no rule %s", file, rule)
		}
		yieldsTo = fmt.Sprintf("yieldsTo: %q,\n", rule)
	}
	fmt.Fprintf(page,
		"{\nID: %q,\nTitle: %q,\nSeverity: %q,\nDefaultMode: %q,\nKinds: %#v,\nNeedsRelated: %t,\nFixable: %t,\n"+
			"What: %q,\nWhy: %q,\nRemedy: %q,\nExempt: %q,\nSince: %q,\nSources: %#v,\n%scheck: checkRego(%q, %q, %t),\n},\n",
		id, of.Title, text("severity"), mode, kinds, flag("related"), flag("repairs"),
		oneLine(of.Description), text("why"), text("remedy"), text("exempt"), text("since"), sources, yieldsTo,
		id, mode, flag("related"),
	)
}

// TestCatalogueOfAPolicyIsSafeToPrint writes characters into METADATA that a terminal would obey.
func TestCatalogueOfAPolicyIsSafeToPrint(t *testing.T) {
	t.Parallel()
	policy := policyWith("corp", "")
	policy.Spec.Rego[0].Module = `# METADATA
# title: "Red\e[31m"
# description: "Clears\e[2J, in\u009b31m color"
# related_resources:
#   - ref: "https://example.com/a\u202eb"
#   - ref: "corp:a\u009b31m"
# custom:
#   why: "Reversed \u202e"
#   remedy: "A title\e]0;title\a"
#   exempt: "One\rtwo\tthree"
#   since: "1.30\0"
package sourceward.custom.corp

# METADATA
# description: "Of the set\e[1m"
warn contains {"message": "no"} if input.facts.local
`
	compiled, problems := NewCompiler(nil).Compile(t.Context(), policy)
	if problems != nil {
		t.Fatal(problems)
	}
	want := []policies.Rule{{
		ID: "corp", Title: `Red\x1b[31m`, Severity: policies.SeverityWarning, DefaultMode: policies.Warn,
		Kinds: policies.Kinds,
		What:  `Clears\x1b[2J, in\u009b31m color Of the set\x1b[1m`, Why: `Reversed \u202e`,
		Remedy: `A title\x1b]0;title\a`, Exempt: "One two three", Since: `1.30\x00`,
		Sources: []string{"https://example.com/a%E2%80%AEb", `corp:a\u009b31m`},
	}}
	if diff := cmp.Diff(want, compiled.Catalogue(), cmpopts.IgnoreUnexported(policies.Rule{})); diff != "" {
		t.Errorf("Catalogue() mismatch (-want +got):\n%s", diff)
	}
}

func TestCatalogueOfAPolicyHasItsMetadata(t *testing.T) {
	t.Parallel()
	policy := policyWith("corp", "")
	policy.Spec.Rego[0].Module = `# METADATA
# title: Corporate
# description: What is found.
# related_resources:
#   - ref: https://example.com/rules
# custom:
#   severity: info
#   kinds: [Service]
#   why: |
#     Because
#     of it.
#   remedy: Fix it.
#   exempt: Never.
#   since: "1.30"
package sourceward.custom.corp

warn contains {"message": "no"} if input.facts.local
`
	compiler := NewCompiler(nil)
	compiled, problems := compiler.Compile(t.Context(), policy)
	if problems != nil {
		t.Fatal(problems)
	}
	want := []policies.Rule{{
		ID: "corp", Title: "Corporate", Severity: policies.SeverityInfo, DefaultMode: policies.Warn,
		Kinds: []string{"Service"},
		What:  "What is found.", Why: "Because of it.", Remedy: "Fix it.", Exempt: "Never.", Since: "1.30",
		Sources: []string{"https://example.com/rules"},
	}}
	if diff := cmp.Diff(want, compiled.Catalogue(), cmpopts.IgnoreUnexported(policies.Rule{})); diff != "" {
		t.Errorf("Catalogue() mismatch (-want +got):\n%s", diff)
	}
	set := compiler.Set([]*Policy{compiled, compiled})
	if diff := cmp.Diff(append(want, want...), set.Catalogue(), cmpopts.IgnoreUnexported(policies.Rule{})); diff != "" {
		t.Errorf("Catalogue() of a set mismatch (-want +got):\n%s", diff)
	}
}
