package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"

	"github.com/aymanbagabas/go-udiff"
	"github.com/spf13/cobra"

	"github.com/sourceward/sourceward/policies/bundle"
	"github.com/sourceward/sourceward/policies/suite"
)

func policyCommand(s streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "policy",
		Short: "Write, vet and test a SourceIPPolicy with Rego of your own",
		Long: "Write, vet and test a SourceIPPolicy with Rego of your own. A policy has a folder:\n\n" +
			"  policy.yaml       what ships: kubectl apply -f it, or give it to check --policy\n" +
			"  NAME.rego         its module, which you edit; policy fmt writes its text into policy.yaml\n" +
			"  NAME_test.rego    Rego tests of it\n" +
			"  cases/<sentence>/ an object.yaml, what else there is (old.yaml, related.yaml, cluster.yaml), and want.yaml: what is found\n\n" +
			"A PATH is such a folder or one above, a file with a policy, or a .rego file.",
		Example: "  sourceward policy new no-node-port\n" +
			"  sourceward policy test no-node-port\n" +
			"  sourceward policy vet policies/",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(policyNewCommand(s), policyVetCommand(s), policyTestCommand(s), policyEvalCommand(s), policyBenchCommand(s), policyFmtCommand(s))
	return cmd
}

// somePaths wants one path of a policy, or several.
func somePaths(_ *cobra.Command, args []string) error {
	if len(args) == 0 {
		return fmt.Errorf("name the folder or file of a policy; sourceward policy new NAME makes one")
	}
	return nil
}

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

// loadSuites is suite.Load; what cannot be read is told. ok is false if there is nothing to go on with.
func loadSuites(s streams, paths []string) (list []*suite.Policy, problems []suite.Problem, ok bool) {
	list, problems, err := suite.Load(paths)
	if err != nil {
		for line := range strings.Lines(err.Error()) {
			fmt.Fprintf(s.err, "error: %s\n", printable(strings.TrimSuffix(line, "\n")))
		}
	}
	return list, problems, err == nil
}

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

// writeProblem writes a problem and, below it, the line that it is about.
func writeProblem(w io.Writer, problem *suite.Problem) {
	fmt.Fprintln(w, printable(problem.Error()))
	writeDetail(w, problem.Detail())
}

// writeDetail writes a line of Rego and the mark below it, which keeps its place below what it marks.
func writeDetail(w io.Writer, detail string) {
	for line := range strings.Lines(detail) {
		fmt.Fprintln(w, printable(strings.ReplaceAll(strings.TrimSuffix(line, "\n"), "\t", "    ")))
	}
}

func policyCount(n int) string {
	if n == 1 {
		return "1 policy"
	}
	return fmt.Sprintf("%d policies", n)
}

func problemCount(n int) string {
	if n == 0 {
		return "no problems"
	}
	return count(n, "problem")
}

func policyFmtCommand(s streams) *cobra.Command {
	return &cobra.Command{
		Use:   "fmt PATH...",
		Short: "Format the Rego of policies, and write it into their YAML",
		Long: "Format the modules and tests of policies as opa fmt does, in Rego v1 also where they were v0, and write the text of each\n" +
			"module into its policy. All else in the YAML stays as it is. The files that changed are listed.\n\n" +
			"Exit codes: 0 formatted, 2 could not, or not all of it.",
		Example: "  sourceward policy fmt policies/",
		Args:    somePaths,
		RunE: func(_ *cobra.Command, args []string) error {
			list, problems, ok := loadSuites(s, args)
			changed, unformatted, err := suite.Format(list)
			if err != nil {
				return err
			}
			problems = append(problems, unformatted...)
			out := bufio.NewWriter(s.out)
			for _, path := range changed {
				fmt.Fprintln(out, printable(path))
			}
			if err := out.Flush(); err != nil {
				return err
			}
			writeErrors(s, problems)
			return reported(ok && len(problems) == 0)
		},
	}
}

// writeErrors tells why something could not be done.
func writeErrors(s streams, problems []suite.Problem) {
	for i := range problems {
		fmt.Fprint(s.err, "error: ")
		writeProblem(s.err, &problems[i])
	}
}

// reported ends a command that has told what it could not do, unless all is well.
func reported(well bool) error {
	if well {
		return nil
	}
	return errReported
}

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

// testReport is what came of the tests of some policies.
type testReport struct {
	of []*suite.Tested
	// problems kept others from being run.
	problems []suite.Problem
}

// empty tells that there was nothing to run.
func (r *testReport) empty() bool {
	return !slices.ContainsFunc(r.of, func(tested *suite.Tested) bool { return len(tested.Results) > 0 })
}

func (r *testReport) failed() int {
	failed := 0
	for _, tested := range r.of {
		for _, result := range tested.Results {
			if result.Failure != "" {
				failed++
			}
		}
	}
	return failed
}

// writeText writes what failed, in full, then what was not evaluated, and a summary.
func (r *testReport) writeText(w io.Writer) error {
	out := bufio.NewWriter(w)
	tests, cases, skipped := 0, 0, 0
	for _, tested := range r.of {
		for _, result := range tested.Results {
			switch {
			case result.Skipped:
				skipped++
			case result.IsCase():
				cases++
			default:
				tests++
			}
			if result.Updated {
				fmt.Fprintf(out, "%s: written\n", printable(result.Place.File))
			}
			if result.Failure == "" {
				continue
			}
			failure := result.Place
			failure.Message = result.Failure
			if !result.IsCase() {
				failure.Message = result.Name + ": " + result.Failure
			}
			fmt.Fprintln(out, printable(failure.Error()))
			for _, line := range failureDetail(result) {
				fmt.Fprintf(out, "  %s\n", line)
			}
		}
	}
	for _, tested := range r.of {
		for _, of := range tested.Coverage {
			fmt.Fprintln(out, printable(of.String()))
		}
	}
	summary := fmt.Sprintf("%s, %s, %s: ", policyCount(len(r.of)), count(tests, "test"), count(cases, "case"))
	switch failed := r.failed(); {
	case failed > 0:
		summary += fmt.Sprintf("%d failed", failed)
	case tests+cases == 0:
		summary += "nothing to run"
	default:
		summary += "all passed"
	}
	if skipped > 0 {
		summary += fmt.Sprintf(", %d skipped", skipped)
	}
	if len(r.problems) > 0 {
		summary += ", " + problemCount(len(r.problems))
	}
	if len(r.of) > 0 {
		fmt.Fprintln(out, summary)
	}
	return out.Flush()
}

// failureDetail are the lines below a failure: what was printed, and how the decision differs.
func failureDetail(result suite.Result) []string {
	var lines []string
	for _, text := range result.Printed {
		lines = append(lines, "print: "+printable(text))
	}
	if result.Want != result.Got {
		for line := range strings.Lines(udiff.Unified("want", "got", result.Want, result.Got)) {
			lines = append(lines, printable(strings.TrimSuffix(line, "\n")))
		}
	}
	return lines
}
