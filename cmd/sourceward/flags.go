package main

import (
	"fmt"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/sourceward/sourceward/policies"
)

// complete makes the shell complete a flag from a fixed list of words.
func complete(cmd *cobra.Command, flag string, words ...string) {
	// The error is non-nil only for a flag that the command does not have.
	_ = cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp))
}

// addNamespace adds the flag that gives the namespace of objects that name none.
func addNamespace(flags *pflag.FlagSet, namespace *string) {
	flags.StringVarP(namespace, "namespace", "n", "",
		"`NAME` of the namespace of objects that name none; by default the only one\nthat the other objects of the same "+
			"file name, or default")
}

// validNamespace returns an error if the value of --namespace is not empty and not the name of a Namespace.
func validNamespace(name string) error {
	if name != "" && len(validation.IsDNS1123Label(name)) > 0 {
		return fmt.Errorf("--namespace %q is not the name of a Namespace; want lower-case letters, digits and hyphens", name)
	}
	return nil
}

func modeNames() []string {
	names := make([]string, len(policies.Modes))
	for i, mode := range policies.Modes {
		names[i] = string(mode)
	}
	return names
}
