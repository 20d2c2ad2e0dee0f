package cluster

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
)

// process is a component that runs, or has run.
type process struct {
	name string
	log  string // the file that holds what it printed
	cmd  *exec.Cmd

	ended chan struct{} // closed when it has
}

// startProcess starts a command that prints into the file log.
func startProcess(name, log string, cmd *exec.Cmd) (*process, error) {
	file, err := os.Create(log)
	if err != nil {
		return nil, err
	}
	defer file.Close() //nolint:errcheck // the process has its own handle
	cmd.Stdout, cmd.Stderr = file, file
	endWithParent(cmd)

	p := &process{name: name, log: log, cmd: cmd, ended: make(chan struct{})}
	started := make(chan error)
	go func() {
		// For Linux the parent of a process is the thread that started it: were that to end before this program,
		// endWithParent would end the process too. A goroutine that is locked to its thread keeps it.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // cmd.ProcessState says the same
			close(p.ended)
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	return p, nil
}

// state says whether the process runs, or else how it ended.
func (p *process) state() (state string, runs bool) {
	select {
	case <-p.ended:
		return "ended by itself, " + p.cmd.ProcessState.String(), false
	default:
		return "runs", true
	}
}

// died returns an error if the process has ended, which none does by itself unless something is wrong.
func (p *process) died() error {
	if state, runs := p.state(); !runs {
		return fmt.Errorf("%s %s:\n%s", p.name, state, p.logEnd())
	}
	return nil
}

// portTaken reports whether the process ended because another program has its port.
func (p *process) portTaken() bool {
	_, runs := p.state()
	return !runs && strings.Contains(p.logEnd(), syscall.EADDRINUSE.Error())
}

// kill ends the process and returns when it has ended.
func (p *process) kill() {
	_ = p.cmd.Process.Kill() // it fails only if the process has ended
	<-p.ended
}

// logEnd returns the last lines of the log, or why there are none.
func (p *process) logEnd() string {
	const size = 4 << 10
	file, err := os.Open(p.log)
	if err != nil {
		return err.Error()
	}
	defer file.Close() //nolint:errcheck // it was only read
	info, err := file.Stat()
	if err != nil {
		return err.Error()
	}
	start := max(0, info.Size()-size)
	text, err := io.ReadAll(io.NewSectionReader(file, start, size))
	if err != nil {
		return err.Error()
	}
	if start > 0 {
		_, text, _ = bytes.Cut(text, []byte("\n"))
	}
	return string(text)
}
