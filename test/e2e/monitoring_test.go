package e2e

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/sourceward/sourceward/api/v1alpha1"
)

// monitoringBinary is the program of test/monitoring.
var monitoringBinary = moduleBinary("monitoring")

// monitor scrapes an environment, as Prometheus does, for the alerts and the dashboard of
// config/components/monitoring.
type monitor struct {
	e       *environment
	dir     string
	folders []string
}

// newMonitor returns a monitor that has scraped once.
func newMonitor(t *testing.T, e *environment) *monitor {
	t.Helper()
	m := &monitor{e: e, dir: t.TempDir()}
	m.scrape(t)
	return m
}

// scrape reads the metrics of the API server, and of the replicas that run.
func (m *monitor) scrape(t *testing.T) {
	t.Helper()
	folder := filepath.Join(m.dir, fmt.Sprint(len(m.folders)))
	if err := os.Mkdir(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	write := func(target string, text []byte) {
		if err := os.WriteFile(filepath.Join(folder, target), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	text, err := m.e.client.Discovery().RESTClient().Get().AbsPath("/metrics").DoRaw(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	write("apiserver", text)
	for i, replica := range m.e.Replicas {
		response, err := http.Get(replica.MetricsURL)
		if errors.Is(err, syscall.ECONNREFUSED) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(response.Body)
		if err := errors.Join(err, response.Body.Close()); err != nil || response.StatusCode != http.StatusOK {
			t.Fatalf("%s answers %s (%v)", replica.MetricsURL, response.Status, err)
		}
		write(fmt.Sprintf("sourceward-webhook-%d", i+1), text)
	}
	m.folders = append(m.folders, folder)
}

// run runs the program of test/monitoring on all scrapes, and returns the lines that it prints.
func (m *monitor) run(t *testing.T, flags ...string) []string {
	t.Helper()
	binary, err := monitoringBinary()
	if err != nil {
		t.Fatal(err)
	}
	flags = append(flags, "-component=../../config/components/monitoring")
	var stderr strings.Builder
	cmd := exec.CommandContext(t.Context(), binary, append(flags, m.folders...)...)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil || stderr.Len() > 0 {
		t.Fatalf("test/monitoring: %v\n%s", err, stderr.String())
	}
	return strings.FieldsFunc(string(out), func(r rune) bool { return r == '\n' })
}

// fires scrapes again, and checks that alerts fire that did not fire before.
func (m *monitor) fires(t *testing.T, alerts ...string) {
	t.Helper()
	before := m.run(t)
	m.scrape(t)
	after := m.run(t)
	for _, alert := range alerts {
		isAbout := func(line string) bool { return strings.HasPrefix(line, alert+": ") }
		if slices.ContainsFunc(before, isAbout) || !slices.ContainsFunc(after, isAbout) {
			t.Errorf("want that %s begins to fire; alerts before: %q, after: %q", alert, before, after)
		}
	}
	t.Logf("alerts: %q", after)
}

// testPolicyAlert checks that an alert fires for a policy that fails, although no client notices.
func testPolicyAlert(t *testing.T, e *policyEnvironment) {
	policy := policyOf("alerting", v1alpha1.RegoModule{Name: "alerting.rego", Module: `package sourceward.custom.alerting

warn contains {"message": "no"} if 1 / (count(input.object.spec.ports) - 1) > 1
`})
	policy.Spec.EvaluationFailure = v1alpha1.FailureIgnore
	e.create(t, policy)
	for _, replica := range e.Replicas {
		e.eventually(t, "the failures of the policy are counted", func() (bool, string) {
			samples, err := replica.Metrics(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			_, ok := samples[`sourceward_policy_failures_total{policy="alerting"}`]
			return ok, ""
		})
	}
	m := newMonitor(t, e.environment)
	a := e.must(t, service("default", "alerting", local("web")), "create", "--dry-run=server", "-f", "-")
	if strings.Contains(a.stderr, "policy-not-evaluated") {
		t.Errorf("the client is warned: %s", a.stderr)
	}
	m.fires(t, "SourcewardPolicyFailing")
}
