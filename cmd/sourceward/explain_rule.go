package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/sourceward/sourceward/policies"
)

// explainRule writes the page of a rule, or several pages if several policies declare a rule with that id. The error is
// errReported, or says that there is no such rule.
func explainRule(ctx context.Context, s streams, id string, paths []string) error {
	own, ownErr := ownRules(ctx, s, paths)
	var pages, ids []string
	for _, rule := range append(policies.Catalogue(), own...) {
		ids = append(ids, rule.ID)
		if rule.ID == id {
			pages = append(pages, page(rule))
		}
	}
	if pages == nil && ownErr == nil {
		list := strings.Join(append([]string{"sourceward rules"}, paths...), " --policy ")
		return fmt.Errorf("there is no rule %q; the nearest are %s; %q lists all rules",
			id, nearest(id, ids), list)
	}
	_, err := io.WriteString(s.out, strings.Join(pages, "\n"))
	return errors.Join(err, ownErr)
}

func ruleIDs() []string {
	var ids []string
	for _, rule := range policies.Catalogue() {
		ids = append(ids, rule.ID)
	}
	return ids
}

// page renders the documentation of a rule.
func page(rule policies.Rule) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s\n\n", rule.ID, rule.Title)
	fmt.Fprintf(&b, "  severity  %s\n  mode      %s", rule.Severity, rule.DefaultMode)
	if rule.DefaultModeNote != "" {
		fmt.Fprintf(&b, " (%s)", rule.DefaultModeNote)
	}
	fmt.Fprintf(&b, "\n  found on  %s\n  repair    %s\n", strings.Join(rule.Kinds, ", "), repair(rule))
	for _, section := range pageSections(rule) {
		fmt.Fprintf(&b, "\n%s\n%s", section.title, wrap(section.text, "  ", 96))
	}
	if len(rule.Sources) > 0 {
		fmt.Fprintf(&b, "\nSources\n")
	}
	for _, source := range rule.Sources {
		fmt.Fprintf(&b, "  %s\n", source)
	}
	return b.String()
}

// pageSection is a paragraph of the documentation of a rule.
type pageSection struct{ title, text string }

// pageSections returns the paragraphs of the documentation of a rule that are not empty. METADATA of a policy's own
// rule does not have all of them.
func pageSections(rule policies.Rule) []pageSection {
	return slices.DeleteFunc([]pageSection{
		{"What", rule.What},
		{"Why", rule.Why},
		{"Remedy", rule.Remedy},
		{"When to exempt", rule.Exempt},
		{"Versions", rule.Since},
	}, func(s pageSection) bool { return s.text == "" })
}
