package test

import (
	"context"
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/prometheus/client_golang/prometheus"
	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/sourceward/sourceward/api/v1alpha1"
	"github.com/sourceward/sourceward/policies"
	"github.com/sourceward/sourceward/policies/bundle"
	"github.com/sourceward/sourceward/policies/review"
	"github.com/sourceward/sourceward/webhook"
)

// testHandler posts the object of a case to both endpoints of the webhook, and compares the responses with the decision
// about the same object. Unlike the binary, the webhook does not know which fields the file sets.
func testHandler(t *testing.T, c readyCase) {
	t.Helper()
	in := c.Input
	in.InFile = policies.InFileUnknown
	if kind, ok := policies.WorkloadKindOf(in.Object.APIVersion, in.Object.Kind); ok && kind.Door == policies.FilesOnly {
		return
	}
	for _, endpoint := range review.ObjectEndpoints {
		in.Final = endpoint == review.Validate
		decision, _ := policies.Decide(t.Context(), in, c.rules, c.settings)
		got := answer(t, c, endpoint)

		var wantAudited []string
		wantDenied, wantWarned := []string{}, []string{}
		for _, f := range decision.Findings {
			rule, _ := policies.RuleByID(f.Rule)
			if endpoint == review.Mutate && f.Mode != policies.Mutate && !rule.RefusedByServer {
				continue
			}
			wantAudited = append(wantAudited, f.Rule)
			switch {
			case f.Exempt != nil, f.Mode == policies.Audit:
			case f.Mode == policies.Deny:
				wantDenied = append(wantDenied, f.Rule)
			default:
				wantWarned = append(wantWarned, f.Rule)
			}
		}
		operations := []policies.PatchOperation{}
		for _, p := range decision.Patches {
			if endpoint == review.Mutate && p.Mode == policies.Mutate && len(wantDenied) == 0 {
				operations = append(operations, p.Operations...)
			}
		}

		denied, warned := []string{}, []string{}
		if got.Result != nil {
			for _, cause := range got.Result.Details.Causes {
				denied = append(denied, string(cause.Type))
			}
		}
		for _, warning := range got.Warnings {
			rule, _, _ := strings.Cut(warning, ":")
			warned = append(warned, rule)
		}
		if diff := cmp.Diff(slices.Compact(wantDenied), slices.Compact(denied)); diff != "" ||
			got.Allowed != (len(denied) == 0) {
			t.Errorf("%s allows: %t, denials mismatch (-Decide +handler):\n%s", endpoint, got.Allowed, diff)
		}
		if diff := cmp.Diff(slices.Compact(wantWarned), slices.Compact(warned)); diff != "" {
			t.Errorf("%s warnings mismatch (-Decide +handler):\n%s", endpoint, diff)
		}
		audited := slices.Sorted(maps.Keys(got.AuditAnnotations))
		if diff := cmp.Diff(slices.Compact(wantAudited), audited, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%s audit annotations mismatch (-Decide +handler):\n%s", endpoint, diff)
		}
		patch := string(got.Patch)
		if patch == "" {
			patch = "[]"
		}
		if diff := cmp.Diff(marshal(t, operations), patch); diff != "" {
			t.Errorf("%s patch mismatch (-Decide +handler):\n%s", endpoint, diff)
		}
	}
}

// TestValidateJudgesWhatIsStored checks that /validate judges the object that would be stored, not the one that /mutate
// would have repaired: /mutate may not have been called, or a later webhook may have undone its patch.
func TestValidateJudgesWhatIsStored(t *testing.T) {
	t.Parallel()
	c := readCase(t, filepath.Join(casesDir, "source-ip-needs-local", "border-house-rules-judge-what-is-stored"))
	got := answer(t, c, review.Validate)
	if got.Allowed || len(got.Result.Details.Causes) != 1 || got.Result.Details.Causes[0].Type != "is-cluster" {
		t.Errorf("a Service that stays Cluster is allowed: %t, %+v; want a denial of is-cluster", got.Allowed, got.Result)
	}
	repaired := c
	in := *c.Case
	repaired.Case = &in
	var err error
	makeLocal := []policies.PatchOperation{{Op: "add", Path: "/spec/externalTrafficPolicy", Value: "Local"}}
	if in.Input.Object, err = c.Input.Object.Patched(makeLocal); err != nil {
		t.Fatal(err)
	}
	got = answer(t, repaired, review.Validate)
	if want := []string{"is-local: Local is not for us"}; !got.Allowed || !slices.Equal(got.Warnings, want) {
		t.Errorf("the repaired Service is allowed: %t, %q; want the warning of is-local", got.Allowed, got.Warnings)
	}
}

