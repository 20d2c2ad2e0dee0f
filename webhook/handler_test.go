package webhook_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/testr"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	admissionv1 "k8s.io/api/admission/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/sourceward/sourceward/api/v1alpha1"
	"github.com/sourceward/sourceward/policies"
	"github.com/sourceward/sourceward/policies/bundle"
	"github.com/sourceward/sourceward/policies/review"
	"github.com/sourceward/sourceward/webhook"
)

// fakeNeighbours is a cluster with the neighbours that a test sets.
type fakeNeighbours struct {
	related  policies.Related
	workload *policies.Workload
	notReady error
	// admitted remembers what is admitted; nil remembers nothing.
	admitted *webhook.Remembered
	panics   bool
	// meanwhile is called while a request is decided, if it is not nil.
	meanwhile func()
	// namespaces are all Namespaces of the cluster; nil if they are not known.
	namespaces []policies.Namespace
}

func (f *fakeNeighbours) Ready() error { return f.notReady }
func (f *fakeNeighbours) Namespace(_ context.Context, name string) policies.Namespace {
	return policies.Namespace{Name: name}
}
func (f *fakeNeighbours) Namespaces(context.Context) []policies.Namespace { return f.namespaces }
func (f *fakeNeighbours) Related(context.Context, policies.Input, *webhook.Admission) policies.Related {
	if f.meanwhile != nil {
		f.meanwhile()
	}
	if f.panics {
		panic("neighbours are gone")
	}
	return f.related
}
func (f *fakeNeighbours) Workload(policies.Ref) *policies.Workload { return f.workload }
func (f *fakeNeighbours) Cluster() policies.Cluster {
	return policies.Cluster{Version: policies.Newest}
}
func (f *fakeNeighbours) Admit(object, _ *policies.Object) *webhook.Admission {
	if f.admitted == nil {
		return nil
	}
	return f.admitted.Add(object)
}

// fakePolicies holds a set that a test has compiled.
type fakePolicies struct{ set *bundle.Set }

func (fakePolicies) Ready() error       { return nil }
func (f fakePolicies) Set() *bundle.Set { return f.set }
func (fakePolicies) Check(ctx context.Context, policy v1alpha1.SourceIPPolicy) []*bundle.Error {
	_, problems := bundle.NewCompiler(nil).Compile(ctx, policy)
	return problems
}

func newHandler(
	t testing.TB, endpoint review.Endpoint, neighbours webhook.Neighbours,
) (*webhook.Handler, *prometheus.Registry) {
	t.Helper()
	set, problems := bundle.Compile(t.Context(), nil, nil)
	if problems != nil {
		t.Fatal(problems)
	}
	registry := prometheus.NewPedanticRegistry()
	metrics, err := webhook.NewMetrics(registry)
	if err != nil {
		t.Fatal(err)
	}
	log := logr.Discard()
	if t, ok := t.(*testing.T); ok {
		log = testr.NewWithOptions(t, testr.Options{Verbosity: 2})
	}
	return &webhook.Handler{
		Endpoint: endpoint, Neighbours: neighbours, Policies: fakePolicies{set},
		InFlight: webhook.NewInFlight(), Metrics: metrics,
		Clock: clocktesting.NewFakePassiveClock(time.Date(2026, time.December, 1, 0, 0, 0, 0, time.UTC)), Log: log,
	}, registry
}

const (
	clusterIPLocal = `{"apiVersion":"v1","kind":"Service","metadata":{"name":"web","namespace":"edge"},` +
		`"spec":{"type":"ClusterIP","externalTrafficPolicy":"Local"}}`
	loadBalancer = `{"apiVersion":"v1","kind":"Service","metadata":{"name":"web","namespace":"edge"},` +
		`"spec":{"type":"LoadBalancer","externalTrafficPolicy":"Cluster"}}`
)

func reviewOf(kind, operation, object, rest string) string {
	group, resource := "", "services"
	if kind == "Deployment" {
		group, resource = "apps", "deployments"
	}
	return `{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"u1","kind":{"group":"` + group +
		`","version":"v1","kind":"` + kind + `"},"resource":{"group":"` + group + `","version":"v1","resource":"` + resource +
		`"},"namespace":"edge","name":"web","operation":"` + operation + `"` + rest + `,"object":` + object + `}}`
}

