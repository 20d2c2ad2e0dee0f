package main

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"unicode/utf8"
)

// plotFile is the plot that the report refers to, in the same folder.
const plotFile = "results.svg"

// about says what each program does with the objects, so that a reader can judge how fair the comparison is.
const about = `The programs do not do the same work:

- **sourceward check** runs all its rules on Services and workloads, with the defaults that the API server would set,
  and reports the file, the line and the fix of each finding. It judges no other objects.
- **decoding alone** only parses the YAML of all files, document by document, with the parser that Sourceward uses. A
  program that reads every document with this parser needs at least that.
- **kube-score** runs all its default checks. Most are about containers, resources and network policies, which
  Sourceward does not check. One asks every Deployment for anti-affinity on the host name, whatever its Services are.
  None is about externalTrafficPolicy.
- **gator** runs [two rules in Rego](peers/rules/gator): one reports a LoadBalancer or ClusterIP Service that is Local,
  the other a Deployment behind a Local Service of its namespace without a spread constraint on the host name. It sets
  no defaults, reports no lines, and the rule does not see whether a constraint selects the pods.
- **conftest** runs [the second of these rules](peers/rules/conftest), with the same limits. The rule first groups the
  Local Services by namespace; without that it would compare every Deployment with every Service.

A pair is a Deployment with three replicas that nothing spreads, and a LoadBalancer Service that selects its pods. Every
other Service is Local. Nothing has annotations.
`

// writeReport writes all results as Markdown. page is true for the page beside the plot, and false for a terminal.
func writeReport(w io.Writer, r *results, page bool) {
	if page {
		fmt.Fprint(w, "# Results of the benchmarks\n\nThis page is written by `make bench`.\n\n")
	}
	for _, line := range r.machine {
		fmt.Fprintf(w, "- %s\n", line)
	}
	fmt.Fprint(w, "\n## Goals\n\n")
	writeGoals(w, r.goals())
	fmt.Fprint(w, "\nRatios of processes come from the medians of runs that took turns. If a benchmark has several\n"+
		"numbers of Services or clients, the worst value counts.\n")
	fmt.Fprint(w, "\n## Whole processes\n\n")
	if page {
		fmt.Fprintf(w, "%s\n![CPU time and peak memory of each program on each corpus](%s)\n\n", about, plotFile)
	}
	fmt.Fprint(w, "Figures are medians, with the least and the most in parentheses. CPU is user and system time, MiB\n"+
		"are the peak of the resident memory, and × is the ratio to sourceward check.\n")
	for _, t := range r.tables {
		writeTable(w, t)
	}
	fmt.Fprint(w, "\n## Verdicts\n\n")
	writeAgreements(w, r.agreements)
	if len(r.benchmarks) > 0 {
		fmt.Fprintf(w, "\n## Webhook, policies and the rest\n\n```sh\n%s\n```\n", strings.Join(goBenchmarks, " "))
		writeBenchmarks(w, r.benchmarks)
	}
}

func writeGoals(w io.Writer, goals []goal) {
	rows := [][]string{{"goal", "limit", "measured", "outcome"}}
	for _, g := range goals {
		measured := ""
		if !math.IsNaN(g.measured) {
			measured = number(g.measured) + g.unit
		}
		rows = append(rows, []string{g.what, g.String(), measured, g.outcome()})
	}
	writeRows(w, rows)
}

// writeTable writes the measurements of a corpus, and the commands that were run in the folder of the corpora.
func writeTable(w io.Writer, t table) {
	files := fmt.Sprintf("%d files", len(t.files))
	if len(t.files) == 1 {
		files = "one file"
	}
	fmt.Fprintf(w, "\n### %s\n\n%s\n%s MB in %s.\n\n", t.title, t.contents, number(float64(t.size())/1e6), files)
	ours := t.runs(check)
	rows := [][]string{{"program", "CPU s", "×", "peak MiB", "×", "wall s", "runs"}}
	var commands, notRun []string
	for _, r := range t.rows {
		if r.notRun != "" {
			rows = append(rows, []string{r.program, "not run", "", "", "", "", ""})
			notRun = append(notRun, fmt.Sprintf("%s was not run: %s.\n", r.program, r.notRun))
			continue
		}
		rows = append(rows, []string{
			r.program,
			spread(r.runs, usage.cpu), number(median(r.runs, usage.cpu) / median(ours, usage.cpu)),
			spread(r.runs, usage.mib), number(median(r.runs, usage.mib) / median(ours, usage.mib)),
			spread(r.runs, usage.wall), fmt.Sprint(len(r.runs)),
		})
		commands = append(commands, strings.Replace(strings.Join(r.command, " "), strings.Join(t.paths(), " "), t.shell(), 1))
	}
	writeRows(w, rows)
	for _, line := range notRun {
		fmt.Fprintf(w, "\n%s", line)
	}
	fmt.Fprintf(w, "\n```sh\n%s\n```\n", strings.Join(commands, "\n"))
}

