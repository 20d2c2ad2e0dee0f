//go:build linux

package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes"

	"github.com/sourceward/sourceward/api/v1alpha1"
	"github.com/sourceward/sourceward/policies/bundle"
	"github.com/sourceward/sourceward/policies/child"
	"github.com/sourceward/sourceward/test/sandbox"
)

const (
	// sizingPairs is the number of Services in a namespace, and that of Deployments.
	sizingPairs = 20
	// sizingTeams is the number of teams that the namespaces belong to. A policy is for the namespaces of one team, so
	// each object has one policy in ten.
	sizingTeams = 10
	// sizingLocal says that one Service in so many is a LoadBalancer with Local. The others are of type ClusterIP.
	sizingLocal = 10
	// sizingCreated is the number of Services that are created for a measurement, and that of Deployments.
	sizingCreated = 300

	teamLabel = "team"
)

// BenchmarkSizing prints what the sizing table of config/README.md says. For several numbers of objects, which is the
// number of Services and that of Deployments, and of policies, it starts a webhook and creates more objects, one at a
// time and as a dry run, so that their number stays. It reports
//
//   - the time from the start of the process until it is ready,
//   - the memory of the process after the creations, and its peak,
//   - the live heap at the last collection of garbage: half of the size at which Go collects it next,
//   - the peak of the child process that compiles the policies,
//   - the CPU time of the process for each object, which is called for twice,
//   - percentiles of the time for a call, which Prometheus would estimate like this from the webhook's own histogram.
func BenchmarkSizing(b *testing.B) {
	s := newSizing(b)
	for _, objects := range []int{100, 1_000, 10_000} {
		for _, policies := range []int{0, 10, 100} {
			s.fill(b, objects, policies)
			measured := s.measure(b)
			b.Run(fmt.Sprintf("objects=%d/policies=%d", objects, policies), func(b *testing.B) {
				b.ReportMetric(0, "ns/op")
				for unit, value := range measured {
					b.ReportMetric(value, unit)
				}
			})
		}
	}
}

// sizing is an API server with a webhook, and with objects and policies of these numbers.
type sizing struct {
	sandbox           *sandbox.Sandbox
	client            kubernetes.Interface
	binary            string // of the webhook
	objects, policies int
}

func newSizing(b *testing.B) *sizing {
	ctx := b.Context()
	c := startCluster(b)
	s := &sizing{}
	var err error
	if s.binary, err = sandbox.Build(ctx, b.TempDir()); err != nil {
		b.Fatal(err)
	}
	s.sandbox, err = sandbox.Install(ctx, c, s.binary, sandbox.Options{
		CertDir: certificates(b), Flags: []string{"--verbosity=1"},
	})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := s.sandbox.Stop(); err != nil {
			b.Error(err)
		}
	})
	config := c.Config()
	config.WarningHandlerWithContext = warnings{}
	if s.client, err = kubernetes.NewForConfig(config); err != nil {
		b.Fatal(err)
	}
	return s
}

// fill stops the webhook, and adds objects and policies until there are as many. Meanwhile the API server admits
// everything, as failurePolicy says. If there are too many policies, all are deleted first.
func (s *sizing) fill(b *testing.B, objects, policies int) {
	if err := s.sandbox.Replicas[0].StopReplica(); err != nil {
		b.Fatal(err)
	}
	group, ctx := errgroup.WithContext(b.Context())
	group.SetLimit(8)
	for ; s.objects < objects; s.objects++ {
		service, deployment := newPair(s.objects)
		if s.objects%sizingPairs == 0 {
			namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
				Name: service.Namespace, Labels: map[string]string{teamLabel: strconv.Itoa(s.objects / sizingPairs % sizingTeams)},
			}}
			if _, err := s.client.CoreV1().Namespaces().Create(b.Context(), namespace, metav1.CreateOptions{}); err != nil {
				b.Fatal(err)
			}
		}
		group.Go(func() error { return s.create(ctx, service, deployment, metav1.CreateOptions{}) })
	}
	if err := group.Wait(); err != nil {
		b.Fatal(err)
	}
	if policies < s.policies {
		s.kubectl(b, nil, "delete", "sourceippolicies", "--all")
		s.policies = 0
	}
	if policies > s.policies {
		var stream bytes.Buffer
		for ; s.policies < policies; s.policies++ {
			if err := json.NewEncoder(&stream).Encode(teamPolicy(s.policies)); err != nil {
				b.Fatal(err)
			}
		}
		s.kubectl(b, &stream, "create", "-f", "-")
	}
}

