package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/sourceward/sourceward/policies"
)

// maxNames is how many names a note lists, and as many as the objects that a finding lists.
const maxNames = 10

// listed returns the first names of a list, and how many others there are: "a, b" or "a, b, … and 390 more".
func listed(names []string) string {
	shown := names[:min(maxNames, len(names))]
	return andMore(shown, len(names)-len(shown))
}

// refs lists the objects of a finding that leaves out so many others.
func refs(list []policies.Ref, omitted int) string {
	names := make([]string, len(list))
	for i, ref := range list {
		names[i] = ref.String()
	}
	return andMore(names, omitted)
}

func andMore(names []string, omitted int) string {
	text := strings.Join(names, ", ")
	if omitted > 0 {
		text += fmt.Sprintf(" and %d more", omitted)
	}
	return text
}

func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// faultText returns the text of an error in one line; empty for nil.
func faultText(err error) string {
	if err == nil {
		return ""
	}
	return strings.ReplaceAll(err.Error(), "\n", "; ")
}

// wrap breaks a paragraph into lines of at most width bytes, each of which begins with indent.
func wrap(text, indent string, width int) string {
	var b strings.Builder
	line := indent
	for word := range strings.FieldsSeq(text) {
		switch {
		case line == indent:
			line += word
		case len(line)+1+len(word) > width:
			b.WriteString(line + "\n")
			line = indent + word
		default:
			line += " " + word
		}
	}
	return b.String() + line + "\n"
}

// row writes a row of a table. The cells may hold text from manifests.
func row(w io.Writer, cells ...string) {
	for i, cell := range cells {
		cells[i] = policies.Printable(cell)
	}
	fmt.Fprintln(w, strings.Join(cells, "\t"))
}