// writeAgreements writes how many verdicts agree, and each one that does not.
func writeAgreements(w io.Writer, agreements []agreement) {
	fmt.Fprint(w, "The Deployments that `unspread-behind-local` or `ineffective-spread` reports, and those that the\n"+
		"rule of a peer reports, on the corpus of 1 000 pairs:\n\n")
	rows := [][]string{{"program", "agree", "both report", "neither reports", "only Sourceward", "only the peer"}}
	for _, a := range agreements {
		rows = append(rows, []string{
			a.peer, fmt.Sprint(a.both + a.neither), fmt.Sprint(a.both), fmt.Sprint(a.neither),
			fmt.Sprint(len(a.ours)), fmt.Sprint(len(a.theirs)),
		})
	}
	writeRows(w, rows)
	for _, a := range agreements {
		if a.agree() {
			continue
		}
		fmt.Fprintln(w)
		for _, name := range a.ours {
			fmt.Fprintf(w, "- only Sourceward, not %s: Deployment %s\n", a.peer, name)
		}
		for _, name := range a.theirs {
			fmt.Fprintf(w, "- only %s, not Sourceward: Deployment %s\n", a.peer, name)
		}
	}
}

// writeBenchmarks writes a table for each benchmark function, with a column for each unit that one of its lines has.
func writeBenchmarks(w io.Writer, benchmarks []benchmark) {
	for len(benchmarks) > 0 {
		group := benchmarks[0].group
		end := slices.IndexFunc(benchmarks, func(b benchmark) bool { return b.group != group })
		if end < 0 {
			end = len(benchmarks)
		}
		var units []string
		for _, b := range benchmarks[:end] {
			for _, value := range b.values {
				if !slices.Contains(units, value.Unit) {
					units = append(units, value.Unit)
				}
			}
		}
		rows := [][]string{append([]string{""}, units...)}
		for _, b := range benchmarks[:end] {
			cells := make([]string, len(units))
			for _, value := range b.values {
				cells[slices.Index(units, value.Unit)] = number(value.Value)
			}
			rows = append(rows, append([]string{b.name}, cells...))
		}
		fmt.Fprintf(w, "\n### Benchmark%s\n\n", group)
		writeRows(w, rows)
		benchmarks = benchmarks[end:]
	}
}

// writeRows writes a Markdown table that can be read as plain text too. The first row is the head. All columns but the
// first are aligned to the right.
func writeRows(w io.Writer, rows [][]string) {
	widths := make([]int, len(rows[0]))
	for _, cells := range rows {
		for i, cell := range cells {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell), 2)
		}
	}
	for i, cells := range rows {
		for column, cell := range cells {
			padding := strings.Repeat(" ", widths[column]-utf8.RuneCountInString(cell))
			if column == 0 {
				fmt.Fprintf(w, "| %s%s ", cell, padding)
			} else {
				fmt.Fprintf(w, "| %s%s ", padding, cell)
			}
		}
		fmt.Fprintln(w, "|")
		if i == 0 {
			for column, width := range widths {
				if column == 0 {
					fmt.Fprintf(w, "|%s", strings.Repeat("-", width+2))
				} else {
					fmt.Fprintf(w, "|%s:", strings.Repeat("-", width+1))
				}
			}
			fmt.Fprintln(w, "|")
		}
	}
}

// spread formats the median of a figure, with the least and the most.
func spread(runs []usage, figure func(usage) float64) string {
	sorted := figures(runs, figure)
	return fmt.Sprintf("%s (%s–%s)", number(median(runs, figure)), number(sorted[0]), number(sorted[len(sorted)-1]))
}

// number formats a figure with at least three digits.
func number(value float64) string {
	size := math.Abs(value)
	switch {
	case math.IsNaN(value) || math.IsInf(value, 0):
		return ""
	case size >= 100:
		return fmt.Sprintf("%.0f", value)
	case size >= 10:
		return fmt.Sprintf("%.1f", value)
	case size >= 1:
		return fmt.Sprintf("%.2f", value)
	default:
		return fmt.Sprintf("%.3f", value)
	}
}