// TestBadRequests checks that every request is answered, never with a denial that was not decided, and that the next
// request is answered as usual.
func TestBadRequests(t *testing.T) {
	t.Parallel()
	const allowed = `"allowed":true`
	tests := map[string]struct {
		method, contentType, body string
		code                      int
		says                      string
	}{
		"not JSON": {body: "hello", code: http.StatusBadRequest, says: "read AdmissionReview: "},
		"empty":    {code: http.StatusBadRequest, says: "body is empty"},
		"another kind": {
			body: `{"apiVersion":"v1","kind":"Pod"}`,
			code: http.StatusBadRequest,
			says: `got "Pod" of "v1": want AdmissionReview of "admission.k8s.io/v1"`,
		},
		"an old version of the review": {
			body: `{"apiVersion":"admission.k8s.io/v1beta1","kind":"AdmissionReview"}`,
			code: http.StatusBadRequest,
			says: "want AdmissionReview of",
		},
		"no request": {
			body: `{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview"}`,
			code: http.StatusBadRequest,
			says: "has no request",
		},
		"29 MiB": {
			body: strings.Repeat(" ", 29<<20),
			code: http.StatusRequestEntityTooLarge,
			says: "larger than 29360128 bytes",
		},
		"a name that no object can have": {
			body: strings.Replace(reviewOf("Service", "CREATE", loadBalancer, ""), `"name":"web"`,
				`"name":"`+strings.Repeat("n", 500_000)+`"`, 1),
			code: http.StatusBadRequest,
			says: "uid, namespace or name has 500000 bytes: want at most 253",
		},
		"a GET": {method: http.MethodGet, code: http.StatusMethodNotAllowed, says: "want POST"},
		"a form": {
			contentType: "application/x-www-form-urlencoded",
			body:        "a=b",
			code:        http.StatusUnsupportedMediaType,
			says:        "want application/json",
		},
		"an object of a wrong type": {
			body: reviewOf("Service", "CREATE", `{"metadata":{"name":"web"},"spec":{"type":7}}`, ""),
			code: http.StatusBadRequest,
			says: "Service edge/web: read object: spec.type: want a string",
		},
		"an update without the old object": {
			body: reviewOf("Service", "UPDATE", loadBalancer, ""),
			code: http.StatusBadRequest,
			says: "read oldObject",
		},
		"a null template": {
			body: reviewOf("Deployment", "CREATE", `{"metadata":{"name":"web"},"spec":{"template":null}}`, ""),
			code: http.StatusOK,
			says: allowed,
		},
		"an unknown field": {
			body: reviewOf(
				"Service",
				"CREATE",
				`{"metadata":{"name":"web"},"spec":{"type":"LoadBalancer","shape":"round"}}`,
				"",
			),
			code: http.StatusOK,
			says: allowed,
		},
		"a DELETE": {body: reviewOf("Service", "DELETE", "null", ""), code: http.StatusOK, says: allowed},
		"a kind that is not judged": {
			body: reviewOf("ConfigMap", "CREATE", `{"metadata":{"name":"web"}}`, ""),
			code: http.StatusOK,
			says: allowed,
		},
		"deep nesting": {
			body: reviewOf("Service", "CREATE", strings.Repeat("[", 100_000), ""),
			code: http.StatusBadRequest,
			says: "read AdmissionReview: ",
		},
		"a duplicate key": {
			body: reviewOf("Service", "CREATE", `{"metadata":{"name":"web"},"spec":{"type":"LoadBalancer"},"spec":null}`, ""),
			code: http.StatusBadRequest,
			says: `read AdmissionReview: key "request.object.spec" is set twice; remove one`,
		},
		"a duplicate key of the review": {
			body: reviewOf("Service", "CREATE", loadBalancer, `,"object":{}`),
			code: http.StatusBadRequest,
			says: `read AdmissionReview: key "request.object" is set twice; remove one`,
		},
		"a duplicate key in an unknown field of the review": {
			body: reviewOf("Service", "CREATE", loadBalancer, `,"shape":{"round":[{"a":1,"a":2}]}`),
			code: http.StatusBadRequest,
			says: `read AdmissionReview: key "request.shape.round[0].a" is set twice; remove one`,
		},
		"an operation in another case": {
			body: strings.Replace(reviewOf("Service", "CREATE", loadBalancer, ""), `"operation"`, `"Operation"`, 1),
			code: http.StatusOK,
			says: allowed,
		},
		"a request in another case": {
			body: strings.Replace(reviewOf("Service", "CREATE", loadBalancer, ""), `"request"`, `"Request"`, 1),
			code: http.StatusBadRequest,
			says: "has no request",
		},
	}
	for _, endpoint := range review.ObjectEndpoints {
		for name, test := range tests {
			t.Run(string(endpoint)+"/"+name, func(t *testing.T) {
				t.Parallel()
				handler, _ := newHandler(t, endpoint, &fakeNeighbours{})
				request := httptest.NewRequestWithContext(
					t.Context(),
					or(test.method, http.MethodPost),
					"/",
					strings.NewReader(test.body),
				)
				request.Header.Set("Content-Type", or(test.contentType, "application/json"))
				recorder := httptest.NewRecorder()
				handler.ServeHTTP(recorder, request)
				if body := recorder.Body.String(); recorder.Code != test.code || !strings.Contains(body, test.says) {
					t.Errorf("got %d %.200s; want %d …%s…", recorder.Code, body, test.code, test.says)
				}
				if got := post(t, handler, reviewOf("Service", "CREATE", loadBalancer, "")); !got.Allowed {
					t.Errorf("the next request is not allowed: %v", got.Result)
				}
			})
		}
	}
}

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

// post sends a review and returns the response; the answer must be one.
func post(t testing.TB, handler http.Handler, body string) *admissionv1.AdmissionResponse {
	t.Helper()
	request := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", strings.NewReader(body))
	request.Header.Set("Content-Type", "application/json")
	recorder := httptest.NewRecorder()
	handler.ServeHTTP(recorder, request)
	var answer admissionv1.AdmissionReview
	decoder := json.NewDecoder(bytes.NewReader(recorder.Body.Bytes()))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&answer); recorder.Code != http.StatusOK || err != nil || answer.Response == nil {
		t.Fatalf("got %d %s (%v)", recorder.Code, recorder.Body, err)
	}
	if answer.Response.UID != "u1" || answer.APIVersion != "admission.k8s.io/v1" || answer.Kind != "AdmissionReview" {
		t.Errorf("the answer is not that of the request: %s", recorder.Body)
	}
	return answer.Response
}

