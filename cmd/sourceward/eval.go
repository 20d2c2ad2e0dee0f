package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sourceward/sourceward/policies/bundle"
	"github.com/sourceward/sourceward/policies/manifest"
)

// evalFlags are the flags of policy eval as they are given.
type evalFlags struct {
	files   []string
	outputs []string
	trace   bool
}

func policyEvalCommand(s streams) *cobra.Command {
	var flags evalFlags
	cmd := &cobra.Command{
		Use:   "eval PATH... -f MANIFEST...",
		Short: "Show what modules see of an object, print, and give",
		Long: "For each Service and workload in the manifests, whose neighbours are all others there: the input that modules see, what\n" +
			"each of their rules gives for it and prints (print(\"type\", input.object.spec.type) is shown here, by policy test beside\n" +
			"what fails, and never by the webhook), and what is found with this policy alone.\n\n" +
			"Exit codes: 0 evaluated, 2 could not, or not all of it.",
		Example: "  sourceward policy eval no-node-port -f no-node-port/cases/fires-in-production/\n" +
			"  helm template . | sourceward policy eval no-node-port -f - --trace",
		Args: somePaths,
		RunE: func(cmd *cobra.Command, args []string) error {
			return policyEval(cmd.Context(), s, flags, args)
		},
	}
	f := cmd.Flags()
	f.StringArrayVarP(&flags.files, "filename", "f", nil, "`MANIFEST` file or directory, or - for the standard input; repeatable")
	f.StringArrayVarP(&flags.outputs, "output", "o", []string{"text"}, "`FORMAT[=FILE]` of what is shown: text or json; repeatable")
	f.BoolVar(&flags.trace, "trace", false, "show the steps of the evaluation of the policy's own modules")
	complete(cmd, "output", "text", "json")
	return cmd
}

// policyEval runs the command. Its error is errReported, or a mistake in the command line.
func policyEval(ctx context.Context, s streams, flags evalFlags, paths []string) error {
	outputs, err := parseOutputs(flags.outputs, "text", "json")
	if err != nil {
		return err
	}
	if len(flags.files) == 0 {
		return errors.New("there is no object to evaluate; write -f MANIFEST")
	}
	list, problems, ok := loadSuites(s, paths)
	manifests, err := manifest.Load(manifest.Options{Paths: flags.files, Stdin: s.in})
	if err != nil {
		return err
	}
	if len(manifests.Objects) == 0 && len(manifests.Errors) == 0 {
		manifests.Errors = append(manifests.Errors, &manifest.Error{Message: fmt.Sprintf(
			"no Service or workload is in %s; give the file of one", strings.Join(flags.files, ", "))})
	}
	for _, e := range manifests.Errors {
		fmt.Fprintf(s.err, "error: %s\n", printable(e.Error()))
	}
	for _, note := range manifests.Notes {
		fmt.Fprintf(s.err, "note: %s\n", printable(note))
	}
	report := evalReport{}
	compiler := bundle.NewCompiler()
	faulty := false
	for _, policy := range list {
		evaluated, wrong, err := policy.Eval(ctx, compiler, manifests, time.Now(), flags.trace)
		if err != nil {
			return err
		}
		problems = append(problems, wrong...)
		for _, of := range evaluated {
			report = append(report, newEvaluation(of))
			if of.Fault != nil {
				faulty = true
				fmt.Fprintf(s.err, "error: %s; mend the policy\n", printable((&manifest.Error{
					File: of.Object.Document.File, Position: of.Object.Position(""), Message: fmt.Sprintf("%s: %s", of.Object.Ref, faultText(of.Fault)),
				}).Error()))
			}
		}
	}
	writeErrors(s, problems)
	for _, output := range outputs {
		write := report.writeText
		if output.format == "json" {
			write = report.writeJSON
		}
		if err := output.write(s.out, write); err != nil {
			return err
		}
	}
	if !ok || faulty || len(problems)+len(manifests.Errors) > 0 {
		return errReported
	}
	return nil
}
