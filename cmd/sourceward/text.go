package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode"

	"github.com/sourceward/sourceward/policies"
)

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

func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

func faultText(err error) string {
	if err == nil {
		return ""
	}
	return strings.ReplaceAll(err.Error(), "\n", "; ")
}

// wrap breaks a paragraph into indented lines of at most width characters.
func wrap(text string, width int) string {
	var b strings.Builder
	line := " "
	for word := range strings.FieldsSeq(text) {
		if len(line)+1+len(word) > width {
			b.WriteString(line + "\n")
			line = " "
		}
		line += " " + word
	}
	return b.String() + line + "\n"
}

// row writes a row of a table, whose cells hold what people wrote.
func row(w io.Writer, cells ...string) {
	for i, cell := range cells {
		cells[i] = printable(cell)
	}
	fmt.Fprintln(w, strings.Join(cells, "\t"))
}
