package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"
	admissionv1 "k8s.io/api/admission/v1"
	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sourceward/sourceward/api/v1alpha1"
	"github.com/sourceward/sourceward/test/cluster"
	"github.com/sourceward/sourceward/test/sandbox"
)

// TestPolicies changes SourceIPPolicies on a real API server, with two replicas.
func TestPolicies(t *testing.T) {
	t.Parallel()
	e := newPolicyEnvironment(t, sandbox.Options{Replicas: 2})
	for _, test := range []struct {
		name string
		run  func(*testing.T, *policyEnvironment)
	}{
		{"the schema refuses", testSchema},
		{"the webhook refuses", testPolicyRefused},
		{"effect", testEffect},
		{"limits", testLimits},
		{"an alert for a policy that fails", testPolicyAlert},
		{"a former generation stays in force", testFormerGeneration},
		{"a replica starts later", testLaterReplica},
		{"the schema is older than the webhook", testOldSchema},
		{"forced past the webhook", testForcedPast},
		{"no Namespace matches", testNoNamespace},
		{"swap under load", testSwap},
		{"a change while no replica runs", testUnobserved}, // last, because it stops the replicas
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, e) })
	}
}

type policyEnvironment struct {
	*environment
	policies client.Client
}

func newPolicyEnvironment(t *testing.T, install sandbox.Options) *policyEnvironment {
	t.Helper()
	e := &policyEnvironment{environment: newEnvironment(t, cluster.Options{}, install)}
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	config := e.Config()
	config.QPS = -1 // no client-side rate limit
	var err error
	if e.policies, err = client.New(config, client.Options{Scheme: scheme}); err != nil {
		t.Fatal(err)
	}
	return e
}

// stamped returns a module that warns about Services with its version.
func stamped(name string, version int) v1alpha1.RegoModule {
	return v1alpha1.RegoModule{Name: name + ".rego", Module: fmt.Sprintf(`package sourceward.custom.%s

warn contains {"message": "version %d"} if input.object.kind == "Service"
`, name, version)}
}

func policyOf(name string, modules ...v1alpha1.RegoModule) *v1alpha1.SourceIPPolicy {
	return &v1alpha1.SourceIPPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       v1alpha1.SourceIPPolicySpec{Rego: modules},
	}
}

// create creates a policy, which is deleted at the end of the test.
func (e *policyEnvironment) create(t *testing.T, policy *v1alpha1.SourceIPPolicy) {
	t.Helper()
	if err := e.policies.Create(t.Context(), policy); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.policies.Delete(context.Background(), policy); client.IgnoreNotFound(err) != nil {
			t.Error(err)
		}
	})
}

// change updates the newest version of a policy.
func (e *policyEnvironment) change(ctx context.Context, name string, change func(*v1alpha1.SourceIPPolicy)) error {
	return retry.RetryOnConflict(retry.DefaultRetry, func() error {
		var policy v1alpha1.SourceIPPolicy
		if err := e.policies.Get(ctx, client.ObjectKey{Name: name}, &policy); err != nil {
			return err
		}
		change(&policy)
		return e.policies.Update(ctx, &policy)
	})
}

// withModules returns a change that replaces the modules of a policy.
func withModules(modules ...v1alpha1.RegoModule) func(*v1alpha1.SourceIPPolicy) {
	return func(policy *v1alpha1.SourceIPPolicy) { policy.Spec.Rego = modules }
}

// condition waits until a condition of a policy has a reason for its newest generation, and returns its message.
func (e *policyEnvironment) condition(t *testing.T, name, kind, reason string) (message string) {
	t.Helper()
	e.eventually(t, fmt.Sprintf("%s is %s: %s", name, kind, reason), func() (bool, string) {
		var policy v1alpha1.SourceIPPolicy
		if err := e.policies.Get(t.Context(), client.ObjectKey{Name: name}, &policy); err != nil {
			return false, err.Error()
		}
		c := meta.FindStatusCondition(policy.Status.Conditions, kind)
		if c == nil || c.Reason != reason || c.ObservedGeneration != policy.Generation {
			return false, fmt.Sprintf("%+v", policy.Status)
		}
		message = c.Message
		return true, ""
	})
	return message
}

// warningsOf sends a review of a Service to one replica, and returns the warnings.
func warningsOf(ctx context.Context, to *http.Client, replica *sandbox.Replica) ([]string, error) {
	body := admissionReview("", "Service", "CREATE", `{"metadata":{"name":"web"},"spec":{"type":"LoadBalancer"}}`)
	request, err := http.NewRequestWithContext(
		ctx,
		http.MethodPost,
		"https://"+replica.Address+"/validate",
		strings.NewReader(body),
	)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := to.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close() //nolint:errcheck // it was only read
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, err
	}
	var review admissionv1.AdmissionReview
	if err := json.Unmarshal(text, &review); err != nil || response.StatusCode != http.StatusOK || review.Response == nil {
		return nil, fmt.Errorf("the response is %d %s (%w)", response.StatusCode, text, err)
	}
	return review.Response.Warnings, nil
}

// untilSaid waits until each replica gives exactly these warnings.
func (e *policyEnvironment) untilSaid(t *testing.T, want ...string) {
	t.Helper()
	for _, replica := range e.Replicas {
		to := replica.Client()
		e.eventually(t, fmt.Sprintf("the replica warns %q", want), func() (bool, string) {
			said, err := warningsOf(t.Context(), to, replica)
			if err != nil {
				return false, err.Error()
			}
			return slices.Equal(said, want), fmt.Sprintf("%q", said)
		})
	}
}

