package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sourceward/sourceward/policies"
)

func TestMarkdownTextHasNoMarkup(t *testing.T) {
	t.Parallel()
	tests := map[string]string{
		"Service edge/web":          "Service edge/web",
		"a|b":                       "a&#124;b",
		`a\|b`:                      "a&#92;&#124;b",
		"<img src=x>":               "&lt;img src=x&gt;",
		"&lt;b&gt;":                 "&amp;lt;b&amp;gt;",
		"![a](b)":                   "!&#91;a&#93;(b)",
		"**a** _b_ ~~c~~ `d` $e$":   "&#42;&#42;a&#42;&#42; &#95;b&#95; &#126;&#126;c&#126;&#126; &#96;d&#96; &#36;e&#36;",
		"ask @team/sre about o/r#1": "ask @&#8203;team/sre about o/r#&#8203;1",
		"https://a.example":         "https:&#8203;//a.example",
		"Www.a.example":             "Www&#8203;.a.example",
		"a\n- b\x1b[2J":             `a - b&#92;x1b&#91;2J`,
	}
	for text, want := range tests {
		if got := markdownText(text); got != want {
			t.Errorf("markdownText(%q) = %q, want %q", text, got, want)
		}
	}
	items := map[string]string{
		"- a": "&#45; a", "1. a": "&#49;. a", "+ a": "&#43; a", "    a": "a", "# a": "#&#8203; a", "ä": "ä", "": "",
	}
	for text, want := range items {
		if got := markdownItem(text); got != want {
			t.Errorf("markdownItem(%q) = %q, want %q", text, got, want)
		}
	}
}

func TestMarkdownLeavesOutWhatAGitHubCommentCannotHold(t *testing.T) {
	t.Parallel()
	const findings = 1_000
	r := emptyReport()
	for i := range findings {
		r.Findings = append(r.Findings, finding{
			Rule: "local-on-cluster-ip", Mode: policies.Modes[i%2], Message: strings.Repeat("<", 200),
			Object: policies.Ref{Kind: "Service", Name: fmt.Sprintf("s%d", i)}, File: "a.yaml", Line: i + 1,
		})
		r.Errors = append(r.Errors, reportError{File: "b.yaml", Message: strings.Repeat("x", 20)})
		r.Notes = append(r.Notes, note{Message: strings.Repeat("@", 300)})
	}
	for i := range 20 {
		r.sections = append(r.sections, section{fmt.Sprintf("e%d", i), strings.Repeat("+`\n", 15_000)})
	}
	r.sections = append(r.sections, section{"last", "+" + strings.Repeat("`", 30_000) + "\n"})
	var text strings.Builder
	if err := r.writeMarkdown(&text, checkFlags{failOn: "deny"}); err != nil {
		t.Fatal(err)
	}
	if text.Len() > maxComment {
		t.Errorf("the report has %d bytes, want at most %d", text.Len(), maxComment)
	}
	rows := strings.Count(text.String(), "\n| deny |") + strings.Count(text.String(), "\n| mutate |")
	if rows == 0 || strings.Contains(text.String(), "\n| mutate |") {
		t.Errorf("there are %d rows, of which those of mode deny must come first", rows)
	}
	for _, want := range []string{
		fmt.Sprintf("\n\n%d not shown, since this report would be too long\n", findings-rows),
		"\n\n1000 not shown, since this report would be too long\n",
		"\n\n21 not shown, since this report would be too long\n",
	} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("the report does not say %q", want)
		}
	}
}

func TestMarkdownFencesADiffWithBackticks(t *testing.T) {
	t.Parallel()
	got := section{"a_b", "--- a\n+++ a\n+`````\n ```\n"}.markdownDiff()
	want := "environment a&#95;b\n\n``````diff\n--- a\n+++ a\n+`````\n ```\n``````\n"
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("markdownDiff() mismatch (-want +got):\n%s", diff)
	}
}
