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
	"time"

	"golang.org/x/term"

	"github.com/sourceward/sourceward/policies"
)

// The files are in the folder of go.mod, in which the command runs. nodesFile contains the nodes of a cluster.
const (
	judgementsFile = "judgements.yaml"
	nodesFile      = "nodes.yaml"
)

var errDisagree = errors.New("the findings and the judgements differ; see above")

func main() {
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

	w := bufio.NewWriter(os.Stdout)
	writeFindings(w, rows)
	writeRules(w, policies.Catalogue(), result.judged, rows)
	writeTotals(w, modules, bundles, result)
	fmt.Fprintf(w, "%.0f s to download or find the modules, %.0f s to judge\n",
		downloaded.Sub(start).Seconds(), time.Since(downloaded).Seconds())
	writeComplaints(w, complaints)
	if err := w.Flush(); err != nil {
		return err
	}
	if len(complaints) > 0 {
		return errDisagree
	}
	return nil
}
