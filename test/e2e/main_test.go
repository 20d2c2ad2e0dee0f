// Package e2e runs the webhook in its own processes next to a real kube-apiserver, kube-scheduler and
// kube-controller-manager, with the manifests of config/. It tests what only an API server knows: which webhook is
// called when, what is dropped and defaulted in between, what kubectl shows, and where pods are placed. The decisions
// themselves are tested by package policies and test/cases.
package e2e

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/controller-runtime/pkg/client"
	logf "sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/yaml"

	"github.com/sourceward/sourceward/test/cluster"
	"github.com/sourceward/sourceward/test/sandbox"
)

// patience bounds every wait. The events that tests wait for take milliseconds, and longer on a busy machine.
const patience = time.Minute

// webhookBinary is the webhook under test, built once.
var webhookBinary = sync.OnceValues(func() (string, error) {
	return sandbox.Build(context.Background(), binaries)
})

// commandBinary is sourceward, built once into the folder of binaries.
var commandBinary = sync.OnceValues(func() (string, error) {
	binary := filepath.Join(binaries, "sourceward")
	out, err := exec.Command("go", "build", "-o", binary, "github.com/sourceward/sourceward/cmd/sourceward").
		CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build sourceward: %w\n%s", err, out)
	}
	return binary, nil
})

// moduleBinary returns a function that builds the program of a module in test/, once, into the folder of binaries. The
// first build of all takes minutes; after that, Go's build cache has its packages.
func moduleBinary(module string) func() (string, error) {
	return sync.OnceValues(func() (string, error) {
		binary := filepath.Join(binaries, module)
		cmd := exec.Command("go", "build", "-ldflags=-s -w", "-o", binary, ".")
		cmd.Dir, cmd.Env = filepath.Join("..", module), append(os.Environ(), "GOWORK=off")
		if out, err := cmd.CombinedOutput(); err != nil {
			return "", fmt.Errorf("build test/%s: %w\n%s", module, err, out)
		}
		return binary, nil
	})
}

// binaries is the folder of the binaries that the tests build.
var binaries string

func TestMain(m *testing.M) {
	logf.SetLogger(logr.Discard()) // the tests report what fails
	var err error
	if binaries, err = os.MkdirTemp("", "sourceward-e2e-"); err != nil {
		panic(err)
	}
	defer os.RemoveAll(binaries) //nolint:errcheck // A folder left in /tmp fails no test.
	m.Run()
}

// environment is Sourceward on a control plane of its own.
type environment struct {
	*sandbox.Sandbox
	client kubernetes.Interface
	// objects sends and reads objects where a test does not check kubectl, which takes a process and some hundred
	// milliseconds. Like kubectl, it makes the API server refuse unknown fields.
	objects client.Client
	// warned collects the warnings that objects receives.
	warned *warningLines
	// mayBeRefused is true if the test takes permissions from the webhook, or restarts the API server, which refuses
	// requests until it has read the roles.
	mayBeRefused bool
}

