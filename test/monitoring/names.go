package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/rules"
	"github.com/prometheus/prometheus/storage"
)

// expression is PromQL that a rule or a panel uses.
type expression struct {
	// where names the rule or the panel, for messages.
	where string
	query string
	// shown holds the labels of the result that the panel shows. It is nil for a rule.
	shown []string
	// isShown is true for a panel, whose query must have a result. An alert has none while it does not fire.
	isShown bool
}

// expressions returns those of all alerts and panels.
func expressions(alerts []*rules.AlertingRule, board *dashboard) []expression {
	var all []expression
	for _, alert := range alerts {
		all = append(all, expression{where: alert.Name(), query: alert.Query().String()})
	}
	return append(all, board.expressions()...)
}

// checker looks for metrics and labels in the series of a storage.
type checker struct {
	engine     *promql.Engine
	storage    storage.Queryable
	start, end time.Time
}

// unknown returns a line for each metric and label that an expression uses and that no series has. The error is non-nil
// when an expression cannot be parsed or evaluated.
func (c *checker) unknown(ctx context.Context, expressions []expression) ([]string, error) {
	lines := map[string]bool{}
	for _, e := range expressions {
		tree, err := language.ParseExpr(e.query)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", e.where, err)
		}
		report := func(format string, args ...any) { lines[e.where+": "+fmt.Sprintf(format, args...)] = true }
		// Everything is looked up twice, for its own sake and below its parents, because there is little of it.
		err = walk(tree, func(node parser.Node) error {
			known, err := c.labels(ctx, node)
			if err != nil {
				return err
			}
			var needed []string
			switch node := node.(type) {
			case *parser.VectorSelector:
				if len(known) == 0 {
					report("no series matches %s", node)
				}
			case *parser.AggregateExpr:
				needed = node.Grouping
			case *parser.BinaryExpr:
				if node.VectorMatching != nil {
					needed = node.VectorMatching.MatchingLabels
				}
			}
			for _, label := range needed {
				if !known[label] {
					report("no series of %s has the label %s", node, label)
				}
			}
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("%s: %w", e.where, err)
		}
		if !e.isShown {
			continue
		}
		shown, err := c.result(ctx, e.query)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", e.where, err)
		}
		if shown == nil {
			report("nothing is the result of %s", e.query)
		}
		for _, label := range e.shown {
			if shown != nil && !shown[label] {
				report("no result of %s has the label %s", e.query, label)
			}
		}
	}
	return slices.Sorted(maps.Keys(lines)), nil
}

// walk calls visit with a node and everything below it.
func walk(node parser.Node, visit func(parser.Node) error) error {
	if err := visit(node); err != nil {
		return err
	}
	for child := range parser.ChildrenIter(node) {
		if err := walk(child, visit); err != nil {
			return err
		}
	}
	return nil
}

// labels returns the labels of all series that the selectors below a node match.
func (c *checker) labels(ctx context.Context, node parser.Node) (map[string]bool, error) {
	querier, err := c.storage.Querier(c.start.UnixMilli(), c.end.UnixMilli())
	if err != nil {
		return nil, err
	}
	defer querier.Close() //nolint:errcheck // it only read
	found := map[string]bool{}
	err = walk(node, func(node parser.Node) error {
		selector, ok := node.(*parser.VectorSelector)
		if !ok {
			return nil
		}
		matching := querier.Select(ctx, false, nil, selector.LabelMatchers...)
		for matching.Next() {
			matching.At().Labels().Range(func(label labels.Label) { found[label.Name] = true })
		}
		return matching.Err()
	})
	return found, err
}

// result returns the labels of the result of a query at any time, or nil if there is none.
func (c *checker) result(ctx context.Context, text string) (map[string]bool, error) {
	query, err := c.engine.NewRangeQuery(ctx, c.storage, nil, text, c.start, c.end, interval)
	if err != nil {
		return nil, err
	}
	defer query.Close()
	matrix, err := query.Exec(ctx).Matrix()
	if err != nil || len(matrix) == 0 {
		return nil, err
	}
	found := map[string]bool{}
	for _, s := range matrix {
		s.Metric.Range(func(label labels.Label) { found[label.Name] = true })
	}
	return found, nil
}