func testSchema(t *testing.T, e *policyEnvironment) {
	for name, test := range map[string]struct{ spec, want string }{
		"Mutate for a rule without repair": {
			`{rules: [{id: local-on-cluster-ip, mode: Mutate}]}`,
			"this rule cannot be repaired at admission; use Off, Audit, Warn or Deny",
		},
		"the mode of policy-not-evaluated": {
			`{rules: [{id: policy-not-evaluated, mode: Warn}]}`,
			"the mode of policy-not-evaluated is spec.evaluationFailure; set that",
		},
		"an unknown mode": {
			`{rules: [{id: local-on-cluster-ip, mode: Refuse}]}`,
			`supported values: "Off", "Audit", "Warn", "Deny", "Mutate"`,
		},
		"a rule twice": {
			`{rules: [{id: local-on-cluster-ip, mode: Deny}, {id: local-on-cluster-ip, mode: Warn}]}`,
			"Duplicate value",
		},
		"an invalid name of a Namespace": {
			`{match: {excludeNamespaces: [Kube_System]}}`,
			"spec.match.excludeNamespaces[0]",
		},
		"a skew below one": {
			`{spread: {maxSkew: 0}}`,
			"should be greater than or equal to 1",
		},
		"parameters that are a list": {
			`{parameters: [1]}`,
			"spec.parameters",
		},
		"too many modules": {
			`{rego: [` + strings.Repeat(`{name: a, module: b},`, 33) + `]}`,
			"must have at most 32 items",
		},
		"a module that is too long": {
			`{rego: [{name: a, module: ` + strings.Repeat("a", 128<<10+1) + `}]}`,
			"may not be more than 131072",
		},
		"too many load balancer classes": {
			`{loadBalancers: {classes: {` + classes(257) + `}}}`,
			"must have at most 256 items",
		},
	} {
		t.Run(name, func(t *testing.T) {
			a := e.kubectl(
				t,
				"{apiVersion: sourceward.dev/v1alpha1, kind: SourceIPPolicy, metadata: {name: refused}, spec: "+test.spec+"}",
				"create",
				"--dry-run=server",
				"-f",
				"-",
			)
			if a.code == 0 || !strings.Contains(a.stderr, test.want) || strings.Contains(a.stderr, "sourceward.dev denied") {
				t.Errorf("got %d %s, want …%s… from the API server itself", a.code, a.stderr, test.want)
			}
		})
	}
	t.Run("defaults and columns", func(t *testing.T) {
		e.create(t, policyOf("plain"))
		e.condition(t, "plain", v1alpha1.ConditionReady, v1alpha1.ReasonCompiled)
		got := strings.Fields(e.must(t, "", "get", "sip", "plain", "--no-headers").stdout)
		if want := []string{"plain", "0", "True", "Compiled", "1", "1"}; len(got) != 7 || !slices.Equal(got[:6], want) {
			t.Errorf("kubectl get sip shows %q, want %q and an age", got, want)
		}
		var policy v1alpha1.SourceIPPolicy
		if err := e.policies.Get(t.Context(), client.ObjectKey{Name: "plain"}, &policy); err != nil {
			t.Fatal(err)
		}
		if policy.Spec.EvaluationFailure != "" || policy.Spec.ExistingViolations != v1alpha1.ExistingWarn {
			t.Errorf("evaluationFailure is %q, and existingViolations %q; want none, and the default Warn",
				policy.Spec.EvaluationFailure, policy.Spec.ExistingViolations)
		}
	})
}

func classes(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "example.com/c%d: metallb-l2,", i)
	}
	return b.String()
}

// testPolicyRefused checks the whole message that the author of a broken policy gets.
func testPolicyRefused(t *testing.T, e *policyEnvironment) {
	const manifest = `
apiVersion: sourceward.dev/v1alpha1
kind: SourceIPPolicy
metadata: {name: broken}
spec:
  rego:
    - name: corp.rego
      module: |
        package sourceward.custom.corp

        %s
`
	const from = `Error from server (Forbidden): error when creating "STDIN": admission webhook ` +
		`"policies.validate.sourceward.dev" denied the request: SourceIPPolicy broken: `
	const remove = "remove it: modules cannot use functions that reach outside, depend on time or chance, " +
		"read keys or code, or make huge results from small arguments"
	for name, test := range map[string]struct{ line, want string }{
		"a misspelt field": {
			`deny contains {"message": "no"} if input.objcet.kind == "Service"`,
			`corp.rego:3:36: undefined ref: input.objcet.kind; ` +
				`want one of cluster, facts, namespace, object, old, operation, parameters, related
  3 | deny contains {"message": "no"} if input.objcet.kind == "Service"
    |                                    ^
`,
		},
		"a call over the network": {
			`deny contains {"message": "no"} if http.send({"method": "GET", "url": "http://example.com"}).status_code == 200`,
			`corp.rego:3:36: undefined function http.send; ` + remove + `
  3 | deny contains {"message": "no"} if http.send({"method": "GET", "url": "http://example.com"}).status_code == 200
    |                                    ^
`,
		},
		"a function that reads the clock": {
			`deny contains {"message": "no"} if time.now_ns() > 0`,
			`corp.rego:3:36: undefined function time.now_ns; ` + remove + `
  3 | deny contains {"message": "no"} if time.now_ns() > 0
    |                                    ^
`,
		},
		"a schema that refers to itself, which would end the process": {
			`# METADATA
        # schemas: [{input: {"$ref": "#"}}]
        deny contains {"message": "no"} if true`,
			`corp.rego:4:3: METADATA must not have schemas; remove it: input always has the schema of Sourceward
  4 | # schemas: [{input: {"$ref": "#"}}]
    |   ^
`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			a := e.kubectl(t, fmt.Sprintf(manifest, test.line), "create", "-f", "-")
			if a.code == 0 || a.stderr != from+test.want {
				t.Errorf("got %d\n%s\nwant\n%s", a.code, a.stderr, from+test.want)
			}
		})
	}
}

