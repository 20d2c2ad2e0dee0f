package webhook

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"runtime/debug"
	"time"

	"github.com/go-logr/logr"
	admissionv1 "k8s.io/api/admission/v1"
	"k8s.io/utils/clock"

	"github.com/sourceward/sourceward/api/v1alpha1"
	"github.com/sourceward/sourceward/policies"
	"github.com/sourceward/sourceward/policies/bundle"
	"github.com/sourceward/sourceward/policies/review"
)

const (
	// maxBody is more than any review that an API server sends: two objects of at most 3 MiB, which is
	// what it accepts from a client, and a little.
	maxBody = 7 << 20
	// answerTimeout bounds one answer, and the arrival of its request. The API server's clock runs for the
	// timeoutSeconds of the configurations, which are 3, and has begun before: what could not be evaluated by then
	// is to be told in time.
	answerTimeout = 2500 * time.Millisecond
)

// Handler answers one endpoint. All fields are required.
//
// It is not controller-runtime's, which answers whatever goes wrong with 200 and "not allowed": that is a
// denial, which no failurePolicy overrules. Here what could not be read is 400 and a fault is 500, and
// the configuration's failurePolicy decides.
type Handler struct {
	Endpoint   review.Endpoint
	Neighbours Neighbours
	Policies   Policies
	Metrics    *Metrics
	Clock      clock.PassiveClock
	Log        logr.Logger
}

// Neighbours is what a Handler asks of the cluster: from memory, but for bounded look-ups.
type Neighbours interface {
	// Ready tells why it cannot be asked yet.
	Ready() error
	// Namespace never fails: one that cannot be seen is Assumed.
	Namespace(ctx context.Context, name string) policies.Namespace
	// Related has ViewNone where the neighbours of in.Object cannot be seen. in lacks Related and Now.
	Related(ctx context.Context, in policies.Input) policies.Related
	// Workload is nil if it is not known.
	Workload(ref policies.Ref) *policies.Workload
	// Cluster is what is known of the cluster.
	Cluster() policies.Cluster
	// Admitted is told of each object that was let in.
	Admitted(object *policies.Object)
}

// Policies is what a Handler asks of the SourceIPPolicies.
type Policies interface {
	// Ready tells why it cannot be asked yet.
	Ready() error
	// Set is what is in force now.
	Set() *bundle.Set
	// Check tells what is wrong with a policy that is not in force yet.
	Check(policy v1alpha1.SourceIPPolicy) []*bundle.Error
}

// failure is an answer on the level of HTTP.
type failure struct {
	code int
	err  error
}

func (f *failure) Error() string { return f.err.Error() }

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	start := h.Clock.Now()
	// The server ends the contexts of its requests as soon as it shuts down, and then waits for their
	// answers. An answer that is under way is to be the right one.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), answerTimeout)
	defer cancel()

	// Not every writer can; the server's can.
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(answerTimeout))

	result, err := h.answer(ctx, w, r)
	duration := h.Clock.Since(start)
	told := []any{
		"endpoint", h.Endpoint, "uid", short(string(result.request.UID)), "operation", short(string(result.request.Operation)),
		"object", result.object, "dryRun", isDryRun(result.request), "duration", duration.String(),
	}
	if err != nil {
		code := http.StatusInternalServerError
		if f, ok := errors.AsType[*failure](err); ok {
			code = f.code
		}
		h.Metrics.failed(h.Endpoint, code)
		h.Log.Error(err, "request not answered", append(told, "code", code)...)
		http.Error(w, err.Error(), code)
		return
	}
	h.Metrics.answered(h.Endpoint, result, duration)
	level := 1
	if result.outcome == review.Allowed {
		level = 2
	}
	if log := h.Log.V(level); log.Enabled() {
		rules := make([]string, len(result.said))
		for i, f := range result.said {
			rules[i] = f.Rule
		}
		log.Info("request answered", append(told, "outcome", result.outcome, "rules", rules)...)
	}
	w.Header().Set("Content-Type", "application/json")
	if _, err := w.Write(result.body); err != nil {
		h.Log.Error(err, "answer not sent", "endpoint", h.Endpoint, "uid", result.request.UID)
	}
}

// result is an answer, and what is told of it.
type result struct {
	request *admissionv1.AdmissionRequest
	object  string
	outcome review.Outcome
	// said and exempt are the findings that were told, and those that an exemption kept from it.
	said, exempt []policies.Finding
	// faults are what could not be evaluated.
	faults policies.Faults
	body   []byte
}

// answer reads a review and writes the answer. The error is a *failure, or a fault of ours; the result then tells what
// is known of the request, and is never nil.
func (h *Handler) answer(ctx context.Context, w http.ResponseWriter, r *http.Request) (res *result, err error) {
	res = &result{request: &admissionv1.AdmissionRequest{}, outcome: review.Allowed}
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
			h.Log.Error(err, "panic", "endpoint", h.Endpoint, "stack", string(debug.Stack()))
		}
	}()
	request, err := readReview(w, r)
	if err != nil {
		return res, err
	}
	res.request, res.object = request, requestObject(request)
	if err := errors.Join(h.Neighbours.Ready(), h.Policies.Ready()); err != nil {
		return res, &failure{http.StatusServiceUnavailable, fmt.Errorf("not ready: %w", err)}
	}
	response, err := h.respond(ctx, res)
	if err != nil {
		return res, fmt.Errorf("%s of %s: %w", short(string(request.Operation)), res.object, err)
	}
	response.UID = request.UID
	answer := admissionv1.AdmissionReview{Response: response}
	answer.SetGroupVersionKind(admissionv1.SchemeGroupVersion.WithKind("AdmissionReview"))
	if res.body, err = json.Marshal(answer); err != nil {
		return res, fmt.Errorf("write answer: %w", err)
	}
	return res, nil
}

