package webhook

import (
	"runtime"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sourceward/sourceward/policies/review"
)

// builtinPolicy stands for the built-in rules among the names of policies.
const builtinPolicy = ""

// Metrics holds the Prometheus metrics of a replica. Labels hold no names of objects, except those of the two webhook
// configurations, and of policies and their rules, which are few and are removed with the policy.
type Metrics struct {
	registerer prometheus.Registerer

	requests       *prometheus.CounterVec
	failures       *prometheus.CounterVec
	findings       *prometheus.CounterVec
	exemptions     *prometheus.CounterVec
	policyFailures *prometheus.CounterVec
	duration       *prometheus.HistogramVec
	lookups        *prometheus.CounterVec
	refusedClients prometheus.Counter
}

// NewMetrics registers the metrics. The error is non-nil if one of their names is taken.
func NewMetrics(registerer prometheus.Registerer) (*Metrics, error) {
	m := &Metrics{
		registerer: registerer,
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sourceward_requests_total",
			Help: "Admission requests answered, by endpoint and outcome: allowed, warned, mutated or denied.",
		}, []string{"endpoint", "outcome"}),
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sourceward_request_failures_total",
			Help: "Admission requests that could not be answered, by endpoint and HTTP status. The failurePolicy decided them.",
		}, []string{"endpoint", "code"}),
		findings: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sourceward_decisions_total",
			Help: "Findings that are not exempt, by endpoint, rule and mode. Both endpoints may have the same finding.",
		}, []string{"endpoint", "rule", "mode"}),
		exemptions: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sourceward_exemptions_total",
			Help: "Findings that are exempt, by endpoint and rule. Both endpoints may have the same finding.",
		}, []string{"endpoint", "rule"}),
		policyFailures: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sourceward_policy_failures_total",
			Help: "Decisions for which Rego could not be evaluated, by SourceIPPolicy; empty for the built-in rules.",
		}, []string{"policy"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "sourceward_request_duration_seconds",
			Help:    "Time from the arrival of an admission request to its answer.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 3},
		}, []string{"endpoint"}),
		lookups: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sourceward_lookups_total",
			Help: "Look-ups of objects that were not cached, by resource and outcome: found, absent, failed or busy.",
		}, []string{"resource", "outcome"}),
		refusedClients: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "sourceward_refused_clients_total",
			Help: "Connections refused because of the client's certificate. If it was an API server, the failurePolicy decided.",
		}),
	}
	for _, collector := range []prometheus.Collector{
		m.requests, m.failures, m.findings, m.exemptions, m.policyFailures, m.duration, m.lookups,
		m.refusedClients,
	} {
		if err := registerer.Register(collector); err != nil {
			return nil, err
		}
	}
	// A series starts at 0 and not with its first event, so that a rate over it is right from the start.
	for _, endpoint := range review.Endpoints {
		m.duration.WithLabelValues(string(endpoint))
		for _, outcome := range review.Outcomes {
			m.requests.WithLabelValues(string(endpoint), string(outcome))
		}
		for _, code := range failureCodes {
			m.failures.WithLabelValues(string(endpoint), strconv.Itoa(code))
		}
	}
	m.policyFailures.WithLabelValues(builtinPolicy)
	for _, resource := range lookupResources {
		for _, outcome := range lookupOutcomes {
			m.lookups.WithLabelValues(resource, outcome)
		}
	}
	return m, nil
}

// observe registers a gauge that is read at each scrape. The error is non-nil if the name is taken.
func (m *Metrics) observe(name, help string, labels prometheus.Labels, value func() float64) error {
	options := prometheus.GaugeOpts{Name: name, Help: help, ConstLabels: labels}
	return m.registerer.Register(prometheus.NewGaugeFunc(options, value))
}

// observeBuild registers a metric that is always 1, and whose labels say what runs. The error is non-nil if its name is
// taken.
func (m *Metrics) observeBuild(version string) error {
	return m.observe("sourceward_build_info", "Version of the webhook and of the Go that built it; always 1.",
		prometheus.Labels{"version": version, "goversion": runtime.Version()}, func() float64 { return 1 })
}

func (m *Metrics) answered(endpoint review.Endpoint, r *result, duration time.Duration) {
	m.requests.WithLabelValues(string(endpoint), string(r.outcome)).Inc()
	m.duration.WithLabelValues(string(endpoint)).Observe(duration.Seconds())
	for _, f := range r.found {
		if f.Exempt != nil {
			m.exemptions.WithLabelValues(string(endpoint), f.Rule).Inc()
			continue
		}
		m.findings.WithLabelValues(string(endpoint), f.Rule, string(f.Mode)).Inc()
	}
	for _, fault := range r.faults {
		m.policyFailures.WithLabelValues(fault.Policy).Inc()
	}
}

// policies replaces the series of the policies that were in force by those of the policies that are: the failures of
// each start at 0, and a policy that is gone, or a rule that no policy declares any longer, has no series.
func (m *Metrics) policies(before, now []compiledPolicy) {
	names, rules := map[string]bool{}, map[string]bool{}
	for _, policy := range now {
		m.policyFailures.WithLabelValues(policy.name)
		names[policy.name] = true
		for _, rule := range policy.rules() {
			rules[rule] = true
		}
	}
	for _, policy := range before {
		if !names[policy.name] {
			m.policyFailures.DeleteLabelValues(policy.name)
		}
		for _, rule := range policy.rules() {
			if !rules[rule] {
				m.findings.DeletePartialMatch(prometheus.Labels{"rule": rule})
				m.exemptions.DeletePartialMatch(prometheus.Labels{"rule": rule})
			}
		}
	}
}

func (m *Metrics) failed(endpoint review.Endpoint, code int) {
	m.failures.WithLabelValues(string(endpoint), strconv.Itoa(code)).Inc()
}
