//go:build linux

package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/util/cert"

	"github.com/sourceward/sourceward/test/cluster"
	"github.com/sourceward/sourceward/test/sandbox"
)

const (
	// benchNamespace contains all Services and Deployments.
	benchNamespace = "edge"
	// benchLabel is the label of a Deployment with the name of its variant.
	benchLabel = "bench"

	rounds = 12
)

// A variant says which webhook handles the creation of a Deployment, and how.
type variant struct {
	name string
	// calls are the metrics that count the webhook calls. A creation increments each of them by one.
	calls []string
	// warning is the beginning of the warning that the client receives, or "" for none. repaired is true if the webhook
	// adds a constraint to the Deployment.
	warning  string
	repaired bool
}

var variants = []variant{
	{name: "none"},
	{name: "floor", calls: []string{
		`controller_runtime_webhook_requests_total{code="200",webhook="/mutate"}`,
		`controller_runtime_webhook_requests_total{code="200",webhook="/validate"}`,
	}},
	{name: "warn", warning: "unspread-behind-local: pods of Service", calls: []string{
		`sourceward_requests_total{endpoint="mutate",outcome="allowed"}`,
		`sourceward_requests_total{endpoint="validate",outcome="warned"}`,
	}},
	{name: "mutate", warning: "unspread-behind-local: repaired", repaired: true, calls: []string{
		`sourceward_requests_total{endpoint="mutate",outcome="mutated"}`,
		`sourceward_requests_total{endpoint="validate",outcome="allowed"}`,
	}},
}

// BenchmarkAdmission creates Deployments through a real API server: without a webhook, with one that allows everything,
// which is the floor, and with ours, which warns or mutates. The variants take turns in one run. Each Deployment is
// behind one of the Local Services in its namespace, and every response is checked. It reports the time of a creation,
// the time that each webhook adds to it, the CPU time of its process for 1 000 creations, and the ratio of that to the
// floor. A creation causes two calls, one to each endpoint. Our webhook also watches the Deployments of all variants
// being created. What that costs is measured where no webhook is called.
func BenchmarkAdmission(b *testing.B) {
	a := newAdmission(b)
	for _, services := range []int{10, 1_000, 5_000} {
		a.createServices(b, services)
		for _, clients := range []int{1, 8} {
			measured := a.measure(b, clients)
			for i, v := range variants {
				b.Run(fmt.Sprintf("services=%d/clients=%d/%s", services, clients, v.name), func(b *testing.B) {
					measured[i].report(b, measured)
				})
			}
		}
	}
}

// sample holds the measurements of one variant.
type sample struct {
	variant
	times  []time.Duration
	cpu    time.Duration
	memory float64 // resident, in MiB
}

func (s *sample) report(b *testing.B, all []*sample) {
	none, floor := all[0], all[1]
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(s.percentile(50), "p50-ms")
	b.ReportMetric(s.percentile(99), "p99-ms")
	b.ReportMetric(1000*s.cpu.Seconds()/float64(len(s.times)), "cpu-s/1000")
	if s == none {
		b.ReportMetric(s.cpu.Seconds()/floor.cpu.Seconds(), "watches/floor")
		return
	}
	b.ReportMetric(s.percentile(50)-none.percentile(50), "added-p50-ms")
	b.ReportMetric(s.percentile(99)-none.percentile(99), "added-p99-ms")
	b.ReportMetric(s.memory, "MiB")
	if s != floor {
		b.ReportMetric(s.cpu.Seconds()/floor.cpu.Seconds(), "cpu/floor")
	}
}

// percentile returns a percentile of the times in milliseconds.
func (s *sample) percentile(p float64) float64 {
	sorted := slices.Sorted(slices.Values(s.times))
	return sorted[int(math.Ceil(p/100*float64(len(sorted))))-1].Seconds() * 1e3
}

