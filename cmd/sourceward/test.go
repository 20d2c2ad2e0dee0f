package main

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"regexp/syntax"
	"slices"

	"github.com/spf13/cobra"

	"github.com/sourceward/sourceward/policies/bundle"
	"github.com/sourceward/sourceward/policies/child"
	"github.com/sourceward/sourceward/policies/suite"
)

// testFlags holds the flags of policy test as they were given.
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
		Long: "Run the Rego tests and the cases of policies. A Rego test is a rule named\n" +
			"test_... in a *_test.rego file. A case passes if the decision about object.yaml,\n" +
			"made with this policy alone, is the one in want.yaml.\n\n" +
			"The report also lists the lines of the modules that no test and no case\n" +
			"evaluated. Modules are read from the .rego files, even if policy.yaml holds a\n" +
			"different text.\n\n" +
			"Exit codes:\n" +
			"  0  all passed\n" +
			"  1  some failed\n" +
			"  2  could not run, or could not run everything",
		Example: "  sourceward policy test no-node-port\n" +
			"  sourceward policy test no-node-port --update    # then read the diff of want.yaml\n" +
			"  sourceward policy test policies/ -o text -o junit=report.xml",
		Args: somePaths,
		RunE: func(cmd *cobra.Command, args []string) error {
			return policyTest(cmd.Context(), s, flags, args)
		},
	}
	f := cmd.Flags()
	f.StringArrayVarP(&flags.outputs, "output", "o", []string{"text"},
		"write the report as `FORMAT[=FILE]`, where FORMAT is text or junit; repeatable")
	f.StringVar(&flags.run, "run", "", "run only the tests and cases whose name matches `REGEX`")
	f.BoolVar(&flags.update, "update", false, "write the decision into want.yaml of each case that differs")
	complete(cmd, "output", "text", "junit")
	return cmd
}

// policyTest runs the command. The error is errFindings, errReported, or describes a mistake in the command line.
func policyTest(ctx context.Context, s streams, flags testFlags, paths []string) error {
	outputs, err := parseOutputs(flags.outputs, "text", "junit")
	if err != nil {
		return err
	}
	run, err := regexp.Compile(flags.run)
	if err != nil {
		return invalidRun(flags.run, err)
	}
	list, problems, ok := loadSuites(s, paths)
	problems = slices.DeleteFunc(problems, func(problem suite.Problem) bool {
		// The result of the case reports it.
		return slices.ContainsFunc(list, func(policy *suite.Policy) bool { return policy.HasInCase(problem.File) })
	})
	if err := notInputs(outputs, suiteFiles(list)); err != nil {
		return err
	}
	report := &testReport{}
	compiler := bundle.NewCompiler(child.Try)
	for _, policy := range list {
		tested, wrong := policy.Test(ctx, compiler, run, flags.update)
		if ctx.Err() != nil {
			return errInterrupted
		}
		problems = append(problems, wrong...)
		if tested != nil {
			report.of = append(report.of, tested)
		}
	}
	report.problems = problems
	writeErrors(s, problems)
	if flags.run != "" && ok && len(problems) == 0 && report.empty() {
		return fmt.Errorf(
			"--run %q matches no test and no case; names look like corp_test.test_it and cases/fires-in-production",
			flags.run)
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

// invalidRun returns the error for a value of --run that does not compile, without the prefix of regexp's own error.
func invalidRun(value string, err error) error {
	reason := err.Error()
	if e, ok := errors.AsType[*syntax.Error](err); ok {
		reason = e.Code.String()
		if e.Expr != value {
			reason += ": " + e.Expr
		}
	}
	return fmt.Errorf("--run: %q is not a valid regular expression: %s", value, reason)
}