func TestFaultsAreNotDenials(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		neighbours fakeNeighbours
		code       int
		says       string
	}{
		"a panic": {
			fakeNeighbours{panics: true},
			http.StatusInternalServerError,
			"panic: neighbours are gone",
		},
		"a replica that is not ready": {
			fakeNeighbours{notReady: errors.New("the Services are not cached")},
			http.StatusServiceUnavailable,
			"not ready: the Services are not cached",
		},
		"neighbours that cannot be seen": {fakeNeighbours{}, http.StatusOK, `"allowed":true`},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			handler, registry := newHandler(t, review.Validate, &test.neighbours)
			request := httptest.NewRequestWithContext(
				t.Context(),
				http.MethodPost,
				"/",
				strings.NewReader(reviewOf("Service", "CREATE", loadBalancer, "")),
			)
			request.Header.Set("Content-Type", "application/json")
			recorder := httptest.NewRecorder()
			handler.ServeHTTP(recorder, request)
			if recorder.Code != test.code || !strings.Contains(recorder.Body.String(), test.says) {
				t.Errorf("got %d %s; want %d …%s…", recorder.Code, recorder.Body, test.code, test.says)
			}
			want := map[int]float64{}
			if test.code != http.StatusOK {
				want[test.code] = 1
			}
			if diff := cmp.Diff(want, failures(t, registry)); diff != "" {
				t.Errorf("failures by code (-want +got):\n%s", diff)
			}
		})
	}
}

// failures returns the number of failures that are counted for each HTTP status, without those that are 0.
func failures(t *testing.T, registry *prometheus.Registry) map[int]float64 {
	t.Helper()
	counted := map[int]float64{}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() != "sourceward_request_failures_total" {
			continue
		}
		for _, sample := range family.GetMetric() {
			for _, label := range sample.GetLabel() {
				if code, err := strconv.Atoi(label.GetValue()); err == nil && sample.GetCounter().GetValue() > 0 {
					counted[code] += sample.GetCounter().GetValue()
				}
			}
		}
	}
	return counted
}

// TestFailuresStartAtZero checks that a rate over the failures is right from the first failure on.
func TestFailuresStartAtZero(t *testing.T) {
	t.Parallel()
	_, registry := newHandler(t, review.Validate, &fakeNeighbours{})
	for name, want := range map[string]int{
		"sourceward_request_failures_total": 3 * 8, "sourceward_policy_failures_total": 1, "sourceward_lookups_total": 3 * 4,
	} {
		if got, err := testutil.GatherAndCount(registry, name); err != nil || got != want {
			t.Errorf("%s has %d series (%v), want %d", name, got, err, want)
		}
	}
}

// TestCallersThatGoAway checks that callers that go away, before or after they have sent their request, are not
// counted as failures, and that those that are too slow or answered too late are.
func TestCallersThatGoAway(t *testing.T) {
	t.Parallel()
	const callers = 100
	body := reviewOf("Service", "CREATE", loadBalancer, "")
	head := func(path string) string {
		return "POST " + path + " HTTP/1.1\r\nHost: webhook\r\nContent-Type: application/json\r\nContent-Length: " +
			strconv.Itoa(len(body)) + "\r\n\r\n"
	}
	tests := map[string]struct {
		sent string
		// stays is true if the caller waits for the answer, for which the decision then does not wait.
		stays bool
		// hangs is true if the decision waits until the server has noticed that the caller is gone.
		hangs bool
		want  map[int]float64
	}{
		"in the middle of the body": {sent: head("/") + body[:20], want: map[int]float64{}},
		"before the answer":         {sent: head("/") + body, hangs: true, want: map[int]float64{}},
		"a body that never ends": {
			sent: head("/?timeout=200ms") + body[:20], stays: true, want: map[int]float64{408: callers},
		},
		"an answer that comes too late": {
			sent: head("/?timeout=1ns") + body, hangs: true, want: map[int]float64{504: callers},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			neighbours := &fakeNeighbours{}
			handler, registry := newHandler(t, review.Validate, neighbours)
			handler.Log = logr.Discard()
			var group sync.WaitGroup
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				defer group.Done()
				of := *handler
				if test.hangs {
					of.Neighbours = &fakeNeighbours{meanwhile: func() { <-r.Context().Done() }}
				}
				of.ServeHTTP(w, r)
			}))
			defer server.Close()
			for range callers {
				group.Add(1)
				connection, err := net.Dial("tcp", server.Listener.Addr().String())
				if err != nil {
					t.Fatal(err)
				}
				if _, err := io.WriteString(connection, test.sent); err != nil {
					t.Fatal(err)
				}
				if test.stays {
					defer connection.Close() //nolint:errcheck // nothing more is sent
				} else if err := connection.Close(); err != nil {
					t.Fatal(err)
				}
			}
			group.Wait()
			if diff := cmp.Diff(test.want, failures(t, registry)); diff != "" {
				t.Errorf("failures by code (-want +got):\n%s", diff)
			}
		})
	}
}

