package review

import (
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strings"

	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sourceward/sourceward/api/v1alpha1"
	"github.com/sourceward/sourceward/policies"
)

// Endpoint is what an API server calls: two about each request for an object that is judged, and one about policies.
type Endpoint string

// The endpoints. Between Mutate and Validate the API server validates the object itself, and on an update it
// drops fields that the new type may not have.
const (
	// Mutate is asked first. It applies repairs, and refuses what the API server would refuse before
	// Validate is asked, with a better word.
	Mutate Endpoint = "mutate"
	// Validate is asked about the object that will be stored. It says all else.
	Validate Endpoint = "validate"
	// ValidatePolicy is asked about a SourceIPPolicy. It refuses what would not compile.
	ValidatePolicy Endpoint = "validate-policy"
)

// Endpoints lists all endpoints, ObjectEndpoints those that judge objects.
var (
	ObjectEndpoints = []Endpoint{Mutate, Validate}
	Endpoints       = append(ObjectEndpoints[:2:2], ValidatePolicy)
)

// refusedByServer are the rules whose findings the API server refuses by itself before it asks Validate.
var refusedByServer = []string{"local-on-cluster-ip", "unknown-traffic-policy", "misplaced-health-check-node-port"}

// Outcome is what a response does to its request.
type Outcome string

// The outcomes.
const (
	Allowed Outcome = "allowed"
	Warned  Outcome = "warned"
	Mutated Outcome = "mutated"
	Denied  Outcome = "denied"
)

// Outcomes lists all outcomes.
var Outcomes = []Outcome{Allowed, Warned, Mutated, Denied}

// Said returns the findings that an endpoint says, which are those of the decision that are not exempt
// and not for audit only. Both endpoints may say the same one: the API server shows equal warnings once.
//
// An object that Mutate refuses is not repaired either, and of its repairs nothing is said.
func Said(endpoint Endpoint, decision policies.Decision) []policies.Finding {
	said := slices.DeleteFunc(slices.Clone(decision.Findings), func(f policies.Finding) bool {
		return f.Exempt != nil || !says(endpoint, f)
	})
	if endpoint == Mutate && slices.ContainsFunc(said, isDenial) {
		said = slices.DeleteFunc(said, func(f policies.Finding) bool { return f.Mode == policies.Mutate })
	}
	return said
}

// Exempt returns the findings that an endpoint would say if they were not exempt.
func Exempt(endpoint Endpoint, decision policies.Decision) []policies.Finding {
	return slices.DeleteFunc(slices.Clone(decision.Findings), func(f policies.Finding) bool {
		return f.Exempt == nil || !says(endpoint, f)
	})
}

func says(endpoint Endpoint, f policies.Finding) bool {
	return f.Mode != policies.Audit && (endpoint == Validate || f.Mode == policies.Mutate || slices.Contains(refusedByServer, f.Rule))
}

func isDenial(f policies.Finding) bool { return f.Mode == policies.Deny }

// Respond writes the answer of an endpoint. The caller sets its UID.
//
// Mutate carries the operations of the patches whose mode is mutate, one after the other. Validate cannot
// repair: a finding that should have been repaired, and was not, is a warning there.
// The error is non-nil when a patch cannot be written as JSON.
func Respond(endpoint Endpoint, decision policies.Decision) (*admissionv1.AdmissionResponse, Outcome, error) {
	response := &admissionv1.AdmissionResponse{Allowed: true}
	said := Said(endpoint, decision)
	denials := slices.DeleteFunc(slices.Clone(said), func(f policies.Finding) bool { return !isDenial(f) })
	response.Warnings = warnings(endpoint, said)
	switch {
	case len(denials) > 0:
		response.Allowed = false
		response.Result = refusal(denials)
		return response, Denied, nil
	case endpoint == Mutate:
		operations := decision.Mutations()
		if len(operations) == 0 {
			break
		}
		patch, err := json.Marshal(operations)
		if err != nil {
			return nil, "", fmt.Errorf("write patch: %w", err)
		}
		jsonPatch := admissionv1.PatchTypeJSONPatch
		response.Patch, response.PatchType = patch, &jsonPatch
		return response, Mutated, nil
	}
	if len(response.Warnings) > 0 {
		return response, Warned, nil
	}
	return response, Allowed, nil
}

// RespondScale writes the answer to a request to scale that Grows: the warnings of the rules about replicas. It never
// refuses, since an autoscaler in a traffic peak must not be stopped, and it leaves out policies' own rules, which would
// judge a workload of which little is known.
func RespondScale(decision policies.Decision) (*admissionv1.AdmissionResponse, Outcome) {
	response := &admissionv1.AdmissionResponse{Allowed: true, Warnings: warnings(Validate, SaidOfScale(decision))}
	if len(response.Warnings) > 0 {
		return response, Warned
	}
	return response, Allowed
}

// SaidOfScale returns the findings of a decision about a scale that depend on the number of replicas.
func SaidOfScale(decision policies.Decision) []policies.Finding {
	said := Said(Validate, decision)
	said = slices.DeleteFunc(said, func(f policies.Finding) bool {
		rule, ok := policies.RuleByID(f.Rule)
		return !ok || !rule.NeedsReplicas
	})
	for i := range said {
		said[i].Mode = policies.Warn
	}
	return said
}

