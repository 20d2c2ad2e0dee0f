package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// dashboard is what the tests check of a Grafana dashboard.
type dashboard struct {
	SchemaVersion int
	Templating    struct{ List []variable }
	Panels        []panel
}

// variable is a variable of a dashboard.
type variable struct {
	Name, Type, Definition string
}

// panel is a panel of a dashboard, or a row, which is the title of the panels below it.
type panel struct {
	ID                       int
	Type, Title, Description string
	Datasource               datasource
	GridPos                  struct{ X, Y, W, H int }
	Targets                  []query
}

// datasource is where a panel has its data from.
type datasource struct{ Type, UID string }

// query is one query of a panel.
type query struct {
	RefID, Expr, LegendFormat string
	Datasource                datasource
}

// readDashboard reads the dashboard of a component.
func readDashboard(component string) (*dashboard, error) {
	path := filepath.Join(component, "dashboard.json")
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	board := &dashboard{}
	if err := json.Unmarshal(text, board); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return board, nil
}

var (
	// chosen replaces the variables of a query by what Grafana inserts if all replicas are chosen.
	chosen = strings.NewReplacer("$replica", ".*", "$__rate_interval", "5m")
	// labelValues is a query of a variable.
	labelValues = regexp.MustCompile(`^label_values\((.+), (\w+)\)$`)
	// legendLabel is a label in a legend.
	legendLabel = regexp.MustCompile(`{{(\w+)}}`)
)

// expressions returns the queries of all variables and panels, as Grafana sends them.
func (d *dashboard) expressions() []expression {
	var all []expression
	for _, variable := range d.Templating.List {
		if match := labelValues.FindStringSubmatch(variable.Definition); match != nil {
			all = append(all, expression{
				where: "variable " + variable.Name, query: fmt.Sprintf("group by (%s) (%s)", match[2], match[1]), isShown: true,
			})
		}
	}
	for _, panel := range d.Panels {
		for _, query := range panel.Targets {
			e := expression{where: "panel " + panel.Title, query: chosen.Replace(query.Expr), isShown: true}
			for _, match := range legendLabel.FindAllStringSubmatch(query.LegendFormat, -1) {
				e.shown = append(e.shown, match[1])
			}
			all = append(all, e)
		}
	}
	return all
}
