package main

import (
	"errors"
	"fmt"
	"strconv"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/sourceward/sourceward/policies"
	"github.com/sourceward/sourceward/policies/bundle"
	"github.com/sourceward/sourceward/policies/child"
)

func policyBenchCommand(s streams) *cobra.Command {
	return &cobra.Command{
		Use:   "bench PATH...",
		Short: "Measure what each rule of a policy costs",
		Long: "Measure the time, the allocations and the bytes that one evaluation of a rule\n" +
			"takes for one object, averaged over the objects of the policy's cases. The most\n" +
			"expensive rule comes first. The last line is the whole policy as the webhook\n" +
			"evaluates it, which includes building the input. Each line takes about a second\n" +
			"to measure.\n\n" +
			"Exit codes:\n" +
			"  0  measured\n" +
			"  2  could not measure everything",
		Example: "  sourceward policy bench no-node-port",
		Args:    somePaths,
		RunE: func(cmd *cobra.Command, args []string) error {
			list, problems, ok := loadSuites(s, args)
			compiler := bundle.NewCompiler(child.Try)
			out := tabwriter.NewWriter(s.out, 0, 0, 2, ' ', 0)
			measured := false
			for _, policy := range list {
				progress := newProgress(s.err)
				costs, wrong, err := policy.Bench(cmd.Context(), compiler, progress.measured)
				progress.done()
				if cmd.Context().Err() != nil {
					return errors.Join(out.Flush(), errInterrupted)
				}
				problems = append(problems, wrong...)
				if err != nil {
					fmt.Fprintf(s.err, "error: %s\n", policies.Printable(err.Error()))
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
					row(out, policy.Name, name, strconv.FormatInt(cost.Nanoseconds, 10),
						strconv.FormatInt(cost.Allocations, 10), strconv.FormatInt(cost.Bytes, 10))
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