// doubled returns a module on which OPA's compiler does not end, which cannot be stopped: each of 30 variables has a
// type that holds the type of the former twice.
func doubled() v1alpha1.RegoModule {
	var lines strings.Builder
	for n := 1; n <= 30; n++ {
		fmt.Fprintf(&lines, "\ta%d := [a%[2]d, a%[2]d]\n", n, n-1)
	}
	return v1alpha1.RegoModule{Name: "doubled.rego", Module: fmt.Sprintf(`package sourceward.custom.doubled

deny contains {"message": "no"} if {
	a0 := input.object.kind
%s	a30 == 1
}
`, lines.String())}
}

// testEffect measures the time from a change of a policy until every replica decides by it.
func testEffect(t *testing.T, e *policyEnvironment) {
	const changes = 20
	e.create(t, policyOf("stamp", stamped("stamp", 0)))
	e.untilSaid(t, "stamp: version 0")
	var took []time.Duration
	for i := 1; i <= changes; i++ {
		start := time.Now()
		if err := e.change(t.Context(), "stamp", withModules(stamped("stamp", i))); err != nil {
			t.Fatal(err)
		}
		e.untilSaid(t, fmt.Sprintf("stamp: version %d", i))
		took = append(took, time.Since(start).Round(time.Millisecond))
	}
	slices.Sort(took)
	t.Logf(
		"from the change of a policy until both replicas decide by it, %d changes: median %s, longest %s",
		changes,
		took[changes/2],
		took[changes-1],
	)
	e.condition(t, "stamp", v1alpha1.ConditionReady, v1alpha1.ReasonCompiled)
}

// testLimits runs policies that reach a limit or fail, each with each evaluationFailure. They do not affect a second
// policy and the built-in rules.
func testLimits(t *testing.T, e *policyEnvironment) {
	e.create(t, policyOf("beside", stamped("beside", 1)))
	failing := map[string]struct{ rules, want string }{
		"endless": {
			`deny contains {"message": "no"} if count([x | some x in numbers.range(1, 1000000000)]) > 1`,
			"endless.deny: endless.rego:3: eval_builtin_error: numbers.range: with this result the evaluation would build " +
				"more than 32 MiB; build shorter texts and lists",
		},
		"nested": {
			`deny contains {"message": "no"} if count([1 | terms := numbers.range(1, 1000); ` +
				`some x in terms; some y in terms; some z in terms; x * y * z < 0]) > 1`,
			"nested.deny: the evaluation was stopped: the evaluation took longer than ", // 250 ms, or less on a busy machine
		},
		"division": {
			`deny contains {"message": "no"} if 1 / (count(input.object.spec.ports) - 1) > 1`,
			"division.deny: division.rego:3: eval_builtin_error: div: divide by zero",
		},
		"shape": {
			`deny contains {"massage": "no"}`,
			`shape.deny: unknown key massage: gave {"massage":"no"}; want an object with message, path, fix`,
		},
		"many": {
			`warn contains {"message": sprintf("%d", [x])} if some x in numbers.range(1, 101)`,
			"many.warn: the set has 101 members; want at most 100",
		},
	}
	for name, test := range failing {
		for _, failure := range v1alpha1.EvaluationFailures {
			t.Run(name+"/"+string(failure), func(t *testing.T) {
				policy := policyOf(
					name,
					v1alpha1.RegoModule{
						Name:   name + ".rego",
						Module: "package sourceward.custom." + name + "\n\n" + test.rules + "\n",
					},
				)
				policy.Spec.Match = &v1alpha1.Match{
					ObjectSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"limits": name}},
				}
				policy.Spec.EvaluationFailure = failure
				e.create(t, policy)
				e.condition(t, name, v1alpha1.ConditionReady, v1alpha1.ReasonCompiled)
				want := "SourceIPPolicy " + name + " not evaluated: " + test.want
				sample := fmt.Sprintf(`sourceward_policy_failures_total{policy="%s"}`, name)
				manifest := fmt.Sprintf(
					"{apiVersion: v1, kind: Service, metadata: {name: limits, labels: {limits: %s}, "+
						"annotations: {sourceward.dev/source-ip: bogus}}, spec: {type: LoadBalancer, ports: [{port: 80}]}}",
					name,
				)
				denied := "policy-not-evaluated: Service default/limits: " + want
				warned := cutTo("policy-not-evaluated: " + want)
				var shown bool
				var got string
				// On a busy machine, any evaluation may run out of time; the request is then repeated.
				e.eventually(t, "kubectl shows "+want, func() (bool, string) {
					before, start := e.sum(t, sample), time.Now()
					a := e.kubectl(t, manifest, "create", "--dry-run=server", "-f", "-")
					took, counted := time.Since(start), e.sum(t, sample)-before
					switch failure {
					case v1alpha1.FailureDeny:
						shown = a.code != 0 && strings.Contains(a.stderr, denied)
					case v1alpha1.FailureWarn:
						shown = a.code == 0 && strings.Contains(a.stderr, warned)
					case v1alpha1.FailureIgnore:
						shown = a.code == 0 && !strings.Contains(a.stderr, "policy-not-evaluated")
					}
					// The findings of the other rules are in the same response, and each endpoint counts a failure.
					shown = shown && counted == 2 && strings.Contains(a.stderr, "beside: version 1") &&
						strings.Contains(a.stderr, "source-ip-needs-local")
					got = fmt.Sprintf("exit code %d after %s, %v failures are counted: %s", a.code,
						took.Round(time.Millisecond), counted, a.stderr)
					return shown || !strings.Contains(a.stderr, "took longer than"), got
				})
				if !shown {
					t.Errorf("got %s; want %s, the findings of other rules, and one failure for each endpoint", got, want)
				}
			})
		}
	}
	t.Run("a denial of 1 MiB", func(t *testing.T) {
		policy := policyOf("message", v1alpha1.RegoModule{Name: "message.rego", Module: `package sourceward.custom.message

deny contains {"message": concat("", [part | some _ in numbers.range(1, 64)])}

part := concat("", ["0123456789abcdef" | some _ in numbers.range(1, 1024)])
`})
		policy.Spec.Match = &v1alpha1.Match{
			ObjectSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"limits": "message"}},
		}
		e.create(t, policy)
		e.condition(t, "message", v1alpha1.ConditionReady, v1alpha1.ReasonCompiled)
		a := e.kubectl(
			t,
			"{apiVersion: v1, kind: Service, metadata: {name: limits, labels: {limits: message}}, "+
				"spec: {type: LoadBalancer, ports: [{port: 80}]}}",
			"create",
			"--dry-run=server",
			"-f",
			"-",
		)
		if a.code == 0 || !strings.Contains(a.stderr, "message: Service default/limits: 0123456789abcdef") ||
			len(a.stderr) > 2000 ||
			!strings.Contains(a.stderr, "…") {
			t.Errorf("got %d and %d bytes %.300s, want a shortened denial", a.code, len(a.stderr), a.stderr)
		}
	})
	for i, replica := range e.Replicas {
		t.Logf("replica %d: at most %d MiB of memory", i+1, peakMemory(t, replica.PID())>>20)
	}
}

