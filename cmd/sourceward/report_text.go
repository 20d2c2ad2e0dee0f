package main

import (
	"bufio"
	"fmt"
	"io"
	"strings"

	"github.com/sourceward/sourceward/policies"
)

// writeText writes the report for people. Findings are grouped by file. Each has a line with its place, mode, rule and
// object, and below it the message, the other objects that cause it, and the fix.
func (r *report) writeText(w io.Writer, colored, quiet bool) error {
	out := bufio.NewWriter(w)
	p := newPalette(colored)
	file := ""
	for i, f := range r.Findings {
		if i == 0 || f.File != file {
			if i > 0 {
				fmt.Fprintln(out)
			}
			file = f.File
			fmt.Fprintln(out, p.heading.Sprint(policies.Printable(file)))
		}
		mode := p.modes[f.Mode].Sprint(f.Mode)
		if f.Exempt != nil {
			mode = p.exempt.Sprint("exempt")
		}
		fmt.Fprintf(out, "  %s  %s  %s  %s\n",
			p.dim.Sprintf("%d:%d", f.Line, f.Column), mode, p.bold.Sprint(f.Rule), policies.Printable(f.Object.String()))
		fmt.Fprintf(out, "      %s\n", policies.Printable(f.Message))
		if len(f.Because) > 0 {
			fmt.Fprintf(out, "      because of %s\n", policies.Printable(refs(f.Because, f.BecauseOmitted)))
		}
		switch {
		case f.Exempt != nil && f.Exempt.Until != "":
			fmt.Fprintf(out, "      exempt until %s: %s\n", f.Exempt.Until, policies.Printable(f.Exempt.Reason))
		case f.Exempt != nil:
			fmt.Fprintf(out, "      exempt: %s\n", policies.Printable(f.Exempt.Reason))
		case f.Fix != "":
			fmt.Fprintf(out, "      fix: %s\n", policies.Printable(f.Fix))
		}
	}
	if r.diff != "" {
		if len(r.Findings) > 0 {
			fmt.Fprintln(out)
		}
		for line := range strings.Lines(r.diff) {
			text := strings.TrimSuffix(line, "\n")
			switch {
			case strings.HasPrefix(text, "+"):
				text = p.added.Sprint(text)
			case strings.HasPrefix(text, "-"):
				text = p.removed.Sprint(text)
			}
			fmt.Fprintln(out, text)
		}
	}
	if !quiet {
		if len(r.Findings) > 0 || r.diff != "" {
			fmt.Fprintln(out)
		}
		fmt.Fprintln(out, r.Summary.line(p, len(r.Errors)))
	}
	return out.Flush()
}

// line returns the last line of the text: the numbers of files, objects, findings and errors.
func (s summary) line(p palette, errors int) string {
	read := fmt.Sprintf("%s, %s (%s, %s)", count(s.Files, "file"), count(s.Objects, "object"),
		count(s.Services, "Service"), count(s.Workloads, "workload"))
	if s.Skipped > 0 {
		read += fmt.Sprintf(", %d skipped", s.Skipped)
	}
	var found []string
	for _, c := range []struct {
		mode  policies.Mode
		count int
	}{
		{policies.Deny, s.Deny}, {policies.Mutate, s.Mutate}, {policies.Warn, s.Warn}, {policies.Audit, s.Audit},
	} {
		if c.count > 0 {
			found = append(found, p.modes[c.mode].Sprintf("%d %s", c.count, c.mode))
		}
	}
	if s.Exempt > 0 {
		found = append(found, fmt.Sprintf("%d exempt", s.Exempt))
	}
	if found == nil {
		found = []string{"no findings"}
	}
	if errors > 0 {
		found = append(found, p.modes[policies.Deny].Sprint(count(errors, "error")))
	}
	return read + ": " + strings.Join(found, ", ")
}
