package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"
)

const (
	// rounds is the number of runs of each program on each corpus, and quickRounds that with -quick.
	rounds, quickRounds = 5, 3
	// A program that takes longer than slow is run only slowRounds times. One that takes longer than limit is ended.
	slow, slowRounds = time.Minute, 3
	limit            = 5 * time.Minute
)

// usage is what one process used.
type usage struct {
	Wall, CPU time.Duration // CPU is the sum of user and system time
	Memory    int64         // the peak of its resident memory, in bytes
	Exit      int
}

func (u usage) wall() float64 { return u.Wall.Seconds() }
func (u usage) cpu() float64  { return u.CPU.Seconds() }
func (u usage) mib() float64  { return float64(u.Memory) / (1 << 20) }

// row holds the measurements of one program on one corpus.
type row struct {
	program string
	command []string
	runs    []usage
	// notRun is the reason why there are no runs, or "".
	notRun string
}

// table holds the measurements of all programs on one corpus.
type table struct {
	corpus
	rows []row
}

// runs returns the runs of a program, or nil if there are none.
func (t table) runs(program string) []usage {
	for _, r := range t.rows {
		if r.program == program {
			return r.runs
		}
	}
	return nil
}

// bench runs processes in a folder with corpora and rules. binaries are the paths of programs by their names.
type bench struct {
	dir      string
	binaries map[string]string
	shown    progress
}

// measure runs the programs on a corpus in turns, so that other load on the machine affects all of them alike. Each
// round begins with another program.
func (b *bench) measure(ctx context.Context, c corpus, programs []program, rounds int) (table, error) {
	programs = slices.DeleteFunc(slices.Clone(programs), func(p program) bool { return p.only != "" && p.only != c.name })
	t := table{corpus: c, rows: make([]row, len(programs))}
	for i, p := range programs {
		t.rows[i] = row{program: p.name, command: p.command(c), notRun: c.skip[p.name]}
	}
	for round := range rounds {
		for i := range programs {
			p, r := programs[(round+i)%len(programs)], &t.rows[(round+i)%len(programs)]
			if r.notRun != "" || round >= slowRounds && median(r.runs, usage.wall) > slow.Seconds() {
				continue
			}
			b.shown.show("%s: run %d of %d of %s", c.title, round+1, rounds, p.name)
			u, err := b.run(ctx, r.command)
			switch {
			case err != nil:
				return table{}, err
			case u.Wall >= limit:
				r.runs, r.notRun = nil, fmt.Sprintf("one run takes longer than %s", limit)
			case !slices.Contains(p.exits, u.Exit):
				return table{}, fmt.Errorf("%s: exit code %d", strings.Join(r.command, " "), u.Exit)
			default:
				r.runs = append(r.runs, u)
			}
		}
	}
	return t, nil
}

// run runs a command and returns what it used. Nothing that is run has a reason to write to its standard error; as some
// programs have the same exit code for findings and for faults, it is an error if they do.
func (b *bench) run(ctx context.Context, command []string) (usage, error) {
	args := slices.Concat([]string{"measure", limit.String(), b.binaries[command[0]]}, command[1:])
	out, err := b.output(ctx, b.binaries["child"], args)
	if err != nil {
		return usage{}, fmt.Errorf("%s: %w", strings.Join(command, " "), err)
	}
	var u usage
	if err := json.Unmarshal(out, &u); err != nil {
		return usage{}, fmt.Errorf("%s: %w", strings.Join(command, " "), err)
	}
	return u, nil
}

// output runs a program in the folder of b and returns its standard output. The error is non-nil when the program
// writes to its standard error, or ends with an exit code that is not among exits or 0.
func (b *bench) output(ctx context.Context, path string, args []string, exits ...int) ([]byte, error) {
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Dir = b.dir
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) } // so that child ends what it measures
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if cmd.ProcessState != nil && slices.Contains(exits, cmd.ProcessState.ExitCode()) {
		err = nil
	}
	if said := bytes.TrimSpace(stderr.Bytes()); len(said) > 0 {
		err = errors.Join(err, errors.New(string(said)))
	}
	return stdout.Bytes(), err
}

// median returns the median of one figure of several runs, or NaN if there are none.
func median(runs []usage, figure func(usage) float64) float64 {
	sorted := figures(runs, figure)
	if len(sorted) == 0 {
		return math.NaN()
	}
	return (sorted[(len(sorted)-1)/2] + sorted[len(sorted)/2]) / 2
}

// figures returns one figure of several runs, sorted.
func figures(runs []usage, figure func(usage) float64) []float64 {
	sorted := make([]float64, len(runs))
	for i, u := range runs {
		sorted[i] = figure(u)
	}
	slices.Sort(sorted)
	return sorted
}
