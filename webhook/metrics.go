package webhook

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sourceward/sourceward/policies/review"
)

// Metrics are what Prometheus reads. No names of objects are labels, but for those of policies and their rules, which are few and forgotten with them.
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

// NewMetrics registers the counters. The error is non-nil when one of their names is taken.
func NewMetrics(registerer prometheus.Registerer) (*Metrics, error) {
	m := &Metrics{
		registerer: registerer,
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sourceward_requests_total",
			Help: "Admission requests that were answered, by endpoint and what the answer does.",
		}, []string{"endpoint", "outcome"}),
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sourceward_request_failures_total",
			Help: "Admission requests that could not be answered, by endpoint and HTTP status; the failurePolicy decided.",
		}, []string{"endpoint", "code"}),
		findings: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sourceward_decisions_total",
			Help: "Findings that were told, by endpoint, rule and mode. Both endpoints may tell the same one.",
		}, []string{"endpoint", "rule", "mode"}),
		exemptions: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sourceward_exemptions_total",
			Help: "Findings that would have been told, but for an exemption, by endpoint and rule.",
		}, []string{"endpoint", "rule"}),
		policyFailures: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sourceward_policy_failures_total",
			Help: "Decisions for which the Rego of a SourceIPPolicy, or of the built-in rules (empty), could not be evaluated.",
		}, []string{"policy"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "sourceward_request_duration_seconds",
			Help:    "Time from the arrival of an admission request to its answer.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 3},
		}, []string{"endpoint"}),
		lookups: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sourceward_lookups_total",
			Help: "Look-ups of what the caches did not have, by resource and outcome: found, absent, failed or busy.",
		}, []string{"resource", "outcome"}),
	}
	for _, collector := range []prometheus.Collector{m.requests, m.failures, m.findings, m.exemptions, m.policyFailures, m.duration, m.lookups} {
		if err := registerer.Register(collector); err != nil {
			return nil, err
		}
	}
	// What has not happened yet is 0 and not absent, so that a rate over it is right from the start.
	for _, endpoint := range review.Endpoints {
		m.duration.WithLabelValues(string(endpoint))
		for _, outcome := range review.Outcomes {
			m.requests.WithLabelValues(string(endpoint), string(outcome))
		}
	}
	return m, nil
}

// observe registers a gauge that is read at each scrape. The error is non-nil when the name is taken.
func (m *Metrics) observe(name, help string, labels prometheus.Labels, value func() float64) error {
	return m.registerer.Register(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help, ConstLabels: labels}, value))
}

func (m *Metrics) answered(endpoint review.Endpoint, r *result, duration time.Duration) {
	m.requests.WithLabelValues(string(endpoint), string(r.outcome)).Inc()
	m.duration.WithLabelValues(string(endpoint)).Observe(duration.Seconds())
	for _, f := range r.said {
		m.findings.WithLabelValues(string(endpoint), f.Rule, string(f.Mode)).Inc()
	}
	for _, f := range r.exempt {
		m.exemptions.WithLabelValues(string(endpoint), f.Rule).Inc()
	}
	for _, fault := range r.faults {
		m.policyFailures.WithLabelValues(fault.Policy).Inc()
	}
}

// policies is told of the policies that are gone, and of those that are there. What has not failed yet is 0, and what is gone
// is forgotten, with the rules that it declared.
func (m *Metrics) policies(gone map[string]compiledPolicy, there []compiledPolicy) {
	for name, policy := range gone {
		m.policyFailures.DeleteLabelValues(name)
		if policy.inForce == nil {
			continue
		}
		for _, rule := range policy.inForce.Rules {
			m.findings.DeletePartialMatch(prometheus.Labels{"rule": rule})
			m.exemptions.DeletePartialMatch(prometheus.Labels{"rule": rule})
		}
	}
	for _, policy := range there {
		m.policyFailures.WithLabelValues(policy.name)
	}
}

func (m *Metrics) failed(endpoint review.Endpoint, code int) {
	m.failures.WithLabelValues(string(endpoint), strconv.Itoa(code)).Inc()
}
