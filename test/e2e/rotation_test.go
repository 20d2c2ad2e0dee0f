package e2e

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"

	"github.com/sourceward/sourceward/test/cluster"
	"github.com/sourceward/sourceward/test/sandbox"
)

// TestRotation replaces the CA and the serving certificate twice while requests go through the API server. The webhook
// refuses each of them or warns about it, so a failed call is visible: the API server admits the request silently.
func TestRotation(t *testing.T) {
	const rotations = 2
	e := newEnvironment(t, cluster.Options{}, sandbox.Options{Replicas: 2})
	e.prepareTraffic(t)

	// Before its first certificate a replica logs failed TLS handshakes, which do not count.
	var started []int
	for _, replica := range e.Replicas {
		log, err := replica.Log()
		if err != nil {
			t.Fatal(err)
		}
		started = append(started, len(log))
	}

	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	requests := startTraffic(ctx, t, e)

	for i := range rotations {
		before := serials(t, e)
		start := time.Now()
		secrets := e.client.CoreV1().Secrets(sandbox.Namespace)
		if err := secrets.Delete(t.Context(), "sourceward-ca", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		e.eventually(t, "both replicas serve a new certificate", func() (bool, string) {
			after := serials(t, e)
			return after[0] != before[0] && after[1] != before[1], fmt.Sprint(before, after)
		})
		t.Logf("rotation %d took %s", i+1, time.Since(start).Round(time.Millisecond))
	}
	requests.finish(t, e, stop)

	for i, replica := range e.Replicas {
		log, err := replica.Log()
		if err != nil {
			t.Fatal(err)
		}
		for line := range bytes.Lines(log[started[i]:]) {
			if bytes.Contains(line, []byte(`"level":"error"`)) || bytes.Contains(line, []byte("TLS handshake error")) {
				t.Errorf("logged: %s", line)
			}
		}
	}
	e.noFailedCalls(t)
}

// serials returns the serial numbers of the certificates that the replicas serve.
func serials(t *testing.T, e *environment) []string {
	t.Helper()
	var served []string
	for _, replica := range e.Replicas {
		conn, err := tls.Dial("tcp", replica.Address, &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		served = append(served, conn.ConnectionState().PeerCertificates[0].SerialNumber.String())
		if err := conn.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return served
}

// traffic counts the requests that startTraffic sends.
type traffic struct {
	start        time.Time
	sent, missed atomic.Int64
	example      atomic.Value
	wait         func() error
}

// trafficPerSecond is how many requests startTraffic sends in a second.
const trafficPerSecond = 100

// startTraffic sends dry-run requests until ctx ends: Services that /mutate refuses, and Deployments that /validate
// warns about.
func startTraffic(ctx context.Context, t *testing.T, e *environment) *traffic {
	t.Helper()
	var invalid corev1.Service
	manifest := service("rotation", "invalid", "{type: ClusterIP, externalTrafficPolicy: Local, ports: [{port: 80}]}")
	if err := yaml.Unmarshal([]byte(manifest), &invalid); err != nil {
		t.Fatal(err)
	}
	var unspread appsv1.Deployment
	if err := yaml.Unmarshal([]byte(deployment("rotation", "web", 3)), &unspread); err != nil {
		t.Fatal(err)
	}
	config := e.Config()
	warned := &warningCounter{}
	config.WarningHandlerWithContext = warned
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	dryRun := metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}}
	requests := &traffic{start: time.Now()}
	var deployments atomic.Int64
	limiter := rate.NewLimiter(trafficPerSecond, 1)
	group, ctx := errgroup.WithContext(ctx)
	for range 8 {
		group.Go(func() error {
			for limiter.Wait(ctx) == nil {
				if requests.sent.Add(1)%2 == 0 {
					deployments.Add(1)
					if _, err := client.AppsV1().Deployments("rotation").Create(ctx, &unspread, dryRun); err != nil &&
						ctx.Err() == nil {
						return err
					} else if err != nil {
						deployments.Add(-1)
					}
					continue
				}
				_, err := client.CoreV1().Services("rotation").Create(ctx, &invalid, dryRun)
				if ctx.Err() == nil && (err == nil || !strings.Contains(err.Error(), refusedByUs)) {
					requests.missed.Add(1)
					requests.example.Store(fmt.Sprint(err))
				}
			}
			return nil
		})
	}
	requests.wait = func() error {
		err := group.Wait()
		if missed := deployments.Load() - warned.count.Load(); missed > 0 {
			requests.missed.Add(missed)
			requests.example.CompareAndSwap(nil, fmt.Sprintf("%d Deployments got no warning", missed))
		}
		return err
	}
	return requests
}

// prepareTraffic makes what startTraffic needs: a Service in front of its Deployments.
func (e *environment) prepareTraffic(t *testing.T) {
	t.Helper()
	e.namespace(t, "rotation")
	e.must(t, service("rotation", "web", local("web")), "create", "-f", "-")
	e.eventually(t, "the Service is known", func() (bool, string) {
		a := e.must(t, deployment("rotation", "web", 3), "create", "--dry-run=server", "-f", "-")
		return len(warnings(a.stderr)) == 2, a.stderr
	})
}

// finish sends requests for another second, since those after the last change count too, and checks that the webhook
// has answered each of them.
func (r *traffic) finish(t *testing.T, e *environment, stop func()) {
	t.Helper()
	soFar := r.sent.Load()
	e.eventually(t, "requests go on for another second", func() (bool, string) {
		return r.sent.Load() >= soFar+trafficPerSecond, fmt.Sprint(r.sent.Load())
	})
	elapsed := time.Since(r.start)
	stop()
	if err := r.wait(); err != nil {
		t.Error(err)
	}
	sent, missed := r.sent.Load(), r.missed.Load()
	t.Logf("%d requests in %s, %.0f/s, %d not answered by the webhook",
		sent, elapsed.Round(time.Millisecond), float64(sent)/elapsed.Seconds(), missed)
	if missed > 0 {
		t.Errorf("%d of %d requests were not answered by the webhook, for example: %v", missed, sent, r.example.Load())
	}
}

// noFailedCalls checks that no call to a webhook has failed, as the API server counts them.
func (e *environment) noFailedCalls(t *testing.T) {
	t.Helper()
	for _, line := range e.failedCalls(t) {
		t.Errorf("the API server counts: %s", line)
	}
}

// failedCalls returns the lines in which the API server counts the calls that have failed since it was started.
func (e *environment) failedCalls(t *testing.T) (counters []string) {
	t.Helper()
	text, err := e.client.Discovery().RESTClient().Get().AbsPath("/metrics").DoRaw(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "apiserver_admission_webhook_fail_open_count{") ||
			strings.HasPrefix(line, "apiserver_admission_webhook_rejection_count{") &&
				strings.Contains(line, "calling_webhook_error") {
			counters = append(counters, line)
		}
	}
	return counters
}

// warningCounter counts the responses that warn that pods are not spread.
type warningCounter struct{ count atomic.Int64 }

var _ rest.WarningHandlerWithContext = &warningCounter{}

// HandleWarningHeaderWithContext implements rest.WarningHandlerWithContext.
func (w *warningCounter) HandleWarningHeaderWithContext(_ context.Context, _ int, _, text string) {
	if strings.HasPrefix(text, "unspread-behind-local: pods ") {
		w.count.Add(1)
	}
}
