package main

import (
	"bufio"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/sourceward/sourceward/policies/suite"
)

func policyNewCommand(s streams) *cobra.Command {
	return &cobra.Command{
		Use:   "new NAME",
		Short: "Create a policy with a rule, its tests and its cases",
		Long: "Create the folder NAME in the current directory, with a policy of that name. It\n" +
			"holds a small rule for you to change, its METADATA, its Rego tests, and two\n" +
			"cases. NAME is also the id of the rule, such as no-node-port.",
		Example: "  sourceward policy new no-node-port",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return errors.New("name one policy, such as no-node-port")
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
				"  sourceward policy test %[1]s    # after each change to the module, its tests or its cases\n"+
				"  sourceward policy fmt %[1]s     # before you ship it: copies the module into policy.yaml\n"+
				"  sourceward policy vet %[1]s     # before you ship it: reports problems\n"+
				"  kubectl apply -f %[1]s/policy.yaml\n", name)
			return out.Flush()
		},
	}
}
