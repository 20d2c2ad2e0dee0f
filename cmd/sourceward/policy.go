package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sourceward/sourceward/policies"
	"github.com/sourceward/sourceward/policies/suite"
)

func policyCommand(s streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "policy",
		Short: "Write and test policies with Rego rules of your own",
		Long: "Write and test SourceIPPolicy objects with Rego rules of your own. Each policy\n" +
			"has a folder:\n\n" +
			"  policy.yaml      the policy that you ship, for kubectl apply and check --policy\n" +
			"  NAME.rego        the module that you edit; policy fmt copies it into policy.yaml\n" +
			"  NAME_test.rego   Rego tests of the module\n" +
			"  cases/*/         one folder for each case: object.yaml holds the object,\n" +
			"                   want.yaml the expected findings and patches, and old.yaml,\n" +
			"                   related.yaml and cluster.yaml hold what surrounds the object\n\n" +
			"The commands below take such folders as PATH, or a folder above them, a file\n" +
			"with a policy, or a .rego file.",
		Example: "  sourceward policy new no-node-port\n" +
			"  sourceward policy test no-node-port\n" +
			"  sourceward policy vet policies/",
	}
	cmd.AddCommand(policyNewCommand(s), policyVetCommand(s), policyTestCommand(s), policyEvalCommand(s),
		policyBenchCommand(s), policyFmtCommand(s))
	return cmd
}

// somePaths requires at least one path.
func somePaths(_ *cobra.Command, args []string) error {
	if len(args) == 0 {
		return errors.New(`name the folder or file of a policy; "sourceward policy new NAME" creates one`)
	}
	return nil
}

// loadSuites calls suite.Load. It writes an error for each path that cannot be read or holds no policy; ok is then
// false.
func loadSuites(s streams, paths []string) (list []*suite.Policy, problems []suite.Problem, ok bool) {
	list, problems, err := suite.Load(paths)
	if err != nil {
		for line := range strings.Lines(err.Error()) {
			fmt.Fprintf(s.err, "error: %s\n", policies.Printable(strings.TrimSuffix(line, "\n")))
		}
	}
	return list, problems, err == nil
}

// suiteFiles returns the names of the files of policies, their modules and their tests.
func suiteFiles(list []*suite.Policy) []string {
	var names []string
	for _, policy := range list {
		names = append(names, policy.File())
		for _, file := range slices.Concat(policy.Modules, policy.Tests) {
			if file.Path != "" {
				names = append(names, file.Path)
			}
		}
	}
	return names
}

// writeErrors writes problems to standard error.
func writeErrors(s streams, problems []suite.Problem) {
	for i := range problems {
		fmt.Fprint(s.err, "error: ")
		writeProblem(s.err, &problems[i])
	}
}

// writeProblem writes a problem and, below it, the line of Rego that causes it.
func writeProblem(w io.Writer, problem *suite.Problem) {
	fmt.Fprintln(w, policies.Printable(problem.Error()))
	writeDetail(w, problem.Detail())
}

// writeDetail writes a line of Rego and the line with the mark below it. It replaces tabs, so that the mark stays in
// its column.
func writeDetail(w io.Writer, detail string) {
	for line := range strings.Lines(detail) {
		fmt.Fprintln(w, policies.Printable(strings.ReplaceAll(strings.TrimSuffix(line, "\n"), "\t", "    ")))
	}
}

// reported returns the error of a command that has written its errors: nil if there were none.
func reported(ok bool) error {
	if ok {
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
