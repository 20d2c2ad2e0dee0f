package main

import (
	"fmt"
	"io"
	"time"
)

// progress shows on a terminal how far a long run has come. It writes nothing to anything else.
type progress struct {
	w io.Writer
	// next is the earliest time of the next write. The first is half a second after the start, so that short runs show
	// nothing.
	next  time.Time
	shown bool
}

const progressInterval = 500 * time.Millisecond

func newProgress(w io.Writer) *progress {
	if !isTerminal(w) {
		return &progress{}
	}
	return &progress{w: w, next: time.Now().Add(progressInterval)}
}

func (p *progress) read(done, all int) { p.show("reading", done, all, "files") }
func (p *progress) rendered(done, all int) {
	p.show("rendering", done, all, "kustomizations and charts")
}
func (p *progress) judged(done, all int) { p.show("checking", done, all, "objects") }

func (p *progress) measured(done, all int) { p.show("measuring", done, all, "rules") }

func (p *progress) show(verb string, done, all int, what string) {
	if p.w == nil || time.Now().Before(p.next) {
		return
	}
	p.next = time.Now().Add(progressInterval)
	p.shown = true
	fmt.Fprintf(p.w, "\r\x1b[K%s %d of %d %s", verb, done, all, what)
}

// done removes the progress from the terminal.
func (p *progress) done() {
	if p.shown {
		fmt.Fprint(p.w, "\r\x1b[K")
	}
}
