// Package child does work in child processes of the same binary. A library that cannot be stopped, or that exhausts the
// stack or the memory, then ends only the child, which says why.
package child

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/sourceward/sourceward/policies"
)

const (
	// marker is the environment variable that makes a process a child. Its value is the name of a Job.
	marker = "SOURCEWARD_CHILD"
	// maxErrors is how many bytes of the child's standard error are kept. A fatal error of Go begins with its reason.
	maxErrors = 16 << 10
)

// Job is a kind of work for children, and what it may take. All fields are required.
type Job struct {
	// Name is different for each Job of a program.
	Name string
	// Doing is what a child does, for messages, such as "compiling the modules". Advice is how to make that take less.
	Doing, Advice string
	// Time bounds the time for one request, and Memory the data of the child, in bytes. A child without work takes about
	// 100 MiB, most of it unused.
	Time   time.Duration
	Memory uint64
	// Serve answers requests, each with one JSON value, until it finds io.EOF instead of a request.
	Serve func(requests *json.Decoder, answers *json.Encoder) error
}

// Main returns the exit code of a child, and whether this process is one. Every program that uses Ask calls it first,
// with each Job that it uses.
func Main(in io.Reader, out io.Writer, jobs ...Job) (code int, isChild bool) {
	name := os.Getenv(marker)
	if name == "" {
		return 0, false
	}
	i := slices.IndexFunc(jobs, func(job Job) bool { return job.Name == name })
	if i < 0 {
		fmt.Fprintf(os.Stderr, "%s=%s: no such job\n", marker, name)
		return 1, true
	}
	if err := serve(in, out, jobs[i]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1, true
	}
	return 0, true
}

func serve(in io.Reader, out io.Writer, job Job) error {
	if err := setLimits(job.Memory); err != nil {
		return fmt.Errorf(limitsFailed+"%w", err)
	}
	return job.Serve(json.NewDecoder(in), json.NewEncoder(out))
}

// Ask lets a child answer all requests, and returns an answer or an error for each. If a child ends before it has
// answered all of them, another one goes on with the request that it was answering, which is at fault if the new child
// does not even answer that one.
func Ask[Request, Answer any](ctx context.Context, job Job, requests []Request) ([]Answer, []error) {
	answers, errs := make([]Answer, 0, len(requests)), make([]error, 0, len(requests))
	for len(answers) < len(requests) {
		answered, err := ask[Request, Answer](ctx, job, requests[len(answers):])
		answers = append(answers, answered...)
		errs = append(errs, make([]error, len(answered))...)
		if len(answered) == 0 {
			answers, errs = append(answers, *new(Answer)), append(errs, err)
		}
	}
	return answers, errs
}

// ask lets one child answer requests. The error says why it ended before it had answered all of them; nil if it did.
func ask[Request, Answer any](ctx context.Context, job Job, requests []Request) (answers []Answer, err error) {
	if os.Getenv(marker) != "" {
		return nil, fmt.Errorf("%s needs a program that calls child.Main", job.Doing)
	}
	if ctx.Err() != nil {
		return nil, job.interrupted()
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	timer := time.AfterFunc(job.Time, func() { cancel(errTooLong) })
	defer timer.Stop()
	path, err := executable()
	if err != nil {
		return nil, fmt.Errorf("%s failed: %w", job.Doing, err)
	}
	var stderr head
	cmd := exec.CommandContext(ctx, path)
	cmd.Env = []string{marker + "=" + job.Name}
	input, write := io.Pipe()
	defer input.Close() //nolint:errcheck // ends the goroutine below if the child does not read everything
	go func() {
		values := json.NewEncoder(write)
		for _, request := range requests {
			if values.Encode(request) != nil {
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
		return nil, fmt.Errorf("%s failed, since no process can be started for it (%w); %s", job.Doing, err, more)
	}
	for values := json.NewDecoder(stdout); len(answers) < len(requests); {
		var answer Answer
		if values.Decode(&answer) != nil {
			break // the child has ended, perhaps while it wrote
		}
		timer.Reset(job.Time)
		answers = append(answers, answer)
	}
	err = cmd.Wait()
	if len(answers) == len(requests) {
		return answers, nil
	}
	return answers, job.death(ctx, err, stderr.String())
}

var errTooLong = errors.New("too long")

const more = "allow it more memory, processes or open files"

func (j Job) interrupted() error { return fmt.Errorf("%s did not end in time; try again", j.Doing) }

// death returns why a child ended before it had answered all requests. The exit code is the same for each kind of fatal
// error in Go, so stderr has to tell.
func (j Job) death(ctx context.Context, err error, stderr string) error {
	switch cause := context.Cause(ctx); {
	case errors.Is(cause, errTooLong):
		return fmt.Errorf("%s takes longer than %s; %s", j.Doing, j.Time, j.Advice)
	case cause != nil:
		return j.interrupted()
	case strings.Contains(stderr, "fatal error: stack overflow"):
		return fmt.Errorf("%s exhausts the stack; %s", j.Doing, j.Advice)
	case strings.Contains(stderr, "out of memory"), strings.Contains(stderr, "cannot allocate"):
		return fmt.Errorf("%s takes more than %d MiB of memory; %s", j.Doing, j.Memory>>20, j.Advice)
	}
	if err == nil {
		err = errors.New("without a result")
	}
	const longest = 160
	first, _, _ := strings.Cut(stderr, "\n")
	reason := policies.Shorten(strings.TrimSuffix(fmt.Sprintf("%v: %s", err, first), ": "), longest)
	// By a signal of the system, or without what a process needs: that is not the fault of the request.
	exit, _ := errors.AsType[*exec.ExitError](err)
	if exit == nil || exit.ExitCode() < 0 || strings.Contains(stderr, "failed to create new OS thread") ||
		strings.HasPrefix(stderr, limitsFailed) {
		return fmt.Errorf("%s was ended (%s); %s", j.Doing, reason, more)
	}
	return fmt.Errorf("%s ended (%s); %s", j.Doing, reason, j.Advice)
}

const limitsFailed = "set limits: "

// head keeps the first bytes of what is written to it.
type head struct{ bytes.Buffer }

// Write implements io.Writer.
func (h *head) Write(p []byte) (int, error) {
	_, err := h.Buffer.Write(p[:min(len(p), maxErrors-h.Len())])
	return len(p), err
}
