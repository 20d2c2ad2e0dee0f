package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/fatih/color"

	"github.com/sourceward/sourceward/policies"
)

// screen writes the output of the demo, in the colors that sourceward uses.
type screen struct {
	io.Writer
	colored        bool
	modes          map[policies.Mode]*color.Color
	title, command *color.Color
	removed, added *color.Color
}

func newScreen(w io.Writer, colored bool) *screen {
	paint := func(attributes ...color.Attribute) *color.Color {
		c := color.New(attributes...)
		if colored {
			c.EnableColor()
		} else {
			c.DisableColor()
		}
		return c
	}
	return &screen{
		Writer: w, colored: colored,
		modes: map[policies.Mode]*color.Color{
			policies.Deny:   paint(color.FgRed, color.Bold),
			policies.Warn:   paint(color.FgYellow, color.Bold),
			policies.Mutate: paint(color.FgMagenta, color.Bold),
		},
		title: paint(color.Bold, color.Underline), command: paint(color.Bold),
		removed: paint(color.FgRed), added: paint(color.FgGreen),
	}
}

// answer writes the output of a command. Errors and warnings get the color of the mode.
func (s *screen) answer(text string, mode policies.Mode) {
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if paint := s.modes[mode]; paint != nil && (mode == policies.Deny || strings.HasPrefix(line, "Warning: ")) {
			line = paint.Sprint(line)
		}
		fmt.Fprintln(s, line)
	}
}

// diff writes a unified diff.
func (s *screen) diff(text string) {
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		switch {
		case strings.HasPrefix(line, "+"):
			line = s.added.Sprint(line)
		case strings.HasPrefix(line, "-"):
			line = s.removed.Sprint(line)
		}
		fmt.Fprintln(s, line)
	}
}
