package webhook

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"os"
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
	// maxBody is more than any review that an API server sends: an object of at most 3 MiB, which is what it accepts from
	// a client, and the stored one of at most 1.5 MiB, which is what etcd accepts. Both may have come in another encoding,
	// and be six times as large in JSON, where < is written as \u003c.
	maxBody = 28 << 20
	// defaultTimeout is how long a caller is taken to wait that does not say so, as every API server does. It is the
	// timeoutSeconds of most of our configurations. maxTimeout is the highest value that a configuration may have.
	defaultTimeout = 3 * time.Second
	maxTimeout     = 30 * time.Second
	// maxTransfer is how long a caller may take to send a body, which holds memory meanwhile, or to receive an answer. An
	// API server does so at once.
	maxTransfer = 2 * time.Second
	// maxName is the length of the longest name that an object may have.
	maxName = 253
)

// Handler answers the requests of one endpoint. All fields are required.
//
// It does not use controller-runtime's handler, which answers every error with status 200 and "not allowed". That is
// a denial, which no failurePolicy overrides. A Handler answers a request that cannot be read with 400 and an
// internal error with 500, so that the failurePolicy of the configuration decides.
type Handler struct {
	Endpoint   review.Endpoint
	Neighbours Neighbours
	Policies   Policies
	// InFlight bounds the memory that the requests in flight take. The Handlers of a process share one.
	InFlight *InFlight
	Metrics  *Metrics
	Clock    clock.PassiveClock
	Log      logr.Logger
}

// Neighbours provides what a Handler must know of the cluster. It answers from memory, except for bounded look-ups.
type Neighbours interface {
	// Ready returns an error until the caches have synced.
	Ready() error
	// Namespace never fails: a Namespace that cannot be read is returned as Assumed.
	Namespace(ctx context.Context, name string) policies.Namespace
	// Namespaces returns all Namespaces; nil if they cannot be read.
	Namespaces(ctx context.Context) []policies.Namespace
	// Admit records that object is about to be admitted in place of old, which is nil if object is new. The handler
	// withdraws the admission if it refuses the object, or does not answer. The result may be nil.
	Admit(object, old *policies.Object) *Admission
	// Related returns the neighbours of in.Object, with ViewNone if they cannot be seen. It includes objects that were
	// admitted before admission; all if that is nil. in.Related, in.OldRelated and in.Now are not set yet.
	Related(ctx context.Context, in policies.Input, admission *Admission) policies.Related
	// Workload returns the workload with this reference, or nil if it is not known.
	Workload(ref policies.Ref) *policies.Workload
	// Cluster returns the nodes and the version of the cluster, as far as they are known.
	Cluster() policies.Cluster
}

// Policies provides what a Handler must know of the SourceIPPolicies.
type Policies interface {
	// Ready returns an error until the policies are compiled.
	Ready() error
	// Set returns the policies that are in force now. It may be called once Ready has returned nil.
	Set() *bundle.Set
	// Check returns the problems of a policy that is not in force yet, or nil if it compiles.
	Check(ctx context.Context, policy v1alpha1.SourceIPPolicy) []*bundle.Error
}

// failure is an error that is answered with an HTTP status of its own.
type failure struct {
	code int
	err  error
}

func (f *failure) Error() string { return f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

// failureCodes lists all HTTP statuses of requests that are not answered.
var failureCodes = []int{
	http.StatusBadRequest, http.StatusMethodNotAllowed, http.StatusRequestTimeout, http.StatusRequestEntityTooLarge,
	http.StatusUnsupportedMediaType, http.StatusInternalServerError, http.StatusServiceUnavailable,
	http.StatusGatewayTimeout,
}

// errGone is the error of a caller that went away before it had sent its whole request.
var errGone = errors.New("the caller is gone")

// timeoutOf returns how long a request may take.
//
// An API server says in a parameter how long it is going to wait, rounded up to whole seconds (k8s.io/apiserver
// v0.37.0, pkg/admission/plugin/webhook/validating/dispatcher.go), and its clock started before the request arrived.
// A second less is therefore early enough, or half the time where a second would be too much to give up.
func timeoutOf(r *http.Request) time.Duration {
	timeout, err := time.ParseDuration(r.URL.Query().Get("timeout"))
	if err != nil || timeout <= 0 {
		timeout = defaultTimeout
	}
	timeout = min(timeout, maxTimeout)
	return max(timeout-time.Second, timeout/2)
}

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	start := h.Clock.Now()
	timeout := timeoutOf(r)
	// The context of the request ends when the caller goes away. That must not look like a policy that failed.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), timeout)
	defer cancel()

	taken := &share{of: h.InFlight}
	defer taken.end()
	res, err := h.answer(ctx, w, r, taken)
	taken.end() // before the answer is sent: a caller that does not receive it holds nothing
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(maxTransfer))
	duration := h.Clock.Since(start)
	gone := r.Context().Err() != nil
	if err == nil && gone {
		err = errGone
		if ctx.Err() != nil {
			err = &failure{http.StatusGatewayTimeout, fmt.Errorf("not answered within %s, and %w", timeout, errGone)}
		}
	}
	if err != nil {
		res.admission.Withdraw()
		h.fail(w, r, h.logOf(res, duration), err)
		return
	}
	h.Metrics.answered(h.Endpoint, res, duration)
	h.logAnswer(res, duration)
	w.Header().Set("Content-Type", "application/json")
	if _, err := w.Write(res.body); err != nil || res.outcome == review.Denied {
		res.admission.Withdraw()
	}
}

