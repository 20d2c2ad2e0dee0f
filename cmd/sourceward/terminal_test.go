package main

import (
	"bytes"
	"os"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// terminal returns one end of a pseudoterminal.
func terminal(t *testing.T) *os.File {
	t.Helper()
	file, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skip("/dev/ptmx cannot be opened: ", err)
	}
	t.Cleanup(func() { _ = file.Close() })
	return file
}

func TestAutoColorsATerminalUnlessTheEnvironmentSaysOtherwise(t *testing.T) {
	w := terminal(t)
	tests := map[string]struct {
		noColor, term string
		auto          bool
	}{
		"a terminal":                    {term: "xterm-256color", auto: true},
		"TERM is not set":               {auto: true},
		"a terminal without colors":     {term: "dumb"},
		"NO_COLOR":                      {noColor: "1", term: "xterm-256color"},
		"a name that begins with dumb-": {term: "dumb-emacs-ansi", auto: true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Setenv("NO_COLOR", test.noColor)
			t.Setenv("TERM", test.term)
			want := []bool{test.auto, false, true}
			got := []bool{useColor(colorAuto, w), useColor(colorNever, w), useColor(colorAlways, w)}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("useColor() of auto, never and always mismatch (-want +got):\n%s", diff)
			}
		})
	}
}

func TestProgressIsForTerminalsOnly(t *testing.T) {
	t.Setenv("TERM", "dumb")
	if newProgress(terminal(t)).w != nil {
		t.Error("progress is shown on a terminal that does not obey escape sequences")
	}
	t.Setenv("TERM", "xterm")
	if newProgress(terminal(t)).w == nil {
		t.Error("progress is not shown on a terminal")
	}
	var out bytes.Buffer
	p := newProgress(&out)
	p.read(1, 2)
	p.next = time.Time{}
	p.judged(1, 2)
	p.done()
	if out.Len() > 0 {
		t.Errorf("progress is written to something that is not a terminal: %q", &out)
	}
}

func TestProgressRemovesItself(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	p := &progress{w: &out}
	p.read(1, 2)
	p.judged(1, 2) // too soon after read
	p.done()
	if diff := cmp.Diff("\r\x1b[Kreading 1 of 2 files\r\x1b[K", out.String()); diff != "" {
		t.Errorf("progress mismatch (-want +got):\n%s", diff)
	}
}
