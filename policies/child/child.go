// Package child compiles policies in a child process of the same binary. OPA's compiler cannot be stopped, and a module
// that exhausts the stack or the memory ends the process that compiles it: this way it ends only the child.
package child

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/sourceward/sourceward/policies"
	"github.com/sourceward/sourceward/policies/bundle"
)

const (
	// marker is the environment variable that makes a process a child.
	marker = "SOURCEWARD_COMPILE"
	// maxTime bounds the time for the modules of one policy. It is more than bundle.CompileTimeout, because it includes
	// the start of the child, and the further steps of vet.
	maxTime = bundle.CompileTimeout + 1500*time.Millisecond
	// maxErrors is how many bytes of the child's standard error are kept. A fatal error of Go begins with its reason.
	maxErrors = 16 << 10
)

// Main returns the exit code of a child, and whether this process is one. Every program that uses Try calls it first.
//
// A child reads one JSON value after the other, each with sources, and writes what bundle.Attempt reports: one JSON
// string for each, which is empty for nil.
func Main(in io.Reader, out io.Writer) (code int, isChild bool) {
	if os.Getenv(marker) == "" {
		return 0, false
	}
	if err := attempt(in, out); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1, true
	}
	return 0, true
}

func attempt(in io.Reader, out io.Writer) error {
	if err := setLimits(); err != nil {
		return fmt.Errorf(limitsFailed+"%w", err)
	}
	sources, lines := json.NewDecoder(in), json.NewEncoder(out)
	return bundle.Attempt(context.Background(), func() (next bundle.Sources, err error) {
		err = sources.Decode(&next)
		return next, err
	}, func(outcome error) error {
		if outcome != nil {
			return lines.Encode(outcome.Error())
		}
		return lines.Encode("")
	})
}

// Try is a bundle.Trial. It tries all sources in one child. If that ends before it has tried all of them, another child
// goes on with the one that it was trying, which is at fault if the new child does not even finish that one.
func Try(ctx context.Context, list []bundle.Sources) []error { return tryAll(ctx, list, maxTime) }

// tryAll is Try with another bound of the time for each.
func tryAll(ctx context.Context, list []bundle.Sources, most time.Duration) []error {
	outcomes := make([]error, 0, len(list))
	for len(outcomes) < len(list) {
		tried, err := try(ctx, list[len(outcomes):], most)
		if len(tried) == 0 {
			tried = []error{err}
		}
		outcomes = append(outcomes, tried...)
	}
	return outcomes
}

// try tries sources in one child, and returns the outcomes of those that it has finished. The error says why the child
// ended before it had finished them all; nil if it did.
func try(ctx context.Context, list []bundle.Sources, most time.Duration) (outcomes []error, err error) {
	if os.Getenv(marker) != "" {
		return nil, errors.New("the modules were not compiled: the program does not call child.Main")
	}
	if ctx.Err() != nil {
		return nil, errInterrupted
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	timer := time.AfterFunc(most, func() { cancel(errTooLong) })
	defer timer.Stop()
	path, err := executable()
	if err != nil {
		return nil, fmt.Errorf("the modules were not compiled: %w", err)
	}
	var stderr head
	cmd := exec.CommandContext(ctx, path)
	cmd.Env = []string{marker + "=1"}
	input, write := io.Pipe()
	defer input.Close() //nolint:errcheck // ends the goroutine below if the child does not read everything
	go func() {
		values := json.NewEncoder(write)
		for _, sources := range list {
			if values.Encode(sources) != nil {
				return // The child has ended, which is reported below.
			}
		}
		_ = write.Close()
	}()
	cmd.Stdin, cmd.Stderr = input, &stderr
	cmd.SysProcAttr = attributes()
	cmd.WaitDelay = time.Second
	stdout, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return nil, fmt.Errorf(
			"the modules were not compiled, since no process can be started that compiles them (%w); %s", err, more)
	}
	lines := bufio.NewScanner(stdout)
	for lines.Scan() {
		var reason string
		if err := json.Unmarshal(lines.Bytes(), &reason); err != nil {
			break // the child died while it wrote
		}
		timer.Reset(most)
		var outcome error
		if reason != "" {
			outcome = errors.New(reason)
		}
		outcomes = append(outcomes, outcome)
	}
	err = cmd.Wait()
	if len(outcomes) == len(list) {
		return outcomes, nil
	}
	return outcomes, death(ctx, err, stderr.String())
}

var (
	errTooLong     = fmt.Errorf("compiling the modules takes longer than %s; %s", maxTime, advice)
	errInterrupted = errors.New("the modules were not compiled in time; try again")
)

const (
	advice = "make them shorter, or nest less deeply"
	more   = "allow it more memory, processes or open files"
)

// death returns why a child ended before it had finished. The exit code is the same for each kind of fatal error in Go,
// so stderr has to tell.
func death(ctx context.Context, err error, stderr string) error {
	switch cause := context.Cause(ctx); {
	case errors.Is(cause, errTooLong):
		return errTooLong
	case cause != nil:
		return errInterrupted
	case strings.Contains(stderr, "fatal error: stack overflow"):
		return errors.New("compiling or evaluating the modules exhausts the stack; " + advice)
	case strings.Contains(stderr, "out of memory"), strings.Contains(stderr, "cannot allocate"):
		return fmt.Errorf("compiling the modules takes more than %d MiB of memory; %s", maxMemory>>20, advice)
	}
	if err == nil {
		err = errors.New("without a result")
	}
	const longest = 160
	first, _, _ := strings.Cut(stderr, "\n")
	reason := policies.Shorten(strings.TrimSuffix(fmt.Sprintf("%v: %s", err, first), ": "), longest)
	// By a signal of the system, or without what a process needs: that is not the fault of the modules.
	exit, _ := errors.AsType[*exec.ExitError](err)
	if exit == nil || exit.ExitCode() < 0 || strings.Contains(stderr, "failed to create new OS thread") ||
		strings.HasPrefix(stderr, limitsFailed) {
		return fmt.Errorf("the process that compiled the modules was ended (%s); %s", reason, more)
	}
	return fmt.Errorf("the process that compiled the modules ended (%s); write them in another way", reason)
}

const limitsFailed = "set limits: "

// head keeps the first bytes of what is written to it.
type head struct{ bytes.Buffer }

// Write implements io.Writer.
func (h *head) Write(p []byte) (int, error) {
	_, err := h.Buffer.Write(p[:min(len(p), maxErrors-h.Len())])
	return len(p), err
}