// fail answers a request with the HTTP status of an error, and logs and counts it. A caller that went away by itself is
// no failure.
func (h *Handler) fail(w http.ResponseWriter, r *http.Request, log logr.Logger, err error) {
	f, ok := errors.AsType[*failure](err)
	switch {
	case ok:
	case errors.Is(err, errGone):
		log.V(1).Info("request not answered", "reason", err.Error())
		w.WriteHeader(http.StatusBadRequest) // never an answer, whoever receives it
		return
	default:
		f = &failure{http.StatusInternalServerError, err}
	}
	h.Metrics.failed(h.Endpoint, f.code)
	log.Error(err, "request not answered", "code", f.code)
	http.Error(w, err.Error(), f.code)
	drain(w, r)
}

// drain sends the answer to a request whose body may not have been read, and then reads it. Otherwise the server would
// close the connection, and a caller that is still sending would see that instead of the answer.
func drain(w http.ResponseWriter, r *http.Request) {
	_ = http.NewResponseController(w).Flush()
	_, _ = io.Copy(io.Discard, http.MaxBytesReader(w, r.Body, maxBody))
}

// maxLogged is how many findings of an answer are logged.
const maxLogged = 20

// logOf returns a logger with what identifies a request.
func (h *Handler) logOf(res *result, duration time.Duration) logr.Logger {
	return h.Log.WithValues(
		"endpoint", h.Endpoint, "uid", short(string(res.request.UID)), "user", short(res.request.UserInfo.Username),
		"operation", short(string(res.request.Operation)), "object", res.object,
		"dryRun", isDryRun(res.request), "duration", duration,
	)
}

// logAnswer logs an answer, at level 2 if it says nothing.
func (h *Handler) logAnswer(res *result, duration time.Duration) {
	level := 1
	if res.outcome == review.Allowed {
		level = 2
	}
	if !h.Log.V(level).Enabled() {
		return
	}
	var findings []string
	for i, f := range res.returned {
		if i == maxLogged {
			findings = append(findings, fmt.Sprintf("and %d more", len(res.returned)-maxLogged))
			break
		}
		findings = append(findings, fmt.Sprintf("%s: %s: %s", f.Mode, f.Rule, f.Message))
	}
	h.logOf(res, duration).V(level).Info("request answered", "outcome", res.outcome, "findings", findings)
}

// result is an answer, and what is logged and counted about it.
type result struct {
	request *admissionv1.AdmissionRequest
	object  string
	outcome review.Outcome
	// found are the findings that the endpoint answers for, returned those of them that the client sees.
	found, returned []policies.Finding
	// faults are the policies whose Rego could not be evaluated.
	faults policies.Faults
	// admission is the object's, if the request is to store it; else nil.
	admission *Admission
	body      []byte
}

// answer reads a review and encodes the answer. The error is errGone, a *failure, or an internal error, which includes
// panics. The result is never nil; in case of an error it holds what is known of the request.
func (h *Handler) answer(
	ctx context.Context, w http.ResponseWriter, r *http.Request, taken *share,
) (res *result, err error) {
	res = &result{request: &admissionv1.AdmissionRequest{}, outcome: review.Allowed}
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
			h.Log.Error(err, "panic", "endpoint", h.Endpoint, "stack", string(debug.Stack()))
		}
	}()
	request, err := readReview(ctx, w, r, taken)
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
		return res, fmt.Errorf("encode answer: %w", err)
	}
	return res, nil
}