// startCluster starts a control plane, which is stopped at the end of the test.
func startCluster(t *testing.T, options cluster.Options) *cluster.Cluster {
	t.Helper()
	c, err := cluster.Start(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(c.Logs())
		}
		if err := c.Stop(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// newEnvironment starts an environment, which is stopped at the end of the test.
func newEnvironment(t *testing.T, control cluster.Options, install sandbox.Options) *environment {
	t.Helper()
	e := newBareEnvironment(t, control)
	e.installSourceward(t, install)
	return e
}

// newBareEnvironment starts a control plane with an audit log, but without Sourceward. It is stopped at the end of the
// test.
func newBareEnvironment(t *testing.T, control cluster.Options) *environment {
	t.Helper()
	control.AuditLog = true
	c := startCluster(t, control)
	e := &environment{Sandbox: &sandbox.Sandbox{Cluster: c}, warned: &warningLines{}}
	config := c.Config()
	var err error
	if e.client, err = kubernetes.NewForConfig(config); err != nil {
		t.Fatal(err)
	}
	config.WarningHandlerWithContext = e.warned
	objects, err := client.New(config, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	e.objects = client.WithFieldValidation(objects, metav1.FieldValidationStrict)
	return e
}

// installSourceward installs Sourceward into a bare environment, and returns once the API server calls it. It stops
// Sourceward at the end of the test, and checks that the API server has refused none of its requests.
func (e *environment) installSourceward(t *testing.T, options sandbox.Options) {
	t.Helper()
	binary, err := webhookBinary()
	if err != nil {
		t.Fatal(err)
	}
	s, err := sandbox.Install(t.Context(), e.Cluster, binary, options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, replica := range s.Replicas {
			checkLog(t, replica)
			if t.Failed() {
				end := replica.LogEnd()
				t.Log(end[max(0, len(end)-1<<10):])
			}
		}
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
		if !e.mayBeRefused {
			e.noneRefused(t)
		}
	})
	e.Sandbox = s
	e.untilCalled(t)
}

// untilCalled waits until the API server calls all endpoints: it receives configurations and their caBundle through its
// own watch.
func (e *environment) untilCalled(t *testing.T) {
	t.Helper()
	e.namespace(t, "until-called")
	refused := read(
		t,
		service("until-called", "web", `{type: ClusterIP, externalTrafficPolicy: Local, ports: [{port: 80}]}`),
	)
	doubtful := read(
		t,
		service(
			"until-called",
			"web",
			`{type: ClusterIP, externalIPs: [192.0.2.1], ports: [{port: 80}]}`,
			"sourceward.dev/source-ip: bogus",
		),
	)
	e.eventually(t, "the webhook is called", func() (bool, string) {
		refusal := fmt.Sprint(e.objects.Create(t.Context(), refused.DeepCopy(), client.DryRunAll))
		e.warned.take()
		if err := e.objects.Create(t.Context(), doubtful.DeepCopy(), client.DryRunAll); err != nil {
			return false, err.Error()
		}
		said := e.warned.take()
		isWarned := slices.ContainsFunc(said, func(line string) bool { return warningRule(line) == "source-ip-needs-local" })
		return strings.Contains(refusal, "local-on-cluster-ip") && isWarned, fmt.Sprintf("%s; %q", refusal, said)
	})
}

// read decodes a manifest.
func read(t *testing.T, manifest string) *unstructured.Unstructured {
	t.Helper()
	object := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(manifest), &object.Object); err != nil {
		t.Fatal(err)
	}
	return object
}

// create creates the object of a manifest.
func (e *environment) create(t *testing.T, manifest string) {
	t.Helper()
	if err := e.objects.Create(t.Context(), read(t, manifest)); err != nil {
		t.Fatal(err)
	}
}

// answer is the output and the exit code of kubectl.
type answer struct {
	stdout, stderr string
	code           int
}

// kubectl runs kubectl with stdin as its standard input.
func (e *environment) kubectl(t *testing.T, stdin string, args ...string) answer {
	t.Helper()
	cmd := e.Kubectl(t.Context(), args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &stdout, &stderr
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		t.Fatalf("kubectl %q: %v", args, err)
	}
	return answer{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

// must runs kubectl, and fails the test if kubectl fails.
func (e *environment) must(t *testing.T, stdin string, args ...string) answer {
	t.Helper()
	a := e.kubectl(t, stdin, args...)
	if a.code != 0 {
		t.Fatalf("kubectl %q: %s", args, a.stderr)
	}
	return a
}

// namespace creates a Namespace.
func (e *environment) namespace(t *testing.T, name string) {
	t.Helper()
	e.create(t, fmt.Sprintf("{apiVersion: v1, kind: Namespace, metadata: {name: %s}}", name))
}

// policy applies a SourceIPPolicy for one Namespace and waits until all replicas have compiled it.
func (e *environment) policy(t *testing.T, name, spec string) {
	t.Helper()
	e.policyManifest(
		t,
		fmt.Sprintf(
			"{apiVersion: sourceward.dev/v1alpha1, kind: SourceIPPolicy, metadata: {name: %s}, spec: %s}",
			name,
			spec,
		),
	)
}

// policyManifest creates the SourceIPPolicy of a manifest and waits until all replicas have compiled it.
func (e *environment) policyManifest(t *testing.T, manifest string) {
	t.Helper()
	before := e.policies(t)
	e.create(t, manifest)
	e.eventually(t, "the policy is compiled", func() (bool, string) {
		now := e.policies(t)
		return now == before+1, fmt.Sprintf("%v policies are ready, want %v: %s", now, before+1, manifest)
	})
}

// policies returns the number of policies that are ready in every replica.
func (e *environment) policies(t *testing.T) float64 {
	t.Helper()
	least := -1.0
	for _, replica := range e.Replicas {
		ready := metric(t, replica, `sourceward_policies{state="ready"}`)
		if least < 0 || ready < least {
			least = ready
		}
	}
	return least
}

// eventually polls until ask returns yes. now describes the state that the test reports if it gives up.
func (e *environment) eventually(t *testing.T, what string, ask func() (yes bool, now string)) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var now string
	// To ask often costs time, which others need, since many ask with kubectl.
	often := wait.Backoff{Duration: 20 * time.Millisecond, Factor: 1.5, Steps: 20, Cap: 500 * time.Millisecond}
	err := often.DelayFunc().Until(ctx, true, true, func(context.Context) (yes bool, err error) {
		yes, now = ask()
		return yes, nil
	})
	if err != nil {
		t.Fatalf("%s: %v; now: %s", what, err, now)
	}
}

// isNotEvaluated reports whether warnings say that Rego was not evaluated. On a busy machine, it may run out of time.
func isNotEvaluated(warned []string) bool {
	return slices.ContainsFunc(warned, func(line string) bool { return warningRule(line) == "policy-not-evaluated" })
}

// metric returns one sample of a replica, or 0 if there is no such sample.
func metric(t *testing.T, replica *sandbox.Replica, sample string) float64 {
	t.Helper()
	value, err := replica.Metric(t.Context(), sample)
	if err != nil {
		t.Fatal(err)
	}
	return value
}

// cachedSample returns the metric that counts the cached objects of a kind. The label of a custom kind includes its
// group.
func cachedSample(kind string) string {
	return fmt.Sprintf("sourceward_cache_objects{kind=%q}", kind)
}

// service returns the manifest of a Service, with annotations.
func service(namespace, name, spec string, annotations ...string) string {
	return fmt.Sprintf("{apiVersion: v1, kind: Service, metadata: {namespace: %s, name: %s, annotations: {%s}}, spec: %s}",
		namespace, name, strings.Join(annotations, ", "), spec)
}

// deployment returns the manifest of a Deployment whose pods have the label app: <name>.
func deployment(namespace, name string, replicas int) string {
	return fmt.Sprintf(
		"{apiVersion: apps/v1, kind: Deployment, metadata: {namespace: %s, name: %s}, spec: {replicas: %d, "+
			"selector: {matchLabels: {app: %[2]s}}, "+
			"template: {metadata: {labels: {app: %[2]s}}, spec: {containers: [{name: web, image: web}]}}}}",
		namespace,
		name,
		replicas,
	)
}

// local returns the spec of a Local Service in front of a Deployment.
func local(app string) string {
	return fmt.Sprintf("{type: LoadBalancer, externalTrafficPolicy: Local, selector: {app: %s}, ports: [{port: 80}]}", app)
}

// get returns the stored object.
func get[T any, P interface {
	*T
	client.Object
}](t *testing.T, e *environment, namespace, name string) T {
	t.Helper()
	var object T
	if err := e.objects.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: name}, P(&object)); err != nil {
		t.Fatal(err)
	}
	return object
}

// isStored reports whether a Service exists.
func (e *environment) isStored(t *testing.T, namespace, name string) bool {
	t.Helper()
	_, err := e.client.CoreV1().Services(namespace).Get(t.Context(), name, metav1.GetOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		t.Fatal(err)
	}
	return err == nil
}

// warnings returns the warnings that kubectl shows.
func warnings(stderr string) []string {
	var lines []string
	for line := range strings.Lines(stderr) {
		if warning, ok := strings.CutPrefix(strings.TrimSpace(line), "Warning: "); ok {
			lines = append(lines, warning)
		}
	}
	return lines
}
