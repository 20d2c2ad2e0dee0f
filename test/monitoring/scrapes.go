package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/relabel"
	"github.com/prometheus/prometheus/model/textparse"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/storage"
)

const (
	// before is how long everything was as in the first scrape: longer than any rule looks back.
	before = 15 * time.Minute
	// after is how long everything stays as in the last scrape: as long as the rules need for an alert to fire, but less
	// than the ten minutes for which they report an event.
	after = 8 * time.Minute
)

// series holds the samples of one scrape of all targets.
type series map[string]sample

// sample is a value with the labels that Prometheus stores.
type sample struct {
	labels labels.Labels
	value  float64
}

// load stores the scrapes, and returns the times of the first and the last sample. The last scrape is at last. Like
// Prometheus, load marks a series that has no sample in the next scrape as stale.
func load(
	ctx context.Context, storage storage.Storage, folders []string, relabelings []*relabel.Config, last time.Time,
) (start, end time.Time, err error) {
	start = last.Add(-before - time.Duration(len(folders)-1)*interval)
	end = last.Add(after)
	first := last.Add(-time.Duration(len(folders)-1) * interval)
	var former series
	for i, folder := range folders {
		now, err := read(folder, relabelings)
		if err != nil {
			return start, end, err
		}
		from, until := first.Add(time.Duration(i)*interval), first.Add(time.Duration(i)*interval)
		if i == 0 {
			from = start
		}
		if i == len(folders)-1 {
			until = end
		}
		for at := from; !at.After(until); at = at.Add(interval) {
			if err := store(ctx, storage, former, now, at); err != nil {
				return start, end, fmt.Errorf("%s: %w", folder, err)
			}
			former = now
		}
	}
	return start, end, nil
}

// store stores the samples of a scrape, and marks the series that only the former scrape has as stale.
func store(ctx context.Context, storage storage.Storage, former, now series, at time.Time) error {
	appender := storage.Appender(ctx)
	for name, s := range former {
		if _, ok := now[name]; !ok {
			if _, err := appender.Append(0, s.labels, at.UnixMilli(), math.Float64frombits(value.StaleNaN)); err != nil {
				return errors.Join(err, appender.Rollback())
			}
		}
	}
	for _, s := range now {
		if _, err := appender.Append(0, s.labels, at.UnixMilli(), s.value); err != nil {
			return errors.Join(err, appender.Rollback())
		}
	}
	return appender.Commit()
}

// read reads one scrape.
func read(folder string, relabelings []*relabel.Config) (series, error) {
	files, err := os.ReadDir(folder)
	if err != nil {
		return nil, err
	}
	all := series{}
	for _, file := range files {
		path := filepath.Join(folder, file.Name())
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		if err := all.add(text, target(file.Name(), relabelings)); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
	}
	return all, nil
}

// target returns the labels of a target, as the Prometheus Operator sets them for a PodMonitor, and for the
// ServiceMonitor of the API servers (pkg/prometheus/promcfg.go of the operator).
func target(name string, relabelings []*relabel.Config) labels.Labels {
	if name == "apiserver" {
		return labels.FromStrings("job", name, "instance", name, "namespace", "default", "service", "kubernetes",
			"endpoint", "https")
	}
	builder := labels.NewBuilder(labels.FromStrings("job", "sourceward-system/sourceward-webhook", "instance", name,
		"namespace", "sourceward-system", "container", "webhook", "pod", name, "endpoint", "metrics"))
	relabel.ProcessBuilder(builder, relabelings...)
	return builder.Labels()
}

// add adds the samples of a target, and its up. A label of a sample that the target has too is renamed, as Prometheus
// does with honor_labels: false.
func (s series) add(text []byte, target labels.Labels) error {
	up := labels.NewBuilder(target).Set(labels.MetricName, "up").Labels()
	s[up.String()] = sample{up, 1}
	parser, err := textparse.New(text, "text/plain", labels.NewSymbolTable(), textparse.ParserOptions{})
	if err != nil {
		return err
	}
	for {
		entry, err := parser.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if entry != textparse.EntrySeries {
			continue
		}
		var scraped labels.Labels
		parser.Labels(&scraped)
		builder := labels.NewBuilder(scraped)
		target.Range(func(label labels.Label) {
			if has := scraped.Get(label.Name); has != "" {
				builder.Set("exported_"+label.Name, has)
			}
			builder.Set(label.Name, label.Value)
		})
		_, _, value := parser.Series()
		stored := builder.Labels()
		s[stored.String()] = sample{stored, value}
	}
}
