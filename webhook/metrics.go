package webhook

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sourceward/sourceward/policies/review"
)

// Metrics holds the Prometheus metrics of a replica. Labels hold no names of objects, except those of policies and
// their rules, which are few and are removed with the policy.
type Metrics struct {
	registerer prometheus.Registerer

	requests       *prometheus.CounterVec
	failures       *prometheus.CounterVec
	findings       *prometheus.CounterVec
	exemptions     *prometheus.CounterVec
	policyFailures *prometheus.CounterVec
	duration       *prometheus.HistogramVec
	lookups        *prometheus.CounterVec
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
			Help: "Findings returned to clients, by endpoint, rule and mode. Both endpoints may return the same finding.",
		}, []string{"endpoint", "rule", "mode"}),
		exemptions: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sourceward_exemptions_total",
			Help: "Findings left out of answers because of an exemption, by endpoint and rule.",
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
	}
	for _, collector := range []prometheus.Collector{
		m.requests, m.failures, m.findings, m.exemptions, m.policyFailures, m.duration, m.lookups,
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
	}
	return m, nil
}

// observe registers a gauge that is read at each scrape. The error is non-nil if the name is taken.
func (m *Metrics) observe(name, help string, labels prometheus.Labels, value func() float64) error {
	options := prometheus.GaugeOpts{Name: name, Help: help, ConstLabels: labels}
	return m.registerer.Register(prometheus.NewGaugeFunc(options, value))
}

func (m *Metrics) answered(endpoint review.Endpoint, r *result, duration time.Duration) {
	m.requests.WithLabelValues(string(endpoint), string(r.outcome)).Inc()
	m.duration.WithLabelValues(string(endpoint)).Observe(duration.Seconds())
	for _, f := range r.returned {
		m.findings.WithLabelValues(string(endpoint), f.Rule, string(f.Mode)).Inc()
	}
	for _, f := range r.exempt {
		m.exemptions.WithLabelValues(string(endpoint), f.Rule).Inc()
	}
	for _, fault := range r.faults {
		m.policyFailures.WithLabelValues(fault.Policy).Inc()
	}
}

// policies removes the series of policies that were deleted, with those of the rules that they declared, and starts
// the failures of current policies at 0.
func (m *Metrics) policies(deleted map[string]compiledPolicy, current []compiledPolicy) {
	for name, policy := range deleted {
		m.policyFailures.DeleteLabelValues(name)
		if policy.inForce == nil {
			continue
		}
		for _, rule := range policy.inForce.Rules {
			m.findings.DeletePartialMatch(prometheus.Labels{"rule": rule})
			m.exemptions.DeletePartialMatch(prometheus.Labels{"rule": rule})
		}
	}
	for _, policy := range current {
		m.policyFailures.WithLabelValues(policy.name)
	}
}

func (m *Metrics) failed(endpoint review.Endpoint, code int) {
	m.failures.WithLabelValues(string(endpoint), strconv.Itoa(code)).Inc()
}
