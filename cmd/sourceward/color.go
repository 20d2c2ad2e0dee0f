package main

import (
	"io"
	"os"

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

// useColor reports whether to color text written to w. With auto, it is true for a terminal, unless NO_COLOR is set
// (https://no-color.org).
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

// isPipe reports whether a stream is a pipe, so that another program may write to it.
func isPipe(stream io.Reader) bool {
	file, ok := stream.(*os.File)
	if !ok {
		return false
	}
	info, err := file.Stat()
	return err == nil && info.Mode()&os.ModeNamedPipe != 0
}

// isTerminal reports whether w is a terminal that obeys escape sequences. With TERM=dumb it would show them as text.
func isTerminal(w io.Writer) bool {
	file, ok := w.(*os.File)
	return ok && os.Getenv("TERM") != "dumb" && term.IsTerminal(int(file.Fd()))
}

// palette colors words, or returns them unchanged if it was made without color.
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
