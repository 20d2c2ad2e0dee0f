package main

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/sourceward/sourceward/policies"
)

func rulesCommand(s streams) *cobra.Command {
	format := "text"
	writers := map[string]func(io.Writer, []policies.Rule) error{
		"text": writeRulesText, "json": writeRulesJSON, "markdown": writeRulesMarkdown,
	}
	cmd := &cobra.Command{
		Use:   "rules",
		Short: "List the rules",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			write, ok := writers[format]
			if !ok {
				return fmt.Errorf("--output %q is not one of text, json, markdown", format)
			}
			return write(s.out, policies.Catalogue())
		},
	}
	cmd.Flags().StringVarP(&format, "output", "o", format, "`FORMAT` of the list: text, json or markdown")
	complete(cmd, "output", "text", "json", "markdown")
	return cmd
}

func writeRulesText(w io.Writer, rules []policies.Rule) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "RULE\tSEVERITY\tMODE\tREPAIR\tTITLE")
	for _, rule := range rules {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", rule.ID, rule.Severity, rule.DefaultMode, repair(rule), rule.Title)
	}
	return table.Flush()
}

// repair says who may mend what a rule finds.
func repair(rule policies.Rule) string {
	switch {
	case rule.Mutable:
		return "files, webhook"
	case rule.Fixable:
		return "files"
	default:
		return "-"
	}
}

func writeRulesJSON(w io.Writer, rules []policies.Rule) error {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(rules)
}

func writeRulesMarkdown(w io.Writer, rules []policies.Rule) error {
	var page strings.Builder
	page.WriteString("| rule | severity | default mode | repaired in | title |\n|---|---|---|---|---|\n")
	for _, rule := range rules {
		mode := string(rule.DefaultMode)
		if rule.DefaultModeNote != "" {
			mode += "; " + rule.DefaultModeNote
		}
		fmt.Fprintf(&page, "| `%s` | %s | %s | %s | %s |\n", rule.ID, rule.Severity, mode, repair(rule), rule.Title)
	}
	_, err := io.WriteString(w, page.String())
	return err
}

func explainCommand(s streams) *cobra.Command {
	ids := func() []string {
		var ids []string
		for _, rule := range policies.Catalogue() {
			ids = append(ids, rule.ID)
		}
		return ids
	}
	return &cobra.Command{
		Use:     "explain RULE",
		Short:   "Explain a rule: what it finds, why it matters, how to mend it",
		Example: "  sourceward explain unspread-behind-local",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return fmt.Errorf("name one rule: %s", strings.Join(ids(), ", "))
			}
			return nil
		},
		ValidArgsFunction: cobra.FixedCompletions(ids(), cobra.ShellCompDirectiveNoFileComp),
		RunE: func(_ *cobra.Command, args []string) error {
			rule, ok := policies.RuleByID(args[0])
			if !ok {
				return fmt.Errorf("there is no rule %q; the rules are %s", args[0], strings.Join(slices.Sorted(slices.Values(ids())), ", "))
			}
			_, err := io.WriteString(s.out, page(rule))
			return err
		},
	}
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
		fmt.Fprintf(&b, "\n%s\n%s", section.title, wrap(section.text, 96))
	}
	fmt.Fprintf(&b, "\nSources\n")
	for _, source := range rule.Sources {
		fmt.Fprintf(&b, "  %s\n", source)
	}
	return b.String()
}

// wrap breaks a paragraph into indented lines of at most width characters.
func wrap(text string, width int) string {
	var b strings.Builder
	line := " "
	for word := range strings.FieldsSeq(text) {
		if len(line)+1+len(word) > width {
			b.WriteString(line + "\n")
			line = " "
		}
		line += " " + word
	}
	return b.String() + line + "\n"
}