// cutTo returns the beginning of a text, which is in one line of a warning even if all of it is not.
func cutTo(line string) string { return line[:min(len(line), 90)] }

// sum returns the sum of a sample over all replicas.
func (e *policyEnvironment) sum(t *testing.T, sample string) float64 {
	t.Helper()
	sum := 0.0
	for _, replica := range e.Replicas {
		sum += metric(t, replica, sample)
	}
	return sum
}

// brokenModule does not compile.
var brokenModule = v1alpha1.RegoModule{
	Name:   "stamp.rego",
	Module: "package sourceward.custom.stamp\n\nwarn contains {\"message\": input.objcet.kind}\n",
}

const whyBroken = "SourceIPPolicy %s: stamp.rego:3:27: undefined ref: input.objcet.kind; " +
	"want one of cluster, facts, namespace, object, old, operation, parameters, related\n" +
	"  3 | warn contains {\"message\": input.objcet.kind}\n    |                           ^"

// testFormerGeneration stores a broken change of a policy, unseen by /validate-policy, while the replicas run.
func testFormerGeneration(t *testing.T, e *policyEnvironment) {
	e.create(t, policyOf("beside", stamped("beside", 1)))
	e.create(t, policyOf("stamp", stamped("stamp", 1)))
	e.untilSaid(t, "beside: version 1", "stamp: version 1")
	m := newMonitor(t, e.environment)
	e.withoutPolicyWebhook(t, func() {
		e.eventually(t, "a broken policy is admitted", func() (bool, string) {
			err := e.change(t.Context(), "stamp", withModules(brokenModule))
			return err == nil, fmt.Sprint(err)
		})
	})
	got := e.condition(t, "stamp", v1alpha1.ConditionDegraded, v1alpha1.ReasonFormerInForce)
	if want := "generation 2 does not compile: generation 1 is in force"; got != want {
		t.Errorf("condition Degraded says %q, want %q", got, want)
	}
	got = e.condition(t, "stamp", v1alpha1.ConditionReady, v1alpha1.ReasonCompileFailed)
	if want := fmt.Sprintf(whyBroken, "stamp"); got != want {
		t.Errorf("condition Ready says\n%s\nwant\n%s", got, want)
	}
	e.untilSaid(t, "beside: version 1", "stamp: version 1")
	for _, replica := range e.Replicas { // one of them has written the conditions, and the others may be later
		e.eventually(t, "one policy is stale", func() (bool, string) {
			stale := metric(t, replica, `sourceward_policies{state="stale"}`)
			return stale == 1, fmt.Sprintf("%v policies are stale, want 1", stale)
		})
	}
	m.fires(t, "SourcewardPolicyNotReady")
	e.event(t, "stamp", v1alpha1.ReasonFormerInForce)

	if err := e.change(t.Context(), "stamp", withModules(stamped("stamp", 3))); err != nil {
		t.Fatal(err)
	}
	e.untilSaid(t, "beside: version 1", "stamp: version 3")
	e.condition(t, "stamp", v1alpha1.ConditionReady, v1alpha1.ReasonCompiled)
	e.condition(t, "stamp", v1alpha1.ConditionDegraded, v1alpha1.ReasonCompiled)
	e.event(t, "stamp", v1alpha1.ReasonCompiled)
}

