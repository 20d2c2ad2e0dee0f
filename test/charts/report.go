package main

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"text/tabwriter"

	"github.com/sourceward/sourceward/policies"
)

// writeFindings writes every finding with its judgement, grouped by bundle.
func writeFindings(w io.Writer, rows []row) {
	var last key
	for _, r := range rows {
		if r.module != last.module || r.bundle != last.bundle {
			fmt.Fprintf(w, "\n%s %s\n", r.module, r.bundle)
			last = r.key
		}
		fmt.Fprintf(w, "  %s %s %s%s\n", r.object, r.rule, r.findings[0].mode, in(r.values()))
		var written []string
		for _, f := range r.findings {
			message := f.message
			if f.fix != "" {
				message += "; " + f.fix
			}
			if !slices.Contains(written, message) {
				written = append(written, message)
				fmt.Fprintf(w, "    %s\n", message)
			}
		}
		switch j := r.judgement; {
		case j == nil:
			fmt.Fprintln(w, "    NOT JUDGED")
		case j.Wrong != "":
			fmt.Fprintf(w, "    WRONG: %s\n", j.Wrong)
		default:
			fmt.Fprintf(w, "    right: %s\n", j.Right)
		}
	}
}

// writeRules writes a table with the number of objects that each rule judged, and of its findings by judgement.
func writeRules(w io.Writer, catalogue []policies.Rule, judged map[string]int, rows []row) {
	type count struct{ findings, right, wrong int }
	counts := map[string]*count{unreadable: {}, unrenderable: {}}
	for _, rule := range catalogue {
		counts[rule.ID] = &count{}
	}
	for _, r := range rows {
		c := counts[r.rule]
		n := max(1, len(r.values()))
		c.findings += n
		switch {
		case r.judgement == nil:
		case r.judgement.Wrong != "":
			c.wrong += n
		default:
			c.right += n
		}
	}
	fmt.Fprintln(w)
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "RULE\tJUDGED\tFINDINGS\tRIGHT\tWRONG")
	for _, rule := range catalogue {
		objects := 0
		for _, kind := range rule.Kinds {
			objects += judged[kind]
		}
		c := counts[rule.ID]
		fmt.Fprintf(table, "%s\t%d\t%d\t%d\t%d\n", rule.ID, objects, c.findings, c.right, c.wrong)
	}
	for _, id := range []string{unreadable, unrenderable} {
		c := counts[id]
		fmt.Fprintf(table, "%s\t\t%d\t%d\t%d\n", id, c.findings, c.right, c.wrong)
	}
	_ = table.Flush() // w keeps the first error
}

// writeTotals writes the numbers of modules, charts, files and objects.
func writeTotals(w io.Writer, modules []module, bundles []bundle, r result) {
	var bytes int64
	for _, m := range modules {
		bytes += m.size
	}
	charts := map[string]bool{}
	rendered := 0
	for _, b := range bundles {
		if b.chart != nil {
			charts[b.root+" "+b.name] = true
			rendered++
		}
	}
	fmt.Fprintf(w, "\n%d modules of %d MB; %d charts, rendered %d times; %d files with %d objects, and %d files that "+
		"are templates for other tools; judged objects:",
		len(modules), bytes/1e6, len(charts), rendered, r.files, r.objects, len(r.templates))
	kinds := slices.SortedFunc(maps.Keys(r.judged), func(a, b string) int { return cmp.Compare(r.judged[b], r.judged[a]) })
	for i, kind := range kinds {
		if i > 0 {
			fmt.Fprint(w, ",")
		}
		fmt.Fprintf(w, " %d %ss", r.judged[kind], kind)
	}
	fmt.Fprintln(w)
}

// writeComplaints writes where findings and judgements differ. It comes last, because a reader looks there first.
func writeComplaints(w io.Writer, complaints []string) {
	if len(complaints) > 0 {
		fmt.Fprintln(w)
	}
	for _, complaint := range complaints {
		fmt.Fprintln(w, complaint)
	}
}
