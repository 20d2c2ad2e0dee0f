package main

import (
	"bufio"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/sourceward/sourceward/policies/bundle"
	"github.com/sourceward/sourceward/policies/child"
	"github.com/sourceward/sourceward/policies/suite"
)

func policyVetCommand(s streams) *cobra.Command {
	return &cobra.Command{
		Use:   "vet PATH...",
		Short: "Report problems in policies before the API server does",
		Long: "Report problems in policies, without changing a file. A problem is anything that\n" +
			"the webhook would refuse, and also:\n\n" +
			"  - missing METADATA\n" +
			"  - rules and files that are not used\n" +
			"  - Rego that is not formatted\n" +
			"  - a module in the YAML that differs from the .rego file next to it\n" +
			"  - tests that do not compile\n\n" +
			"Exit codes:\n" +
			"  0  no problems\n" +
			"  1  problems\n" +
			"  2  could not run, or could not read everything",
		Example: "  sourceward policy vet policies/",
		Args:    somePaths,
		RunE: func(cmd *cobra.Command, args []string) error {
			list, problems, ok := loadSuites(s, args)
			problems = suite.Vet(cmd.Context(), bundle.NewCompiler(child.Try), list, problems)
			if cmd.Context().Err() != nil {
				return errInterrupted
			}
			out := bufio.NewWriter(s.out)
			for i := range problems {
				writeProblem(out, &problems[i])
			}
			modules, tests := 0, 0
			for _, policy := range list {
				modules += len(policy.Modules)
				tests += len(policy.Tests)
			}
			if len(list)+len(problems) > 0 {
				fmt.Fprintf(out, "%s, %s, %s: %s\n", policyCount(len(list)),
					count(modules, "module"), count(tests, "test file"), problemCount(len(problems)))
			}
			if err := out.Flush(); err != nil {
				return err
			}
			switch {
			case !ok:
				return errReported
			case len(problems) > 0:
				return errFindings
			}
			return nil
		},
	}
}
