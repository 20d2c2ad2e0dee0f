package main

import (
	"bufio"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/sourceward/sourceward/policies/bundle"
	"github.com/sourceward/sourceward/policies/suite"
)

func policyVetCommand(s streams) *cobra.Command {
	return &cobra.Command{
		Use:   "vet PATH...",
		Short: "Say what is wrong with policies, before the API server does",
		Long: "Say what is wrong with policies: all that the webhook would refuse, and what their authors should mend besides:\n" +
			"METADATA that is missing, rules and files that nobody uses, Rego that is not formatted or not that of the file beside\n" +
			"the policy, tests that do not compile. Nothing is changed.\n\n" +
			"Exit codes: 0 clean, 1 problems, 2 could not run, or not all of it.",
		Example: "  sourceward policy vet policies/",
		Args:    somePaths,
		RunE: func(_ *cobra.Command, args []string) error {
			list, problems, ok := loadSuites(s, args)
			problems = suite.Vet(bundle.NewCompiler(), list, problems)
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
				fmt.Fprintf(out, "%s, %s, %s: %s\n", policyCount(len(list)), count(modules, "module"), count(tests, "test file"), problemCount(len(problems)))
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
