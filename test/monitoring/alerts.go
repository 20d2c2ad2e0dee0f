package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/relabel"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/rules"
	"go.yaml.in/yaml/v3"
)

// interval is the time between two scrapes, and between two evaluations of the rules. It is what Prometheus has without
// configuration (config.DefaultGlobalConfig).
const interval = time.Minute

// language parses PromQL without experimental features.
var language = parser.NewParser(parser.Options{})

// readAlerts reads the alerts of the PrometheusRule of a component. The error is non-nil when Prometheus would not
// accept them.
func readAlerts(component string) ([]*rules.AlertingRule, error) {
	path := filepath.Join(component, "prometheus_rule.yaml")
	var object struct {
		Spec yaml.Node `yaml:"spec"`
	}
	if err := readYAML(path, &object); err != nil {
		return nil, err
	}
	spec, err := yaml.Marshal(&object.Spec)
	if err != nil {
		return nil, err
	}
	const unknownFields = false
	groups, errs := rulefmt.Parse(spec, unknownFields, model.UTF8Validation, language, slog.Default())
	if len(errs) > 0 {
		return nil, fmt.Errorf("%s: %w", path, errors.Join(errs...))
	}
	var alerts []*rules.AlertingRule
	for _, group := range groups.Groups {
		for _, rule := range group.Rules {
			expression, err := language.ParseExpr(rule.Expr)
			if err != nil {
				return nil, fmt.Errorf("%s: %s: %w", path, rule.Alert, err)
			}
			const restored = true
			alerts = append(alerts, rules.NewAlertingRule(
				rule.Alert, expression, time.Duration(rule.For), time.Duration(rule.KeepFiringFor),
				labels.FromMap(rule.Labels), labels.FromMap(rule.Annotations), labels.EmptyLabels(), "",
				restored, slog.Default()))
		}
	}
	return alerts, nil
}

// readRelabelings reads what the PodMonitor of a component changes about the labels of a target.
func readRelabelings(component string) ([]*relabel.Config, error) {
	path := filepath.Join(component, "pod_monitor.yaml")
	var object struct {
		Spec struct {
			Endpoints []struct {
				Relabelings []*relabel.Config `yaml:"relabelings"`
			} `yaml:"podMetricsEndpoints"`
		} `yaml:"spec"`
	}
	if err := readYAML(path, &object); err != nil {
		return nil, err
	}
	if len(object.Spec.Endpoints) != 1 {
		return nil, fmt.Errorf("%s has %d endpoints, want one", path, len(object.Spec.Endpoints))
	}
	relabelings := object.Spec.Endpoints[0].Relabelings
	for _, relabeling := range relabelings {
		if err := relabeling.Validate(model.UTF8Validation); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
	}
	return relabelings, nil
}

// readYAML decodes a YAML file. The error is non-nil when the file cannot be read or has another shape.
func readYAML(path string, into any) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := yaml.Unmarshal(text, into); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// firing evaluates alerts from start to end, and returns those that fire at the end, sorted by their labels. The alerts
// must not have been evaluated before.
func firing(
	ctx context.Context, alerts []*rules.AlertingRule, query rules.QueryFunc, start, end time.Time,
) ([]*rules.Alert, error) {
	for at := start; !at.After(end); at = at.Add(interval) {
		for _, alert := range alerts {
			const queryOffset, limit = 0, 0
			if _, err := alert.Eval(ctx, queryOffset, at, query, &url.URL{}, limit); err != nil {
				return nil, fmt.Errorf("%s: %w", alert.Name(), err)
			}
		}
	}
	var found []*rules.Alert
	for _, alert := range alerts {
		for _, active := range alert.ActiveAlerts() {
			if active.State == rules.StateFiring {
				found = append(found, active)
			}
		}
	}
	slices.SortFunc(found, func(a, b *rules.Alert) int { return cmp.Compare(a.Labels.String(), b.Labels.String()) })
	return found, nil
}
