package main

import (
	"github.com/spf13/cobra"

	"github.com/sourceward/sourceward/policies"
)

// complete makes the shell complete a flag from a fixed list of words.
func complete(cmd *cobra.Command, flag string, words ...string) {
	// The error is non-nil only for a flag that the command does not have.
	_ = cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp))
}

func modeNames() []string {
	names := make([]string, len(policies.Modes))
	for i, mode := range policies.Modes {
		names[i] = string(mode)
	}
	return names
}
