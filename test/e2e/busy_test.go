package e2e

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/sourceward/sourceward/api/v1alpha1"
	"github.com/sourceward/sourceward/test/sandbox"
)

// TestBusyPolicies evaluates more Rego than one replica has time for.
func TestBusyPolicies(t *testing.T) {
	e := newPolicyEnvironment(t, sandbox.Options{})
	config := e.Config()
	config.QPS = -1 // no client-side rate limit
	config.WarningHandlerWithContext = e.warned
	services, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Run("slow objects", func(t *testing.T) { testSlowObjects(t, e, services) })
	t.Run("a hundred policies", func(t *testing.T) { testHundredPolicies(t, e, services) })
}

// answers counts the answers to requests that create Services, and holds the time that each took.
type answers struct {
	mutex sync.Mutex
	// denied holds the errors of those that were refused. admitted counts the others.
	denied   []string
	admitted int
	took     []time.Duration
}

// create creates a Service as a dry run. The error is non-nil if it was neither admitted nor refused by admission.
func (a *answers) create(ctx context.Context, client kubernetes.Interface, service *corev1.Service) error {
	start := time.Now()
	options := metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}}
	_, err := client.CoreV1().Services(service.Namespace).Create(ctx, service, options)
	if ctx.Err() != nil {
		return nil // the test is over
	}
	a.mutex.Lock()
	defer a.mutex.Unlock()
	a.took = append(a.took, time.Since(start))
	switch {
	case err == nil:
		a.admitted++
	case apierrors.IsForbidden(err), strings.Contains(err.Error(), "denied the request"):
		a.denied = append(a.denied, err.Error())
	default:
		return err
	}
	return nil
}

// quantiles returns the median, the 99th percentile and the maximum of what the requests took.
func (a *answers) quantiles() string {
	slices.Sort(a.took)
	at := func(percent int) time.Duration { return a.took[(len(a.took)-1)*percent/100].Round(time.Millisecond) }
	return fmt.Sprintf("p50 %s, p99 %s, maximum %s", at(50), at(99), at(100))
}

func nodePortService(namespace, name string, ports int, labels map[string]string) *corev1.Service {
	service := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: labels}}
	service.Spec.Type = corev1.ServiceTypeNodePort
	for port := range ports {
		service.Spec.Ports = append(service.Spec.Ports, corev1.ServicePort{
			Name: fmt.Sprint("p", port), Port: int32(port + 1),
		})
	}
	return service
}

// testSlowObjects creates Services that a policy refuses, while other Namespaces create Services that take another rule
// of the policy longer than it may take.
func testSlowObjects(t *testing.T, e *policyEnvironment, client kubernetes.Interface) {
	const streams, plain, slowPorts = 8, 30, 500
	e.create(t, policyOf("corp", v1alpha1.RegoModule{Name: "corp.rego", Module: `package sourceward.custom.corp

deny contains {"message": "no node ports"} if input.object.spec.type == "NodePort"
`}, v1alpha1.RegoModule{Name: "pairs.rego", Module: `package sourceward.custom.pairs

# METADATA
# custom: {kinds: [Service]}
warn contains {"message": "two ports have one name"} if {
	some first in input.object.spec.ports
	some second in input.object.spec.ports
	some third in input.object.spec.ports
	first.port < second.port
	second.port < third.port
	first.name == third.name
}
`}))
	e.condition(t, "corp", v1alpha1.ConditionReady, v1alpha1.ReasonCompiled)
	e.namespace(t, "plain")
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var slow, fast answers
	var group errgroup.Group
	for n := range streams {
		namespace := fmt.Sprint("slow-", n)
		e.namespace(t, namespace)
		group.Go(func() error {
			for ctx.Err() == nil {
				if err := slow.create(ctx, client, nodePortService(namespace, "web", slowPorts, nil)); err != nil {
					return err
				}
			}
			return nil
		})
	}
	for n := range plain {
		if err := fast.create(t.Context(), client, nodePortService("plain", fmt.Sprint("web-", n), 1, nil)); err != nil {
			t.Fatal(err)
		}
	}
	stop()
	if err := group.Wait(); err != nil {
		t.Error(err)
	}
	t.Logf("%d of %d plain Services denied beside %d streams of slow ones: %s", len(fast.denied), plain, streams,
		fast.quantiles())
	t.Logf("slow Services: %d denied, %d admitted, %s", len(slow.denied), slow.admitted, slow.quantiles())
	for _, denial := range fast.denied {
		if !strings.Contains(denial, "no node ports") {
			t.Errorf("a plain Service is refused for another reason: %s", denial)
		}
	}
	if len(fast.denied) != plain {
		t.Errorf("%d of %d plain Services are denied", len(fast.denied), plain)
	}
	isFault := func(text string) bool { return strings.Contains(text, "policy-not-evaluated") }
	if !slices.ContainsFunc(slow.denied, isFault) {
		t.Errorf("no slow Service takes too long, so this proves little: %q", slow.denied)
	}
}

// testHundredPolicies creates Services at a steady rate, of which the last of a hundred policies refuses every second
// one.
func testHundredPolicies(t *testing.T, e *policyEnvironment, client kubernetes.Interface) {
	const policies, perSecond, requests = 100, 30, 360
	for n := range policies {
		name := fmt.Sprintf("team%02d", n)
		e.create(t, policyOf(name, v1alpha1.RegoModule{Name: name + ".rego", Module: fmt.Sprintf(`package sourceward.custom.%s

deny contains {"message": "no node ports for %[1]s"} if {
	input.object.spec.type == "NodePort"
	input.object.metadata.labels.team == "%[1]s"
}
`, name)}))
	}
	last := fmt.Sprintf("team%02d", policies-1)
	for n := range policies {
		e.condition(t, fmt.Sprintf("team%02d", n), v1alpha1.ConditionReady, v1alpha1.ReasonCompiled)
	}
	e.namespace(t, "teams")
	var forbidden, permitted answers
	limiter := rate.NewLimiter(perSecond, 1)
	var group errgroup.Group
	for n := range requests {
		if err := limiter.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		group.Go(func() error {
			name := fmt.Sprint("web-", n)
			if n%2 == 0 {
				return permitted.create(t.Context(), client, nodePortService("teams", name, 1, nil))
			}
			return forbidden.create(t.Context(), client, nodePortService("teams", name, 1, map[string]string{"team": last}))
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	t.Logf("forbidden: %d denied, %d admitted, %s", len(forbidden.denied), forbidden.admitted, forbidden.quantiles())
	t.Logf("permitted: %d denied, %d admitted, %s", len(permitted.denied), permitted.admitted, permitted.quantiles())
	if forbidden.admitted > 0 || len(permitted.denied) > 0 {
		t.Errorf("%d forbidden Services are admitted and %d permitted ones refused",
			forbidden.admitted, len(permitted.denied))
		for _, denial := range permitted.denied[:min(3, len(permitted.denied))] {
			t.Log(denial)
		}
	}
}
