package main

import (
	"context"
	"fmt"
	"regexp"
	"slices"

	"github.com/spf13/cobra"

	"github.com/sourceward/sourceward/policies/bundle"
	"github.com/sourceward/sourceward/policies/suite"
)

// testFlags are the flags of policy test as they are given.
type testFlags struct {
	outputs []string
	run     string
	update  bool
}

func policyTestCommand(s streams) *cobra.Command {
	var flags testFlags
	cmd := &cobra.Command{
		Use:   "test PATH...",
		Short: "Run the Rego tests and the cases of policies",
		Long: "Run the Rego tests of policies (rules named test_..., in *_test.rego), which see what modules see, and their cases: what is\n" +
			"found in object.yaml with this policy alone is held against want.yaml. Then tell which lines of the modules were not\n" +
			"evaluated by any of them. The text in the .rego files counts, whatever policy.yaml holds.\n\n" +
			"Exit codes: 0 all passed, 1 some failed, 2 could not run, or not all of it.",
		Example: "  sourceward policy test no-node-port\n" +
			"  sourceward policy test no-node-port --update    # then read the diff of want.yaml\n" +
			"  sourceward policy test policies/ -o text -o junit=report.xml",
		Args: somePaths,
		RunE: func(cmd *cobra.Command, args []string) error {
			return policyTest(cmd.Context(), s, flags, args)
		},
	}
	f := cmd.Flags()
	f.StringArrayVarP(&flags.outputs, "output", "o", []string{"text"}, "`FORMAT[=FILE]` of the report: text or junit; repeatable")
	f.StringVar(&flags.run, "run", "", "run only the tests and cases whose name matches `REGEX`")
	f.BoolVar(&flags.update, "update", false, "write want.yaml of cases that differ")
	complete(cmd, "output", "text", "junit")
	return cmd
}

// policyTest runs the command. Its error is errFindings, errReported, or a mistake in the command line.
func policyTest(ctx context.Context, s streams, flags testFlags, paths []string) error {
	outputs, err := parseOutputs(flags.outputs, "text", "junit")
	if err != nil {
		return err
	}
	run, err := regexp.Compile(flags.run)
	if err != nil {
		return fmt.Errorf("--run %q is no regular expression: %w", flags.run, err)
	}
	list, problems, ok := loadSuites(s, paths)
	problems = slices.DeleteFunc(problems, func(problem suite.Problem) bool { // which the result of the case tells
		return slices.ContainsFunc(list, func(policy *suite.Policy) bool { return policy.HasInCase(problem.File) })
	})
	report := &testReport{}
	compiler := bundle.NewCompiler()
	for _, policy := range list {
		if ctx.Err() != nil {
			return errReported
		}
		tested, wrong := policy.Test(ctx, compiler, run, flags.update)
		problems = append(problems, wrong...)
		if tested != nil {
			report.of = append(report.of, tested)
		}
	}
	report.problems = problems
	writeErrors(s, problems)
	if flags.run != "" && ok && len(problems) == 0 && report.empty() {
		return fmt.Errorf("--run %q matches no test and no case; want a part of a name such as corp_test.test_it or cases/fires-in-production", flags.run)
	}
	for _, output := range outputs {
		write := report.writeText
		if output.format == "junit" {
			write = report.writeJUnit
		}
		if err := output.write(s.out, write); err != nil {
			return err
		}
	}
	switch {
	case !ok || len(problems) > 0:
		return errReported
	case report.failed() > 0:
		return errFindings
	}
	return nil
}