// TestInFlight checks that requests beyond the bound get an answer at once, and those after them as usual.
func TestInFlight(t *testing.T) {
	t.Parallel()
	large := func(object string, bytes int) string {
		repeated := strings.TrimSuffix(strings.Repeat(object+",", bytes/(len(object)+1)), ",")
		object = strings.Replace(loadBalancer, `"spec"`, `"unknown":[`+repeated+`],"spec"`, 1)
		return reviewOf("Service", "CREATE", object, "")
	}
	send := func(handler *webhook.Handler, body string) (int, string) {
		request := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", strings.NewReader(body))
		request.Header.Set("Content-Type", "application/json")
		recorder := httptest.NewRecorder()
		handler.ServeHTTP(recorder, request)
		return recorder.Code, recorder.Body.String()
	}
	neighbours := &fakeNeighbours{}
	handler, registry := newHandler(t, review.Validate, neighbours)
	handler.Log = logr.Discard()
	var within [3]int
	neighbours.meanwhile = func() {
		// One request of 9 MiB is in flight. A second fits, a third does not.
		neighbours.meanwhile = func() {
			neighbours.meanwhile = nil
			within[1], _ = send(handler, large(`"x"`, 9<<20))
			within[2], _ = send(handler, reviewOf("Service", "CREATE", loadBalancer, ""))
		}
		within[0], _ = send(handler, large(`"x"`, 9<<20))
	}
	code, _ := send(handler, large(`"x"`, 9<<20))
	if diff := cmp.Diff([]int{200, 200, 503, 200}, append([]int{code}, within[:]...)); diff != "" {
		t.Errorf("codes (-want +got):\n%s", diff)
	}
	// None of them holds memory any longer.
	for name, test := range map[string]struct {
		body string
		code int
	}{
		"empty objects":                         {large(`{}`, 6<<20), 413},
		"nulls, which may stand for containers": {large(`null`, 6<<20), 413},
		"objects with a name":                   {large(`{"name":"LONG_ENOUGH_NAME"}`, 4<<20), 200},
		"braces in a string":                    {large(`"`+strings.Repeat("{", 2<<20)+`"`, 2<<20), 200},
		"characters that are escaped":           {large(`"`+strings.Repeat(`\u003c`, 4<<20)+`"`, 24<<20), 200},
	} {
		if code, text := send(handler, test.body); code != test.code {
			t.Errorf("%s: got %d %s, want %d", name, code, text, test.code)
		}
	}
	if diff := cmp.Diff(map[int]float64{503: 1, 413: 2}, failures(t, registry)); diff != "" {
		t.Errorf("failures by code (-want +got):\n%s", diff)
	}
}

