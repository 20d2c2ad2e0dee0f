package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"time"
)

// reportFile is the page with the results.
const reportFile = "RESULTS.md"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	quick := flag.Bool("quick", false, "measure only what takes minutes, and write no files")
	out := flag.String("out", "..", "write "+reportFile+" and "+plotFile+" into this `DIR`")
	flag.Parse()
	err := run(ctx, *quick, *out)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

// run measures, prints the report, and writes it to files unless quick is set. What was measured is printed even if the
// benchmarks in the folder above fail, since it took long.
func run(ctx context.Context, quick bool, out string) (err error) {
	dir, err := os.MkdirTemp("", "peers-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	var r results
	if err := r.measureAll(ctx, dir, quick); err != nil {
		return err
	}
	var failed error
	if !quick {
		r.benchmarks, failed = runBenchmarks(ctx, os.Stdout)
	}
	w := bufio.NewWriter(os.Stdout)
	writeReport(w, &r, false)
	if err := errors.Join(failed, w.Flush()); err != nil {
		return err
	}
	if !quick {
		if err := r.write(out); err != nil {
			return err
		}
	}
	if slices.ContainsFunc(r.agreements, func(a agreement) bool { return !a.agree() }) {
		return errDisagree
	}
	return nil
}

// measureAll builds all programs, writes the corpora to dir, measures the programs, and compares their verdicts.
func (r *results) measureAll(ctx context.Context, dir string, quick bool) error {
	shown := newProgress()
	defer shown.show("")
	binaries, err := buildAll(ctx, dir, shown)
	if err != nil {
		return err
	}
	if r.machine, err = describe(ctx, time.Now(), binaries); err != nil {
		return err
	}
	if err := os.CopyFS(filepath.Join(dir, "rules"), os.DirFS("rules")); err != nil {
		return err
	}
	b := bench{dir: dir, binaries: binaries, shown: shown}
	smallest, err := b.run(ctx, []string{"true"})
	if err != nil {
		return err
	}
	r.machine = append(r.machine, "Least peak memory that can be measured: "+number(smallest.mib())+" MiB, for `true`")
	runs := rounds
	if quick {
		runs = quickRounds
	}
	for _, c := range corpora() {
		if quick && !c.quick {
			continue
		}
		if err := c.write(dir); err != nil {
			return err
		}
		t, err := b.measure(ctx, c, programs(), runs)
		if err != nil {
			return err
		}
		r.tables = append(r.tables, t)
		if c.name == verdictCorpus {
			if r.agreements, err = b.verdicts(ctx, c); err != nil {
				return err
			}
		}
	}
	return nil
}

// write writes the report and the plot to files in a folder.
func (r *results) write(dir string) (err error) {
	svg, err := drawPlot(r.tables)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, plotFile), svg, 0o644); err != nil {
		return err
	}
	file, err := os.Create(filepath.Join(dir, reportFile))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	w := bufio.NewWriter(file)
	writeReport(w, r, true)
	return w.Flush()
}
