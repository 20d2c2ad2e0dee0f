package main

import (
	"fmt"
	"os"
	"sync"
)

// progress shows the progress of a run. It writes to terminals only.
type progress struct {
	terminal bool
	mu       sync.Mutex
	done     int
}

// start resets the counter. The caller calls step after each unit of work, and end after the last.
func (p *progress) start(verb string, all int, what string) (step, end func()) {
	p.done = 0
	show := func() {
		if p.terminal {
			fmt.Fprintf(os.Stderr, "\r\x1b[K%s %d of %d %s", verb, p.done, all, what)
		}
	}
	show()
	step = func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.done++
		show()
	}
	end = func() {
		if p.terminal {
			fmt.Fprint(os.Stderr, "\r\x1b[K")
		}
	}
	return step, end
}
