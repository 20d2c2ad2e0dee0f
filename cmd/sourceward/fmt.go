package main

import (
	"bufio"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/sourceward/sourceward/policies"
	"github.com/sourceward/sourceward/policies/child"
	"github.com/sourceward/sourceward/policies/suite"
)

func policyFmtCommand(s streams) *cobra.Command {
	return &cobra.Command{
		Use:   "fmt PATH...",
		Short: "Format the Rego of policies and copy it into their YAML",
		Long: "Format the modules and tests of policies as opa fmt does, and convert Rego v0 to\n" +
			"v1. Then copy each module into the YAML of its policy; everything else in the\n" +
			"YAML stays the same. The command lists the files that changed.\n\n" +
			"Exit codes:\n" +
			"  0  formatted\n" +
			"  2  could not format everything",
		Example: "  sourceward policy fmt policies/",
		Args:    somePaths,
		RunE: func(cmd *cobra.Command, args []string) error {
			list, problems, ok := loadSuites(s, args)
			changed, unformatted, err := suite.Format(cmd.Context(), child.Try, list)
			if err != nil {
				return err
			}
			problems = append(problems, unformatted...)
			out := bufio.NewWriter(s.out)
			for _, path := range changed {
				fmt.Fprintln(out, policies.Printable(path))
			}
			if err := out.Flush(); err != nil {
				return err
			}
			if cmd.Context().Err() != nil {
				return errInterrupted
			}
			writeErrors(s, problems)
			return reported(ok && len(problems) == 0)
		},
	}
}
