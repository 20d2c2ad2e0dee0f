package main

import (
	"fmt"
	"os"

	"golang.org/x/term"
)

// progress shows on the standard error what is being done. It writes to terminals only.
type progress struct{ terminal bool }

func newProgress() progress { return progress{terminal: term.IsTerminal(int(os.Stderr.Fd()))} }

// show replaces what was shown before.
func (p progress) show(format string, args ...any) {
	if p.terminal {
		fmt.Fprintf(os.Stderr, "\r\x1b[K"+format, args...)
	}
}
