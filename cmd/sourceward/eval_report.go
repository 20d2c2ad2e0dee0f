package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/sourceward/sourceward/policies"
	"github.com/sourceward/sourceward/policies/suite"
)

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
