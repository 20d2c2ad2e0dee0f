package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/sourceward/sourceward/policies"
)

// explainRule writes the pages of a rule: one, but where several policies declare a rule of that id. Its error is
// errReported, or that there is no such rule.
func explainRule(s streams, id string, paths []string) error {
	own, told := ownRules(s, paths)
	var pages, ids []string
	for _, rule := range append(policies.Catalogue(), own...) {
		ids = append(ids, rule.ID)
		if rule.ID == id {
			pages = append(pages, page(rule))
		}
	}
	if pages == nil && told == nil {
		list := "sourceward rules"
		for _, path := range paths {
			list += " --policy " + path
		}
		return fmt.Errorf("there is no rule %q; the nearest are %s; %q lists all rules",
			id, strings.Join(nearest(id, ids), ", "), list)
	}
	_, err := io.WriteString(s.out, strings.Join(pages, "\n"))
	return errors.Join(err, told)
}

func ruleIDs() []string {
	var ids []string
	for _, rule := range policies.Catalogue() {
		ids = append(ids, rule.ID)
	}
	return ids
}

// page is the page of a rule.
func page(rule policies.Rule) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s\n\n", rule.ID, rule.Title)
	fmt.Fprintf(&b, "  severity  %s\n  mode      %s", rule.Severity, rule.DefaultMode)
	if rule.DefaultModeNote != "" {
		fmt.Fprintf(&b, " (%s)", rule.DefaultModeNote)
	}
	fmt.Fprintf(&b, "\n  found on  %s\n  repair    %s\n", strings.Join(rule.Kinds, ", "), repair(rule))
	for _, section := range []struct{ title, text string }{
		{"What", rule.What}, {"Why", rule.Why}, {"Remedy", rule.Remedy}, {"When to exempt", rule.Exempt}, {"Versions", rule.Since},
	} {
		if section.text != "" { // as METADATA of a policy's own rule has no words for all of them
			fmt.Fprintf(&b, "\n%s\n%s", section.title, wrap(section.text, 96))
		}
	}
	if len(rule.Sources) > 0 {
		fmt.Fprintf(&b, "\nSources\n")
	}
	for _, source := range rule.Sources {
		fmt.Fprintf(&b, "  %s\n", source)
	}
	return b.String()
}
