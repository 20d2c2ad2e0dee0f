package main

import (
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/prometheus/promql/promqltest"
	"github.com/prometheus/prometheus/rules"
)

// component is the folder with the rules and the dashboard.
const component = "../../config/components/monitoring"

// situation is what Prometheus has scraped, and the alerts that fire then.
type situation struct {
	// series has lines of promqltest's notation: a series and its values, once a minute.
	series string
	// at is when the alerts are looked at; zero means after 20 minutes.
	at time.Duration
	// want are the summaries of all alerts that fire, whatever their rule.
	want []string
}

// situations are by the alert that they are about.
var situations = map[string]map[string]situation{
	"SourcewardAbsent": {
		"the last replica is gone": {
			series: `sourceward_build_info{pod="a"} 1x4 stale`,
			at:     10 * time.Minute,
			want:   []string{"Prometheus finds no replica of the Sourceward webhook."},
		},
		"no replica was ever scraped": {
			series: `sourceward_build_info{pod="a"} _x30`,
			at:     5 * time.Minute,
			want:   []string{"Prometheus finds no replica of the Sourceward webhook."},
		},
		"one of two replicas is gone": {
			series: `sourceward_build_info{pod="a"} 1x4 stale
				sourceward_build_info{pod="b"} 1x30`,
		},
		"a replica is back within five minutes": {
			series: `sourceward_build_info{pod="a"} 1x4 stale _x4 1x20`,
			at:     9 * time.Minute,
		},
	},
	"SourcewardUntrusted": {
		"a replica serves a certificate of another CA": {
			series: untrusting("a") + "0x3 2x30\n" + untrusting("b") + "0x33",
			want: []string{
				"API servers do not trust the serving certificate for MutatingWebhookConfiguration sourceward.",
			},
		},
		"caBundle follows a new certificate within five minutes": {series: untrusting("a") + "0x3 2x3 0x30"},
		"every webhook trusts the certificate":                   {series: untrusting("a") + "0x30"},
		"no replica has read the configurations yet":             {series: untrusting("a") + notRead},
	},
	"SourcewardConfigurationMissing": {
		"both replicas see that a configuration is deleted": {
			series: mutating("a") + "2x3 0x30\n" + mutating("b") + "2x3 0x30\n" + validating("a") + "5x30",
			want:   []string{"MutatingWebhookConfiguration sourceward is missing or empty."},
		},
		"one replica has not read it yet, and the other does not find it": {
			series: mutating("a") + notRead + "\n" + mutating("b") + "0x30",
			want:   []string{"MutatingWebhookConfiguration sourceward is missing or empty."},
		},
		"a replica whose watch is down still has it": {
			series: mutating("a") + "2x3 0x30\n" + mutating("b") + "2x30",
			want:   []string{"MutatingWebhookConfiguration sourceward is missing or empty."},
		},
		"both configurations are deleted": {
			series: mutating("a") + "0x30\n" + validating("a") + "0x30",
			want: []string{
				"MutatingWebhookConfiguration sourceward is missing or empty.",
				"ValidatingWebhookConfiguration sourceward is missing or empty.",
			},
		},
		"no replica has read it yet": {series: mutating("a") + notRead},
		"it is created again within two minutes": {
			series: mutating("a") + "2x9 0 0 2x20",
			at:     11 * time.Minute,
		},
	},
	"SourcewardRequestsFailed": {
		"one replica answers one request with 503": {
			series: `sourceward_request_failures_total{endpoint="validate",code="503",pod="a"} 0x14 1x10
				sourceward_request_failures_total{endpoint="validate",code="503",pod="b"} 0x30`,
			want: []string{"The Sourceward webhook answers requests to /validate with HTTP 503."},
		},
		"both replicas answer requests with 504": {
			series: `sourceward_request_failures_total{endpoint="mutate",code="504",pod="a"} 0x14 2x10
				sourceward_request_failures_total{endpoint="mutate",code="504",pod="b"} 0x14 3x10`,
			want: []string{"The Sourceward webhook answers requests to /mutate with HTTP 504."},
		},
		"requests are too slow, and others too large": {
			series: `sourceward_request_failures_total{endpoint="mutate",code="408",pod="a"} 0x14 2x10
				sourceward_request_failures_total{endpoint="mutate",code="413",pod="a"} 0x14 3x10`,
			want: []string{
				"The Sourceward webhook answers requests to /mutate with HTTP 408.",
				"The Sourceward webhook answers requests to /mutate with HTTP 413.",
			},
		},
		"clients that are no API servers send rubbish": {
			series: `sourceward_request_failures_total{endpoint="mutate",code="400",pod="a"} 0+1x30
				sourceward_request_failures_total{endpoint="mutate",code="405",pod="a"} 0+1x30
				sourceward_request_failures_total{endpoint="mutate",code="415",pod="a"} 0+1x30`,
		},
		"it was more than ten minutes ago": {
			series: `sourceward_request_failures_total{endpoint="validate",code="503",pod="a"} 0x4 7x30`,
		},
		"a replica that has failed is replaced": {
			series: `sourceward_request_failures_total{endpoint="validate",code="503",pod="a"} 7x14 stale
				sourceward_request_failures_total{endpoint="validate",code="503",pod="b"} _x14 0x10`,
		},
	},
	"SourcewardClientsRefused": {
		"one replica refuses a client": {
			series: `sourceward_refused_clients_total{pod="a"} 0x14 1x10
				sourceward_refused_clients_total{pod="b"} 0x30`,
			want: []string{"The Sourceward webhook refuses clients because of their certificates."},
		},
		"both replicas refuse clients": {
			series: `sourceward_refused_clients_total{pod="a"} 0x14 1x10
				sourceward_refused_clients_total{pod="b"} 0x14 2x10`,
			want: []string{"The Sourceward webhook refuses clients because of their certificates."},
		},
		"it was more than ten minutes ago": {series: `sourceward_refused_clients_total{pod="a"} 0x4 9x30`},
	},
	"SourcewardPolicyFailing": {
		"both replicas cannot evaluate a policy": {
			series: `sourceward_policy_failures_total{policy="corp",pod="a"} 0x14 1x10
				sourceward_policy_failures_total{policy="corp",pod="b"} 0x14 4x10
				sourceward_policy_failures_total{policy="edge",pod="a"} 0x30`,
			want: []string{"SourceIPPolicy corp cannot be evaluated."},
		},
		"the built-in rules run out of time": {
			series: `sourceward_policy_failures_total{policy="",pod="a"} 0x14 1x10`,
			want:   []string{"The built-in Rego rules cannot always be evaluated."},
		},
		"the policy is fixed": {
			series: `sourceward_policy_failures_total{policy="corp",pod="a"} 0+1x5 5x30`,
		},
		"the policy is deleted": {
			series: `sourceward_policy_failures_total{policy="corp",pod="a"} 0+1x9 stale`,
		},
	},
	"SourcewardPolicyNotReady": {
		"both replicas keep an earlier generation of a policy": {
			series: `sourceward_policies{state="stale",pod="a"} 0x4 1x30
				sourceward_policies{state="stale",pod="b"} 0x5 1x30
				sourceward_policies{state="ready",pod="a"} 3x30`,
			want: []string{"SourceIPPolicies that are stale: 1."},
		},
		"nothing of two policies is in force": {
			series: `sourceward_policies{state="notready",pod="a"} 2x30
				sourceward_policies{state="stale",pod="a"} 0x30`,
			want: []string{"SourceIPPolicies that are notready: 2."},
		},
		"replicas compile a policy": {
			series: `sourceward_policies{state="notready",pod="a"} 0x15 1x2 0x20
				sourceward_policies{state="ready",pod="a"} 3x15 2x2 3x20`,
			at: 18 * time.Minute,
		},
	},
	"SourcewardWatchDown": {
		"one replica may not list Services": {
			series: `sourceward_watch_down_seconds{kind="Service",pod="a"} 0x18 30 90
				sourceward_watch_down_seconds{kind="Service",pod="b"} 0x30
				sourceward_watch_down_seconds{kind="Deployment",pod="a"} 0x30`,
			want: []string{"The Sourceward webhook can neither list nor watch Service."},
		},
		"the API server is replaced": {
			series: `sourceward_watch_down_seconds{kind="Service",pod="a"} 0x18 0 45`,
		},
		"it works again": {
			series: `sourceward_watch_down_seconds{kind="Service",pod="a"} 0x10 60 120 180 0x20`,
		},
	},
	"SourcewardCertificateUnreadable": {
		"one replica cannot read it": {
			series: unreadable("a") + "0x10 0+6x20\n" + unreadable("b") + "0x30\n" + replica("a") + "\n" + replica("b"),
			want:   []string{"The Sourceward webhook cannot read the files of its serving certificate."},
		},
		"the files change one after the other": {
			series: unreadable("a") + "0x3 2x30\n" + unreadable("b") + "0x3 2x30\n" + replica("a") + "\n" + replica("b"),
			at:     10 * time.Minute,
		},
		"it is another program": {
			series: unreadable("other") + "0x10 0+6x20\n" + unreadable("a") + "0x30\n" + replica("a"),
		},
	},
	"SourcewardCertificateExpiring": {
		"the certificate of one replica has a day left": { // the time is 20 minutes past the epoch
			series: `sourceward_certificate_expiry_timestamp_seconds{pod="a"} 87599x30
				sourceward_certificate_expiry_timestamp_seconds{pod="b"} 604800x30`,
			want: []string{"The serving certificate of the Sourceward webhook expires within a day."},
		},
		"both certificates have expired": {
			series: `sourceward_certificate_expiry_timestamp_seconds{pod="a"} 600x30
				sourceward_certificate_expiry_timestamp_seconds{pod="b"} 600x30`,
			want: []string{"The serving certificate of the Sourceward webhook expires within a day."},
		},
		"it has more than a day left": {
			series: `sourceward_certificate_expiry_timestamp_seconds{pod="a"} 87601x30`,
		},
		"one replica has none yet": {
			series: `sourceward_certificate_expiry_timestamp_seconds{pod="a"} 0x30
				sourceward_certificate_expiry_timestamp_seconds{pod="b"} 604800x30`,
		},
		"no replica has one yet": {
			series: `sourceward_certificate_expiry_timestamp_seconds{pod="a"} 0x30`,
		},
	},
	"SourcewardSlow": {
		"three in two hundred requests take longer than a second, and are all of one replica": {
			series: `sourceward_request_duration_seconds_bucket{endpoint="validate",le="1",pod="a"} 0+97x30
				sourceward_request_duration_seconds_bucket{endpoint="validate",le="3",pod="a"} 0+100x30
				sourceward_request_duration_seconds_bucket{endpoint="validate",le="+Inf",pod="a"} 0+100x30
				sourceward_request_duration_seconds_bucket{endpoint="validate",le="1",pod="b"} 0+100x30
				sourceward_request_duration_seconds_bucket{endpoint="validate",le="3",pod="b"} 0+100x30
				sourceward_request_duration_seconds_bucket{endpoint="validate",le="+Inf",pod="b"} 0+100x30`,
			want: []string{"The Sourceward webhook is slow to answer at /validate."},
		},
		"one in two hundred requests takes longer than a second, and all of these are of one replica": {
			series: `sourceward_request_duration_seconds_bucket{endpoint="validate",le="1",pod="a"} 0+98x30
				sourceward_request_duration_seconds_bucket{endpoint="validate",le="3",pod="a"} 0+100x30
				sourceward_request_duration_seconds_bucket{endpoint="validate",le="+Inf",pod="a"} 0+100x30
				sourceward_request_duration_seconds_bucket{endpoint="validate",le="1",pod="b"} 0+300x30
				sourceward_request_duration_seconds_bucket{endpoint="validate",le="3",pod="b"} 0+300x30
				sourceward_request_duration_seconds_bucket{endpoint="validate",le="+Inf",pod="b"} 0+300x30`,
		},
		"one request is slow": {
			series: `sourceward_request_duration_seconds_bucket{endpoint="mutate",le="1",pod="a"} 0x30
				sourceward_request_duration_seconds_bucket{endpoint="mutate",le="3",pod="a"} 0x12 1x20
				sourceward_request_duration_seconds_bucket{endpoint="mutate",le="+Inf",pod="a"} 0x12 1x20`,
			at: 15 * time.Minute,
		},
		"policies take long to compile": {
			series: `sourceward_request_duration_seconds_bucket{endpoint="validate-policy",le="1",pod="a"} 0x30
				sourceward_request_duration_seconds_bucket{endpoint="validate-policy",le="3",pod="a"} 0+1x30
				sourceward_request_duration_seconds_bucket{endpoint="validate-policy",le="+Inf",pod="a"} 0+1x30`,
		},
		"there are no requests": {
			series: `sourceward_request_duration_seconds_bucket{endpoint="mutate",le="1",pod="a"} 0x30
				sourceward_request_duration_seconds_bucket{endpoint="mutate",le="+Inf",pod="a"} 0x30`,
		},
	},
	"SourcewardFailOpen": calls("apiserver_admission_webhook_fail_open_count", `type="admit"`,
		"API servers have admitted objects without an answer of webhook services.mutate.sourceward.dev."),
	"SourcewardFailClosed": calls("apiserver_admission_webhook_rejection_count",
		`type="admit",error_type="calling_webhook_error"`,
		"API servers refuse objects because webhook services.mutate.sourceward.dev does not answer."),
}

