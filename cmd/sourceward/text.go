package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"unicode"

	"github.com/fatih/color"
	"golang.org/x/term"

	"github.com/sourceward/sourceward/policies"
)

// The values of --color.
const (
	colorAuto   = "auto"
	colorAlways = "always"
	colorNever  = "never"
)

// useColor tells whether to colour what is written to w. Auto means a terminal, unless NO_COLOR is
// set (https://no-color.org).
func useColor(when string, w io.Writer) bool {
	switch when {
	case colorAlways:
		return true
	case colorNever:
		return false
	default:
		return os.Getenv("NO_COLOR") == "" && isTerminal(w)
	}
}

func isTerminal(w io.Writer) bool {
	file, ok := w.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}

// palette paints words, or leaves them as they are.
type palette struct {
	modes           map[policies.Mode]*color.Color
	bold, dim       *color.Color
	removed, added  *color.Color
	exempt, heading *color.Color
}

func newPalette(colored bool) palette {
	paint := func(attributes ...color.Attribute) *color.Color {
		c := color.New(attributes...)
		if colored {
			c.EnableColor()
		} else {
			c.DisableColor()
		}
		return c
	}
	return palette{
		modes: map[policies.Mode]*color.Color{
			policies.Deny:   paint(color.FgRed, color.Bold),
			policies.Mutate: paint(color.FgMagenta, color.Bold),
			policies.Warn:   paint(color.FgYellow, color.Bold),
			policies.Audit:  paint(color.FgCyan),
		},
		bold: paint(color.Bold), dim: paint(color.Faint),
		removed: paint(color.FgRed), added: paint(color.FgGreen),
		exempt: paint(color.Faint), heading: paint(color.Underline),
	}
}

// writeText writes the report for people: grouped by file, a finding with its place, mode, rule and
// object, then what is wrong, which other objects it takes, and what to do.
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
			fmt.Fprintln(out, p.heading.Sprint(printable(file)))
		}
		mode := p.modes[f.Mode].Sprint(f.Mode)
		if f.Exempt != nil {
			mode = p.exempt.Sprint("exempt")
		}
		fmt.Fprintf(out, "  %s  %s  %s  %s\n", p.dim.Sprintf("%d:%d", f.Line, f.Column), mode, p.bold.Sprint(f.Rule), printable(f.Object.String()))
		fmt.Fprintf(out, "      %s\n", printable(f.Message))
		if len(f.Because) > 0 {
			fmt.Fprintf(out, "      because of %s\n", printable(refs(f.Because)))
		}
		switch {
		case f.Exempt != nil && f.Exempt.Until != "":
			fmt.Fprintf(out, "      exempt until %s: %s\n", f.Exempt.Until, printable(f.Exempt.Reason))
		case f.Exempt != nil:
			fmt.Fprintf(out, "      exempt: %s\n", printable(f.Exempt.Reason))
		case f.Fix != "":
			fmt.Fprintf(out, "      fix: %s\n", printable(f.Fix))
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

// printable shows what is not to be printed, such as line breaks and the escapes of terminals, as Go
// writes it: what a manifest says must not look like what Sourceward says.
func printable(text string) string {
	if !strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return text
	}
	var shown strings.Builder
	for _, r := range text {
		if unicode.IsPrint(r) {
			shown.WriteRune(r)
		} else {
			shown.WriteString(strings.Trim(strconv.QuoteRune(r), "'"))
		}
	}
	return shown.String()
}

func refs(list []policies.Ref) string {
	names := make([]string, len(list))
	for i, ref := range list {
		names[i] = ref.String()
	}
	return strings.Join(names, ", ")
}

// line is the last line of the text: what was read, what was found, and how many errors there were.
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

func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
