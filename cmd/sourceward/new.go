package main

import (
	"bufio"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/sourceward/sourceward/policies/suite"
)

func policyNewCommand(s streams) *cobra.Command {
	return &cobra.Command{
		Use:   "new NAME",
		Short: "Make the folder of a policy, with a rule, its tests and its cases",
		Long: "Make the folder NAME in the current one, with a policy of that name: a small rule to change into yours, its METADATA,\n" +
			"its tests, and two cases. NAME is the id of the rule, such as no-node-port.",
		Example: "  sourceward policy new no-node-port",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return fmt.Errorf("name one policy, such as no-node-port")
			}
			return nil
		},
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(_ *cobra.Command, args []string) error {
			name := args[0]
			written, err := suite.New(name)
			if err != nil {
				return err
			}
			out := bufio.NewWriter(s.out)
			for _, path := range written {
				fmt.Fprintln(out, path)
			}
			fmt.Fprintf(out, "\nNext:\n"+
				"  sourceward policy test %[1]s    # after each change of the module, its tests or its cases\n"+
				"  sourceward policy fmt %[1]s     # before it ships: writes the module into policy.yaml\n"+
				"  sourceward policy vet %[1]s     # before it ships: says what is wrong\n"+
				"  kubectl apply -f %[1]s/policy.yaml\n", name)
			return out.Flush()
		},
	}
}
