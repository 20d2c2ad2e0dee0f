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

func (p *progress) read(done, all int) { p.show("reading %d of %d files", done, all) }
func (p *progress) rendered(done, all int) {
	p.show("rendering %d of %d kustomizations and charts", done, all)
}
func (p *progress) judged(done, all int) { p.show("checking %d of %d objects", done, all) }

func (p *progress) measured(done, all int) { p.show("measuring %d of %d rules", done, all) }

func (p *progress) listed(done int) { p.show("reading the cluster: %d objects", done) }

func (p *progress) show(format string, counts ...any) {
	if p.w == nil || time.Now().Before(p.next) {
		return
	}
	p.next = time.Now().Add(progressInterval)
	p.shown = true
	fmt.Fprintf(p.w, "\r\x1b[K"+format, counts...)
}

// done removes the progress from the terminal.
func (p *progress) done() {
	if p.shown {
		fmt.Fprint(p.w, "\r\x1b[K")
	}
}