// admission is an API server that calls the floor and our webhook, each for the Deployments of its own variants.
type admission struct {
	client      kubernetes.Interface
	ours, floor *sandbox.Replica
	floorPID    int

	services int
	created  atomic.Int64
}

// startCluster starts a control plane, which is stopped at the end of the benchmark.
func startCluster(b *testing.B) *cluster.Cluster {
	c, err := cluster.Start(b.Context(), cluster.Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := c.Stop(); err != nil {
			b.Error(err)
		}
	})
	return c
}

func newAdmission(b *testing.B) *admission {
	ctx := b.Context()
	c := startCluster(b)
	certs := certificates(b)
	binary, err := sandbox.Build(ctx, b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	s, err := sandbox.Install(ctx, c, binary, sandbox.Options{CertDir: certs, Flags: []string{"--verbosity=1"}})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := s.Stop(); err != nil {
			b.Error(err)
		}
	})

	config := c.Config()
	config.WarningHandlerWithContext = warnings{}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		b.Fatal(err)
	}
	a := &admission{client: client, ours: s.Replicas[0]}
	a.startFloor(b, certs)
	a.register(b)
	for _, manifest := range []string{
		`{apiVersion: v1, kind: Namespace, metadata: {name: ` + benchNamespace + `}}`,
		`{apiVersion: sourceward.dev/v1alpha1, kind: SourceIPPolicy, metadata: {name: mutate}, spec: {
			match: {objectSelector: {matchLabels: {` + benchLabel + `: mutate}}},
			rules: [{id: unspread-behind-local, mode: Mutate}]}}`,
	} {
		apply := c.Kubectl(ctx, "apply", "-f", "-")
		apply.Stdin = strings.NewReader(manifest)
		if out, err := apply.CombinedOutput(); err != nil {
			b.Fatalf("kubectl apply: %v\n%s", err, out)
		}
	}
	a.createServices(b, 1)
	until(b, "each variant has its verdict", func() error {
		for _, v := range variants {
			if err := a.block(ctx, &sample{variant: v}, 1, 1); err != nil {
				return err
			}
		}
		return nil
	})
	return a
}

// certificates returns a folder with a certificate for localhost.
func certificates(b *testing.B) string {
	certPEM, keyPEM, err := cert.GenerateSelfSignedCertKey("localhost", nil, nil)
	if err != nil {
		b.Fatal(err)
	}
	dir := b.TempDir()
	for name, content := range map[string][]byte{"tls.crt": certPEM, "tls.key": keyPEM, "ca.crt": certPEM} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			b.Fatal(err)
		}
	}
	return dir
}

// startFloor starts the process that allows everything.
func (a *admission) startFloor(b *testing.B, certDir string) {
	binary := filepath.Join(b.TempDir(), "allowall")
	out, err := exec.CommandContext(b.Context(), "go", "build", "-o", binary, "./allowall").CombinedOutput()
	if err != nil {
		b.Fatalf("build: %v\n%s", err, out)
	}
	a.floor = &sandbox.Replica{Address: freeAddress(b)}
	_, port, err := net.SplitHostPort(a.floor.Address)
	if err != nil {
		b.Fatal(err)
	}
	metrics := freeAddress(b)
	a.floor.MetricsURL = "http://" + metrics + "/metrics"
	// The process ends with the context of the benchmark.
	floor := exec.CommandContext(b.Context(), binary,
		"--port="+port, "--metrics-bind-address="+metrics, "--cert-dir="+certDir)
	var stderr bytes.Buffer
	floor.Stderr = &stderr
	if err := floor.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if _ = floor.Wait(); b.Failed() {
			b.Logf("floor: %s", &stderr)
		}
	})
	a.floorPID = floor.Process.Pid
}

// freeAddress returns a loopback address with a port that was free when it returned.
func freeAddress(b *testing.B) string {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer listener.Close() //nolint:errcheck // nothing was written
	return listener.Addr().String()
}

