package main

import (
	"bufio"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/sourceward/sourceward/policies/suite"
)

func policyFmtCommand(s streams) *cobra.Command {
	return &cobra.Command{
		Use:   "fmt PATH...",
		Short: "Format the Rego of policies, and write it into their YAML",
		Long: "Format the modules and tests of policies as opa fmt does, in Rego v1 also where they were v0, and write the text of each\n" +
			"module into its policy. All else in the YAML stays as it is. The files that changed are listed.\n\n" +
			"Exit codes: 0 formatted, 2 could not, or not all of it.",
		Example: "  sourceward policy fmt policies/",
		Args:    somePaths,
		RunE: func(_ *cobra.Command, args []string) error {
			list, problems, ok := loadSuites(s, args)
			changed, unformatted, err := suite.Format(list)
			if err != nil {
				return err
			}
			problems = append(problems, unformatted...)
			out := bufio.NewWriter(s.out)
			for _, path := range changed {
				fmt.Fprintln(out, printable(path))
			}
			if err := out.Flush(); err != nil {
				return err
			}
			writeErrors(s, problems)
			return reported(ok && len(problems) == 0)
		},
	}
}
