package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/sourceward/sourceward/policies"
	"github.com/sourceward/sourceward/policies/manifest"
)

const (
	// maxComment is the most bytes of a report in Markdown. A comment on GitHub has at most 65 536 characters.
	maxComment = 60_000
	// maxEntries is the most bytes up to which entries are added. The rest is for headings, and for lines that say how
	// many entries are left out.
	maxEntries = maxComment - 2_000
)

// comment is a report in Markdown that is being written.
type comment struct{ strings.Builder }

// writeMarkdown writes the report in Markdown, for a comment on a pull request: the outcome, errors, and the findings,
// those of the strictest mode first. Findings of mode audit that do not fail the run, accepted findings, the diff, what
// was skipped, and notes are folded. Entries that would make the report longer than maxComment are left out, and
// counted.
func (r *report) writeMarkdown(w io.Writer, flags checkFlags) error {
	var open, audit, accepted []finding
	for _, f := range r.unaccepted() {
		if f.Mode == policies.Audit && !f.fails(flags.failOn) {
			audit = append(audit, f)
		} else {
			open = append(open, f)
		}
	}
	for _, f := range r.Findings {
		if f.isAccepted() {
			accepted = append(accepted, f)
		}
	}

	outcome := "passed"
	switch {
	case len(r.Errors) > 0:
		outcome = "could not check everything"
	case r.fails(flags.failOn):
		outcome = "failed"
	}
	var c comment
	fmt.Fprintf(&c, "## Sourceward: %s\n\n%s\n", outcome, r.Summary.line(newPalette(false), len(r.Errors)))
	if len(r.Errors) > 0 {
		c.WriteString("\n### Errors\n\n")
		c.list(len(r.Errors), func(i int) string { return r.Errors[i].String() })
	}
	if len(open) > 0 {
		c.WriteString("\n### Findings\n\n")
		c.table(open)
	}
	if len(audit) > 0 {
		c.fold(count(len(audit), "finding")+" of mode audit", func() { c.table(audit) })
	}
	if len(accepted) > 0 {
		c.fold(count(len(accepted), "accepted finding"), func() { c.table(accepted) })
	}
	changed := slices.DeleteFunc(slices.Clone(r.sections), func(s section) bool { return s.diff == "" })
	if len(changed) > 0 {
		c.fold("changes that the webhook would make", func() {
			c.entries(len(changed), func(i int) string { return changed[i].markdownDiff() })
		})
	}
	if len(r.Gone) > 0 {
		c.fold(fmt.Sprintf("%d gone from the baseline", len(r.Gone)), func() {
			c.list(len(r.Gone), func(i int) string { return r.Gone[i].text() })
		})
	}
	if len(r.Skipped) > 0 {
		c.fold(fmt.Sprintf("%d skipped", len(r.Skipped)), func() {
			c.list(len(r.Skipped), func(i int) string { return at(r.Skipped[i].File, r.Skipped[i].Line) + r.Skipped[i].text() })
		})
	}
	if len(r.Notes) > 0 {
		c.fold(count(len(r.Notes), "note"), func() {
			c.list(len(r.Notes), func(i int) string { return at(r.Notes[i].File, r.Notes[i].Line) + r.Notes[i].text() })
		})
	}
	_, err := io.WriteString(w, c.String())
	return err
}

// fold writes a part that is folded below a summary.
func (c *comment) fold(summary string, part func()) {
	fmt.Fprintf(c, "\n<details><summary>%s</summary>\n\n", summary)
	part()
	c.WriteString("\n</details>\n")
}

// list writes n texts as the items of a list.
func (c *comment) list(n int, text func(i int) string) {
	c.entries(n, func(i int) string { return "- " + markdownItem(text(i)) + "\n" })
}

// table writes findings as the rows of a table. It has no column for places if none of the findings is in a file.
func (c *comment) table(findings []finding) {
	hasPlaces := slices.ContainsFunc(findings, func(f finding) bool { return f.File != "" })
	if hasPlaces {
		c.WriteString("| mode | rule | object | place | message | fix |\n|---|---|---|---|---|---|\n")
	} else {
		c.WriteString("| mode | rule | object | message | fix |\n|---|---|---|---|---|\n")
	}
	c.entries(len(findings), func(i int) string {
		f := findings[i]
		rule := markdownText(f.Rule)
		if _, isBuiltIn := policies.RuleByID(f.Rule); isBuiltIn {
			rule = "[" + rule + "](" + rulePages + f.Rule + ")"
		}
		mode, fix := string(f.Mode), f.Fix
		if f.isAccepted() {
			fix = f.remedy()
		}
		columns := []string{mode, rule, markdownText(inEnvironment(f.subject(), f.Environment))}
		if hasPlaces {
			place := manifest.Place{File: f.File, Position: manifest.Position{Line: f.Line}}
			columns = append(columns, markdownText(place.String()))
		}
		columns = append(columns, markdownText(f.Message), markdownText(fix))
		return "| " + strings.Join(columns, " | ") + " |\n"
	})
}

// entries writes n entries, as many as there is room for, and how many are left out.
func (c *comment) entries(n int, entry func(i int) string) {
	for i := range n {
		text := entry(i)
		if c.Len()+len(text) > maxEntries {
			fmt.Fprintf(c, "\n%d not shown, since this report would be too long\n", n-i)
			return
		}
		c.WriteString(text)
	}
}

// markdownDiff returns the diff as a block of code, below the name of the environment if there is one. The fence is
// longer than each row of backticks in the diff, so that nothing in the diff ends the block.
func (s section) markdownDiff() string {
	longest := len("``")
	for row := range strings.FieldsFuncSeq(s.diff, func(r rune) bool { return r != '`' }) {
		longest = max(longest, len(row))
	}
	fence := strings.Repeat("`", longest+1)
	var b strings.Builder
	if s.environment != "" {
		fmt.Fprintf(&b, "environment %s\n\n", markdownText(s.environment))
	}
	fmt.Fprintf(&b, "%sdiff\n", fence)
	for line := range strings.Lines(s.diff) {
		fmt.Fprintln(&b, policies.Printable(strings.TrimSuffix(line, "\n")))
	}
	fmt.Fprintln(&b, fence)
	return b.String()
}

// markdownEscapes replaces everything that can be markup, a link, an image, or a reference to a person, an issue or a
// pull request. An entity is never markup. What GitHub looks for in the text after it has read the markup, such as
// @team, is broken up by a space without width.
var markdownEscapes = strings.NewReplacer(
	"&", "&amp;", "<", "&lt;", ">", "&gt;", "|", "&#124;", "`", "&#96;", "*", "&#42;", "_", "&#95;",
	"~", "&#126;", "[", "&#91;", "]", "&#93;", `\`, "&#92;", "$", "&#36;",
	"@", "@&#8203;", "#", "#&#8203;", "://", ":&#8203;//", "w.", "w&#8203;.", "W.", "W&#8203;.",
)

// markdownText returns text for use within a line of Markdown, where it appears as it is.
func markdownText(text string) string { return markdownEscapes.Replace(policies.Printable(text)) }

// markdownItem returns text that can also begin a line of Markdown: it begins no list, and no block of code.
func markdownItem(text string) string {
	text = strings.TrimSpace(policies.Printable(text))
	if text != "" && strings.Contains("-+=0123456789", text[:1]) {
		return fmt.Sprintf("&#%d;", text[0]) + markdownText(text[1:])
	}
	return markdownText(text)
}
