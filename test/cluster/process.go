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

// process is a component that runs or has ended.
type process struct {
	name string
	log  string // the file with its output
	cmd  *exec.Cmd

	ended chan struct{} // closed when the process has ended
}

// startProcess starts a command whose output goes to the file log.
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
		// On Linux, the parent of a process is the thread that started it. If the thread ended, endWithParent would end
		// the process while this program still runs. A goroutine that is locked to the thread keeps the thread alive.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // cmd.ProcessState has the result
			close(p.ended)
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	return p, nil
}

// state returns how the process ended, if it has ended, and whether it still runs.
func (p *process) state() (state string, runs bool) {
	select {
	case <-p.ended:
		return "ended by itself, " + p.cmd.ProcessState.String(), false
	default:
		return "runs", true
	}
}

// died returns an error if the process has ended. Components never end by themselves unless something is wrong.
func (p *process) died() error {
	if state, runs := p.state(); !runs {
		return fmt.Errorf("%s %s:\n%s", p.name, state, p.logEnd())
	}
	return nil
}

// portTaken reports whether the process ended because another program uses its port.
func (p *process) portTaken() bool {
	_, runs := p.state()
	return !runs && strings.Contains(p.logEnd(), syscall.EADDRINUSE.Error())
}

// kill kills the process and waits until it has ended.
func (p *process) kill() {
	_ = p.cmd.Process.Kill() // fails only if the process has ended
	<-p.ended
}

// logEnd returns the last lines of the log, or the reason why it cannot be read.
func (p *process) logEnd() string {
	const size = 1 << 10
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
