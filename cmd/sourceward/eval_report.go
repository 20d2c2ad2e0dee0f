package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"strings"

	"github.com/sourceward/sourceward/policies"
	"github.com/sourceward/sourceward/policies/suite"
)

// evalReport is the result of policy eval, and the format of -o json: one evaluation for each policy and object.
type evalReport []evaluation

// evaluation is the result of one policy for one object.
type evaluation struct {
	Policy string       `json:"policy"`
	Object policies.Ref `json:"object"`
	File   string       `json:"file"`
	Line   int          `json:"line"`
	// Matches is true if the policy matches the object. Why says why, or why not. Without a match, Input is null and Rules
	// is empty.
	Matches bool             `json:"matches"`
	Why     string           `json:"why"`
	Input   any              `json:"input"`
	Rules   []evaluatedRule  `json:"rules"`
	Found   []evaluatedFound `json:"findings"`
	// Fault says why the findings are incomplete; empty if they are complete.
	Fault string `json:"fault"`
}

// evaluatedRule is the result of one set that a module defines, such as deny.
type evaluatedRule struct {
	Module string `json:"module"`
	Rule   string `json:"rule"`
	// Skipped is true if the rule was not evaluated because METADATA custom.kinds excludes the object's kind.
	Skipped bool `json:"skipped"`
	// Reasons are the members of the set.
	Reasons []any     `json:"reasons"`
	Printed []printed `json:"printed"`
	// Fault says why the evaluation failed; empty if it did not.
	Fault string `json:"fault"`
	// Trace is set only with --trace.
	Trace string `json:"trace,omitempty"`
}

// printed is the text of one call of print, with the place of the call.
type printed struct {
	File string `json:"file"`
	Line int    `json:"line"`
	Text string `json:"text"`
}

// evaluatedFound is a finding, with the place of its field in the file.
type evaluatedFound struct {
	policies.Finding
	Line   int `json:"line"`
	Column int `json:"column"`
}

func newEvaluation(of suite.Evaluated) evaluation {
	place := of.Object.Place("")
	e := evaluation{
		Policy: of.Policy, Object: of.Object.Ref, File: place.File, Line: place.Line,
		Matches: of.Matches, Why: of.Why, Input: of.Input, Rules: []evaluatedRule{}, Found: []evaluatedFound{},
		Fault: faultText(of.Fault),
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
		position := of.Object.Place(f.Path)
		e.Found = append(e.Found, evaluatedFound{f, position.Line, position.Column})
	}
	return e
}

func (r evalReport) writeJSON(w io.Writer) error {
	return encodeJSON(w, r)
}

// writeText writes what the modules saw, printed and returned, and the findings.
func (r evalReport) writeText(w io.Writer) error {
	out := bufio.NewWriter(w)
	for i, e := range r {
		if i > 0 {
			fmt.Fprintln(out)
		}
		fmt.Fprintf(out, "%s:%d %s, policy %s\n",
			policies.Printable(e.File), e.Line, policies.Printable(e.Object.String()), policies.Printable(e.Policy))
		if !e.Matches {
			fmt.Fprintf(out, "the policy does not match it: %s\n", policies.Printable(e.Why))
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
			fmt.Fprintf(out, "%d:%d  %s  %s  %s\n", f.Line, f.Column, mode, f.Rule, policies.Printable(f.Message))
		}
	}
	return out.Flush()
}

func (r evaluatedRule) writeText(w io.Writer) {
	for _, p := range r.Printed {
		fmt.Fprintf(w, "print: %s:%d: %s\n", policies.Printable(p.File), p.Line, policies.Printable(p.Text))
	}
	for line := range strings.Lines(r.Trace) {
		fmt.Fprintf(w, "trace: %s\n", policies.Printable(strings.TrimSuffix(line, "\n")))
	}
	name := r.Module + "." + r.Rule
	if r.Skipped {
		fmt.Fprintf(w, "%s was not evaluated: METADATA custom.kinds excludes this kind\n", name)
		return
	}
	fmt.Fprintf(w, "%s: %s\n", name, indented(r.Reasons))
	if r.Fault != "" {
		fmt.Fprintf(w, "%s fails: %s\n", name, policies.Printable(r.Fault))
	}
}

// indented returns a value as indented JSON. Characters that are not printable are escaped.
func indented(value any) string {
	var text bytes.Buffer
	if err := encodeJSON(&text, value); err != nil {
		return fmt.Sprint(value)
	}
	lines := strings.Split(strings.TrimSuffix(text.String(), "\n"), "\n")
	for i, line := range lines {
		lines[i] = policies.Printable(line)
	}
	return strings.Join(lines, "\n")
}
