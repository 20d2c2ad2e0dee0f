// Command mutate flips operators of the core one at a time, and reports how many of the flips the tests notice. A flip
// that no test notices is a rule that nobody would miss, or one that changes nothing; `make mutate` lists them.
//
// A flip is noticed if the tests of its package fail, or else the cases. One that does not compile is replaced by the
// next.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"

	"golang.org/x/term"
)

// timeout is how long the tests may take with a flip, which may make a loop endless. They take a tenth of it without.
const timeout = "5m"

func main() {
	number := flag.Int("n", 300, "the number of flips")
	seed := flag.Uint64("seed", 1, "chooses the flips: equal seeds choose the same ones in the same source")
	folder := flag.String("folder", "policies", "the folder of the package")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, *folder, *number, *seed, os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1) //nolint:forbidigo // this is a main
	}
}

// run tries the flips and writes the report. The error is non-nil when a flip could not be tried, or the tests fail
// without any.
func run(ctx context.Context, folder string, number int, seed uint64, out io.Writer) error {
	all, err := flipsIn(folder)
	if err != nil {
		return err
	}
	work, err := os.MkdirTemp("", "mutate-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(work) }()
	t := &trial{ctx: ctx, folder: folder, work: work}
	if noticed, err := t.noticed(""); noticed || err != nil {
		return errors.Join(err, errors.New("the tests fail without a flip"))
	}
	tried, survived := 0, 0
	for _, f := range chosen(all, len(all), seed) {
		if tried == number {
			break
		}
		if term.IsTerminal(int(os.Stderr.Fd())) {
			fmt.Fprintf(os.Stderr, "\r%d of %d flips, %d not noticed ", tried, number, survived)
		}
		compiles, noticed, err := t.try(f)
		switch {
		case err != nil:
			return err
		case !compiles:
			continue
		case !noticed:
			survived++
			fmt.Fprintln(out, f) // at once, since the rest may take hours
		}
		tried++
	}
	if term.IsTerminal(int(os.Stderr.Fd())) {
		fmt.Fprint(os.Stderr, "\r\033[K")
	}
	fmt.Fprintf(out, "seed %d: %d of %d flips in %s were noticed (%.1f %%), of %d possible ones\n",
		seed, tried-survived, tried, folder, 100*float64(tried-survived)/float64(max(tried, 1)), len(all))
	return nil
}

// trial runs tests with one file replaced.
type trial struct {
	ctx          context.Context //nolint:containedctx // it lives as long as one run
	folder, work string
}

// try reports whether the source compiles with a flip, and whether a test notices it.
func (t *trial) try(f flip) (compiles, noticed bool, err error) {
	source, err := os.ReadFile(f.file)
	if err != nil {
		return false, false, err
	}
	flipped, overlay := filepath.Join(t.work, filepath.Base(f.file)), filepath.Join(t.work, "overlay.json")
	absolute, err := filepath.Abs(f.file)
	if err != nil {
		return false, false, err
	}
	text, err := json.Marshal(map[string]any{"Replace": map[string]string{absolute: flipped}})
	if err != nil {
		return false, false, err
	}
	err = errors.Join(os.WriteFile(flipped, f.apply(source), 0o600), os.WriteFile(overlay, text, 0o600))
	if err != nil {
		return false, false, err
	}
	if passes, err := t.passes("build", "-overlay", overlay, "./"+t.folder); !passes || err != nil {
		return false, false, err
	}
	noticed, err = t.noticed(overlay)
	return true, noticed, err
}

// noticed reports whether a test fails with an overlay; an empty one changes nothing.
func (t *trial) noticed(overlay string) (bool, error) {
	for _, tests := range [][]string{{"./" + t.folder}, {"-run", "^TestCases$", "./test"}} {
		args := []string{"test", "-count=1", "-failfast", "-timeout", timeout}
		if overlay != "" {
			args = append(args, "-overlay", overlay)
		}
		if passes, err := t.passes(append(args, tests...)...); !passes || err != nil {
			return true, err
		}
	}
	return false, nil
}

// passes runs the go command. The error is non-nil when that could not run to its end.
func (t *trial) passes(args ...string) (bool, error) {
	cmd := exec.CommandContext(t.ctx, "go", args...)
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	err := cmd.Run()
	if t.ctx.Err() != nil {
		return false, t.ctx.Err()
	}
	if _, failed := errors.AsType[*exec.ExitError](err); failed {
		return false, nil
	}
	return err == nil, err
}
