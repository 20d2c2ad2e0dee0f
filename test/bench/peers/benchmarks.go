package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"strings"

	"golang.org/x/perf/benchfmt"
)

// benchmark is one line of the benchmarks in the folder above.
type benchmark struct {
	// group is the name of the function and name that of the sub-benchmark, without the number of CPUs.
	group, name string
	values      []benchfmt.Value
}

// goBenchmarks is the command that runs the benchmarks in the folder above, in the root of the repository.
var goBenchmarks = []string{"go", "test", "./test/bench", "-timeout", "60m", "-run", "^$", "-bench", "."}

// runBenchmarks runs the benchmarks in the folder above, and copies their output to w.
func runBenchmarks(ctx context.Context, w io.Writer) ([]benchmark, error) {
	cmd := exec.CommandContext(ctx, goBenchmarks[0], goBenchmarks[1:]...)
	cmd.Dir = root
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = io.MultiWriter(w, &out), os.Stderr
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("%s: %w", strings.Join(goBenchmarks, " "), err)
	}
	return readBenchmarks(&out)
}

// readBenchmarks reads the output of go test -bench.
func readBenchmarks(r io.Reader) ([]benchmark, error) {
	var list []benchmark
	reader := benchfmt.NewReader(r, "go test -bench")
	for reader.Scan() {
		switch record := reader.Result().(type) {
		case *benchfmt.SyntaxError:
			return nil, record
		case *benchfmt.Result:
			group, parts := record.Name.Parts()
			var name strings.Builder
			for _, part := range parts {
				if part[0] == '/' { // the last part is the number of CPUs
					name.Write(part)
				}
			}
			b := benchmark{group: string(group), name: strings.TrimPrefix(name.String(), "/")}
			for _, value := range record.Values {
				if value.Unit != "ns/op" { // all benchmarks report other units, and set this one to 0
					b.values = append(b.values, value)
				}
			}
			list = append(list, b)
		}
	}
	return list, reader.Err()
}

// value returns a metric of a benchmark, or NaN if there is none.
func (r *results) value(group, name, unit string) float64 {
	for _, b := range r.benchmarks {
		if b.group == group && b.name == name {
			for _, value := range b.values {
				if value.Unit == unit {
					return value.Value
				}
			}
		}
	}
	return math.NaN()
}