// testLaterReplica restarts replicas while the newest generation of a policy does not compile: it was stored while they
// ran, and then while none ran. Each has the same generation in force as the others.
func testLaterReplica(t *testing.T, e *policyEnvironment) {
	denying := func(version int) v1alpha1.RegoModule {
		module := stamped("stamp", version)
		module.Module += fmt.Sprintf("\ndeny contains {\"message\": \"denied by version %d\"} if "+
			"input.object.metadata.name == \"forbidden\"\n", version)
		return module
	}
	restart := func(between func(), replicas ...*sandbox.Replica) {
		t.Helper()
		for _, replica := range replicas {
			if err := replica.StopReplica(); err != nil {
				t.Fatal(err)
			}
		}
		between()
		for _, replica := range replicas {
			if err := e.StartReplica(t.Context(), replica); err != nil {
				t.Fatal(err)
			}
		}
	}
	inForce := func(version int, says string) {
		t.Helper()
		e.untilSaid(t, "beside: version 1", fmt.Sprintf("stamp: version %d", version))
		if got := e.condition(t, "stamp", v1alpha1.ConditionDegraded, v1alpha1.ReasonFormerInForce); got != says {
			t.Errorf("condition Degraded says %q, want %q", got, says)
		}
		if stale := e.sum(t, `sourceward_policies{state="stale"}`); stale != float64(len(e.Replicas)) {
			t.Errorf("%v policies are stale, want one in each replica", stale)
		}
		want := fmt.Sprintf("stamp: Service default/forbidden: denied by version %d", version)
		e.eventually(t, "the API server is answered "+want, func() (bool, string) {
			a := e.kubectl(t, service("default", "forbidden", local("web")), "create", "--dry-run=server", "-f", "-")
			return a.code != 0 && strings.Contains(a.stderr, want), a.stderr
		})
	}
	e.create(t, policyOf("beside", stamped("beside", 1)))
	e.create(t, policyOf("stamp", denying(1)))
	e.untilSaid(t, "beside: version 1", "stamp: version 1")
	e.condition(t, "stamp", v1alpha1.ConditionReady, v1alpha1.ReasonCompiled)
	e.withoutPolicyWebhook(t, func() {
		e.eventually(t, "a broken policy is admitted", func() (bool, string) {
			err := e.change(t.Context(), "stamp", withModules(brokenModule))
			return err == nil, fmt.Sprint(err)
		})
	})
	inForce(1, "generation 2 does not compile: generation 1 is in force")
	// The first replica is the one that the API server asks about Services.
	restart(func() {}, e.Replicas[0])
	inForce(1, "generation 2 does not compile: generation 1 is in force")

	restart(func() {
		stillBroken := func(policy *v1alpha1.SourceIPPolicy) { policy.Spec.Priority = 7 }
		if err := e.change(t.Context(), "stamp", stillBroken); err != nil {
			t.Fatal(err)
		}
	}, e.Replicas...)
	inForce(1, "generation 3 does not compile: generation 1 is in force")

	if err := e.change(t.Context(), "stamp", withModules(denying(4))); err != nil {
		t.Fatal(err)
	}
	e.untilSaid(t, "beside: version 1", "stamp: version 4")
	e.condition(t, "stamp", v1alpha1.ConditionReady, v1alpha1.ReasonCompiled)
	restart(func() {
		if err := e.change(t.Context(), "stamp", withModules(brokenModule)); err != nil {
			t.Fatal(err)
		}
	}, e.Replicas...)
	inForce(4, "generation 5 does not compile: generation 4 is in force")

	// A policy that is created again under the same name has nothing of the former one.
	restart(func() {
		if err := e.policies.Delete(t.Context(), policyOf("stamp")); err != nil {
			t.Fatal(err)
		}
		e.create(t, policyOf("stamp", brokenModule))
	}, e.Replicas[0])
	e.untilSaid(t, "beside: version 1")
	e.condition(t, "stamp", v1alpha1.ConditionDegraded, v1alpha1.ReasonNotInForce)
}

