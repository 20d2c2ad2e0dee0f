package webhook_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/testr"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	admissionv1 "k8s.io/api/admission/v1"
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
	admitted []policies.Ref
	panics   bool
}

func (f *fakeNeighbours) Ready() error { return f.notReady }
func (f *fakeNeighbours) Namespace(_ context.Context, name string) policies.Namespace {
	return policies.Namespace{Name: name}
}
func (f *fakeNeighbours) Related(context.Context, policies.Input) policies.Related {
	if f.panics {
		panic("neighbours are gone")
	}
	return f.related
}
func (f *fakeNeighbours) Workload(policies.Ref) *policies.Workload { return f.workload }
func (f *fakeNeighbours) Cluster() policies.Cluster {
	return policies.Cluster{Version: policies.Newest}
}
func (f *fakeNeighbours) Admitted(object *policies.Object) {
	f.admitted = append(f.admitted, object.Ref)
}

// fakePolicies holds a set that a test has compiled.
type fakePolicies struct{ set *bundle.Set }

func (fakePolicies) Ready() error       { return nil }
func (f fakePolicies) Set() *bundle.Set { return f.set }
func (fakePolicies) Check(policy v1alpha1.SourceIPPolicy) []*bundle.Error {
	_, problems := bundle.NewCompiler().Compile(policy)
	return problems
}

func newHandler(
	t testing.TB, endpoint review.Endpoint, neighbours webhook.Neighbours,
) (*webhook.Handler, *prometheus.Registry) {
	t.Helper()
	set, problems := bundle.Compile(nil)
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
		Endpoint: endpoint, Neighbours: neighbours, Policies: fakePolicies{set}, Metrics: metrics,
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
		"8 MiB": {
			body: strings.Repeat(" ", 8<<20),
			code: http.StatusRequestEntityTooLarge,
			says: "larger than 7340032 bytes",
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
			says: "Service edge/web: read object: /spec/type: want a string",
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
			says: `Service edge/web: read object: key "spec" is set twice; remove one`,
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
			failures, err := testutil.GatherAndCount(registry, "sourceward_request_failures_total")
			if want := map[bool]int{true: 1}[test.code != http.StatusOK]; err != nil || failures != want {
				t.Errorf("%d failures are counted (%v), want %d", failures, err, want)
			}
		})
	}
}

// TestShutdownDoesNotChangeAnAnswer: the server cancels the contexts of requests when it begins to shut down, and the
// answer to an in-flight request must still be the decision.
func TestShutdownDoesNotChangeAnAnswer(t *testing.T) {
	t.Parallel()
	handler, _ := newHandler(t, review.Mutate, &fakeNeighbours{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	request := httptest.NewRequestWithContext(
		ctx,
		http.MethodPost,
		"/",
		strings.NewReader(reviewOf("Service", "CREATE", clusterIPLocal, "")),
	)
	request.Header.Set("Content-Type", "application/json")
	recorder := httptest.NewRecorder()
	handler.ServeHTTP(recorder, request)
	if body := recorder.Body.String(); !strings.Contains(body, "local-on-cluster-ip: Service edge/web") {
		t.Errorf("got %d %s", recorder.Code, body)
	}
}

func TestOnlyWhatValidateAdmitsIsRemembered(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		endpoint   review.Endpoint
		body       string
		remembered bool
	}{
		"an admitted object": {review.Validate, reviewOf("Service", "CREATE", loadBalancer, ""), true},
		"a dry run": {
			review.Validate, reviewOf("Service", "CREATE", loadBalancer, `,"dryRun":true`), false,
		},
		"a denied object":               {review.Validate, reviewOf("Service", "CREATE", clusterIPLocal, ""), false},
		"an object that /mutate admits": {review.Mutate, reviewOf("Service", "CREATE", loadBalancer, ""), false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			neighbours := &fakeNeighbours{}
			handler, _ := newHandler(t, test.endpoint, neighbours)
			post(t, handler, test.body)
			var want []policies.Ref
			if test.remembered {
				want = []policies.Ref{{APIVersion: "v1", Kind: "Service", Namespace: "edge", Name: "web"}}
			}
			if diff := cmp.Diff(want, neighbours.admitted); diff != "" {
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
	const want = "# HELP sourceward_decisions_total Findings returned to clients, by endpoint, rule and mode. " +
		"Both endpoints may return the same finding." + `
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

func TestAnEmptyMatchGetsAWarning(t *testing.T) {
	t.Parallel()
	handler, _ := newHandler(t, review.ValidatePolicy, &fakeNeighbours{})
	for spec, want := range map[string][]string{
		`{}`:           nil,
		`{"match":{}}`: {"spec.match is empty, so the policy applies to all objects; remove it if that is intended"},
		`{"match":{"excludeNamespaces":["edge"]}}`: nil,
		`{"match":{"objectSelector":{}}}`:          nil,
	} {
		got := post(t, handler, policyReview("CREATE", `{"metadata":{"name":"corp"},"spec":`+spec+`}`))
		if diff := cmp.Diff(want, got.Warnings); diff != "" || !got.Allowed {
			t.Errorf("%s: allowed: %t, warnings (-want +got):\n%s", spec, got.Allowed, diff)
		}
	}
}

func TestExemptionsAndFailuresAreCounted(t *testing.T) {
	t.Parallel()
	handler, registry := newHandler(t, review.Validate, &fakeNeighbours{})
	set, problems := bundle.Compile([]v1alpha1.SourceIPPolicy{{
		ObjectMeta: metav1.ObjectMeta{Name: "corp"},
		Spec: v1alpha1.SourceIPPolicySpec{Rego: []v1alpha1.RegoModule{
			{Name: "corp.rego", Module: "package sourceward.custom.corp\n\ndeny contains {\"massage\": \"no\"}\n"},
		}},
	}})
	if problems != nil {
		t.Fatal(problems)
	}
	handler.Policies = fakePolicies{set}
	exempt := `{"metadata":{"name":"web","annotations":{"exempt.sourceward.dev/local-on-cluster-ip":"moves soon"}},` +
		`"spec":{"type":"ClusterIP","externalTrafficPolicy":"Local"}}`
	got := post(t, handler, reviewOf("Service", "CREATE", exempt, ""))
	if !got.Allowed || len(got.Warnings) == 0 ||
		!strings.HasPrefix(got.Warnings[0], "policy-not-evaluated: SourceIPPolicy corp not evaluated: ") {
		t.Errorf("allowed: %t, %+v, with warnings %q", got.Allowed, got.Result, got.Warnings)
	}
	const want = "# HELP sourceward_exemptions_total " +
		"Findings left out of answers because of an exemption, by endpoint and rule." + `
# TYPE sourceward_exemptions_total counter
sourceward_exemptions_total{endpoint="validate",rule="local-on-cluster-ip"} 1
# HELP sourceward_policy_failures_total ` +
		`Decisions for which Rego could not be evaluated, by SourceIPPolicy; empty for the built-in rules.
# TYPE sourceward_policy_failures_total counter
sourceward_policy_failures_total{policy="corp"} 1
`
	err := testutil.GatherAndCompare(
		registry, strings.NewReader(want), "sourceward_exemptions_total", "sourceward_policy_failures_total")
	if err != nil {
		t.Error(err)
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
