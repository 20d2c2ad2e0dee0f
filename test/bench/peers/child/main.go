// Command child is run by command peers, and is a program of its own to be small.
//
//	child measure LIMIT PROGRAM [ARGUMENT]...   runs a program, and writes what it used
//	child decode FILE...                        only parses YAML, which is the floor of all measurements
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"time"

	"go.yaml.in/yaml/v3"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	switch {
	case len(args) > 2 && args[0] == "measure":
		limit, err := time.ParseDuration(args[1])
		if err != nil {
			return err
		}
		return measure(limit, args[2], args[3:])
	case len(args) > 1 && args[0] == "decode":
		return decode(args[1:])
	default:
		return errors.New("want measure LIMIT PROGRAM ARGUMENTS, or decode FILES")
	}
}

// measure runs a program without its standard output, and writes a JSON object: the wall time and the CPU time in
// nanoseconds, the peak memory in bytes, and the exit code, which is -1 if the program was ended after the limit. The
// error is non-nil when the program could not be started.
//
// Linux counts the memory of the process that starts a program towards the program's peak, because until exec both are
// one. That is why this is not done by command peers, which is larger than some programs that it measures.
func measure(limit time.Duration, program string, args []string) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Stderr = os.Stderr
	start := time.Now()
	err := cmd.Run()
	wall := time.Since(start)
	if cmd.ProcessState == nil {
		return err
	}
	// On Linux, Maxrss is in KiB.
	memory := cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss << 10
	return json.NewEncoder(os.Stdout).Encode(struct {
		Wall, CPU time.Duration
		Memory    int64
		Exit      int
	}{wall, cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(), memory, cmd.ProcessState.ExitCode()})
}

// decode parses the documents of all files with the parser that Sourceward uses, and does nothing else.
func decode(files []string) error {
	for _, name := range files {
		if err := decodeFile(name); err != nil {
			return fmt.Errorf("decode %s: %w", name, err)
		}
	}
	return nil
}

func decodeFile(name string) error {
	data, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	for {
		var node yaml.Node
		if err := decoder.Decode(&node); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
	}
}