// notRead are the values of a metric that is not known for half an hour. The notation cannot repeat NaN.
var notRead = strings.Repeat("NaN ", 30)

// unreadable is the beginning of a series of a program.
func unreadable(instance string) string {
	return `certwatcher_read_certificate_errors_total{job="j",instance="` + instance + `"} `
}

// replica is a series that every replica has.
func replica(instance string) string {
	return `sourceward_build_info{job="j",instance="` + instance + `"} 1x30`
}

// untrusting is the beginning of a series of a replica.
func untrusting(replica string) string {
	return `sourceward_webhook_configuration_untrusting_webhooks{kind="MutatingWebhookConfiguration",` +
		`name="sourceward",pod="` + replica + `"} `
}

// mutating and validating are the metrics of a replica for the two configurations.
func mutating(pod string) string   { return configuration("MutatingWebhookConfiguration", pod) }
func validating(pod string) string { return configuration("ValidatingWebhookConfiguration", pod) }

func configuration(kind, pod string) string {
	return `sourceward_webhook_configuration_webhooks{kind="` + kind + `",name="sourceward",pod="` + pod + `"} `
}

// calls returns the situations of an alert about a counter of API servers. They create a counter with its first event.
func calls(counter, labels, summary string) map[string]situation {
	want := []string{summary}
	of := func(webhook, apiserver string) string {
		return counter + `{name="` + webhook + `",job="apiserver",instance="` + apiserver + `",` + labels + "} "
	}
	up := func(apiserver string) string { return `up{job="apiserver",instance="` + apiserver + `"} ` }
	const ours, theirs = "services.mutate.sourceward.dev", "mutate.example.com"
	return map[string]situation{
		"it counts for the first time": {
			series: of(ours, "a") + "_x14 1x10\n" + up("a") + "1x30",
			want:   want,
		},
		"it counts again": {
			series: of(ours, "a") + "5x14 6x10\n" + up("a") + "1x30",
			want:   want,
		},
		"two API servers count": {
			series: of(ours, "a") + "5x14 6x10\n" + up("a") + "1x30\n" + of(ours, "b") + "_x14 1x10\n" + up("b") + "1x30",
			want:   want,
		},
		"an API server counts soon after its restart": {
			series: of(ours, "a") + "5x12 stale 1x10\n" + up("a") + "1x12 0 1x20",
			want:   want,
		},
		"it is the webhook of another product": {
			series: of(theirs, "a") + "5x14 6x10\n" + of(theirs, "b") + "_x14 1x10\n" + up("a") + "1x30\n" + up("b") + "1x30",
		},
		"it was more than ten minutes ago": {
			series: of(ours, "a") + "_x4 1x30\n" + of(ours, "b") + "5x4 6x30\n" + up("a") + "1x30\n" + up("b") + "1x30",
		},
		"Prometheus has been scraping for less than ten minutes": {
			series: of(ours, "a") + "_x14 5x10\n" + up("a") + "_x14 1x10",
		},
		"the API server could not be scraped for a while": {
			series: of(ours, "a") + "5x8 stale _x3 5x20\n" + up("a") + "1x8 0x4 1x20",
		},
		"the API server is restarted": {
			series: of(ours, "a") + "5x14 stale\n" + up("a") + "1x14 0 1x20",
		},
	}
}