func (s *sizing) kubectl(b *testing.B, stdin *bytes.Buffer, args ...string) {
	cmd := s.sandbox.Kubectl(b.Context(), args...)
	if stdin != nil {
		cmd.Stdin = stdin
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		b.Fatalf("kubectl %s: %v\n%s", args[0], err, out)
	}
}

// create creates a Service and then a Deployment.
func (s *sizing) create(
	ctx context.Context, service *corev1.Service, deployment *appsv1.Deployment, options metav1.CreateOptions,
) error {
	if _, err := s.client.CoreV1().Services(service.Namespace).Create(ctx, service, options); err != nil {
		return err
	}
	_, err := s.client.AppsV1().Deployments(deployment.Namespace).Create(ctx, deployment, options)
	return err
}

// newPair returns a Service and the Deployment behind it.
func newPair(i int) (*corev1.Service, *appsv1.Deployment) {
	deployment := memoryDeployment(i)
	deployment.Namespace = fmt.Sprintf("namespace-%d", i/sizingPairs)
	service := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: deployment.Namespace, Name: app(i), Labels: memoryLabels(i)},
		Spec: corev1.ServiceSpec{
			Selector: map[string]string{appLabel: app(i)},
			Ports:    []corev1.ServicePort{{Name: "http", Port: 80, TargetPort: intstr.FromString("web")}},
		},
	}
	if i%sizingLocal == 0 {
		service.Spec.Type = corev1.ServiceTypeLoadBalancer
		service.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal
	}
	return service, deployment
}

// teamPolicy returns a policy with a module of two rules for the namespaces of one team.
func teamPolicy(i int) v1alpha1.SourceIPPolicy {
	return v1alpha1.SourceIPPolicy{
		TypeMeta:   metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion.String(), Kind: "SourceIPPolicy"},
		ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("team-%d", i)},
		Spec: v1alpha1.SourceIPPolicySpec{
			Match: &v1alpha1.Match{NamespaceSelector: &metav1.LabelSelector{
				MatchLabels: map[string]string{teamLabel: strconv.Itoa(i % sizingTeams)},
			}},
			EvaluationFailure: v1alpha1.FailureWarn, // on a busy machine, go on
			Rego: []v1alpha1.RegoModule{{
				Name: fmt.Sprintf("team_%d.rego", i),
				Module: fmt.Sprintf(`# METADATA
# title: What team %[1]d asks for
# custom:
#   kinds: [Service, Deployment]
package sourceward.custom.team_%[1]d

# METADATA
# description: A load balancer costs money, so it must say what it is part of.
deny contains finding if {
	input.object.kind == "Service"
	input.object.spec.type == "LoadBalancer"
	not input.object.metadata.labels["app.kubernetes.io/part-of"]

	finding := {
		"message": sprintf("load balancer %%s has no label app.kubernetes.io/part-of", [input.object.metadata.name]),
		"path": "/metadata/labels",
		"fix": "add the label",
	}
}

# METADATA
# description: A single pod is away while it is replaced.
warn contains finding if {
	input.object.kind == "Deployment"
	input.object.spec.replicas < 2

	finding := {
		"message": "there is only one pod",
		"path": "/spec/replicas",
		"fix": "set replicas to 2 or more",
	}
}
`, i),
			}},
		},
	}
}

