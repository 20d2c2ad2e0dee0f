package e2e

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sourceward/sourceward/test/cluster"
	"github.com/sourceward/sourceward/test/sandbox"
)

// TestBlindReplica takes away what replicas may read. They stop being ready, since they no longer see what changes, and
// become ready soon after the permissions are back.
func TestBlindReplica(t *testing.T) {
	e := newEnvironment(t, cluster.Options{}, sandbox.Options{Replicas: 2})
	e.mayBeRefused = true
	ready := func() (n int, why string) {
		for _, replica := range e.Replicas {
			if err := replica.Ready(t.Context()); err != nil {
				why = err.Error()
			} else {
				n++
			}
		}
		return n, why
	}
	e.namespace(t, "edge")
	m := newMonitor(t, e)
	const blind = `sourceward_watch_down_seconds{kind="Service"}`

	roles := e.client.RbacV1().ClusterRoleBindings()
	bindings := map[string]*rbacv1.ClusterRoleBinding{}
	for _, name := range []string{"sourceward-webhook", "sourceward-webhook-workloads"} {
		binding, err := roles.Get(t.Context(), name, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		binding.ResourceVersion = ""
		bindings[name] = binding
		if err := roles.Delete(t.Context(), name, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	// The API server authorizes a watch only when it begins.
	start := time.Now()
	if err := e.RestartAPIServer(t.Context()); err != nil {
		t.Fatal(err)
	}
	e.eventually(t, "no replica is ready", func() (bool, string) {
		n, why := ready()
		return n == 0, fmt.Sprintf("%d replicas are ready; %s", n, why)
	})
	_, why := ready()
	took := time.Since(start)
	t.Logf("no replica is ready %s after the API server ended: %s", took.Round(time.Millisecond), why)
	if took > 40*time.Second {
		t.Errorf("a replica is ready for %s after it can no longer watch", took)
	}
	if !strings.Contains(why, "[-]watches failed") {
		t.Errorf("not ready for another reason: %s", why)
	}
	// A replica is not ready from the first kind on. Wait for all kinds, and for the alert.
	for _, replica := range e.Replicas {
		e.eventually(t, "a replica has been blind for a minute", func() (bool, string) {
			down := metric(t, replica, blind)
			return down > 60, fmt.Sprint(down)
		})
	}
	m.fires(t, "SourcewardWatchDown")
	for _, replica := range e.Replicas {
		const kinds = "DaemonSet, Deployment, HorizontalPodAutoscaler, Namespace, Node, PodTemplate, Service, " +
			"SourceIPPolicy, StatefulSet"
		says := readyCheck(t, replica, "watches")
		if !strings.Contains(says, kinds+" not listed or watched for ") || !strings.Contains(says, " is forbidden: ") {
			t.Errorf("/readyz/watches says %q", says)
		}
	}

	e.create(t, service("edge", "missed", local("missed")))
	for _, binding := range bindings {
		if _, err := roles.Create(t.Context(), binding, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	start = time.Now()
	e.eventually(t, "both replicas are ready again", func() (bool, string) {
		n, why := ready()
		return n == len(e.Replicas), why
	})
	took = time.Since(start)
	t.Logf("both replicas are ready %s after the permissions are back", took.Round(time.Millisecond))
	if took > 30*time.Second {
		t.Errorf("a replica is not ready for %s after it may watch again", took)
	}
	e.eventually(t, "all kinds are watched again", func() (bool, string) {
		for _, replica := range e.Replicas {
			samples, err := replica.Metrics(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for sample, value := range samples {
				if strings.HasPrefix(sample, "sourceward_watch_down_seconds{") && value > 0 {
					return false, fmt.Sprintf("%s %v", sample, value)
				}
			}
		}
		return true, ""
	})
	e.eventually(t, "replicas know what they missed", func() (bool, string) {
		a := e.must(t, deployment("edge", "missed", 3), "create", "--dry-run=server", "-f", "-")
		return strings.Contains(a.stderr, "unspread-behind-local"), a.stderr
	})
}

// readyCheck returns the answer of one readiness check of a replica.
func readyCheck(t *testing.T, replica *sandbox.Replica, name string) string {
	t.Helper()
	response, err := http.Get(replica.ProbeURL + "/readyz/" + name)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close() //nolint:errcheck // it was only read
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// etcdOutage is how long TestOutages stops etcd.
const etcdOutage = 30 * time.Second

// TestOutages breaks parts of a cluster while clients create objects whose right verdict is known. No verdict may be
// wrong. A request that no replica could answer is decided by failurePolicy Ignore: this is no wrong verdict, and is
// counted as not judged. Where a replica can answer all the time, every request that the API server answers is judged.
func TestOutages(t *testing.T) {
	e := newEnvironment(t, cluster.Options{}, sandbox.Options{Replicas: 2})
	e.mayBeRefused = true
	e.namespace(t, "edge")
	e.create(t, service("edge", "web", local("web")))
	// A warning for every object that /validate has judged.
	e.policy(t, "judged", `{rego: [{name: judged.rego, module: "package sourceward.custom.judged\n\n`+
		`warn contains {\"message\": \"this object was judged\"}\n"}]}`)
	b := startBalancer(t)
	b.use(e.Replicas...)
	e.callThrough(t, b)
	e.eventually(t, "requests are judged through the balancer", func() (bool, string) {
		v := startOutage(t, e)
		v.until(t, "an answer to each request", 1)
		v.stop()
		return v.count(notJudged) == 0, v.String()
	})

	both := e.Replicas
	restarted := func(t *testing.T, replica *sandbox.Replica) {
		t.Helper()
		if err := e.StartReplica(t.Context(), replica); err != nil {
			t.Fatal(err)
		}
		b.use(both...)
	}
	tests := []struct {
		name string
		// unanswered is true if there is a time in which no replica can answer.
		unanswered bool
		act        func(t *testing.T)
	}{
		{"kill -9 of each replica", true, func(t *testing.T) {
			for i, replica := range both {
				replica.Kill()
				time.Sleep(time.Second) // until the kubelet and the EndpointSlice controller notice
				b.use(both[1-i])
				restarted(t, replica)
			}
		}},
		{"drain of each replica", false, func(t *testing.T) {
			for i, replica := range both {
				b.use(both[1-i])
				time.Sleep(time.Second) // the sleep of preStop, in which established connections are used
				if err := replica.StopReplica(); err != nil {
					t.Error(err)
				}
				restarted(t, replica)
			}
		}},
		{"CA deleted", false, func(t *testing.T) {
			before := serials(t, e)
			if err := e.client.CoreV1().Secrets(sandbox.Namespace).
				Delete(t.Context(), "sourceward-ca", metav1.DeleteOptions{}); err != nil {
				t.Fatal(err)
			}
			e.eventually(t, "both replicas serve a new certificate", func() (bool, string) {
				after := serials(t, e)
				return after[0] != before[0] && after[1] != before[1], fmt.Sprint(before, after)
			})
		}},
		{"rubbish in caBundle", true, func(t *testing.T) {
			for range 4 {
				e.configure(t, func(clientConfig map[string]any) {
					clientConfig["caBundle"] = base64.StdEncoding.EncodeToString([]byte("rubbish"))
				})
				e.eventually(t, "caBundle is repaired", func() (bool, string) {
					bundles := caBundles(t, e.client)
					return !slices.Contains(bundles, "rubbish"), fmt.Sprintf("%q", bundles)
				})
			}
		}},
		{"etcd stopped for " + etcdOutage.String(), false, func(t *testing.T) {
			if err := e.Signal("etcd", syscall.SIGSTOP); err != nil {
				t.Fatal(err)
			}
			time.Sleep(etcdOutage)
			if err := e.Signal("etcd", syscall.SIGCONT); err != nil {
				t.Fatal(err)
			}
		}},
		{"API server restarted", false, func(t *testing.T) {
			if err := e.RestartAPIServer(t.Context()); err != nil {
				t.Fatal(err)
			}
		}},
	}
	table := fmt.Sprintf("%-24s %7s %7s %11s %7s %11s\n", "", "seconds", "judged", "not judged", "wrong", "no answer")
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			v := startOutage(t, e)
			v.until(t, "requests are judged before", 5)
			start := time.Now()
			test.act(t)
			elapsed := time.Since(start)
			v.until(t, "requests are judged after", 5)
			v.stop()
			table += fmt.Sprintf("%-24s %7.1f %s\n", test.name, elapsed.Seconds(), v)
			if n := v.count(wrong); n > 0 {
				t.Errorf("%d wrong verdicts, for example %v", n, v.example[wrong].Load())
			}
			if n := v.count(notJudged); n > 0 && !test.unanswered {
				t.Errorf("%d requests were not judged, for example %v", n, v.example[notJudged].Load())
			}
			e.eventually(t, "both replicas are ready", func() (bool, string) {
				err := errors.Join(both[0].Ready(t.Context()), both[1].Ready(t.Context()))
				return err == nil, fmt.Sprint(err)
			})
		})
	}
	t.Logf("requests during outages:\n%s", table)
}

// verdict is what became of a request.
type verdict int

const (
	judged    verdict = iota // by us, and right
	notJudged                // by us: failurePolicy Ignore decided
	wrong                    // a denial that is wrong, or a finding that is missing although we have judged the object
	noAnswer                 // of the API server
)

// outage sends requests during an outage, and counts their verdicts.
type outage struct {
	// byRequest has the number of requests of each kind that were judged.
	byRequest []atomic.Int64
	counts    [noAnswer + 1]atomic.Int64
	example   [noAnswer + 1]atomic.Value
	stop      func()
}

func (o *outage) count(v verdict) int64 { return o.counts[v].Load() }

func (o *outage) String() string {
	return fmt.Sprintf("%7d %11d %7d %11d", o.count(judged), o.count(notJudged), o.count(wrong), o.count(noAnswer))
}

// until waits until n more requests of each kind are judged.
func (o *outage) until(t *testing.T, what string, n int64) {
	t.Helper()
	var goal []int64
	for i := range o.byRequest {
		goal = append(goal, o.byRequest[i].Load()+n)
	}
	(&environment{}).eventually(t, what, func() (bool, string) {
		for i := range o.byRequest {
			if o.byRequest[i].Load() < goal[i] {
				return false, o.String()
			}
		}
		return true, ""
	})
}

// startOutage starts to send dry-run requests.
func startOutage(t *testing.T, e *environment) *outage {
	t.Helper()
	const perSecond, clients = 25, 2 // for each kind of request
	const timeout = 5 * time.Second
	config := e.Config()
	config.WarningHandlerWithContext = answerWarnings{}
	clientset, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	send := func(manifest string) func(context.Context) error {
		object := read(t, manifest)
		text, err := object.MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		path := []string{"api", "v1", "namespaces", "edge", "services"}
		if object.GetKind() == "Deployment" {
			path = []string{"apis", "apps", "v1", "namespaces", "edge", "deployments"}
		}
		return func(ctx context.Context) error {
			return clientset.CoreV1().RESTClient().Post().AbsPath(path...).Param("dryRun", metav1.DryRunAll).
				SetHeader("Content-Type", runtime.ContentTypeJSON).Body(text).Do(ctx).Error()
		}
	}
	requests := []struct {
		send func(context.Context) error
		// rules are the rules of all findings.
		rules []string
		// denied is true if /mutate denies the object.
		denied bool
	}{
		{send: send(service("edge", "invalid", "{type: ClusterIP, externalTrafficPolicy: Local, ports: [{port: 80}]}")),
			denied: true},
		{send: send(deployment("edge", "web", 3)), rules: []string{"unspread-behind-local"}},
		{send: send(deployment("edge", "clean", 1))},
		{send: send(service("edge", "clean", "{type: ClusterIP, ports: [{port: 80}]}"))},
	}
	o := &outage{byRequest: make([]atomic.Int64, len(requests))}
	sending, stop := context.WithCancel(t.Context())
	var group errgroup.Group
	for i, request := range requests {
		limiter := rate.NewLimiter(perSecond, 1)
		for range clients {
			group.Go(func() error {
				for limiter.Wait(sending) == nil {
					ctx, cancel := context.WithTimeout(t.Context(), timeout)
					var warned []string
					err := request.send(context.WithValue(ctx, answerWarnings{}, &warned))
					cancel()
					v := judge(err, warned, request.rules, request.denied)
					o.counts[v].Add(1)
					if v == judged {
						o.byRequest[i].Add(1)
					}
					o.example[v].CompareAndSwap(nil, fmt.Sprintf("%v %q", err, warned))
				}
				return nil
			})
		}
	}
	o.stop = func() {
		stop()
		_ = group.Wait() // clients return no errors
	}
	return o
}

// judge compares the answer of the API server with the findings that are right.
func judge(err error, warned, rules []string, denied bool) verdict {
	if denied {
		switch {
		case err != nil && strings.Contains(err.Error(), refusedByUs):
			return judged
		case apierrors.IsInvalid(err):
			return notJudged
		case err == nil:
			return wrong
		}
		return noAnswer
	}
	if err != nil {
		if strings.Contains(err.Error(), "denied the request") {
			return wrong
		}
		return noAnswer
	}
	var got []string
	for _, line := range warned {
		got = append(got, warningRule(line))
	}
	want := append([]string{"judged"}, rules...)
	slices.Sort(got)
	slices.Sort(want)
	got = slices.Compact(got)
	switch {
	case slices.Equal(got, want):
		return judged
	case !slices.Contains(got, "judged"):
		return notJudged
	default:
		return wrong
	}
}

// answerWarnings is a rest.WarningHandlerWithContext that appends warnings to the *[]string that a context has under
// the key answerWarnings{}.
type answerWarnings struct{}

func (answerWarnings) HandleWarningHeaderWithContext(ctx context.Context, _ int, _, text string) {
	warned := ctx.Value(answerWarnings{}).(*[]string)
	*warned = append(*warned, text)
}

// configure changes the clientConfig of every webhook.
func (e *environment) configure(t *testing.T, change func(clientConfig map[string]any)) {
	t.Helper()
	for _, kind := range []string{"MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"} {
		err := retry.RetryOnConflict(retry.DefaultBackoff, func() error {
			c := &unstructured.Unstructured{}
			c.SetGroupVersionKind(admissionregistrationv1.SchemeGroupVersion.WithKind(kind))
			if err := e.objects.Get(t.Context(), client.ObjectKey{Name: "sourceward"}, c); err != nil {
				return err
			}
			webhooks, _, err := unstructured.NestedSlice(c.Object, "webhooks")
			if err != nil {
				return err
			}
			for _, webhook := range webhooks {
				change(webhook.(map[string]any)["clientConfig"].(map[string]any))
			}
			if err := unstructured.SetNestedSlice(c.Object, webhooks, "webhooks"); err != nil {
				return err
			}
			return e.objects.Update(t.Context(), c)
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// callThrough makes the API server call all webhooks through a balancer.
func (e *environment) callThrough(t *testing.T, b *balancer) {
	t.Helper()
	e.configure(t, func(clientConfig map[string]any) {
		address, err := url.Parse(clientConfig["url"].(string))
		if err != nil {
			t.Fatal(err)
		}
		address.Host = net.JoinHostPort("localhost", b.port)
		clientConfig["url"] = address.String()
	})
}

// balancer forwards connections to replicas in turn. Like kube-proxy, it does so whether or not a replica listens, and
// leaves established connections alone.
type balancer struct {
	port string

	mu        sync.Mutex
	addresses []string
	next      int
}

// startBalancer starts a balancer, which is stopped at the end of the test.
func startBalancer(t *testing.T) *balancer {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, err := net.SplitHostPort(listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	b := &balancer{port: port}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			connection, err := listener.Accept()
			if err != nil {
				return // closed
			}
			go b.forward(connection)
		}
	}()
	t.Cleanup(func() {
		if err := listener.Close(); err != nil {
			t.Error(err)
		}
		<-done
	})
	return b
}

// use sets the replicas that new connections are forwarded to.
func (b *balancer) use(replicas ...*sandbox.Replica) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.addresses = nil
	for _, replica := range replicas {
		b.addresses = append(b.addresses, replica.Address)
	}
}

// forward connects a client with the next replica until either side closes its connection.
func (b *balancer) forward(client net.Conn) {
	defer client.Close() //nolint:errcheck // a connection that failed is closed too
	b.mu.Lock()
	b.next++
	address := b.addresses[b.next%len(b.addresses)]
	b.mu.Unlock()
	server, err := net.Dial("tcp", address)
	if err != nil {
		return
	}
	defer server.Close() //nolint:errcheck // as above
	ended := make(chan struct{}, 2)
	for _, direction := range [][2]net.Conn{{client, server}, {server, client}} {
		go func() {
			_, _ = io.Copy(direction[0], direction[1]) // either side may reset the connection
			ended <- struct{}{}
		}()
	}
	<-ended
}
