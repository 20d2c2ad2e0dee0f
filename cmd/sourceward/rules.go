package main

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/sourceward/sourceward/policies"
)

func rulesCommand(s streams) *cobra.Command {
	format := "text"
	var paths []string
	writers := map[string]func(io.Writer, []policies.Rule) error{
		"text": writeRulesText, "json": writeRulesJSON, "markdown": writeRulesMarkdown,
	}
	cmd := &cobra.Command{
		Use:   "rules",
		Short: "List the rules",
		Long: "List the built-in rules. With --policy, also list the rules that policies\n" +
			"declare in their own Rego, as the METADATA of the modules describes them.",
		Example: "  sourceward rules\n" +
			"  sourceward rules --policy policies/",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			write, ok := writers[format]
			if !ok {
				return notOneOf("--output", format, []string{"text", "json", "markdown"})
			}
			own, err := ownRules(cmd.Context(), s, paths)
			return errors.Join(write(s.out, append(policies.Catalogue(), own...)), err)
		},
	}
	cmd.Flags().StringVarP(&format, "output", "o", format, "write the list as `FORMAT`: text, json or markdown")
	cmd.Flags().StringArrayVar(&paths, "policy", nil,
		"read SourceIPPolicy objects from `PATH`, a file or directory; repeatable")
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

// repair returns where the findings of a rule can be repaired.
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
	return encodeJSON(w, rules)
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