// TestBodies checks that callers which do not send what they announce keep no other request out, and that a body that
// is broken gets an error.
func TestBodies(t *testing.T) {
	t.Parallel()
	head := "POST / HTTP/1.1\r\nHost: webhook\r\nContent-Type: application/json\r\n"
	t.Run("announced and not sent", func(t *testing.T) {
		t.Parallel()
		const callers = 20
		handler, _ := newHandler(t, review.Validate, &fakeNeighbours{})
		handler.Log = logr.Discard()
		server := httptest.NewServer(handler)
		defer server.Close()
		for range callers {
			connection, err := net.Dial("tcp", server.Listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer connection.Close() //nolint:errcheck // nothing more is sent
			if _, err := io.WriteString(connection, head+"Content-Length: "+strconv.Itoa(25<<20)+"\r\n\r\n{"); err != nil {
				t.Fatal(err)
			}
		}
		body := strings.NewReader(reviewOf("Service", "CREATE", loadBalancer, ""))
		response, err := server.Client().Post(server.URL, "application/json", body)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close() //nolint:errcheck // only read from
		if response.StatusCode != http.StatusOK {
			t.Errorf("another caller gets %s", response.Status)
		}
	})
	t.Run("a chunk that is none", func(t *testing.T) {
		t.Parallel()
		handler, registry := newHandler(t, review.Validate, &fakeNeighbours{})
		server := httptest.NewServer(handler)
		defer server.Close()
		connection, err := net.Dial("tcp", server.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer connection.Close() //nolint:errcheck // nothing more is sent
		if _, err := io.WriteString(connection, head+"Transfer-Encoding: chunked\r\n\r\nzz\r\n"); err != nil {
			t.Fatal(err)
		}
		response, err := http.ReadResponse(bufio.NewReader(connection), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close() //nolint:errcheck // only read from
		if diff := cmp.Diff(map[int]float64{400: 1}, failures(t, registry)); response.StatusCode != 400 || diff != "" {
			t.Errorf("got %s, and failures by code (-want +got):\n%s", response.Status, diff)
		}
	})
}

// TestWhatIsRemembered checks that an object is remembered from before its neighbours are read until the request is
// refused or turns out not to be answered, and that its former state then comes back.
func TestWhatIsRemembered(t *testing.T) {
	t.Parallel()
	const during, after = "during", "after"
	unfinished := `{"apiVersion":"v1","kind":"Service","metadata":{"name":"web","namespace":"edge"},` +
		`"spec":{"type":"LoadBalancer","externalTrafficPolicy":"Bogus"}}`
	tests := map[string]struct {
		endpoint review.Endpoint
		body     string
		panics   bool
		// gone ends the context of the request while it is decided.
		gone bool
		want map[string]string
	}{
		"an admitted object": {
			endpoint: review.Validate, body: reviewOf("Service", "CREATE", loadBalancer, ""),
			want: map[string]string{during: "new", after: "new"},
		},
		"a dry run": {
			endpoint: review.Validate, body: reviewOf("Service", "CREATE", loadBalancer, `,"dryRun":true`),
			want: map[string]string{during: "former", after: "former"},
		},
		"a denied object": {
			endpoint: review.Validate, body: reviewOf("Service", "CREATE", unfinished, ""),
			want: map[string]string{during: "new", after: "former"},
		},
		"an object that /mutate admits": {
			endpoint: review.Mutate, body: reviewOf("Service", "CREATE", loadBalancer, ""),
			want: map[string]string{during: "former", after: "former"},
		},
		"an internal error": {
			endpoint: review.Validate, body: reviewOf("Service", "CREATE", loadBalancer, ""), panics: true,
			want: map[string]string{during: "new", after: "former"},
		},
		"a caller that is gone": {
			endpoint: review.Validate, body: reviewOf("Service", "CREATE", loadBalancer, ""), gone: true,
			want: map[string]string{during: "new", after: "former"},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			remembered := webhook.NewRemembered()
			former := &policies.Object{Ref: policies.Ref{APIVersion: "v1", Kind: "Service", Namespace: "edge", Name: "web"}}
			remembered.Add(former)
			state := func() string {
				if objects := remembered.Objects("edge"); len(objects) != 1 || objects[0] != former {
					return "new"
				}
				return "former"
			}
			got := map[string]string{}
			ctx, leave := context.WithCancel(t.Context())
			defer leave()
			neighbours := &fakeNeighbours{admitted: remembered, panics: test.panics, meanwhile: func() {
				got[during] = state()
				if test.gone {
					leave()
				}
			}}
			handler, _ := newHandler(t, test.endpoint, neighbours)
			request := httptest.NewRequestWithContext(ctx, http.MethodPost, "/", strings.NewReader(test.body))
			request.Header.Set("Content-Type", "application/json")
			handler.ServeHTTP(httptest.NewRecorder(), request)
			got[after] = state()
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("remembered mismatch (-want +got):\n%s", diff)
			}
		})
	}
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	handler, registry := newHandler(t, review.Mutate, &fakeNeighbours{})
	post(t, handler, reviewOf("Service", "CREATE", clusterIPLocal, ""))
	post(t, handler, reviewOf("Service", "CREATE", loadBalancer, ""))
	const want = "# HELP sourceward_decisions_total Findings that are not exempt, by endpoint, rule and mode. " +
		"Both endpoints may have the same finding." + `
# TYPE sourceward_decisions_total counter
sourceward_decisions_total{endpoint="mutate",mode="deny",rule="local-on-cluster-ip"} 1
# HELP sourceward_requests_total Admission requests answered, by endpoint and outcome: ` +
		`allowed, warned, mutated or denied.
# TYPE sourceward_requests_total counter
sourceward_requests_total{endpoint="mutate",outcome="allowed"} 1
sourceward_requests_total{endpoint="mutate",outcome="denied"} 1
sourceward_requests_total{endpoint="mutate",outcome="mutated"} 0
sourceward_requests_total{endpoint="mutate",outcome="warned"} 0
sourceward_requests_total{endpoint="validate",outcome="allowed"} 0
sourceward_requests_total{endpoint="validate",outcome="denied"} 0
sourceward_requests_total{endpoint="validate",outcome="mutated"} 0
sourceward_requests_total{endpoint="validate",outcome="warned"} 0
sourceward_requests_total{endpoint="validate-policy",outcome="allowed"} 0
sourceward_requests_total{endpoint="validate-policy",outcome="denied"} 0
sourceward_requests_total{endpoint="validate-policy",outcome="mutated"} 0
sourceward_requests_total{endpoint="validate-policy",outcome="warned"} 0
`
	err := testutil.GatherAndCompare(
		registry, strings.NewReader(want), "sourceward_decisions_total", "sourceward_requests_total")
	if err != nil {
		t.Error(err)
	}
	if problems, err := testutil.GatherAndLint(registry); err != nil || len(problems) > 0 {
		t.Errorf("metrics do not follow the conventions: %v %v", problems, err)
	}
}

// TestAuditFindingsAreVisible checks that a finding in mode audit is counted and in the audit annotations, and that the
// client does not see it.
func TestAuditFindingsAreVisible(t *testing.T) {
	t.Parallel()
	neighbours := &fakeNeighbours{related: policies.Related{View: policies.ViewCluster}}
	handler, registry := newHandler(t, review.Validate, neighbours)
	got := post(t, handler, reviewOf("Service", "CREATE", `{"metadata":{"name":"web"},"spec":{"type":"LoadBalancer",`+
		`"externalTrafficPolicy":"Local","internalTrafficPolicy":"Local","selector":{"app":"web"}}}`, ""))
	const rule, text = "internal-local", "audit /spec/internalTrafficPolicy: internalTrafficPolicy is Local too: " +
		"from nodes without its pods the cluster IP is unreachable"
	if !got.Allowed || got.Warnings != nil || got.AuditAnnotations[rule] != text {
		t.Errorf("allowed: %t, warnings %q, audit annotations %q; want only the finding of %s in the latter",
			got.Allowed, got.Warnings, got.AuditAnnotations, rule)
	}
	const want = "# HELP sourceward_decisions_total Findings that are not exempt, by endpoint, rule and mode. " +
		"Both endpoints may have the same finding." + `
# TYPE sourceward_decisions_total counter
sourceward_decisions_total{endpoint="validate",mode="audit",rule="` + rule + `"} 1
`
	if err := testutil.GatherAndCompare(registry, strings.NewReader(want), "sourceward_decisions_total"); err != nil {
		t.Error(err)
	}
}

func policyReview(operation, object string) string {
	return `{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"u1","kind":` +
		`{"group":"sourceward.dev","version":"v1alpha1","kind":"SourceIPPolicy"},` +
		`"name":"corp","operation":"` + operation + `","object":` + object + `}}`
}

func TestPoliciesThatDoNotCompileAreDenied(t *testing.T) {
	t.Parallel()
	policy := func(operation, metadata, module string) string {
		object := `{"apiVersion":"sourceward.dev/v1alpha1","kind":"SourceIPPolicy","metadata":{"name":"corp"` + metadata +
			`},"spec":{"rego":[{"name":"corp.rego","module":"package sourceward.custom.corp\n\n` + module + `"}]}}`
		return policyReview(operation, object)
	}
	const broken = `deny contains {\"message\": input.objcet.kind}`
	const why = "SourceIPPolicy corp: corp.rego:3:27: undefined ref: input.objcet.kind; want one of cluster, facts, " +
		"namespace, object, old, operation, parameters, related\n" +
		"  3 | deny contains {\"message\": input.objcet.kind}\n    |                           ^"
	tests := map[string]struct{ body, refused string }{
		"a policy that compiles":         {policy("CREATE", "", `deny contains {\"message\": input.object.kind}`), ""},
		"a policy that does not compile": {policy("CREATE", "", broken), why},
		"a change that does not compile": {policy("UPDATE", "", broken), why},
		"a policy that is being deleted": {policy("UPDATE", `,"deletionTimestamp":"2026-12-01T00:00:00Z"`, broken), ""},
		"a policy that is deleted":       {policy("DELETE", "", broken), ""},
		"an object of another kind":      {reviewOf("Service", "CREATE", clusterIPLocal, ""), ""},
		"a subresource of a policy": {
			strings.Replace(policy("UPDATE", "", broken), `"name":"corp","operation"`, `"subResource":"status","operation"`, 1),
			"",
		},
	}
	handler, _ := newHandler(t, review.ValidatePolicy, &fakeNeighbours{})
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := post(t, handler, test.body)
			if got.Allowed != (test.refused == "") || !got.Allowed && got.Result.Message != test.refused {
				t.Fatalf("allowed: %t, %+v; want %q", got.Allowed, got.Result, test.refused)
			}
			if !got.Allowed &&
				(len(got.Result.Details.Causes) != 1 || got.Result.Details.Causes[0].Field != "/spec/rego/0/module") {
				t.Errorf("the causes are %+v, want one of /spec/rego/0/module", got.Result.Details.Causes)
			}
		})
	}
}