// register makes the API server call the floor under the same conditions as our webhook, and each of them only for its
// own variants.
func (a *admission) register(b *testing.B) {
	selector := func(names ...string) *metav1.LabelSelector {
		return &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{
			{Key: benchLabel, Operator: metav1.LabelSelectorOpIn, Values: names},
		}}
	}
	floor := func(config *admissionregistrationv1.WebhookClientConfig, endpoint string) {
		url := "https://localhost" + a.floor.Address[strings.LastIndex(a.floor.Address, ":"):] + endpoint
		config.URL = &url // the CA is the same
	}
	ctx, api := b.Context(), a.client.AdmissionregistrationV1()
	mutating, err := api.MutatingWebhookConfigurations().Get(ctx, "sourceward", metav1.GetOptions{})
	if err != nil {
		b.Fatal(err)
	}
	validating, err := api.ValidatingWebhookConfigurations().Get(ctx, "sourceward", metav1.GetOptions{})
	if err != nil {
		b.Fatal(err)
	}
	floorMutating := &admissionregistrationv1.MutatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: "floor"}}
	for i := range mutating.Webhooks {
		webhook := mutating.Webhooks[i].DeepCopy()
		webhook.ObjectSelector = selector("floor")
		floor(&webhook.ClientConfig, "/mutate")
		floorMutating.Webhooks = append(floorMutating.Webhooks, *webhook)
		mutating.Webhooks[i].ObjectSelector = selector("warn", "mutate")
	}
	floorValidating := &admissionregistrationv1.ValidatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: "floor"},
	}
	for i := range validating.Webhooks {
		webhook := validating.Webhooks[i].DeepCopy()
		webhook.ObjectSelector = selector("floor")
		floor(&webhook.ClientConfig, "/validate")
		floorValidating.Webhooks = append(floorValidating.Webhooks, *webhook)
		validating.Webhooks[i].ObjectSelector = selector("warn", "mutate")
	}
	_, err1 := api.MutatingWebhookConfigurations().Update(ctx, mutating, metav1.UpdateOptions{})
	_, err2 := api.ValidatingWebhookConfigurations().Update(ctx, validating, metav1.UpdateOptions{})
	_, err3 := api.MutatingWebhookConfigurations().Create(ctx, floorMutating, metav1.CreateOptions{})
	_, err4 := api.ValidatingWebhookConfigurations().Create(ctx, floorValidating, metav1.CreateOptions{})
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		b.Fatal(err)
	}
}

// createServices creates Local Services until that many exist, and waits until our webhook has cached them.
func (a *admission) createServices(b *testing.B, services int) {
	group, ctx := errgroup.WithContext(b.Context())
	group.SetLimit(8)
	for ; a.services < services; a.services++ {
		service := &corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Name: app(a.services), Annotations: map[string]string{
				"external-dns.alpha.kubernetes.io/hostname": app(a.services) + ".example.com", // most Services have one
			}},
			Spec: corev1.ServiceSpec{
				Type:                  corev1.ServiceTypeLoadBalancer,
				ExternalTrafficPolicy: corev1.ServiceExternalTrafficPolicyLocal,
				Selector: map[string]string{
					appLabel: app(a.services), "app.kubernetes.io/part-of": benchNamespace,
				},
				Ports: []corev1.ServicePort{{Name: "http", Port: 80, TargetPort: intstr.FromString("http")}},
			},
		}
		group.Go(func() error {
			_, err := a.client.CoreV1().Services(benchNamespace).Create(ctx, service, metav1.CreateOptions{})
			return err
		})
	}
	if err := group.Wait(); err != nil {
		b.Fatal(err)
	}
	until(b, "the Services are cached", func() error {
		cached, err := a.ours.Metric(b.Context(), `sourceward_cache_objects{kind="Service"}`)
		if err == nil && int(cached) <= services { // the API server creates one more Service
			err = fmt.Errorf("%v of %d", cached, services+1)
		}
		return err
	})
}

