package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sourceward/sourceward/policies"
	"github.com/sourceward/sourceward/policies/bundle"
	"github.com/sourceward/sourceward/policies/child"
	"github.com/sourceward/sourceward/policies/manifest"
)

// evalFlags holds the flags of policy eval as they were given.
type evalFlags struct {
	files     []string
	namespace string
	outputs   []string
	trace     bool
}

func policyEvalCommand(s streams) *cobra.Command {
	var flags evalFlags
	cmd := &cobra.Command{
		Use:   "eval PATH... -f MANIFEST...",
		Short: "Show what the modules of a policy see, print and return",
		Long: "Evaluate policies for the Services and workloads in manifests, and show for each\n" +
			"object:\n\n" +
			"  - the input that the modules see: the object, with the other objects in the\n" +
			"    manifests as its neighbours\n" +
			"  - what each rule prints and returns\n" +
			"  - the findings with this policy alone\n\n" +
			"To debug a rule, add print(\"type\", input.object.spec.type). This command shows\n" +
			"the text, policy test shows it below a failure, and the webhook ignores it.\n\n" +
			"Exit codes:\n" +
			"  0  evaluated\n" +
			"  2  could not evaluate everything",
		Example: "  sourceward policy eval no-node-port -f no-node-port/cases/fires-in-production/\n" +
			"  helm template . | sourceward policy eval no-node-port -f - --trace",
		Args: somePaths,
		RunE: func(cmd *cobra.Command, args []string) error {
			return policyEval(cmd.Context(), s, flags, args)
		},
	}
	f := cmd.Flags()
	f.StringArrayVarP(&flags.files, "filename", "f", nil,
		"read objects from `MANIFEST`: a file, a directory, or - for standard input; repeatable")
	addNamespace(f, &flags.namespace)
	f.StringArrayVarP(&flags.outputs, "output", "o", []string{"text"},
		"write the result as `FORMAT[=FILE]`, where FORMAT is text or json; repeatable")
	f.BoolVar(&flags.trace, "trace", false, "also show each step in the evaluation of the policy's own modules")
	complete(cmd, "output", "text", "json")
	return cmd
}

// policyEval runs the command. The error is errReported, or describes a mistake in the command line.
func policyEval(ctx context.Context, s streams, flags evalFlags, paths []string) error {
	outputs, err := parseOutputs(flags.outputs, "text", "json")
	if err != nil {
		return err
	}
	if err := validNamespace(flags.namespace); err != nil {
		return err
	}
	if len(flags.files) == 0 {
		return errors.New("there is no object to evaluate; add -f MANIFEST")
	}
	list, problems, ok := loadSuites(s, paths)
	manifests, err := manifest.Load(manifest.Options{
		Paths: flags.files, Stdin: s.in, Namespace: flags.namespace, Reads: bundle.ReadsAnnotation,
		Version: policies.Newest, Rendering: defaultRendering(ctx),
	})
	if err != nil {
		return err
	}
	if err := notInputs(outputs, slices.Concat(manifests.FilesRead(), suiteFiles(list))); err != nil {
		return err
	}
	if len(manifests.Objects) == 0 && len(manifests.Errors) == 0 {
		manifests.Errors = append(manifests.Errors, &manifest.Error{Message: fmt.Sprintf(
			"no Service or workload found in %s; name a file that holds one", strings.Join(flags.files, ", "))})
	}
	for _, e := range manifests.Errors {
		fmt.Fprintf(s.err, "error: %s\n", policies.Printable(e.Error()))
	}
	for _, note := range manifests.Notes {
		fmt.Fprintf(s.err, "note: %s\n", policies.Printable(remarkText(note)))
	}
	report := evalReport{}
	compiler := bundle.NewCompiler(child.Try)
	faulty := false
	for _, policy := range list {
		evaluated, wrong, err := policy.Eval(ctx, compiler, manifests, time.Now(), flags.trace)
		if ctx.Err() != nil {
			return errInterrupted
		}
		if err != nil {
			return err
		}
		problems = append(problems, wrong...)
		for _, of := range evaluated {
			report = append(report, newEvaluation(of))
			if of.Fault != nil {
				faulty = true
				fault := of.Object.Place("").Error(fmt.Sprintf("%s: %s; fix the policy", of.Object.Ref, faultText(of.Fault)))
				fmt.Fprintf(s.err, "error: %s\n", policies.Printable(fault.Error()))
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