// testOldSchema runs the webhook with a schema that does not have lastCompiled, as after an upgrade of the Deployment
// alone. The API server ignores the field, and only the log can say so.
func testOldSchema(t *testing.T, e *policyEnvironment) {
	const missing = "apply config/crd of this version of Sourceward"
	schema, err := os.ReadFile("../../config/crd/bases/sourceward.dev_sourceippolicies.yaml")
	if err != nil {
		t.Fatal(err)
	}
	upgrade := func() { e.must(t, string(schema), "apply", "--server-side", "--force-conflicts", "-f", "-") }
	defer upgrade() // also if the test fails
	lastCompiled := func(want int64) {
		t.Helper()
		e.eventually(t, fmt.Sprintf("lastCompiled is generation %d", want), func() (bool, string) {
			var policy v1alpha1.SourceIPPolicy
			if err := e.policies.Get(t.Context(), client.ObjectKey{Name: "stamp"}, &policy); err != nil {
				return false, err.Error()
			}
			got := policy.Status.LastCompiled
			return want == 0 && got == nil || got != nil && got.Generation == want, fmt.Sprintf("%+v", policy.Status)
		})
	}
	warned := func() int {
		lines := 0
		for _, replica := range e.Replicas {
			log, err := replica.Log()
			if err != nil {
				t.Fatal(err)
			}
			lines += strings.Count(string(log), missing)
		}
		return lines
	}
	e.create(t, policyOf("stamp", stamped("stamp", 1)))
	e.untilSaid(t, "stamp: version 1")
	lastCompiled(1)
	if n := warned(); n > 0 {
		t.Fatalf("the log says %d times that the schema is too old", n)
	}
	e.must(t, "", "patch", "crd", "sourceippolicies.sourceward.dev", "--type=json", "--patch",
		`[{"op": "remove", "path": "/spec/versions/0/schema/openAPIV3Schema/properties/status/properties/lastCompiled"}]`)
	lastCompiled(0)
	e.eventually(t, "the policy is changed", func() (bool, string) {
		err := e.change(t.Context(), "stamp", withModules(stamped("stamp", 2)))
		return err == nil, fmt.Sprint(err)
	})
	e.untilSaid(t, "stamp: version 2")
	e.condition(t, "stamp", v1alpha1.ConditionReady, v1alpha1.ReasonCompiled)
	e.eventually(t, "the log says what to do", func() (bool, string) { return warned() > 0, "it does not" })
	upgrade()
	lastCompiled(2)
}

// withoutPolicyWebhook calls run while the API server does not call /validate-policy.
func (e *policyEnvironment) withoutPolicyWebhook(t *testing.T, run func()) {
	t.Helper()
	configurations := e.client.AdmissionregistrationV1().ValidatingWebhookConfigurations()
	only := func(operations string) {
		patch := fmt.Sprintf(
			`{"webhooks":[{"name":"policies.validate.sourceward.dev","rules":[{"apiGroups":["sourceward.dev"],`+
				`"apiVersions":["v1alpha1"],"operations":[%s],"resources":["sourceippolicies"]}]}]}`,
			operations,
		)
		_, err := configurations.Patch(
			t.Context(), "sourceward", types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{},
		)
		if err != nil {
			t.Fatal(err)
		}
	}
	only(`"DELETE"`)
	run()
	only(`"CREATE","UPDATE"`)
	e.eventually(t, "/validate-policy is called again", func() (bool, string) {
		err := e.policies.Create(t.Context(), policyOf("until-called", brokenModule), client.DryRunAll)
		return err != nil, "a broken policy is admitted"
	})
}

// event waits for an Event about a policy.
func (e *policyEnvironment) event(t *testing.T, policy, reason string) {
	t.Helper()
	kubernetesClient, err := kubernetes.NewForConfig(e.Config())
	if err != nil {
		t.Fatal(err)
	}
	e.eventually(t, "there is an Event "+reason, func() (bool, string) {
		list, err := kubernetesClient.EventsV1().Events(metav1.NamespaceDefault).List(t.Context(), metav1.ListOptions{})
		if err != nil {
			return false, err.Error()
		}
		var reasons []string
		found := slices.ContainsFunc(list.Items, func(event eventsv1.Event) bool {
			reasons = append(reasons, event.Regarding.Name+" "+event.Reason)
			return event.Regarding.Kind == v1alpha1.Kind && event.Regarding.Name == policy && event.Reason == reason
		})
		return found, fmt.Sprint(reasons)
	})
}

// testForcedPast stores policies while no replica runs: one that is broken, and one that would end the process if it
// were compiled.
func testForcedPast(t *testing.T, e *policyEnvironment) {
	e.create(t, policyOf("beside", stamped("beside", 1)))
	e.untilSaid(t, "beside: version 1")
	const tooLong = "compiling the modules takes " // more than 3 s or 256 MiB, whichever comes first
	start := time.Now()
	err := e.policies.Create(t.Context(), policyOf("doubled", doubled()))
	if err == nil || !strings.Contains(err.Error(), tooLong) {
		t.Errorf("a policy on which the compiler does not end is answered with %v, want %q", err, tooLong)
	}
	t.Logf("a policy on which the compiler does not end is refused after %.1f s", time.Since(start).Seconds())
	for _, replica := range e.Replicas {
		if err := replica.StopReplica(); err != nil {
			t.Fatal(err)
		}
	}
	e.create(t, policyOf("forced", brokenModule))
	e.create(t, policyOf("endless", v1alpha1.RegoModule{Name: "endless.rego", Module: `# METADATA
# schemas:
#   - input: {"$ref": "#"}
package sourceward.custom.endless

deny contains {"message": "no"} if true
`}))
	e.create(t, policyOf("doubled", doubled()))
	for _, replica := range e.Replicas {
		if err := e.StartReplica(t.Context(), replica); err != nil {
			t.Fatal(err)
		}
	}
	e.condition(t, "doubled", v1alpha1.ConditionDegraded, v1alpha1.ReasonNotInForce)
	got := e.condition(t, "doubled", v1alpha1.ConditionReady, v1alpha1.ReasonCompileFailed)
	if !strings.Contains(got, tooLong) {
		t.Errorf("condition Ready says %q, want %q", got, tooLong)
	}
	got = e.condition(t, "forced", v1alpha1.ConditionReady, v1alpha1.ReasonCompileFailed)
	if want := fmt.Sprintf(whyBroken, "forced"); got != want {
		t.Errorf("condition Ready says\n%s\nwant\n%s", got, want)
	}
	e.condition(t, "forced", v1alpha1.ConditionDegraded, v1alpha1.ReasonNotInForce)
	e.condition(t, "endless", v1alpha1.ConditionDegraded, v1alpha1.ReasonNotInForce)
	e.untilSaid(t, "beside: version 1")
	for _, replica := range e.Replicas {
		peak := peakMemory(t, replica.PID())
		t.Logf("a replica took %d MiB at most", peak>>20)
		if peak >= 128<<20 {
			t.Errorf("a replica took %d MiB, want less than 128", peak>>20)
		}
	}
	// Its labels can still be changed, since that makes it no worse.
	label := func(p *v1alpha1.SourceIPPolicy) { p.Labels = map[string]string{"team": "edge"} }
	if err := e.change(t.Context(), "forced", label); err != nil {
		t.Error(err)
	}
	if err := e.change(t.Context(), "forced", withModules(stamped("stamp", 2))); err != nil {
		t.Fatal(err)
	}
	e.untilSaid(t, "beside: version 1", "stamp: version 2")
	e.condition(t, "forced", v1alpha1.ConditionDegraded, v1alpha1.ReasonCompiled)
}