const appLabel = "app.kubernetes.io/name"

func app(i int) string { return fmt.Sprintf("web-%d", i) }

// measure makes a number of clients create Deployments of all variants. The variants take many short turns, so that
// other load on the machine affects all of them alike.
func (a *admission) measure(b *testing.B, clients int) []*sample {
	size := 50
	if clients > 1 {
		size = 100
	}
	samples := make([]*sample, len(variants))
	for i, v := range variants {
		samples[i] = &sample{variant: v}
		if err := a.block(b.Context(), &sample{variant: v}, clients, 40); err != nil { // to warm up
			b.Fatal(err)
		}
	}
	for round := range rounds {
		for i := range samples {
			s := samples[(round+i)%len(samples)]
			if err := a.block(b.Context(), s, clients, size); err != nil {
				b.Fatalf("%s: %v", s.name, err)
			}
		}
	}
	for _, s := range samples {
		s.memory = processMemory(b, a.pid(s.variant), resident)
	}
	return samples
}

// pid returns the process whose CPU time is measured for a variant.
func (a *admission) pid(v variant) int {
	if v.name == "floor" {
		return a.floorPID
	}
	return a.ours.PID()
}

// block makes clients create Deployments of one variant, size in total, adds the measurements to s, and deletes the
// Deployments. The error is non-nil when a response or the number of calls is not what the variant expects.
func (a *admission) block(ctx context.Context, s *sample, clients, size int) error {
	callsBefore, err := a.calls(ctx)
	if err != nil {
		return err
	}
	cpuBefore, err := processTime(a.pid(s.variant))
	if err != nil {
		return err
	}
	times := make([]time.Duration, size)
	var next atomic.Int64
	var group errgroup.Group
	for range clients {
		group.Go(func() (err error) {
			for i := next.Add(1) - 1; i < int64(size) && err == nil; i = next.Add(1) - 1 {
				times[i], err = a.create(ctx, s.variant)
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	// The work of our process for the watch events counts too.
	cpuAfter, err := untilIdle(ctx, a.pid(s.variant))
	if err != nil {
		return err
	}
	callsAfter, err := a.calls(ctx)
	if err != nil {
		return err
	}
	for name, after := range callsAfter {
		want := 0
		if slices.Contains(s.calls, name) {
			want = size
		}
		if got := int(after - callsBefore[name]); got != want {
			return fmt.Errorf("%d creations add %d to %s, want %d", size, got, name, want)
		}
	}
	s.times = append(s.times, times...)
	s.cpu += cpuAfter - cpuBefore

	deployments := a.client.AppsV1().Deployments(benchNamespace)
	if err := deployments.DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{}); err != nil {
		return err
	}
	return a.untilForgotten(ctx)
}

// untilIdle waits until a process is idle, and returns its CPU time then. It sends no request to the process, because
// that would cause work.
func untilIdle(ctx context.Context, pid int) (spent time.Duration, err error) {
	const every, idle = 10 * time.Millisecond, 100 * time.Microsecond
	err = wait.PollUntilContextTimeout(ctx, every, time.Minute, true, func(context.Context) (bool, error) {
		before := spent
		spent, err = processTime(pid)
		return spent-before < idle, err
	})
	return spent, err
}

// untilForgotten waits until our process has no Deployment in its cache any more.
func (a *admission) untilForgotten(ctx context.Context) error {
	empty := func(ctx context.Context) (bool, error) {
		cached, err := a.ours.Metric(ctx, `sourceward_cache_objects{kind="Deployment"}`)
		return cached == 0, err
	}
	return wait.PollUntilContextTimeout(ctx, 5*time.Millisecond, time.Minute, true, empty)
}

// calls returns the values of the metrics that count the calls of all variants.
func (a *admission) calls(ctx context.Context) (map[string]float64, error) {
	counts := map[string]float64{}
	for _, v := range variants {
		replica := a.ours
		if v.name == "floor" {
			replica = a.floor
		}
		for _, name := range v.calls {
			var err error
			if counts[name], err = replica.Metric(ctx, name); err != nil {
				return nil, err
			}
		}
	}
	return counts, nil
}

// create creates a Deployment behind one of the Services, and returns the time that it took.
func (a *admission) create(ctx context.Context, v variant) (time.Duration, error) {
	i := int(a.created.Add(1))
	deployment := newDeployment(fmt.Sprintf("%s-%d", v.name, i), v, app(i%a.services))
	var said []string
	ctx = context.WithValue(ctx, saidKey{}, &said)
	start := time.Now()
	created, err := a.client.AppsV1().Deployments(benchNamespace).Create(ctx, deployment, metav1.CreateOptions{})
	took := time.Since(start)
	if err != nil {
		return 0, err
	}
	repaired := len(created.Spec.Template.Spec.TopologySpreadConstraints) > 0
	warned := slices.ContainsFunc(said, func(warning string) bool { return strings.HasPrefix(warning, v.warning) })
	if repaired != v.repaired || warned != (v.warning != "") {
		return 0, fmt.Errorf("the client received the warnings %q, and the Deployment is repaired: %t", said, repaired)
	}
	return took, nil
}

// newDeployment returns a Deployment with as many fields as real ones usually have.
func newDeployment(name string, v variant, app string) *appsv1.Deployment {
	replicas := int32(3)
	labels := map[string]string{appLabel: app, "app.kubernetes.io/part-of": benchNamespace}
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{benchLabel: v.name, appLabel: app}},
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas,
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec: corev1.PodSpec{Containers: []corev1.Container{{
					Name:  "web",
					Image: "registry.example.com/web:1.2.3",
					Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: 8080}},
					ReadinessProbe: &corev1.Probe{ProbeHandler: corev1.ProbeHandler{
						HTTPGet: &corev1.HTTPGetAction{Path: "/ready", Port: intstr.FromString("http")},
					}},
					Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{
						corev1.ResourceCPU: resource.MustParse("100m"), corev1.ResourceMemory: resource.MustParse("128Mi"),
					}},
				}}},
			},
		},
	}
}

