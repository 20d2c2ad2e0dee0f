package main

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/sourceward/sourceward/policies"
)

// textOptions configures writeSection.
type textOptions struct {
	// quiet leaves out the summary, the notes and what was skipped.
	quiet bool
	// showAudit writes findings of mode audit like all others. Without it, one line a rule counts them.
	showAudit bool
	// baseline is the file that the report was compared with.
	baseline string
}

// writeText writes the report for people: what there is to say about each environment, below its name, what is gone
// from the baseline, and a summary.
func (r *report) writeText(w io.Writer, flags checkFlags) error {
	options := textOptions{
		quiet: flags.quiet, baseline: flags.baseline,
		showAudit: slices.Contains(flags.show, string(policies.Audit)) || flags.failOn == string(policies.Audit),
	}
	out := bufio.NewWriter(w)
	p := newPalette(useColor(flags.color, w))
	above := false // true if there is something above the next part
	begin := func() {
		if above {
			fmt.Fprintln(out)
		}
		above = true
	}
	for _, s := range r.sections {
		heading := s.environment
		r.only(s).writeSection(out, p, options, func() {
			begin()
			if heading != "" {
				fmt.Fprintf(out, "%s\n\n", p.heading.Sprint("environment "+policies.Printable(heading)))
				heading = ""
			}
		})
	}
	if len(r.Gone) > 0 && !options.quiet {
		begin()
		renew := fmt.Sprintf(" (-o json=%s --fail-on %s renews the baseline)", policies.Printable(options.baseline), never)
		list(out, p.heading.Sprint("gone")+renew, len(r.Gone), func(i int) string {
			g := r.Gone[i]
			line := at(g.File, 0) + g.Rule + "  " + g.Object.String()
			if g.Environment != "" {
				line += " (environment " + g.Environment + ")"
			}
			return line
		})
	}
	if !options.quiet || r.Summary.judgedNothing() {
		begin()
		fmt.Fprintln(out, r.Summary.line(p, len(r.Errors)))
	}
	return out.Flush()
}

// writeDiff writes a unified diff.
func writeDiff(out io.Writer, p palette, diff string) {
	for line := range strings.Lines(diff) {
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

// writeSection writes the part of one environment. Findings are grouped by file. Each has a line with its place, mode,
// rule and object, and below it the message, the other objects that cause it, and the fix. Those in the baseline are
// left out. Then come what was skipped and the notes. It calls part before each of these.
func (r *report) writeSection(out io.Writer, p palette, options textOptions, part func()) {
	var shown []finding
	audited := map[string]int{}
	for _, f := range r.Findings {
		switch {
		case f.Baseline:
		case f.Mode == policies.Audit && f.Exempt == nil && !options.showAudit:
			audited[f.Rule]++
		default:
			shown = append(shown, f)
		}
	}
	file := ""
	for i, f := range shown {
		if i == 0 || f.File != file {
			part()
			file = f.File
			fmt.Fprintln(out, p.heading.Sprint(policies.Printable(file)))
		}
		mode := p.modes[f.Mode].Sprint(f.Mode)
		if f.Exempt != nil {
			mode = p.exempt.Sprint("exempt")
		}
		fmt.Fprintf(out, "  %s%s  %s  %s\n",
			p.dim.Sprint(within(f.Line, f.Column)), mode, p.bold.Sprint(f.Rule), policies.Printable(f.subject()))
		fmt.Fprintf(out, "      %s\n", policies.Printable(f.Message))
		if len(f.Because) > 0 {
			fmt.Fprintf(out, "      because of %s\n", policies.Printable(refs(f.Because, f.BecauseOmitted)))
		}
		if remedy := f.remedy(); remedy != "" {
			fmt.Fprintf(out, "      %s\n", policies.Printable(remedy))
		}
	}
	if len(audited) > 0 {
		part()
		fmt.Fprintln(out, p.heading.Sprint("audit")+" (--show audit lists each finding)")
		for _, rule := range slices.Sorted(maps.Keys(audited)) {
			fmt.Fprintf(out, "  %d  %s\n", audited[rule], p.bold.Sprint(rule))
		}
	}
	if r.diff != "" {
		part()
		writeDiff(out, p, r.diff)
	}
	if !options.quiet {
		if len(r.Skipped) > 0 {
			part()
			list(out, p.heading.Sprint("skipped"), len(r.Skipped), func(i int) string {
				s := r.Skipped[i]
				return at(s.File, s.Line) + aboutObject(s.Object, s.Reason)
			})
		}
		if len(r.Notes) > 0 {
			part()
			list(out, p.heading.Sprint("notes"), len(r.Notes), func(i int) string {
				n := r.Notes[i]
				return at(n.File, n.Line) + aboutObject(n.Object, n.Message)
			})
		}
	}
}

// list writes the first ten of n lines below a heading, and how many more there are.
func list(out io.Writer, heading string, n int, line func(int) string) {
	const most = 10
	fmt.Fprintln(out, heading)
	for i := range min(n, most) {
		fmt.Fprintf(out, "  %s\n", policies.Printable(line(i)))
	}
	if n > most {
		fmt.Fprintf(out, "  and %d more; -o json lists all\n", n-most)
	}
}

// within returns a place in a file as the beginning of a line, as far as it is known.
func within(line, column int) string {
	switch {
	case line == 0:
		return ""
	case column == 0:
		return fmt.Sprintf("%d  ", line)
	}
	return fmt.Sprintf("%d:%d  ", line, column)
}

// at returns a place as the beginning of a line: nothing if there is none.
func at(file string, line int) string {
	switch {
	case file == "":
		return ""
	case line == 0:
		return file + "  "
	}
	return fmt.Sprintf("%s:%d  ", file, line)
}

// counts returns the numbers of findings that are not 0, such as 1 deny.
func (s summary) counts(p palette) []string {
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
	return found
}

func (s summary) judgedNothing() bool { return s.Services+s.Workloads == 0 }

// line returns the last line of the text: the numbers of files, objects, findings and errors.
func (s summary) line(p palette, errors int) string {
	read := fmt.Sprintf("%s, %s (%s, %s)", count(s.Files, "file"), count(s.Objects, "object"),
		count(s.Services, "Service"), count(s.Workloads, "workload"))
	if s.Skipped > 0 {
		read += fmt.Sprintf(", %d skipped", s.Skipped)
	}
	var reasons []string
	if s.NotKubernetes > 0 {
		reasons = append(reasons, fmt.Sprintf("%d not Kubernetes", s.NotKubernetes))
	}
	if s.NotYAML > 0 {
		reasons = append(reasons, fmt.Sprintf("%d not YAML", s.NotYAML))
	}
	if reasons != nil {
		read += " (" + strings.Join(reasons, ", ") + ")"
	}
	found := s.counts(p)
	switch {
	case s.judgedNothing():
		found = []string{p.modes[policies.Warn].Sprint("nothing was judged")}
	case found == nil && s.Baseline > 0:
		found = []string{"no new findings"}
	case found == nil:
		found = []string{"no findings"}
	}
	if s.Baseline > 0 {
		found = append(found, fmt.Sprintf("%d in the baseline (not shown)", s.Baseline))
	}
	if errors > 0 {
		found = append(found, p.modes[policies.Deny].Sprint(count(errors, "error")))
	}
	return read + ": " + strings.Join(found, ", ")
}