// measure starts the webhook, and returns the measurements by their units.
func (s *sizing) measure(b *testing.B) map[string]float64 {
	replica := s.sandbox.Replicas[0]
	ctx, cancel := context.WithTimeout(b.Context(), 2*time.Minute)
	defer cancel()
	start := time.Now()
	if err := s.sandbox.StartReplica(ctx, replica); err != nil {
		b.Fatal(err)
	}
	ready := time.Since(start)
	s.check(b)

	s.dryRun(b, sizingCreated/10) // to warm up
	before, err := replica.Metrics(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	cpuBefore, err := untilIdle(b.Context(), replica.PID())
	if err != nil {
		b.Fatal(err)
	}
	s.dryRun(b, sizingCreated)
	cpuAfter, err := untilIdle(b.Context(), replica.PID())
	if err != nil {
		b.Fatal(err)
	}
	after, err := replica.Metrics(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	p50, calls := quantile(0.50, before, after)
	p99, _ := quantile(0.99, before, after)
	const objects = 2 * sizingCreated
	if calls != 2*objects {
		b.Fatalf("the creation of %d objects took %v calls, want %d", objects, calls, 2*objects)
	}
	for sample, count := range after {
		if count > before[sample] && strings.HasPrefix(sample, "sourceward_policy_failures_total{") {
			b.Logf("the machine is too busy: %s increased by %v", sample, count-before[sample])
		}
	}
	measured := map[string]float64{
		"ready-s":       ready.Seconds(),
		"MiB":           processMemory(b, replica.PID(), resident),
		"peak-MiB":      processMemory(b, replica.PID(), peakResident),
		"heap-MiB":      after["go_memstats_next_gc_bytes"] / 2 / (1 << 20),
		"cpu-ms/object": 1e3 * (cpuAfter - cpuBefore).Seconds() / objects,
		"p50-ms":        p50,
		"p99-ms":        p99,
	}
	if s.policies > 0 {
		measured["compiler-MiB"] = s.compilerMemory(b)
	}
	return measured
}

// check checks that the webhook has cached all objects, and that the policies have a say: those of the team of a
// Deployment with a single pod warn of it.
func (s *sizing) check(b *testing.B) {
	samples, err := s.sandbox.Replicas[0].Metrics(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	for sample, want := range map[string]int{
		`sourceward_cache_objects{kind="Service"}`:    s.objects + 1, // the API server creates one more
		`sourceward_cache_objects{kind="Deployment"}`: s.objects,
		`sourceward_policies{state="ready"}`:          s.policies,
	} {
		if got := samples[sample]; got != float64(want) {
			b.Fatalf("%s is %v, want %d", sample, got, want)
		}
	}
	_, single := newPair(0)
	single.Name, single.Spec.Replicas = "single", new(int32(1))
	var said []string
	ctx := context.WithValue(b.Context(), saidKey{}, &said)
	options := metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}}
	if _, err := s.client.AppsV1().Deployments(single.Namespace).Create(ctx, single, options); err != nil {
		b.Fatal(err)
	}
	warned := 0
	for _, warning := range said {
		if strings.Contains(warning, "there is only one pod") {
			warned++
		}
	}
	if want := s.policies / sizingTeams; warned != want {
		b.Fatalf("%d policies warn, want %d: %q", warned, want, said)
	}
}

// dryRun creates Services and Deployments like those that exist, evenly from all namespaces, and stores none.
func (s *sizing) dryRun(b *testing.B, pairs int) {
	const prime = 7919
	for i := range pairs {
		service, deployment := newPair(i * prime % s.objects)
		service.Name, deployment.Name = fmt.Sprintf("new-%d", i), fmt.Sprintf("new-%d", i)
		deployment.Annotations = nil // a new one has no revision
		options := metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}}
		if err := s.create(b.Context(), service, deployment, options); err != nil {
			b.Fatal(err)
		}
	}
}

// compilerMemory returns the peak memory of the child process that compiles the policies, in MiB. It starts the child
// itself, like the webhook does, because that of the webhook ends at once.
func (s *sizing) compilerMemory(b *testing.B) float64 {
	cmd := exec.CommandContext(b.Context(), s.binary)
	cmd.Env = []string{"SOURCEWARD_CHILD=" + child.Compile.Name}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	requests, answers := json.NewEncoder(stdin), json.NewDecoder(stdout)
	for i := range s.policies {
		if err := requests.Encode(bundle.Sources{Rego: teamPolicy(i).Spec.Rego}); err != nil {
			b.Fatal(err)
		}
		var reason string
		if err := answers.Decode(&reason); err != nil || reason != "" {
			b.Fatalf("the child does not compile policy %d: %v %s", i, err, reason)
		}
	}
	peak := processMemory(b, cmd.Process.Pid, peakResident)
	if err := stdin.Close(); err != nil {
		b.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		b.Fatal(err)
	}
	return peak
}

// quantile returns a quantile of the time of calls between two scrapes, in milliseconds, and the number of calls. It
// assumes, as Prometheus does, that the times in a bucket are spread evenly.
func quantile(q float64, before, after map[string]float64) (ms, calls float64) {
	counts := map[float64]float64{} // of both endpoints, by the upper bound of the bucket
	for sample, count := range after {
		if _, bound, ok := strings.Cut(sample, `,le="`); ok && strings.HasPrefix(sample, "sourceward_request_duration_") {
			upper, err := strconv.ParseFloat(strings.TrimSuffix(bound, `"}`), 64)
			if err != nil {
				panic(err) // bounds are numbers
			}
			counts[upper] += count - before[sample]
		}
	}
	all := math.Inf(1)
	calls = counts[all]
	delete(counts, all) // it has no end to assume anything about
	lower, below := 0.0, 0.0
	for _, upper := range slices.Sorted(maps.Keys(counts)) {
		if rank := q * calls; counts[upper] >= rank {
			return 1e3 * (lower + (upper-lower)*(rank-below)/(counts[upper]-below)), calls
		}
		lower, below = upper, counts[upper]
	}
	return 1e3 * lower, calls
}