// warnings appends the warnings of a response to the list in the context of its request.
type warnings struct{}

type saidKey struct{}

func (warnings) HandleWarningHeaderWithContext(ctx context.Context, code int, _, text string) {
	if said, ok := ctx.Value(saidKey{}).(*[]string); ok && code == 299 {
		*said = append(*said, text)
	}
}

// until polls until ask returns no error.
func until(b *testing.B, what string, ask func() error) {
	var last error
	done := func(context.Context) (bool, error) {
		last = ask()
		return last == nil, nil
	}
	if err := wait.PollUntilContextTimeout(b.Context(), 20*time.Millisecond, time.Minute, true, done); err != nil {
		b.Fatalf("%s: %v: %v", what, err, last)
	}
}

// processTime returns the CPU time of a process with all its threads, including those that have ended.
func processTime(pid int) (time.Duration, error) {
	// Compute the clock ID as clock_getcpuclockid(3) does, for CPUCLOCK_SCHED, which counts nanoseconds. /proc/PID/stat
	// only counts hundredths of a second.
	var spent unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|2), &spent); err != nil {
		return 0, fmt.Errorf("read the clock of process %d: %w", pid, err)
	}
	return time.Duration(spent.Nano()), nil
}

// The fields of /proc/PID/status with the memory of a process.
const (
	resident     = "VmRSS"
	peakResident = "VmHWM"
)

// processMemory returns one of these fields for a process, in MiB.
func processMemory(b *testing.B, pid int, field string) float64 {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		b.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		var kib float64
		if n, _ := fmt.Sscanf(line, field+": %f kB", &kib); n == 1 {
			return kib / 1024
		}
	}
	b.Fatalf("no %s of process %d", field, pid)
	return 0
}
