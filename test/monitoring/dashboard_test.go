package main

import (
	"regexp"
	"testing"
)

// variableInQuery is a variable of a dashboard.
var variableInQuery = regexp.MustCompile(`\$\{?(\w+)`)

// TestDashboard checks what Grafana would not show, or would show in a place where something else is.
func TestDashboard(t *testing.T) {
	t.Parallel()
	board, err := readDashboard(component)
	if err != nil {
		t.Fatal(err)
	}
	// Grafana 10.0 reads schemas up to 38 (public/app/features/dashboard/state/DashboardMigrator.ts), and later versions
	// migrate older ones.
	if board.SchemaVersion < 36 || board.SchemaVersion > 38 {
		t.Errorf("the schema is %d, want 36 to 38", board.SchemaVersion)
	}
	used := map[string]bool{}
	ids, titles := map[int]bool{}, map[string]bool{}
	for i, panel := range board.Panels {
		if ids[panel.ID] || panel.ID == 0 || titles[panel.Title] || panel.Title == "" {
			t.Errorf("panel %q has the id %d: want an id and a title that no other has", panel.Title, panel.ID)
		}
		ids[panel.ID], titles[panel.Title] = true, true
		at := panel.GridPos
		if at.X < 0 || at.Y < 0 || at.W < 1 || at.H < 1 || at.X+at.W > 24 {
			t.Errorf("panel %q is outside the 24 columns: %+v", panel.Title, at)
		}
		for _, other := range board.Panels[:i] {
			o := other.GridPos
			if at.X < o.X+o.W && o.X < at.X+at.W && at.Y < o.Y+o.H && o.Y < at.Y+at.H {
				t.Errorf("panel %q overlaps panel %q", panel.Title, other.Title)
			}
		}
		if panel.Type == "row" {
			continue
		}
		if panel.Description == "" || len(panel.Targets) == 0 {
			t.Errorf("panel %q has the description %q and %d queries", panel.Title, panel.Description, len(panel.Targets))
		}
		refs := map[string]bool{}
		for _, query := range panel.Targets {
			if refs[query.RefID] || query.RefID == "" || query.LegendFormat == "" {
				t.Errorf("panel %q: query %q needs a legend, and a refId that no other has", panel.Title, query.RefID)
			}
			refs[query.RefID] = true
			for _, source := range []datasource{panel.Datasource, query.Datasource} {
				if source != (datasource{"prometheus", "${datasource}"}) {
					t.Errorf("panel %q has the data source %v, want the one of the variable", panel.Title, source)
				}
			}
			for _, match := range variableInQuery.FindAllStringSubmatch(query.Expr+query.Datasource.UID, -1) {
				used[match[1]] = true
			}
		}
	}
	for _, variable := range board.Templating.List {
		if !used[variable.Name] {
			t.Errorf("no panel uses the variable %s", variable.Name)
		}
		delete(used, variable.Name)
	}
	delete(used, "__rate_interval") // Grafana's own
	if len(used) > 0 {
		t.Errorf("panels use variables that do not exist: %v", used)
	}
	for _, e := range board.expressions() {
		if _, err := language.ParseExpr(e.query); err != nil {
			t.Errorf("%s: %v", e.where, err)
		}
	}
}