// TestUnintendedMatchGetsAWarning checks the warnings about policies that compile, but match everything or
// nothing.
func TestUnintendedMatchGetsAWarning(t *testing.T) {
	t.Parallel()
	const (
		all        = "spec.match is empty, so the policy applies to all objects; remove it if that is intended"
		namespaces = "spec.match.namespaceSelector is empty, so it selects all Namespaces; remove it if that is intended"
		objects    = "spec.match.objectSelector is empty, so it selects all objects; remove it if that is intended"
		nothing    = "spec.match selects no existing Namespace, so the policy has no effect until one matches"
	)
	edge := policies.Namespace{Name: "edge", Labels: map[string]string{"team": "edge"}}
	mail := policies.Namespace{Name: "mail"}
	handler, _ := newHandler(t, review.ValidatePolicy, &fakeNeighbours{namespaces: []policies.Namespace{edge, mail}})
	unknown, _ := newHandler(t, review.ValidatePolicy, &fakeNeighbours{})
	const labels = `{"matchLabels":{"team":"edge"}}`
	for spec, want := range map[string][]string{
		`{}`:                                 nil,
		`{"match":{}}`:                       {all},
		`{"match":{"excludeNamespaces":[]}}`: {all},
		`{"match":{"excludeNamespaces":["edge"]}}`:                                               nil,
		`{"match":{"excludeNamespaces":["edge","mail"]}}`:                                        {nothing},
		`{"match":{"objectSelector":{}}}`:                                                        {objects},
		`{"match":{"objectSelector":{"matchLabels":{}}}}`:                                        {objects},
		`{"match":{"objectSelector":` + labels + `}}`:                                            nil,
		`{"match":{"namespaceSelector":{},"objectSelector":` + labels + `}}`:                     {namespaces},
		`{"match":{"namespaceSelector":{},"objectSelector":{}}}`:                                 {namespaces, objects},
		`{"match":{"namespaceSelector":` + labels + `}}`:                                         nil,
		`{"match":{"namespaceSelector":` + labels + `,"excludeNamespaces":["edge"]}}`:            {nothing},
		`{"match":{"namespaceSelector":{"matchLabels":{"team":"mail"}}}}`:                        {nothing},
		`{"match":{"namespaceSelector":{"matchExpressions":[{"key":"a","operator":"Exists"}]}}}`: {nothing},
	} {
		for _, operation := range []string{"CREATE", "UPDATE"} {
			got := post(t, handler, policyReview(operation, `{"metadata":{"name":"corp"},"spec":`+spec+`}`))
			if diff := cmp.Diff(want, got.Warnings); diff != "" || !got.Allowed {
				t.Errorf("%s %s: allowed: %t, warnings (-want +got):\n%s", operation, spec, got.Allowed, diff)
			}
		}
		got := post(t, unknown, policyReview("CREATE", `{"metadata":{"name":"corp"},"spec":`+spec+`}`))
		if slices.Contains(got.Warnings, nothing) || !got.Allowed {
			t.Errorf("%s: allowed: %t, warnings %q; the Namespaces are not known", spec, got.Allowed, got.Warnings)
		}
	}
}