// readReview returns the request in the body, and takes the memory for it. The error is errGone or a *failure.
func readReview(
	ctx context.Context, w http.ResponseWriter, r *http.Request, taken *share,
) (*admissionv1.AdmissionRequest, error) {
	bad := func(code int, format string, args ...any) (*admissionv1.AdmissionRequest, error) {
		return nil, &failure{code, fmt.Errorf(format, args...)}
	}
	if r.Method != http.MethodPost {
		return bad(http.StatusMethodNotAllowed, "method %.20q: want POST", r.Method)
	}
	contentType := r.Header.Get("Content-Type")
	if mediaType, _, err := mime.ParseMediaType(contentType); err != nil || mediaType != "application/json" {
		return bad(http.StatusUnsupportedMediaType, "content type %.40q: want application/json", contentType)
	}
	deadline := time.Now().Add(maxTransfer)
	if end, ok := ctx.Deadline(); ok && end.Before(deadline) {
		deadline = end
	}
	// Not every ResponseWriter supports deadlines; the server's does.
	controller := http.NewResponseController(w)
	_ = controller.SetReadDeadline(deadline)
	body, err := readBody(w, r, taken)
	if err != nil {
		return nil, err
	}
	// A deadline that passed later would end the context of the request, as if the caller were gone.
	_ = controller.SetReadDeadline(time.Time{})
	var in admissionv1.AdmissionReview
	if err := policies.DecodeJSON(body, &in); err != nil {
		return bad(http.StatusBadRequest, "read AdmissionReview: %w", err)
	}
	if want := admissionv1.SchemeGroupVersion.WithKind("AdmissionReview"); in.GroupVersionKind() != want {
		return bad(http.StatusBadRequest, "got %.40q of %.40q: want AdmissionReview of %q",
			in.Kind, in.APIVersion, want.GroupVersion())
	}
	if in.Request == nil {
		return bad(http.StatusBadRequest, "AdmissionReview has no request")
	}
	if longest := max(len(in.Request.UID), len(in.Request.Namespace), len(in.Request.Name)); longest > maxName {
		return bad(http.StatusBadRequest, "uid, namespace or name has %d bytes: want at most %d", longest, maxName)
	}
	return in.Request, nil
}

// readBody returns the body, and takes the memory for it. The error is errGone or a *failure.
func readBody(w http.ResponseWriter, r *http.Request, taken *share) ([]byte, error) {
	if r.ContentLength > maxBody {
		return nil, errTooLarge
	}
	body, err := io.ReadAll(taken.reader(http.MaxBytesReader(w, r.Body, maxBody)))
	_, isFailure := errors.AsType[*failure](err)
	_, isTooLarge := errors.AsType[*http.MaxBytesError](err)
	_, isBroken := errors.AsType[net.Error](err)
	switch {
	case err == nil && len(body) == 0:
		return nil, &failure{http.StatusBadRequest, errors.New("body is empty: want an AdmissionReview")}
	case err == nil:
		return body, taken.takeValues(body)
	case isFailure:
		return nil, err
	case isTooLarge:
		return nil, errTooLarge
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, &failure{http.StatusRequestTimeout, errors.New("the request did not arrive in time")}
	case isBroken, errors.Is(err, io.ErrUnexpectedEOF):
		return nil, errGone
	default:
		return nil, &failure{http.StatusBadRequest, fmt.Errorf("read body: %w", err)}
	}
}

var errTooLarge = &failure{http.StatusRequestEntityTooLarge, fmt.Errorf("body is larger than %d bytes", maxBody)}

// respond decides on the request, and stores in res what is logged and counted about it.
func (h *Handler) respond(ctx context.Context, res *result) (*admissionv1.AdmissionResponse, error) {
	if h.Endpoint == review.ValidatePolicy {
		return h.respondPolicy(ctx, res)
	}
	if !review.Judges(res.request) {
		return &admissionv1.AdmissionResponse{Allowed: true}, nil
	}
	if review.WarnsOnly(res.request) && h.Endpoint != review.Validate {
		return &admissionv1.AdmissionResponse{Allowed: true}, nil
	}
	in, known, err := h.input(ctx, res)
	if err != nil {
		return nil, &failure{http.StatusBadRequest, err}
	}
	if !known {
		return &admissionv1.AdmissionResponse{Allowed: true}, nil
	}
	set := h.Policies.Set()
	settings := policies.Resolve(set.Policies, in.Object, in.Namespace)
	if review.WarnsOnly(res.request) {
		// The policies' own rules are not asked, since too little is known of the workload.
		settings.Applied = nil
	}
	// Policies that could not be asked in time are findings, which must reach the API server before it stops waiting.
	deadline, _ := ctx.Deadline()
	inTime, cancel := context.WithTimeout(ctx, time.Until(deadline)*3/4)
	defer cancel()
	decision, err := policies.Decide(inTime, in, set, settings)
	if review.IsAutoscaler(res.request) {
		former := in
		former.Related = in.OldRelated
		before, wrong := policies.Decide(inTime, former, set, settings)
		decision, err = review.BroughtByAutoscaler(before, decision), cmp.Or(err, wrong)
	}
	if err != nil {
		// The decision also has a finding for it, in the mode that the policy configures.
		h.Log.Error(err, "rules not evaluated",
			"endpoint", h.Endpoint, "uid", short(string(res.request.UID)), "object", res.object)
		res.faults, _ = errors.AsType[policies.Faults](err)
	}
	if review.WarnsOnly(res.request) {
		res.found, res.returned = review.FoundOfScale(decision), review.SaidOfScale(decision)
		response, outcome := review.RespondScale(decision)
		res.outcome = outcome
		return response, nil
	}
	res.found, res.returned = review.Found(h.Endpoint, decision), review.Said(h.Endpoint, decision)
	response, outcome, err := review.Respond(h.Endpoint, decision)
	res.outcome = outcome
	return response, err
}

