package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"
	"slices"
	"time"

	"golang.org/x/term"

	"github.com/sourceward/sourceward/policies"
	"github.com/sourceward/sourceward/policies/child"
	"github.com/sourceward/sourceward/policies/render"
	"github.com/sourceward/sourceward/test/cluster"
)

// The files are in the folder of go.mod, in which the command runs. nodesFile contains the nodes of a cluster.
const (
	judgementsFile = "judgements.yaml"
	nodesFile      = "nodes.yaml"
)

var errDisagree = errors.New("something differs; see above")

func main() {
	if code, isChild := child.Main(os.Stdin, os.Stdout, render.Job); isChild {
		os.Exit(code)
	}
	log.SetOutput(io.Discard) // helm logs how charts could be modernized
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	keep := flag.String("keep", "", "keep the rendered files in this `DIR`")
	flag.Parse()
	err := run(ctx, *keep)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, rendered string) (err error) {
	kubectl, err := cluster.Binary(ctx, cluster.V137, "kubectl")
	if err != nil {
		return err
	}
	judgements, err := readJudgements(judgementsFile)
	if err != nil {
		return err
	}
	shown := &progress{terminal: term.IsTerminal(int(os.Stderr.Fd()))}
	start := time.Now()
	modules, err := downloadAll(ctx, sources, shown)
	if err != nil {
		return err
	}
	downloaded := time.Now()
	bundles, err := findAll(modules)
	if err != nil {
		return err
	}
	if rendered == "" {
		if rendered, err = os.MkdirTemp("", "charts"); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(rendered)) }()
	}
	result, err := judgeAll(ctx, bundles, rendered, shown)
	if err != nil {
		return err
	}
	rows, complaints := compare(result.findings, judgements)
	judged := time.Now()
	renderings, places, err := renderAll(ctx, modules, shown)
	if err != nil {
		return err
	}
	comparisons, err := compareAll(ctx, renderings, kubectl, shown)
	if err != nil {
		return err
	}
	complaints = slices.Concat(complaints, faults(comparisons), places.wrong)

	w := bufio.NewWriter(os.Stdout)
	writeFindings(w, rows)
	writeRules(w, policies.Catalogue(), result.judged, rows)
	writeTotals(w, modules, bundles, result)
	writeComparisons(w, comparisons)
	fmt.Fprintf(w, "%d findings in what is rendered, %d of them without a line; %d places that do not exist\n",
		places.findings, places.withoutLine, len(places.wrong))
	fmt.Fprintf(w, "%.0f s to download or find the modules, %.0f s to judge, %.0f s to render and compare\n",
		downloaded.Sub(start).Seconds(), judged.Sub(downloaded).Seconds(), time.Since(judged).Seconds())
	writeComplaints(w, complaints)
	if err := w.Flush(); err != nil {
		return err
	}
	if len(complaints) > 0 {
		return errDisagree
	}
	return nil
}