// testNoNamespace checks that a policy that matches no Namespace says so for as long as that is true.
func testNoNamespace(t *testing.T, e *policyEnvironment) {
	const manifest = `{apiVersion: sourceward.dev/v1alpha1, kind: SourceIPPolicy, metadata: {name: early}, spec: ` +
		`{match: {namespaceSelector: {matchLabels: {team: early}}}}}`
	const (
		warning = "Warning: spec.match selects no existing Namespace, so the policy has no effect until one matches\n"
		idle    = "generation 1 is in force, but spec.match selects no existing Namespace: it has no effect until one matches"
		inForce = "generation 1 is in force"
	)
	if got := e.must(t, manifest, "create", "-f", "-").stderr; got != warning {
		t.Errorf("kubectl create shows %q, want %q", got, warning)
	}
	says := func(when, want string) {
		t.Helper()
		e.eventually(t, fmt.Sprintf("the status says %q %s", want, when), func() (bool, string) {
			var policy v1alpha1.SourceIPPolicy
			if err := e.policies.Get(t.Context(), client.ObjectKey{Name: "early"}, &policy); err != nil {
				return false, err.Error()
			}
			ready := meta.FindStatusCondition(policy.Status.Conditions, v1alpha1.ConditionReady)
			return ready != nil && ready.Status == metav1.ConditionTrue && ready.Message == want, fmt.Sprintf("%+v", ready)
		})
	}
	says("before there is a Namespace", idle)
	e.must(t, "{apiVersion: v1, kind: Namespace, metadata: {name: early, labels: {team: early}}}", "create", "-f", "-")
	says("when the Namespace was created", inForce)
	e.must(t, "", "label", "namespace", "early", "team-")
	says("when its label was removed", idle)
	e.must(t, "", "label", "namespace", "early", "team=early")
	says("when its label is back", inForce)
	if got := e.must(t, manifest, "delete", "-f", "-").stderr; got != "" {
		t.Errorf("kubectl delete shows %q", got)
	}
}

// testUnobserved checks that kubectl get shows that nothing has looked at the newest generation. It shows both
// generations, since a column cannot compare them: JSONPath has no way back from a condition to the metadata.
func testUnobserved(t *testing.T, e *policyEnvironment) {
	e.create(t, policyOf("plain"))
	e.condition(t, "plain", v1alpha1.ConditionReady, v1alpha1.ReasonCompiled)
	for _, replica := range e.Replicas {
		if err := replica.StopReplica(); err != nil {
			t.Fatal(err)
		}
	}
	if err := e.change(t.Context(), "plain", func(p *v1alpha1.SourceIPPolicy) { p.Spec.Priority = 7 }); err != nil {
		t.Fatal(err)
	}
	got := strings.Fields(e.must(t, "", "get", "sip", "plain", "--no-headers").stdout)
	if want := []string{"plain", "7", "True", "Compiled", "2", "1"}; len(got) != 7 || !slices.Equal(got[:6], want) {
		t.Errorf("kubectl get sip shows %q, want %q and an age", got, want)
	}
}

