package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/sourceward/sourceward/policies"
	"github.com/sourceward/sourceward/policies/manifest"
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
		list(out, p.heading.Sprint("gone")+renew, len(r.Gone), func(i int) string { return r.Gone[i].text() })
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
		line = strings.TrimSuffix(line, "\n")
		text := strings.TrimSuffix(line, "\r")
		text = policies.Printable(text) + line[len(text):] // patch needs the carriage return
		switch {
		case strings.HasPrefix(text, "+"):
			text = p.added.Sprint(text)
		case strings.HasPrefix(text, "-"):
			text = p.removed.Sprint(text)
		}
		fmt.Fprintln(out, text)
	}
}

// writeSection writes the part of one environment. Findings are grouped by file or, in a cluster, by namespace. Each
// has a line with its place, mode, rule and object, and below it the line of the file if that has the field, the
// message, the other objects that cause it, and the fix. Those in the baseline are left out. Then come what was skipped
// and the notes. It calls part before each of these.
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
	var last group
	for i, f := range shown {
		if of := groupOf(f.File, f.Object); i == 0 || of != last {
			part()
			last = of
			fmt.Fprintln(out, p.heading.Sprint(policies.Printable(of.String())))
		}
		mode := p.modes[f.Mode].Sprint(f.Mode)
		if f.Exempt != nil {
			mode = p.exempt.Sprint("exempt")
		}
		fmt.Fprintf(out, "  %s%s  %s  %s\n",
			p.dim.Sprint(within(f.Line, f.Column)), mode, p.bold.Sprint(f.Rule), policies.Printable(f.subject()))
		if f.source != nil {
			number := strconv.Itoa(f.Line)
			fmt.Fprintf(out, "      %s%s\n", p.dim.Sprint(number+" | "), f.source.text)
			fmt.Fprintf(out, "      %s%*s\n", p.dim.Sprint(strings.Repeat(" ", len(number))+" | "), f.source.column, "^")
		}
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
		r.writeRemarks(out, p, part)
	}
}

// writeRemarks writes what was skipped, and the notes. It calls part before each of these.
func (r *report) writeRemarks(out io.Writer, p palette, part func()) {
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

// sourceLine is a line of a file in which a finding is.
type sourceLine struct {
	// text is the part of the line around the finding, printable. column is its column in the text, which starts at 1.
	text   string
	column int
}

// addSources adds the lines of their files to the findings.
func (r *report) addSources(manifests *manifest.Manifests) {
	file := ""
	var lines [][]byte
	for i := range r.Findings { // which are sorted by file
		f := &r.Findings[i]
		if f.File != file {
			file, lines = f.File, bytes.Split(manifests.Text(f.File), []byte("\n"))
		}
		if f.Line > 0 && f.Line <= len(lines) {
			if source := sourceAround(lines[f.Line-1], f.Column); source != nil && source.isField(f.Path) {
				f.source = source
			}
		}
	}
}

// isField reports whether the field at a JSON Pointer begins at the column: its key, or an element of a list. Otherwise
// the field is missing, and what is there is its nearest parent, such as spec, which explains nothing.
func (s *sourceLine) isField(pointer string) bool {
	key := strings.NewReplacer("~1", "/", "~0", "~").Replace(pointer[strings.LastIndexByte(pointer, '/')+1:])
	if _, err := strconv.Atoi(key); err == nil {
		return true
	}
	at := strings.TrimLeft(string([]rune(s.text)[s.column-1:]), `"'`)
	return key != "" && strings.HasPrefix(at, key)
}

// sourceAround returns the part of a line around a column that starts at 1. It returns nil if there is no such column,
// or if it is so far to the right that nobody wrote the line.
func sourceAround(line []byte, column int) *sourceLine {
	const most, mostBefore, farRight = 100, 60, 1_000
	if column < 1 || column > farRight {
		return nil
	}
	line = bytes.TrimSuffix(bytes.TrimPrefix(line, []byte("\ufeff")), []byte("\r"))
	text := []rune(string(line[:min(len(line), utf8.UTFMax*(column+most))])) // a line may be the whole file
	if column > len(text) {
		return nil
	}
	start := max(0, column-1-mostBefore)
	end := min(len(text), start+most)
	before, after := policies.Printable(string(text[start:column-1])), policies.Printable(string(text[column-1:end]))
	if start > 0 {
		before = "…" + before
	}
	if end < len(text) {
		after += "…"
	}
	return &sourceLine{before + after, utf8.RuneCountInString(before) + 1}
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
	from := count(s.Files, "file")
	if s.Namespaces > 0 {
		from = count(s.Namespaces, "namespace")
	}
	read := fmt.Sprintf("%s, %s (%s, %s)", from, count(s.Objects, "object"),
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