func TestExemptionsAndFailuresAreCounted(t *testing.T) {
	t.Parallel()
	handler, registry := newHandler(t, review.Validate, &fakeNeighbours{})
	set, problems := bundle.Compile(t.Context(), nil, []v1alpha1.SourceIPPolicy{{
		ObjectMeta: metav1.ObjectMeta{Name: "corp"},
		Spec: v1alpha1.SourceIPPolicySpec{EvaluationFailure: v1alpha1.FailureWarn, Rego: []v1alpha1.RegoModule{
			{Name: "corp.rego", Module: "package sourceward.custom.corp\n\ndeny contains {\"massage\": \"no\"}\n"},
		}},
	}})
	if problems != nil {
		t.Fatal(problems)
	}
	handler.Policies = fakePolicies{set}
	exempt := `{"metadata":{"name":"web","annotations":{"exempt.sourceward.dev/node-port-local":"moves soon"}},` +
		`"spec":{"type":"NodePort","externalTrafficPolicy":"Local"}}`
	got := post(t, handler, reviewOf("Service", "CREATE", exempt, ""))
	if !got.Allowed || len(got.Warnings) == 0 ||
		!strings.HasPrefix(got.Warnings[0], "policy-not-evaluated: SourceIPPolicy corp not evaluated: ") {
		t.Errorf("allowed: %t, %+v, with warnings %q", got.Allowed, got.Result, got.Warnings)
	}
	const want = "# HELP sourceward_exemptions_total " +
		"Findings that are exempt, by endpoint and rule. Both endpoints may have the same finding." + `
# TYPE sourceward_exemptions_total counter
sourceward_exemptions_total{endpoint="validate",rule="node-port-local"} 1
# HELP sourceward_policy_failures_total ` +
		`Decisions for which Rego could not be evaluated, by SourceIPPolicy; empty for the built-in rules.
# TYPE sourceward_policy_failures_total counter
sourceward_policy_failures_total{policy=""} 0
sourceward_policy_failures_total{policy="corp"} 1
`
	err := testutil.GatherAndCompare(
		registry, strings.NewReader(want), "sourceward_exemptions_total", "sourceward_policy_failures_total")
	if err != nil {
		t.Error(err)
	}
}

// TestPoliciesAreNotAskedAboutAScale checks that a request to scale does not run the rules of policies, which would see
// a workload without labels and containers.
func TestPoliciesAreNotAskedAboutAScale(t *testing.T) {
	t.Parallel()
	workload := policies.NewWorkload(&appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: "edge", Name: "web"},
		Spec: appsv1.DeploymentSpec{
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "web"}}},
		},
	})
	service := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "edge", Name: "web"},
		Spec: corev1.ServiceSpec{
			Type: corev1.ServiceTypeLoadBalancer, ExternalTrafficPolicy: "Local", Selector: map[string]string{"app": "web"},
		},
	}
	handler, registry := newHandler(t, review.Validate, &fakeNeighbours{
		workload: workload, related: policies.Related{View: policies.ViewCluster, Services: []*corev1.Service{service}},
	})
	set, problems := bundle.Compile(t.Context(), nil, []v1alpha1.SourceIPPolicy{{
		ObjectMeta: metav1.ObjectMeta{Name: "corp"},
		Spec: v1alpha1.SourceIPPolicySpec{
			EvaluationFailure: v1alpha1.FailureDeny,
			Rego: []v1alpha1.RegoModule{
				{Name: "corp.rego", Module: "package sourceward.custom.corp\n\ndeny contains {\"massage\": \"no\"}\n"},
			},
		},
	}})
	if problems != nil {
		t.Fatal(problems)
	}
	handler.Policies = fakePolicies{set}
	scale := func(replicas string) string {
		return `{"metadata":{"name":"web","namespace":"edge"},"spec":{"replicas":` + replicas + `}}`
	}
	got := post(t, handler, `{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"u1",`+
		`"kind":{"group":"autoscaling","version":"v1","kind":"Scale"},`+
		`"resource":{"group":"apps","version":"v1","resource":"deployments"},"subResource":"scale",`+
		`"namespace":"edge","name":"web","operation":"UPDATE","object":`+scale("3")+`,"oldObject":`+scale("1")+`}}`)
	if !got.Allowed || len(got.Warnings) == 0 || !strings.HasPrefix(got.Warnings[0], "unspread-behind-local: ") {
		t.Errorf("allowed: %t, with warnings %q; want only the one about the spread", got.Allowed, got.Warnings)
	}
	const want = `# HELP sourceward_policy_failures_total ` +
		`Decisions for which Rego could not be evaluated, by SourceIPPolicy; empty for the built-in rules.
# TYPE sourceward_policy_failures_total counter
sourceward_policy_failures_total{policy=""} 0
`
	err := testutil.GatherAndCompare(registry, strings.NewReader(want), "sourceward_policy_failures_total")
	if err != nil {
		t.Error(err)
	}
}

