package test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/sourceward/sourceward/policies"
	"github.com/sourceward/sourceward/policies/suite"
)

// expectation is an expect file. It has one line for each finding, "<rule> <mode>" or "<rule> <mode> exempt", or else
// the line "silent"; and lines "says <text>", each with a text that the message or the fix of a listed finding
// contains.
//
// It lists every finding of the rule of the case, of any other rule that it names, and of any rule in a mode above
// audit. Findings of other rules in mode audit may be left out: hardly any workload is without them.
type expectation struct {
	findings []string // sorted
	says     []string
}

func readExpectation(t *testing.T, path string) expectation {
	t.Helper()
	var e expectation
	for line := range strings.Lines(string(readFile(t, path))) {
		line = strings.TrimSpace(line)
		if text, ok := strings.CutPrefix(line, "says "); ok {
			e.says = append(e.says, text)
		} else {
			e.findings = append(e.findings, line)
		}
	}
	slices.Sort(e.findings)
	return e
}

// about returns the part of a decision that a case of a rule with this expectation is about.
func (e expectation) about(rule string, decision suite.Want) suite.Want {
	leftOut := func(id string, mode policies.Mode) bool {
		named := func(line string) bool { return strings.HasPrefix(line, id+" ") }
		return mode == policies.Audit && id != rule && !slices.ContainsFunc(e.findings, named)
	}
	return suite.Want{
		Findings: slices.DeleteFunc(slices.Clone(decision.Findings), func(f suite.WantFinding) bool {
			return leftOut(f.Rule, f.Mode)
		}),
		Patches: slices.DeleteFunc(slices.Clone(decision.Patches), func(p policies.Patch) bool {
			return leftOut(p.Rule, p.Mode)
		}),
	}
}

// summary returns the lines of an expect file that list the findings.
func summary(w suite.Want) []string {
	if len(w.Findings) == 0 {
		return []string{"silent"}
	}
	lines := make([]string, len(w.Findings))
	for i, f := range w.Findings {
		lines[i] = fmt.Sprintf("%s %s", f.Rule, f.Mode)
		if f.Exempt != nil {
			lines[i] += " exempt"
		}
	}
	slices.Sort(lines)
	return lines
}
