package main

import (
	"fmt"
	"strconv"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/sourceward/sourceward/policies/bundle"
)

func policyBenchCommand(s streams) *cobra.Command {
	return &cobra.Command{
		Use:   "bench PATH...",
		Short: "Measure what the rules of policies cost",
		Long: "Measure each rule of the modules over the objects of the policy's cases: the mean time, allocations and bytes of one\n" +
			"evaluation for one object, the most costly rule first, and at last those of the whole policy as the webhook evaluates it,\n" +
			"which includes making its input. Each takes about a second.\n\n" +
			"Exit codes: 0 measured, 2 could not, or not all of it.",
		Example: "  sourceward policy bench no-node-port",
		Args:    somePaths,
		RunE: func(cmd *cobra.Command, args []string) error {
			list, problems, ok := loadSuites(s, args)
			compiler := bundle.NewCompiler()
			out := tabwriter.NewWriter(s.out, 0, 0, 2, ' ', 0)
			measured := false
			for _, policy := range list {
				progress := newProgress(s.err)
				costs, wrong, err := policy.Bench(cmd.Context(), compiler, progress.measured)
				progress.done()
				problems = append(problems, wrong...)
				if err != nil {
					fmt.Fprintf(s.err, "error: %s\n", printable(err.Error()))
					ok = false
				}
				if len(costs) > 0 && !measured {
					measured = true
					fmt.Fprintln(out, "POLICY\tRULE\tNS/OP\tALLOCS/OP\tB/OP")
				}
				for _, cost := range costs {
					name := cost.Module + "." + cost.Rule
					if cost.Module == "" {
						name = "the whole policy"
					}
					row(out, policy.Name, name, strconv.FormatInt(cost.Nanoseconds, 10), strconv.FormatInt(cost.Allocations, 10), strconv.FormatInt(cost.Bytes, 10))
				}
			}
			if err := out.Flush(); err != nil {
				return err
			}
			writeErrors(s, problems)
			return reported(ok && len(problems) == 0)
		},
	}
}
