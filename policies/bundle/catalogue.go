package bundle

import (
	"fmt"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/sourceward/sourceward/policies"
)

// Catalogue returns descriptions of the rules that the policies of the set declare, in the order of the policies. See
// the Catalogue of a Policy.
func (s *Set) Catalogue() []policies.Rule {
	var rules []policies.Rule
	for _, policy := range s.compiled {
		rules = append(rules, policy.Catalogue()...)
	}
	return rules
}

// Catalogue returns descriptions of the rules that a policy's own Rego declares, in the order of Rules. They come from
// the METADATA of the packages and of the sets, and are safe to print. Fields that have no METADATA are empty.
func (p *Policy) Catalogue() []policies.Rule {
	if p.module == nil {
		return nil
	}
	var parsed []*ast.Module
	for _, source := range p.Spec.Rego {
		if m, problems := parse(source); problems == nil { // There are none, since the policy compiled.
			parsed = append(parsed, m)
		}
	}
	annotations, errs := ast.BuildAnnotationSet(parsed)
	if errs != nil {
		return nil // As above.
	}
	var rules []policies.Rule
	for _, id := range p.Rules {
		described := policies.Rule{ID: id, Kinds: policies.Kinds, Sources: []string{}}
		// p.module.rules lists deny before warn, so the stricter one sets the default mode.
		for _, r := range p.module.rules {
			if ruleID(r.module) == id {
				p.describe(&described, r)
			}
		}
		var what []string
		for _, m := range parsed {
			if ruleID(lastElement(m.Package)) != id {
				continue
			}
			if own := annotations.GetPackageScope(m.Package); own != nil {
				described.Title = printableLine(own.Title)
				what = append(what, printableLine(own.Description))
				if kinds, ok := own.Custom["kinds"].([]any); ok {
					described.Kinds = nil
					for _, kind := range kinds {
						described.Kinds = append(described.Kinds, fmt.Sprint(kind))
					}
				}
				for key, text := range map[string]*string{
					"why": &described.Why, "remedy": &described.Remedy, "exempt": &described.Exempt, "since": &described.Since,
				} {
					if value, ok := own.Custom[key].(string); ok {
						*text = printableLine(value)
					}
				}
				for _, resource := range own.RelatedResources {
					described.Sources = append(described.Sources, printableLine(resource.Ref.String()))
				}
			}
			for _, rule := range m.Rules {
				for _, own := range annotations.GetRuleScope(rule) {
					if slices.Contains(contract, ruleName(rule)) {
						what = append(what, printableLine(own.Description))
					}
				}
			}
		}
		described.What = oneLine(strings.Join(what, " "))
		rules = append(rules, described)
	}
	return rules
}

func printableLine(text string) string { return policies.Printable(oneLine(text)) }

// describe sets the severity and the default mode of a rule from one of its sets, with a note about the mode that the
// policy sets.
func (p *Policy) describe(described *policies.Rule, r rule) {
	mode, severity := policies.Deny, policies.SeverityError
	switch {
	case r.word == "warn":
		mode, severity = policies.Warn, policies.SeverityWarning
	case r.word != "deny":
		return
	}
	if r.severity != "" {
		severity = r.severity
	}
	var notes []string
	if described.DefaultMode == "" {
		described.DefaultMode, described.Severity = mode, severity
	} else {
		notes = append(notes, "warn for findings of the set warn")
	}
	for _, set := range p.Spec.Rules {
		if set.ID == described.ID {
			notes = []string{fmt.Sprintf("%s by policy %s", strings.ToLower(string(set.Mode)), p.Name)}
		}
	}
	described.DefaultModeNote = strings.Join(notes, "; ")
}