// testSwap changes a policy of two modules while the replicas answer requests. A response with two versions, or without
// one of the modules, would come from a half-loaded set; a response with an older version than the one before, from a
// set that should be gone.
func testSwap(t *testing.T, e *policyEnvironment) {
	const swaps, warmUp, perSecond = 50, 10, 200
	e.create(t, policyOf("beside", stamped("beside", 1)))
	version := 0
	e.create(t, policyOf("stamp", stamped("a", version), stamped("b", version)))
	e.untilSaid(t, "a: version 0", "b: version 0", "beside: version 1")

	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	group, ctx := errgroup.WithContext(ctx)
	limiter := rate.NewLimiter(perSecond, 1)
	var answered, outOfTime atomic.Int64
	var seen sync.Map         // the versions in responses
	var inFlight sync.RWMutex // read-locked by each request; locked to measure the replicas while there is none
	for i := range 8 {
		replica := e.Replicas[i%len(e.Replicas)]
		to := replica.Client()
		group.Go(func() error {
			last := -1
			for limiter.Wait(ctx) == nil {
				inFlight.RLock()
				said, err := warningsOf(context.WithoutCancel(ctx), to, replica)
				inFlight.RUnlock()
				if err != nil {
					return err
				}
				if isNotEvaluated(said) {
					outOfTime.Add(1)
					continue
				}
				var a, b int
				if len(said) != 3 || said[2] != "beside: version 1" {
					return fmt.Errorf("the warnings are %q", said)
				}
				_, err1 := fmt.Sscanf(said[0], "a: version %d", &a)
				_, err2 := fmt.Sscanf(said[1], "b: version %d", &b)
				if errors.Join(err1, err2) != nil || a != b || a < last {
					return fmt.Errorf("the warnings are %q after version %d", said, last)
				}
				last = a
				seen.Store(a, true)
				answered.Add(1)
			}
			return nil
		})
	}
	swap := func(times int) {
		for range times {
			version++
			next := withModules(stamped("a", version), stamped("b", version))
			if err := e.change(t.Context(), "stamp", next); err != nil {
				t.Fatal(err)
			}
		}
		last := fmt.Sprintf("version %d", version)
		e.untilSaid(t, "a: "+last, "b: "+last, "beside: version 1")
		e.condition(t, "stamp", v1alpha1.ConditionReady, v1alpha1.ReasonCompiled)
	}
	footprints := func() []footprint {
		inFlight.Lock()
		defer inFlight.Unlock()
		return e.footprints(t)
	}
	swap(warmUp)
	before := footprints()
	start, answeredBefore := time.Now(), answered.Load()
	swap(swaps)
	took, answeredAfter := time.Since(start), answered.Load()
	after := footprints()
	stop()
	if err := group.Wait(); err != nil {
		t.Error(err)
	}
	versions := 0
	for version := range seen.Range {
		if version.(int) > warmUp {
			versions++
		}
	}
	t.Logf("%d swaps in %s, responses by %d of them, %.0f requests/s, %d evaluations out of time", swaps,
		took.Round(time.Millisecond), versions, float64(answeredAfter-answeredBefore)/took.Seconds(), outOfTime.Load())
	// Changes that arrive together count as one swap. If most of them did, the test would prove little.
	if versions < swaps/4 {
		t.Errorf("there are responses by %d of %d versions", versions, swaps)
	}
	for i := range before {
		t.Logf("replica %d: next collection at %.1f MiB before, %.1f MiB after; goroutines %.0f and %.0f",
			i+1, before[i].heap/(1<<20), after[i].heap/(1<<20), before[i].goroutines, after[i].goroutines)
		// Sets that are never freed would take several times the heap. By chance it differs by a tenth.
		if after[i].heap > 1.25*before[i].heap || after[i].goroutines > 1.1*before[i].goroutines {
			t.Errorf("replica %d has grown by more than a quarter, or its goroutines by more than a tenth", i+1)
		}
	}
}

// footprint is the size of a process. heap is the size of the heap at which the next garbage collection starts, which
// Go derives from what was alive at the last one, so that it does not depend on the time of the measurement.
type footprint struct{ heap, goroutines float64 }

// footprints returns the smallest footprint of each replica over some garbage collections, while it answers no other
// requests. Most of the requests that it sends make little garbage: what is allocated during a collection counts as
// alive, by chance more or less of it.
func (e *policyEnvironment) footprints(t *testing.T) []footprint {
	t.Helper()
	const collections, questions = 6, 1000
	prints := make([]footprint, len(e.Replicas))
	for i, replica := range e.Replicas {
		first := metric(t, replica, "go_gc_duration_seconds_count")
		e.eventually(t, "garbage was collected", func() (bool, string) {
			for range questions {
				if err := replica.Ready(t.Context()); err != nil {
					return false, err.Error()
				}
			}
			heap, goroutines := metric(t, replica, "go_memstats_next_gc_bytes"), metric(t, replica, "go_goroutines")
			if p := &prints[i]; p.heap == 0 || heap < p.heap {
				p.heap = heap
			}
			if p := &prints[i]; p.goroutines == 0 || goroutines < p.goroutines {
				p.goroutines = goroutines
			}
			now := metric(t, replica, "go_gc_duration_seconds_count")
			return now >= first+collections, fmt.Sprint(now-first, " collections")
		})
	}
	return prints
}

// TestWithoutCRD starts the webhook on a cluster that has no CRD of ours. Its last words say what to do.
func TestWithoutCRD(t *testing.T) {
	t.Parallel()
	c := startCluster(t, cluster.Options{})
	binary, err := webhookBinary()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, "--kubeconfig="+c.Kubeconfig(), "--bind-address=127.0.0.1:0",
		"--metrics-bind-address=0", "--health-probe-bind-address=127.0.0.1:0")
	out, err := cmd.CombinedOutput()
	if _, ended := errors.AsType[*exec.ExitError](err); !ended || cmd.ProcessState.ExitCode() != 1 {
		t.Errorf("the webhook ended with %v, want exit code 1", err)
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	if last := lines[len(lines)-1]; !strings.Contains(last, "is the CRD of config/crd installed?") {
		t.Errorf("the last line does not say what to do: %s", last)
	}
}