// TestAlerts evaluates all rules in each situation.
func TestAlerts(t *testing.T) {
	t.Parallel()
	for about, cases := range situations {
		t.Run(about, func(t *testing.T) {
			t.Parallel()
			for name, s := range cases {
				t.Run(name, func(t *testing.T) {
					t.Parallel()
					var got []string
					for _, alert := range s.firing(t) {
						got = append(got, alert.Annotations.Get("summary"))
					}
					if diff := cmp.Diff(s.want, got); diff != "" {
						t.Errorf("alerts (-want +got):\n%s", diff)
					}
				})
			}
		})
	}
}

// firing returns the alerts that fire in a situation. A replica is scraped, unless the situation has its own.
func (s situation) firing(t *testing.T) []*rules.Alert {
	t.Helper()
	lines := "load 1m\n" + s.series + "\n"
	if !strings.Contains(s.series, "sourceward_build_info") {
		lines += `sourceward_build_info{pod="a"} 1x30` + "\n"
	}
	storage := promqltest.LoadedStorage(t, lines)
	engine := newEngine()
	t.Cleanup(func() {
		if err := engine.Close(); err != nil {
			t.Error(err)
		}
	})
	alerts, err := readAlerts(component)
	if err != nil {
		t.Fatal(err)
	}
	at := s.at
	if at == 0 {
		at = 20 * time.Minute
	}
	epoch := time.Unix(0, 0)
	found, err := firing(t.Context(), alerts, rules.EngineQueryFunc(engine, storage), epoch, epoch.Add(at))
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// labelInTemplate is a label that an annotation shows.
var labelInTemplate = regexp.MustCompile(`\$labels\.(\w+)`)

// TestEveryAlert checks that each alert has what it must have, that a situation makes it fire and that another one does
// not, and that its texts show only labels that it has.
func TestEveryAlert(t *testing.T) {
	t.Parallel()
	alerts, err := readAlerts(component)
	if err != nil {
		t.Fatal(err)
	}
	for _, alert := range alerts {
		name := alert.Name()
		if severity := alert.Labels().Get("severity"); severity != "critical" && severity != "warning" {
			t.Errorf("%s has severity %q, want critical or warning", name, severity)
		}
		for _, annotation := range []string{"summary", "description", "runbook_url"} {
			text := alert.Annotations().Get(annotation)
			if text == "" || strings.Contains(text, "\n") {
				t.Errorf("%s: the annotation %s is %q, want one line", name, annotation, text)
			}
		}
		var silent bool
		var fired []*rules.Alert
		for _, s := range situations[name] {
			if s.want == nil {
				silent = true
				continue
			}
			found := s.firing(t)
			if !slices.ContainsFunc(found, func(a *rules.Alert) bool { return a.Labels.Get("alertname") == name }) {
				t.Errorf("another alert than %s fires in its situation: %v", name, found)
			}
			fired = append(fired, found...)
		}
		if !silent || fired == nil {
			t.Errorf("situations need one in which %s fires, and one in which it does not", name)
		}
		for _, match := range labelInTemplate.FindAllStringSubmatch(alert.Annotations().String(), -1) {
			if !slices.ContainsFunc(fired, func(a *rules.Alert) bool { return a.Labels.Has(match[1]) }) {
				t.Errorf("%s shows the label %s, which it does not have", name, match[1])
			}
		}
		for _, a := range fired {
			if text := a.Annotations.Get("description"); strings.Contains(text, "<error") || strings.Contains(text, "  ") {
				t.Errorf("the description of %s is %q", name, text)
			}
			t.Log(a.Annotations.Get("summary"), a.Annotations.Get("description"))
		}
	}
	if len(alerts) != len(situations) {
		t.Errorf("there are %d alerts, and situations for %d", len(alerts), len(situations))
	}
}