// TestAutoscalersAreWarnedAbout checks the answers to requests for an autoscaler of a Deployment behind a Local
// Service.
func TestAutoscalersAreWarnedAbout(t *testing.T) {
	t.Parallel()
	const unspread = "unspread-behind-local: Deployment edge/web: pods of Service edge/web may share a node: "
	written := func(least, most int) string {
		return fmt.Sprintf(`{"metadata":{"name":"web"},"spec":{"minReplicas":%d,"maxReplicas":%d,`+
			`"scaleTargetRef":{"apiVersion":"apps/v1","kind":"Deployment","name":"web"}}}`, least, most)
	}
	tests := map[string]struct {
		object, old string
		endpoint    review.Endpoint
		unknown     bool
		want        []string
	}{
		"it scales a workload of one pod to more": {
			object: written(1, 9), want: []string{unspread},
		},
		"it keeps one pod":                       {object: written(1, 1)},
		"it is created for an unknown workload":  {object: written(1, 9), unknown: true},
		"/mutate is asked":                       {object: written(1, 9), endpoint: review.Mutate},
		"its bounds grow":                        {object: written(4, 9), old: written(1, 1), want: []string{unspread}},
		"its bounds change nothing that matters": {object: written(2, 9), old: written(2, 9)},
		"the stored one cannot be read": {
			object: written(1, 9), old: `{"spec":{"maxReplicas":"many"}}`, want: []string{unspread},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			replicas := int32(1)
			template := corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "web"}}}
			workload := policies.NewWorkload(&appsv1.Deployment{
				ObjectMeta: metav1.ObjectMeta{Namespace: "edge", Name: "web"},
				Spec:       appsv1.DeploymentSpec{Replicas: &replicas, Template: template},
			})
			service := &corev1.Service{
				ObjectMeta: metav1.ObjectMeta{Namespace: "edge", Name: "web"},
				Spec: corev1.ServiceSpec{
					Type: corev1.ServiceTypeLoadBalancer, ExternalTrafficPolicy: "Local", Selector: map[string]string{"app": "web"},
				},
			}
			neighbours := &fakeNeighbours{
				related: policies.Related{View: policies.ViewCluster, Services: []*corev1.Service{service}},
			}
			if !test.unknown {
				neighbours.workload = workload
			}
			endpoint := review.Validate
			if test.endpoint != "" {
				endpoint = test.endpoint
			}
			handler, _ := newHandler(t, endpoint, neighbours)
			operation := "CREATE"
			if test.old != "" {
				operation = "UPDATE"
			}
			old := test.old
			if old == "" {
				old = "null"
			}
			got := post(t, handler, `{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"u1",`+
				`"kind":{"group":"autoscaling","version":"v2","kind":"HorizontalPodAutoscaler"},`+
				`"resource":{"group":"autoscaling","version":"v2","resource":"horizontalpodautoscalers"},`+
				`"namespace":"edge","name":"web","operation":"`+operation+`","object":`+test.object+`,"oldObject":`+old+`}}`)
			var warned []string
			for _, warning := range got.Warnings {
				if strings.HasPrefix(warning, unspread) {
					warned = append(warned, unspread)
				} else if !strings.HasPrefix(warning, "unspread-behind-local: ") { // the fix
					warned = append(warned, warning)
				}
			}
			if diff := cmp.Diff(test.want, warned); diff != "" || !got.Allowed {
				t.Errorf("allowed: %t, warnings mismatch (-want +got):\n%s\n%q", got.Allowed, diff, got.Warnings)
			}
		})
	}
}

// FuzzServeHTTP checks that no body causes an internal error, such as a panic.
func FuzzServeHTTP(f *testing.F) {
	f.Add([]byte(reviewOf("Service", "CREATE", clusterIPLocal, "")))
	f.Add([]byte(reviewOf("Deployment", "CREATE", `{"metadata":{"name":"web"},"spec":{"template":null}}`, "")))
	f.Add([]byte(`{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{}}`))
	handler, _ := newHandler(f, review.Mutate, &fakeNeighbours{})
	f.Fuzz(func(t *testing.T, body []byte) {
		request := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", bytes.NewReader(body))
		request.Header.Set("Content-Type", "application/json")
		recorder := httptest.NewRecorder()
		handler.ServeHTTP(recorder, request)
		if recorder.Code == http.StatusInternalServerError {
			t.Errorf("a fault: %s", recorder.Body)
		}
	})
}