// Grows tells whether a scale makes more replicas. One that does not is nobody's trouble.
func Grows(in policies.Input) bool { return replicas(in.Object) > replicas(in.Old) }

func replicas(o *policies.Object) int32 {
	if o.Workload.Replicas == nil {
		return 1
	}
	return *o.Workload.Replicas
}

// refusal is what the author of a refused request reads: a line for each finding, and the same for
// programs in the causes.
func refusal(denials []policies.Finding) *metav1.Status {
	lines := make([]string, len(denials))
	causes := make([]metav1.StatusCause, len(denials))
	for i, f := range denials {
		text := f.Message
		if f.Fix != "" {
			text += "; fix: " + f.Fix
		}
		place := f.Object.String()
		if f.Path != "" {
			place += " " + f.Path
		}
		lines[i] = fmt.Sprintf("%s: %s: %s", f.Rule, place, text)
		causes[i] = metav1.StatusCause{Type: metav1.CauseType(f.Rule), Message: text, Field: f.Path}
	}
	return forbidden(lines, causes)
}

func forbidden(lines []string, causes []metav1.StatusCause) *metav1.Status {
	return &metav1.Status{
		Status:  metav1.StatusFailure,
		Code:    http.StatusForbidden,
		Reason:  metav1.StatusReasonForbidden,
		Message: strings.Join(lines, "\n"),
		Details: &metav1.StatusDetails{Causes: causes},
	}
}

// PolicyProblem is one thing that is wrong with a policy.
type PolicyProblem struct {
	// Field is the JSON Pointer of the field of the policy.
	Field string
	// Text is what its author reads: what is wrong and what to do, in one line or with the lines that it is about below.
	Text string
}

// RespondPolicy writes the answer to a request for a policy that has these problems. A match that is there and says nothing
// is warned about: an API server that is not asked to be strict drops what is misspelt in it, and leaves a policy for all.
func RespondPolicy(policy *v1alpha1.SourceIPPolicy, problems []PolicyProblem) (*admissionv1.AdmissionResponse, Outcome) {
	if len(problems) == 0 {
		response := &admissionv1.AdmissionResponse{Allowed: true}
		if policy != nil && policy.Spec.Match != nil && reflect.DeepEqual(*policy.Spec.Match, v1alpha1.Match{}) {
			response.Warnings = []string{"spec.match is empty, so the policy is about every object; leave it out if that is meant"}
			return response, Warned
		}
		return response, Allowed
	}
	lines := make([]string, len(problems))
	causes := make([]metav1.StatusCause, len(problems))
	for i, p := range problems {
		lines[i] = p.Text
		causes[i] = metav1.StatusCause{Type: metav1.CauseTypeFieldValueInvalid, Message: p.Text, Field: p.Field}
	}
	return &admissionv1.AdmissionResponse{Result: forbidden(lines, causes)}, Denied
}

const (
	// maxWarnings and maxWarning keep warnings whole: the API server may cut long ones, and many
	// (k8s.io/api v0.37.1, admission/v1/types.go: at most 120 characters each if possible).
	maxWarnings = 10
	maxWarning  = 120
	// maxLines is how many of them one message, or one remedy, may take.
	maxLines = 3
)

// warnings are the lines that a client shows to the author of a request: each finding's message, with its
// remedy in the same line, or in others where that would be too long.
func warnings(endpoint Endpoint, said []policies.Finding) []string {
	var lines []string
	add := func(rule, text string, most int) {
		for _, line := range fold(rule+": ", text, most) {
			if !slices.Contains(lines, line) {
				lines = append(lines, line)
			}
		}
	}
	for _, f := range said {
		switch {
		case f.Mode == policies.Deny:
		case f.Mode == policies.Mutate && endpoint == Mutate:
			add(f.Rule, "repaired: "+f.Message, 1) // there is nothing left to do
		case f.Fix == "":
			add(f.Rule, f.Message, maxLines)
		case len(f.Rule)+len(f.Message)+len(f.Fix)+len(": ; fix: ") <= maxWarning:
			add(f.Rule, f.Message+"; fix: "+f.Fix, maxLines)
		default:
			add(f.Rule, f.Message, maxLines)
			add(f.Rule, "fix: "+f.Fix, maxLines)
		}
	}
	if len(lines) > maxWarnings {
		rest := len(lines) - (maxWarnings - 1)
		lines = append(lines[:maxWarnings-1], fmt.Sprintf("%d more warnings are not shown; sourceward check shows all", rest))
	}
	return lines
}

// fold breaks a text into lines of at most maxWarning bytes that all begin with a prefix, at spaces where there are any. The
// last of most lines is cut.
func fold(prefix, text string, most int) []string {
	const ellipsis = "…"
	var lines []string
	for len(prefix)+len(text) > maxWarning && len(lines) < most {
		first := strings.ToValidUTF8(text[:max(maxWarning-len(prefix)-len(" "+ellipsis), 0)], "")
		if i := strings.LastIndexByte(first, ' '); i > maxWarning/4 {
			first = first[:i]
		}
		text = ellipsis + " " + strings.TrimPrefix(text[len(first):], " ")
		lines = append(lines, prefix+first+" "+ellipsis)
	}
	if len(lines) < most {
		lines = append(lines, prefix+text)
	}
	return lines
}
