package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

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

// writeErrors tells why something could not be done.
func writeErrors(s streams, problems []suite.Problem) {
	for i := range problems {
		fmt.Fprint(s.err, "error: ")
		writeProblem(s.err, &problems[i])
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

// reported ends a command that has told what it could not do, unless all is well.
func reported(well bool) error {
	if well {
		return nil
	}
	return errReported
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
