package main

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/aymanbagabas/go-udiff"

	"github.com/sourceward/sourceward/policies"
	"github.com/sourceward/sourceward/policies/manifest"
)

// report writes for people what was repaired and what was left out. all is the report with the repairs.
func (f *fixer) report(w io.Writer, all *report, left []*fix, of checkFlags) error {
	out := bufio.NewWriter(w)
	p := newPalette(useColor(of.color, w))
	if !of.quiet {
		f.writeRepairs(out, p)
	}
	if f.flags.diff {
		for _, path := range slices.Sorted(maps.Keys(f.files)) {
			file := f.files[path]
			writeDiff(out, p, udiff.Unified(file.name, file.name, string(file.before), string(file.after)))
			fmt.Fprintln(out)
		}
	}
	if len(left) > 0 {
		fmt.Fprintln(out, p.heading.Sprint("left out"))
	}
	for _, one := range left {
		fmt.Fprintf(out, "  %s  %s  %s\n", policies.Printable(one.place.String()), p.bold.Sprint(one.Rule), one.object())
		fmt.Fprintf(out, "      %s\n", policies.Printable(cmp.Or(f.refused[one.key()], f.waiting[one.key()])))
		for _, lines := range manifest.LinesOf(one.Operations) {
			writeLines(out, lines)
		}
	}
	if len(left) > 0 {
		fmt.Fprintln(out)
	}
	if !of.quiet {
		all.writeRemarks(out, p, func() {})
		if len(all.Skipped)+len(all.Notes) > 0 {
			fmt.Fprintln(out)
		}
		fmt.Fprintln(out, f.summary(p, all, len(left)))
	}
	return out.Flush()
}

// writeRepairs writes the repairs by file.
func (f *fixer) writeRepairs(out io.Writer, p palette) {
	written := slices.Clone(f.written)
	slices.SortStableFunc(written, func(a, b *fix) int {
		return cmp.Or(strings.Compare(a.target.File, b.target.File), a.place.Compare(b.place))
	})
	file := ""
	for _, one := range written {
		if one.target.File != file {
			file = one.target.File
			fmt.Fprintln(out, p.heading.Sprint(policies.Printable(file)))
		}
		fmt.Fprintf(out, "  %s%s  %s\n",
			p.dim.Sprint(within(one.place.Line, one.place.Column)), p.bold.Sprint(one.Rule), one.object())
		for _, operation := range one.target.Operations {
			what := "sets"
			if operation.Op == "remove" {
				what = "removes"
			}
			fmt.Fprintf(out, "      %s %s\n", what, policies.Printable((&policies.FieldError{Path: operation.Path}).Field()))
		}
	}
	if written != nil {
		fmt.Fprintln(out)
	}
}

// object names the object and what renders it.
func (f *fix) object() string {
	text := f.Object.String()
	if f.by[0] != "" {
		text += " of " + strings.Join(f.by, " and ")
	}
	return policies.Printable(text)
}

// writeLines writes what to change by hand at one place.
func writeLines(out io.Writer, lines manifest.Lines) {
	if lines.Text == "" {
		fmt.Fprintf(out, "      remove %s\n", policies.Printable(lines.Path))
		return
	}
	fmt.Fprintf(out, "      add to %s:\n", policies.Printable(cmp.Or(lines.Path, "the object")))
	for line := range strings.Lines(lines.Text) {
		fmt.Fprintf(out, "        %s\n", policies.Printable(strings.TrimSuffix(line, "\n")))
	}
}

// summary returns the last line.
func (f *fixer) summary(p palette, all *report, left int) string {
	text := "nothing to repair"
	switch {
	case all.Summary.judgedNothing():
		text = "nothing was judged"
	case len(f.written) == 0 && left > 0:
		text = "no repair was made"
	case len(f.written) > 0:
		text = fmt.Sprintf("%s in %s", count(len(f.written), "repair"), count(len(f.files), "file"))
		if f.flags.diff {
			text += ", not written"
		}
	}
	if left > 0 {
		text += fmt.Sprintf(", %d left out", left)
	}
	if counts := all.Summary.counts(p); counts != nil {
		text += "; then sourceward check finds " + strings.Join(counts, ", ")
	}
	return text
}
