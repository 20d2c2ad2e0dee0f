package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/sourceward/sourceward/policies"
	"github.com/sourceward/sourceward/policies/bundle"
	"github.com/sourceward/sourceward/policies/manifest"
	"github.com/sourceward/sourceward/policies/suite"
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

// evalReport is what policies made of objects, and the form of -o json.
type evalReport []evaluation

// evaluation is what one policy made of one object.
type evaluation struct {
	Policy string       `json:"policy"`
	Object policies.Ref `json:"object"`
	File   string       `json:"file"`
	Line   int          `json:"line"`
	// Matches tells whether the policy is about the object, and Why why. If not, there is no Input and there are no Rules.
	Matches bool             `json:"matches"`
	Why     string           `json:"why"`
	Input   any              `json:"input"`
	Rules   []evaluatedRule  `json:"rules"`
	Found   []evaluatedFound `json:"findings"`
	// Fault says why the decision could not be had in full; or empty.
	Fault string `json:"fault"`
}

// evaluatedRule is what one rule of the contract gave.
type evaluatedRule struct {
	Module string `json:"module"`
	Rule   string `json:"rule"`
	// Skipped tells that METADATA custom.kinds leaves the object's kind out.
	Skipped bool      `json:"skipped"`
	Reasons []any     `json:"reasons"`
	Printed []printed `json:"printed"`
	Fault   string    `json:"fault"`
	Trace   string    `json:"trace,omitempty"`
}

// printed is what print() wrote.
type printed struct {
	File string `json:"file"`
	Line int    `json:"line"`
	Text string `json:"text"`
}

// evaluatedFound is a finding of the decision.
type evaluatedFound struct {
	policies.Finding
	Line   int `json:"line"`
	Column int `json:"column"`
}

func newEvaluation(of suite.Evaluated) evaluation {
	e := evaluation{
		Policy: of.Policy, Object: of.Object.Ref, File: of.Object.Document.File, Line: of.Object.Position("").Line,
		Matches: of.Matches, Why: of.Why, Input: of.Input, Rules: []evaluatedRule{}, Found: []evaluatedFound{}, Fault: faultText(of.Fault),
	}
	for _, outcome := range of.Outcomes {
		rule := evaluatedRule{
			Module: outcome.Module, Rule: outcome.Rule, Skipped: outcome.Skipped, Reasons: append([]any{}, outcome.Reasons...),
			Printed: []printed{}, Fault: faultText(outcome.Fault), Trace: outcome.Trace,
		}
		for _, p := range outcome.Printed {
			rule.Printed = append(rule.Printed, printed{p.Module, p.Row, p.Text})
		}
		e.Rules = append(e.Rules, rule)
	}
	for _, f := range of.Decision.Findings {
		position := of.Object.Position(f.Path)
		e.Found = append(e.Found, evaluatedFound{f, position.Line, position.Column})
	}
	return e
}

func faultText(err error) string {
	if err == nil {
		return ""
	}
	return strings.ReplaceAll(err.Error(), "\n", "; ")
}

func (r evalReport) writeJSON(w io.Writer) error {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(r)
}

// writeText writes what modules saw, gave and printed, and what is found.
func (r evalReport) writeText(w io.Writer) error {
	out := bufio.NewWriter(w)
	for i, e := range r {
		if i > 0 {
			fmt.Fprintln(out)
		}
		fmt.Fprintf(out, "%s:%d %s, policy %s\n", printable(e.File), e.Line, printable(e.Object.String()), printable(e.Policy))
		if !e.Matches {
			fmt.Fprintf(out, "the policy is not about it: %s\n", printable(e.Why))
		} else {
			fmt.Fprintf(out, "input: %s\n", indented(e.Input))
		}
		for _, rule := range e.Rules {
			rule.writeText(out)
		}
		if len(e.Found) == 0 {
			fmt.Fprintln(out, "no findings")
		}
		for _, f := range e.Found {
			mode := string(f.Mode)
			if f.Exempt != nil {
				mode = "exempt"
			}
			fmt.Fprintf(out, "%d:%d  %s  %s  %s\n", f.Line, f.Column, mode, f.Rule, printable(f.Message))
		}
	}
	return out.Flush()
}

func (r evaluatedRule) writeText(w io.Writer) {
	for _, p := range r.Printed {
		fmt.Fprintf(w, "print: %s:%d: %s\n", printable(p.File), p.Line, printable(p.Text))
	}
	for line := range strings.Lines(r.Trace) {
		fmt.Fprintf(w, "trace: %s\n", printable(strings.TrimSuffix(line, "\n")))
	}
	name := r.Module + "." + r.Rule
	if r.Skipped {
		fmt.Fprintf(w, "%s is not asked: METADATA custom.kinds leaves this kind out\n", name)
		return
	}
	fmt.Fprintf(w, "%s: %s\n", name, indented(r.Reasons))
	if r.Fault != "" {
		fmt.Fprintf(w, "%s fails: %s\n", name, printable(r.Fault))
	}
}

// indented is a value as JSON. What is not to be printed is escaped in it.
func indented(value any) string {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(value); err != nil {
		return fmt.Sprint(value)
	}
	lines := strings.Split(strings.TrimSuffix(text.String(), "\n"), "\n")
	for i, line := range lines {
		lines[i] = printable(line)
	}
	return strings.Join(lines, "\n")
}

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
