package main

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// help writes the help of a command as cobra does, but with the examples first: a new user reads those. A usage
// template could do the same, but a program that uses text/template is several megabytes larger.
func help(cmd *cobra.Command, _ []string) {
	out := cmd.OutOrStdout()
	fmt.Fprintf(out, "%s\n\n", strings.TrimSpace(cmp.Or(cmd.Long, cmd.Short)))
	if cmd.HasExample() {
		fmt.Fprintf(out, "Examples:\n%s\n\n", cmd.Example)
		cmd.Example = "" // written
	}
	fmt.Fprint(out, cmd.UsageString())
}