// answer returns the response of an endpoint to the AdmissionReview that an API server would send.
func answer(t *testing.T, c readyCase, endpoint review.Endpoint) *admissionv1.AdmissionResponse {
	t.Helper()
	metrics, err := webhook.NewMetrics(prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	handler := &webhook.Handler{
		Endpoint: endpoint, Neighbours: fakeNeighbours{c.Input}, Policies: fakePolicies{c.set(t)}, Metrics: metrics,
		InFlight: webhook.NewInFlight(),
		Clock:    clocktesting.NewFakePassiveClock(c.Input.Now), Log: logr.Discard(),
	}
	object := c.Input.Object
	kind := schema.FromAPIVersionAndKind(object.APIVersion, object.Kind)
	request := &admissionv1.AdmissionRequest{
		UID: "case", Kind: metav1.GroupVersionKind(kind), Operation: admissionv1.Operation(c.Input.Operation),
		Namespace: object.Namespace, Name: object.Name,
	}
	request.Object.Raw = []byte(marshal(t, object.Content()))
	if c.Input.Old != nil {
		request.OldObject.Raw = []byte(marshal(t, c.Input.Old.Content()))
	}
	sent := admissionv1.AdmissionReview{
		TypeMeta: metav1.TypeMeta{APIVersion: "admission.k8s.io/v1", Kind: "AdmissionReview"}, Request: request,
	}
	post := httptest.NewRequestWithContext(
		t.Context(),
		http.MethodPost,
		"/"+string(endpoint),
		strings.NewReader(marshal(t, sent)),
	)
	post.Header.Set("Content-Type", "application/json")
	recorder := httptest.NewRecorder()
	handler.ServeHTTP(recorder, post)
	var answered admissionv1.AdmissionReview
	if err := json.Unmarshal(recorder.Body.Bytes(), &answered); recorder.Code != http.StatusOK || err != nil {
		t.Fatalf("%s responds with %d %s (%v)", endpoint, recorder.Code, recorder.Body, err)
	}
	return answered.Response
}

// set returns the policies of the case, all of them as for Case.Settings. A webhook has no flag --provider: a policy
// sets the same.
func (c readyCase) set(t *testing.T) *bundle.Set {
	t.Helper()
	if c.Cluster.Provider == "" {
		set := *c.rules
		set.Policies.Complete = c.Online()
		return &set
	}
	first := v1alpha1.SourceIPPolicy{ObjectMeta: metav1.ObjectMeta{Name: "provider"}, Spec: v1alpha1.SourceIPPolicySpec{
		Priority:      1_000_000,
		LoadBalancers: &v1alpha1.LoadBalancers{Default: c.Cluster.Provider},
	}}
	list := slices.AppendSeq([]v1alpha1.SourceIPPolicy{first}, c.rules.Policies.All())
	return compiled(t, list)
}

// fakeNeighbours gives the handler the neighbours of a case.
type fakeNeighbours struct{ in policies.Input }

func (fakeNeighbours) Ready() error                                           { return nil }
func (f fakeNeighbours) Namespace(context.Context, string) policies.Namespace { return f.in.Namespace }
func (fakeNeighbours) Namespaces(context.Context) []policies.Namespace        { return nil }
func (f fakeNeighbours) Related(context.Context, policies.Input, *webhook.Admission) policies.Related {
	return f.in.Related
}
func (fakeNeighbours) Workload(policies.Ref) *policies.Workload { return nil }
func (f fakeNeighbours) Cluster() policies.Cluster              { return f.in.Cluster }
func (fakeNeighbours) Admit(_, _ *policies.Object) *webhook.Admission {
	return nil
}

// fakePolicies gives the handler the policies of a case.
type fakePolicies struct{ set *bundle.Set }

func (fakePolicies) Ready() error       { return nil }
func (f fakePolicies) Set() *bundle.Set { return f.set }
func (fakePolicies) Check(context.Context, v1alpha1.SourceIPPolicy) []*bundle.Error {
	return nil
}
