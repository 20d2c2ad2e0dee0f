package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/rules"
	"github.com/prometheus/prometheus/util/teststorage"
)

func main() {
	component := flag.String("component", "config/components/monitoring", "the folder with the rules and the dashboard")
	names := flag.Bool("names", false, "print the metrics and labels that no scrape has, instead of the alerts")
	flag.Parse()
	if err := run(context.Background(), *component, *names, flag.Args(), os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// run prints the alerts, or the names that no scrape has. The error is non-nil when a file cannot be read, or when an
// expression cannot be evaluated.
func run(ctx context.Context, component string, names bool, folders []string, out io.Writer) (err error) {
	if len(folders) == 0 {
		return errors.New("name at least one folder with a scrape")
	}
	storage, err := teststorage.NewWithError()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, storage.Close()) }()
	relabelings, err := readRelabelings(component)
	if err != nil {
		return err
	}
	start, end, err := load(ctx, storage, folders, relabelings, time.Now())
	if err != nil {
		return err
	}
	alerts, err := readAlerts(component)
	if err != nil {
		return err
	}
	engine := newEngine()
	defer func() { err = errors.Join(err, engine.Close()) }()
	if names {
		board, err := readDashboard(component)
		if err != nil {
			return err
		}
		checker := &checker{engine, storage, start, end}
		unknown, err := checker.unknown(ctx, expressions(alerts, board))
		if err != nil {
			return err
		}
		for _, line := range unknown {
			fmt.Fprintln(out, line)
		}
		return nil
	}
	found, err := firing(ctx, alerts, rules.EngineQueryFunc(engine, storage), start, end)
	if err != nil {
		return err
	}
	for _, alert := range found {
		fmt.Fprintf(out, "%s: %s\n", alert.Labels.Get("alertname"), alert.Annotations.Get("summary"))
	}
	return nil
}

// newEngine returns an engine that evaluates PromQL as Prometheus does without flags.
func newEngine() *promql.Engine {
	return promql.NewEngine(promql.EngineOpts{
		MaxSamples: 50_000_000, Timeout: 2 * time.Minute, EnableAtModifier: true, EnableNegativeOffset: true,
	})
}