// readReview reads the body. The error is a *failure.
func readReview(w http.ResponseWriter, r *http.Request) (*admissionv1.AdmissionRequest, error) {
	bad := func(code int, format string, args ...any) (*admissionv1.AdmissionRequest, error) {
		return nil, &failure{code, fmt.Errorf(format, args...)}
	}
	if r.Method != http.MethodPost {
		return bad(http.StatusMethodNotAllowed, "method %.20q: want POST", r.Method)
	}
	if mediaType, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || mediaType != "application/json" {
		return bad(http.StatusUnsupportedMediaType, "content type %.40q: want application/json", r.Header.Get("Content-Type"))
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
		return bad(http.StatusRequestEntityTooLarge, "body is larger than %d bytes", maxBody)
	}
	if err != nil {
		return bad(http.StatusBadRequest, "read body: %w", err)
	}
	if len(body) == 0 {
		return bad(http.StatusBadRequest, "body is empty: want an AdmissionReview")
	}
	var in admissionv1.AdmissionReview
	if err := json.Unmarshal(body, &in); err != nil {
		return bad(http.StatusBadRequest, "read AdmissionReview: %w", err)
	}
	if want := admissionv1.SchemeGroupVersion.WithKind("AdmissionReview"); in.GroupVersionKind() != want {
		return bad(http.StatusBadRequest, "got %.40q of %.40q: want AdmissionReview of %q", in.Kind, in.APIVersion, want.GroupVersion())
	}
	if in.Request == nil {
		return bad(http.StatusBadRequest, "AdmissionReview has no request")
	}
	return in.Request, nil
}

// respond decides, and notes in res what is told of it.
func (h *Handler) respond(ctx context.Context, res *result) (*admissionv1.AdmissionResponse, error) {
	if h.Endpoint == review.ValidatePolicy {
		return h.respondPolicy(res)
	}
	if !review.Judges(res.request) {
		return &admissionv1.AdmissionResponse{Allowed: true}, nil
	}
	if review.IsScale(res.request) && h.Endpoint != review.Validate {
		return &admissionv1.AdmissionResponse{Allowed: true}, nil
	}
	in, known, err := h.input(ctx, res.request)
	if err != nil {
		return nil, &failure{http.StatusBadRequest, err}
	}
	if !known {
		return &admissionv1.AdmissionResponse{Allowed: true}, nil
	}
	set := h.Policies.Set()
	settings := policies.Resolve(set.Policies, in.Object, in.Namespace)
	decision, err := policies.Decide(ctx, in, set, settings)
	if err != nil {
		// The decision says so too, in the mode that the policy wants.
		h.Log.Error(err, "rules not evaluated", "endpoint", h.Endpoint, "uid", res.request.UID, "object", res.object)
		res.faults, _ = errors.AsType[policies.Faults](err)
	}
	if review.IsScale(res.request) {
		res.said = review.SaidOfScale(decision)
		response, outcome := review.RespondScale(decision)
		res.outcome = outcome
		return response, nil
	}
	res.said, res.exempt = review.Said(h.Endpoint, decision), review.Exempt(h.Endpoint, decision)
	response, outcome, err := review.Respond(h.Endpoint, decision)
	res.outcome = outcome
	if err == nil && h.Endpoint == review.Validate && response.Allowed && !isDryRun(res.request) {
		h.Neighbours.Admitted(in.Object)
	}
	return response, err
}

// respondPolicy tells what is wrong with a policy.
func (h *Handler) respondPolicy(res *result) (*admissionv1.AdmissionResponse, error) {
	policy, err := review.ReadPolicy(res.request)
	if err != nil {
		return nil, &failure{http.StatusBadRequest, err}
	}
	var problems []review.PolicyProblem
	if policy != nil && policy.DeletionTimestamp == nil {
		for _, problem := range h.Policies.Check(*policy) {
			problems = append(problems, review.PolicyProblem{Field: problem.Path, Text: problem.Detail()})
		}
	}
	response, outcome := review.RespondPolicy(policy, problems)
	res.outcome = outcome
	return response, nil
}

// input is everything that the decision is made of. known is false for a scale of which there is nothing to say: to no
// more replicas, or of a workload that this replica has not seen.
func (h *Handler) input(ctx context.Context, request *admissionv1.AdmissionRequest) (in policies.Input, known bool, err error) {
	if ref, isScale := review.ScaleOf(request); isScale {
		workload := h.Neighbours.Workload(ref)
		if workload == nil {
			return in, false, nil
		}
		in, err = review.ReadScale(request, workload)
		if err == nil && !review.Grows(in) {
			return in, false, nil
		}
	} else {
		in, err = review.Read(request)
	}
	if err != nil {
		return in, false, err
	}
	in.Namespace = h.Neighbours.Namespace(ctx, in.Object.Namespace)
	in.Cluster = h.Neighbours.Cluster()
	in.Related = h.Neighbours.Related(ctx, in)
	in.Final = h.Endpoint == review.Validate
	in.Now = h.Clock.Now()
	return in, true, nil
}

func requestObject(request *admissionv1.AdmissionRequest) string {
	name := request.Name
	if name == "" {
		name = "(to be named)"
	}
	return policies.Ref{Kind: short(request.Kind.Kind), Namespace: short(request.Namespace), Name: short(name)}.String()
}

// short cuts what is told of a request that anybody could have sent. What an API server sends is never as long.
func short(text string) string {
	const most = 253 // the longest name of an object
	return text[:min(len(text), most)]
}

func isDryRun(request *admissionv1.AdmissionRequest) bool {
	return request.DryRun != nil && *request.DryRun
}