// respondPolicy rejects a policy that does not compile, and says why.
func (h *Handler) respondPolicy(ctx context.Context, res *result) (*admissionv1.AdmissionResponse, error) {
	policy, err := review.ReadPolicy(res.request)
	if err != nil {
		return nil, &failure{http.StatusBadRequest, err}
	}
	var problems []review.PolicyProblem
	if policy != nil && policy.DeletionTimestamp == nil {
		for _, problem := range h.Policies.Check(ctx, *policy) {
			problems = append(problems, review.PolicyProblem{Field: problem.Path, Text: problem.Detail()})
		}
	}
	response, outcome := review.RespondPolicy(policy, problems, h.Neighbours.Namespaces(ctx))
	res.outcome = outcome
	return response, nil
}

// input collects everything that the decision depends on, and stores in res the admission of an object that is to be
// stored. known is false for a request that needs no decision: a scale that adds no replicas, or one about a workload
// that is not known to this replica.
func (h *Handler) input(ctx context.Context, res *result) (in policies.Input, known bool, err error) {
	request := res.request
	if review.IsAutoscaler(request) {
		return h.inputOfAutoscaler(ctx, request)
	}
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
	if h.Endpoint == review.Validate && !isDryRun(request) && !review.WarnsOnly(request) {
		// Before the neighbours are read, so that of two requests at the same time one knows of the other.
		res.admission = h.Neighbours.Admit(in.Object, in.Old)
	}
	in.Related = h.Neighbours.Related(ctx, in, res.admission)
	if in.Old != nil {
		old := in
		old.Object = in.Old
		in.OldRelated = h.Neighbours.Related(ctx, old, res.admission)
	}
	in.Final = h.Endpoint == review.Validate
	in.MutationsOnly = true
	in.Now = h.Clock.Now()
	return in, true, nil
}

// inputOfAutoscaler returns the input of a decision about the workload that an autoscaler will scale, with the
// neighbours that it has before in OldRelated. known is as for input.
func (h *Handler) inputOfAutoscaler(
	ctx context.Context, request *admissionv1.AdmissionRequest,
) (in policies.Input, known bool, err error) {
	next, old, err := review.ReadAutoscaler(request)
	if err != nil {
		return in, false, err
	}
	workload := h.Neighbours.Workload(next.Target.Ref(next.Ref.Namespace))
	if workload != nil && workload.TemplateOf != (policies.WorkloadRef{}) {
		workload = h.Neighbours.Workload(workload.TemplateOf.Ref(workload.Namespace)) // the one with the template is judged
	}
	if workload == nil {
		return in, false, nil
	}
	object, err := workload.Object()
	if err != nil {
		return in, false, err
	}
	in = policies.Input{
		Operation: policies.Update, Object: object, Old: object, Final: true, Now: h.Clock.Now(),
		Namespace: h.Neighbours.Namespace(ctx, workload.Namespace), Cluster: h.Neighbours.Cluster(),
	}
	related := h.Neighbours.Related(ctx, in, nil)
	in.Related = review.WithAutoscaler(related, next.Ref, &next)
	in.OldRelated = review.WithAutoscaler(related, next.Ref, old)
	return in, true, nil
}

func requestObject(request *admissionv1.AdmissionRequest) string {
	name := request.Name
	if name == "" {
		name = "(to be named)"
	}
	return policies.Ref{Kind: short(request.Kind.Kind), Namespace: short(request.Namespace), Name: short(name)}.String()
}

// short shortens text of a request, which any client may have sent.
func short(text string) string { return policies.Shorten(text, maxName) }

func isDryRun(request *admissionv1.AdmissionRequest) bool {
	return request.DryRun != nil && *request.DryRun
}
