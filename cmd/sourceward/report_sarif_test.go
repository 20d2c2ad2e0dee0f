package main

import (
	"slices"
	"strings"
	"testing"

	"github.com/sourceward/sourceward/policies/manifest"
)

// TestReplacementsOfAllShortTexts turns each text of at most three lines into each other one.
func TestReplacementsOfAllShortTexts(t *testing.T) {
	t.Parallel()
	for _, lineBreak := range []string{"\n", "\r\n"} {
		var texts []string
		for _, last := range []string{lineBreak, ""} {
			lines := []string{"ä", "b", ""}
			for _, a := range lines {
				texts = append(texts, a+last)
				for _, b := range lines {
					texts = append(texts, a+lineBreak+b+last)
					for _, c := range lines {
						texts = append(texts, a+lineBreak+b+lineBreak+c+last)
					}
				}
			}
		}
		for _, before := range texts {
			for _, after := range texts {
				list := replacements(before, after, 10)
				if got := replaced(t, before, 10, list); got != after {
					t.Errorf("replacements(%q, %q) = %+v, which make it %q", before, after, list, got)
				}
				if !strings.HasSuffix(before, lineBreak) || !strings.HasSuffix(after, lineBreak) || after == lineBreak {
					continue
				}
				behind := manifest.Position{Line: 11 + strings.Count(before, "\n"), Column: 1}
				if slices.ContainsFunc(list, func(r replacement) bool { return r.end == behind }) {
					t.Errorf("replacements(%q, %q) = %+v, which reaches behind the last line break", before, after, list)
				}
			}
		}
	}
}

// replaced returns a text, which begins below above lines of its file, after replacements.
func replaced(t *testing.T, text string, above int, list []replacement) string {
	t.Helper()
	offset := func(p manifest.Position) int {
		lines := strings.SplitAfter(text, "\n")
		line := p.Line - above - 1
		return len(strings.Join(lines[:line], "")) + len(string([]rune(lines[line])[:p.Column-1]))
	}
	for _, r := range slices.Backward(list) {
		text = text[:offset(r.start)] + r.text + text[offset(r.end):]
	}
	return text
}
