package main

import (
	"fmt"
	"math"
)

// results is everything that was measured.
type results struct {
	machine    []string // lines about the machine and the programs
	tables     []table
	agreements []agreement
	benchmarks []benchmark
}

// goal is a limit that the project sets itself.
type goal struct {
	what string
	// limit is the highest good value, or the lowest if atLeast is set. unit is written behind values.
	limit   float64
	atLeast bool
	unit    string
	// measured is NaN if it was not measured.
	measured float64
}

// met reports whether a measured value is within the limit.
func (g goal) met() bool {
	if g.atLeast {
		return g.measured >= g.limit
	}
	return g.measured <= g.limit
}

// String returns the limit as a table shows it.
func (g goal) String() string {
	sign := "≤"
	if g.atLeast {
		sign = "≥"
	}
	return fmt.Sprintf("%s %g%s", sign, g.limit, g.unit)
}

// outcome says in a word how the measured value compares with the limit.
func (g goal) outcome() string {
	switch {
	case math.IsNaN(g.measured):
		return "not measured"
	case g.met():
		return "met"
	default:
		return "**missed**"
	}
}

// median returns the median of a figure of a program on a corpus, or NaN if it was not measured.
func (r *results) median(corpus, program string, figure func(usage) float64) float64 {
	for _, t := range r.tables {
		if t.name == corpus {
			return median(t.runs(program), figure)
		}
	}
	return math.NaN()
}

// goals returns the goals with what was measured.
func (r *results) goals() []goal {
	one := func(program string, figure func(usage) float64) float64 { return r.median("one-file", program, figure) }
	cpu := func(corpus, program string) float64 { return r.median(corpus, program, usage.cpu) }
	against := func(corpus, program string) float64 { return cpu(corpus, check) / cpu(corpus, program) }
	less := func(corpus, program string) float64 { return cpu(corpus, program) / cpu(corpus, check) }
	return []goal{
		{what: "`version`, CPU", limit: 30, unit: " ms", measured: 1e3 * one(version, usage.cpu)},
		{
			what: "`check` of one file beyond `version`, CPU", limit: 15, unit: " ms",
			measured: 1e3 * (one(check, usage.cpu) - one(version, usage.cpu)),
		},
		{
			what: "`check` of one file beyond `version`, peak memory", limit: 8, unit: " MiB",
			measured: one(check, usage.mib) - one(version, usage.mib),
		},
		{what: "10 000 pairs against decoding, CPU", limit: 3, unit: "×", measured: against("pairs-10000", decode)},
		{
			what: "irrelevant documents against decoding all, CPU", limit: 1, unit: "×",
			measured: against("irrelevant", decode),
		},
		{
			what: "1 000 pairs, kube-score against us, CPU", limit: 3, atLeast: true, unit: "×",
			measured: less("pairs-1000", kubeScore),
		},
		{
			what: "10 000 pairs, kube-score against us, CPU", limit: 17, atLeast: true, unit: "×",
			measured: less("pairs-10000", kubeScore),
		},
		{
			what: "5 000 pairs in one namespace, kube-score against us, CPU", limit: 60, atLeast: true, unit: "×",
			measured: less("one-namespace-5000", kubeScore),
		},
		{
			what: "10 000 pairs, gator against us, CPU", limit: 27, atLeast: true, unit: "×",
			measured: less("pairs-10000", gator),
		},
		{
			what: "10 000 pairs, peak memory", limit: 200, unit: " MiB",
			measured: r.median("pairs-10000", check, usage.mib),
		},
		{
			what: "webhook, warn, against one that allows everything, CPU", limit: 1.5, unit: "×",
			measured: r.worstAdmission("warn", "cpu/floor"),
		},
		{
			what: "webhook, mutate, against one that allows everything, CPU", limit: 1.7, unit: "×",
			measured: r.worstAdmission("mutate", "cpu/floor"),
		},
		{
			what: "webhook, warn, that ratio with 5 000 Services against 10", limit: 1.2, unit: "×",
			measured: r.growth("warn"),
		},
		{
			what: "webhook, mutate, that ratio with 5 000 Services against 10", limit: 1.2, unit: "×",
			measured: r.growth("mutate"),
		},
		{
			what: "webhook, warn, p50 added for 8 clients against the same", limit: 1.3, unit: "×",
			measured: r.addedTime("warn"),
		},
		{
			what: "webhook, mutate, p50 added for 8 clients against the same", limit: 1.3, unit: "×",
			measured: r.addedTime("mutate"),
		},
		{
			what: "decision with 100 policies of ten rules, all match", limit: 10, unit: " ms",
			measured: r.value("Policies", "policies=hundred", "µs/decision") / 1e3,
		},
		{
			what: "decision with 100 policies of ten rules, three match", limit: 1.5, unit: " ms",
			measured: r.value("Policies", "policies=hundred-three", "µs/decision") / 1e3,
		},
		{
			what: "Service with ten annotations against one line of plain OPA", limit: 8, unit: "×",
			measured: math.Max(
				r.value("Rego", "Service_in_a_file/all", "x/one-line-of-json"),
				r.value("Rego", "Service_in_a_cluster/all", "x/one-line-of-json"),
			),
		},
		{
			what: "heap for each cached Deployment", limit: 2500, unit: " bytes",
			measured: r.value("Memory", "deployments=10000", "heap-B/Deployment"),
		},
	}
}

// services and clients are the variants of BenchmarkAdmission.
var (
	services = []int{10, 1_000, 5_000}
	clients  = []int{1, 8}
)

func (r *results) admission(services, clients int, variant, unit string) float64 {
	return r.value("Admission", fmt.Sprintf("services=%d/clients=%d/%s", services, clients, variant), unit)
}

// worstAdmission returns the largest value for any number of Services and clients.
func (r *results) worstAdmission(variant, unit string) float64 {
	worst := 0.0
	for _, s := range services {
		for _, c := range clients {
			worst = math.Max(worst, r.admission(s, c, variant, unit))
		}
	}
	return worst
}

// growth returns how much more CPU the webhook needs with the most Services than with the fewest, for the worst number
// of clients. Both are ratios to the webhook that allows everything, which makes them independent of other load.
func (r *results) growth(variant string) float64 {
	worst := 0.0
	for _, c := range clients {
		few, many := services[0], services[len(services)-1]
		worst = math.Max(worst, r.admission(many, c, variant, "cpu/floor")/r.admission(few, c, variant, "cpu/floor"))
	}
	return worst
}

// addedTime returns the ratio of the median times that the two webhooks add for 8 clients, for the worst number of
// Services.
func (r *results) addedTime(variant string) float64 {
	worst := 0.0
	for _, s := range services {
		worst = math.Max(worst, r.admission(s, 8, variant, "added-p50-ms")/r.admission(s, 8, "floor", "added-p50-ms"))
	}
	return worst
}
