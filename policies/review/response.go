package review

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sourceward/sourceward/api/v1alpha1"
	"github.com/sourceward/sourceward/policies"
)

// Endpoint is a path that API servers call.
type Endpoint string

// The endpoints. Between Mutate and Validate the API server validates the object itself, and on an update it
// drops fields that the new type must not have.
const (
	// Mutate is called first. It applies repairs, and denies what the API server would otherwise reject before it
	// calls Validate, with an explanation.
	Mutate Endpoint = "mutate"
	// Validate is called for the object that will be stored. It returns all other denials and warnings.
	Validate Endpoint = "validate"
	// ValidatePolicy is called for a SourceIPPolicy. It denies one that does not compile.
	ValidatePolicy Endpoint = "validate-policy"
)

// ObjectEndpoints lists the endpoints that are called for Services and workloads, Endpoints lists all.
var (
	ObjectEndpoints = []Endpoint{Mutate, Validate}
	Endpoints       = append(ObjectEndpoints[:2:2], ValidatePolicy)
)

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

// Found returns the findings of a decision that an endpoint answers for, in their order: Validate for all of them, and
// Mutate for those that Validate may never see, because it repairs them or because the API server refuses the object
// first. They have any mode and may be exempt. Audit annotations hold them, and metrics count them.
func Found(endpoint Endpoint, decision policies.Decision) []policies.Finding {
	return slices.DeleteFunc(slices.Clone(decision.Findings), func(f policies.Finding) bool {
		rule, _ := policies.RuleByID(f.Rule)
		return endpoint == Mutate && f.Mode != policies.Mutate && !rule.RefusedByServer
	})
}

// FoundOfScale returns the findings of a decision about a request that WarnsOnly: those that depend on the number of
// replicas. They have any mode but deny and mutate.
func FoundOfScale(decision policies.Decision) []policies.Finding {
	found := slices.DeleteFunc(slices.Clone(decision.Findings), func(f policies.Finding) bool {
		rule, ok := policies.RuleByID(f.Rule)
		return !ok || !rule.NeedsReplicas
	})
	for i := range found {
		if found[i].Mode != policies.Audit {
			found[i].Mode = policies.Warn
		}
	}
	return found
}

// Said returns the findings that an endpoint returns to the client: of those that it has Found, the ones that are
// neither exempt nor for audit only. Both endpoints may return the same finding; the API server shows equal warnings
// once.
//
// An object that Mutate denies is not repaired, so its repairs are left out.
func Said(endpoint Endpoint, decision policies.Decision) []policies.Finding {
	said := returned(Found(endpoint, decision))
	if endpoint == Mutate && slices.ContainsFunc(said, isDenial) {
		said = slices.DeleteFunc(said, func(f policies.Finding) bool { return f.Mode == policies.Mutate })
	}
	return said
}

// SaidOfScale returns the findings that a response to a request that WarnsOnly returns to the client.
func SaidOfScale(decision policies.Decision) []policies.Finding {
	return returned(FoundOfScale(decision))
}

// returned removes from found what clients do not see.
func returned(found []policies.Finding) []policies.Finding {
	return slices.DeleteFunc(found, func(f policies.Finding) bool {
		return f.Exempt != nil || f.Mode == policies.Audit
	})
}

func isDenial(f policies.Finding) bool { return f.Mode == policies.Deny }

// Respond returns the response of an endpoint to a decision. The caller sets its UID. Its audit annotations hold what
// the endpoint has Found, in the form that auditAnnotations describes.
//
// The response of Mutate holds the operations of the patches with mode mutate, one after the other. Validate cannot
// repair: there, a finding that should have been repaired, and was not, is a warning. The error is non-nil when a patch
// cannot be encoded as JSON.
func Respond(endpoint Endpoint, decision policies.Decision) (*admissionv1.AdmissionResponse, Outcome, error) {
	response := &admissionv1.AdmissionResponse{
		Allowed: true, AuditAnnotations: auditAnnotations(Found(endpoint, decision)),
	}
	said := Said(endpoint, decision)
	denials := slices.DeleteFunc(slices.Clone(said), func(f policies.Finding) bool { return !isDenial(f) })
	response.Warnings = warnings(endpoint, decision, said)
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
			return nil, "", fmt.Errorf("encode patch: %w", err)
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

// RespondScale returns the response to a request that WarnsOnly: the warnings of the rules about replicas. It never
// denies, since an autoscaler in a traffic peak must not be stopped, and it leaves out policies' own rules, since
// little is known of the workload.
func RespondScale(decision policies.Decision) (*admissionv1.AdmissionResponse, Outcome) {
	response := &admissionv1.AdmissionResponse{
		Allowed:          true,
		Warnings:         warnings(Validate, decision, SaidOfScale(decision)),
		AuditAnnotations: auditAnnotations(FoundOfScale(decision)),
	}
	if len(response.Warnings) > 0 {
		return response, Warned
	}
	return response, Allowed
}

// Grows reports whether a scale request increases the replicas. One that does not is not judged.
func Grows(in policies.Input) bool { return replicas(in.Object) > replicas(in.Old) }

func replicas(o *policies.Object) int32 {
	if o.Workload.Replicas == nil {
		return 1
	}
	return *o.Workload.Replicas
}

// refusal returns the status of a denied request. Its message has a line for each finding; its causes hold the same for
// programs.
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

// PolicyProblem is one problem of a policy.
type PolicyProblem struct {
	// Field is the JSON Pointer of the field of the policy.
	Field string
	// Text says what is wrong and what to do, in one line, or in several if it quotes lines of Rego.
	Text string
}

// RespondPolicy returns the response to a request for a policy that has these problems, in a cluster with these
// Namespaces; nil if they are not known. A policy without problems gets a warning if
//
//   - its match, or a selector in it, is empty: unless an API server is asked to be strict, it drops misspelt fields of
//     them, and the policy then applies to more objects than was meant;
//   - its match selects none of the Namespaces. It may still be created later.
func RespondPolicy(
	policy *v1alpha1.SourceIPPolicy, problems []PolicyProblem, namespaces []policies.Namespace,
) (*admissionv1.AdmissionResponse, Outcome) {
	if len(problems) == 0 {
		response := &admissionv1.AdmissionResponse{Allowed: true}
		if policy != nil && policy.DeletionTimestamp == nil {
			response.Warnings = matchWarnings(policy.Spec.Match, namespaces)
		}
		if len(response.Warnings) > 0 {
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

func matchWarnings(match *v1alpha1.Match, namespaces []policies.Namespace) []string {
	if match == nil {
		return nil
	}
	if match.NamespaceSelector == nil && match.ObjectSelector == nil && len(match.ExcludeNamespaces) == 0 {
		return []string{"spec.match is empty, so the policy applies to all objects; remove it if that is intended"}
	}
	var lines []string
	for _, part := range []struct {
		field, selects string
		selector       *metav1.LabelSelector
	}{
		{"namespaceSelector", "Namespaces", match.NamespaceSelector},
		{"objectSelector", "objects", match.ObjectSelector},
	} {
		if s := part.selector; s != nil && len(s.MatchLabels) == 0 && len(s.MatchExpressions) == 0 {
			lines = append(lines, fmt.Sprintf(
				"spec.match.%s is empty, so it selects all %s; remove it if that is intended", part.field, part.selects))
		}
	}
	if namespaces != nil && !policies.SelectsNamespace(match, namespaces) {
		lines = append(lines, "spec.match selects no existing Namespace, so the policy has no effect until one matches")
	}
	return lines
}

// Bounds of warnings. The API server may truncate longer ones, and leave out some of too many (k8s.io/api v0.37.1,
// admission/v1/types.go: at most 120 characters each if possible).
const (
	maxWarnings = 10
	maxWarning  = 120
	// maxLines is the number of warnings that one message may take, maxFixLines that of a fix, which may hold a whole list
	// element.
	maxLines    = 3
	maxFixLines = 5
	// minWord is the length to which a word is shortened, if need be, so that a message fits into one warning.
	minWord = 20
)

// warnings returns the lines that a client shows to the author of a request: the message of each finding, and its fix
// in the same line or, if that would be too long, in the next. If shortening the longest words of a message, such as
// names and annotations, makes it fit into one line, it does. A fix is not shortened, since it is there to be copied.
// For a repair, the first line says what was done, and the fix is left out.
func warnings(endpoint Endpoint, decision policies.Decision, said []policies.Finding) []string {
	var lines []string
	add := func(rule, text string, most int) {
		for _, line := range fold(rule+": ", text, most) {
			if !slices.Contains(lines, line) {
				lines = append(lines, line)
			}
		}
	}
	for _, f := range said {
		room := maxWarning - len(f.Rule+": ")
		switch {
		case f.Mode == policies.Deny:
		case f.Mode == policies.Mutate && endpoint == Mutate:
			repaired := "repaired: " + done(decision, f.Rule)
			if text := repaired + "; " + f.Message; len(text) <= room {
				add(f.Rule, text, 1)
				break
			}
			add(f.Rule, repaired, 1)
			add(f.Rule, shortenWords(f.Message, room), 1)
		case f.Fix == "":
			add(f.Rule, shortenWords(f.Message, room), maxLines)
		case len(f.Message+"; fix: "+f.Fix) <= room:
			add(f.Rule, f.Message+"; fix: "+f.Fix, maxLines)
		default:
			add(f.Rule, shortenWords(f.Message, room), maxLines)
			add(f.Rule, "fix: "+f.Fix, maxFixLines)
		}
	}
	if len(lines) > maxWarnings {
		rest := len(lines) - (maxWarnings - 1)
		lines = append(lines[:maxWarnings-1],
			fmt.Sprintf("%d more warnings are not shown; sourceward check shows all", rest))
	}
	return lines
}

// done returns what the repair of a rule did.
func done(decision policies.Decision, rule string) string {
	for _, patch := range decision.Patches {
		if patch.Rule == rule {
			return patch.Done
		}
	}
	return ""
}

// fold returns a text as lines of at most maxWarning bytes, each with the prefix. It is broken at spaces, and a line
// that continues another begins with an ellipsis. If it is too long for most lines, its middle is left out.
func fold(prefix, text string, most int) []string {
	const continued = "… "
	room := maxWarning - len(prefix)
	// A line ends up to a word earlier than it could.
	text = policies.Shorten(text, room+(most-1)*(room-len(continued)-minWord))
	var lines []string
	for len(text) > room {
		first := strings.ToValidUTF8(text[:room], "")
		if i := strings.LastIndexByte(first, ' '); i > room/3 {
			first = first[:i]
		}
		lines = append(lines, prefix+first)
		text = continued + strings.TrimPrefix(text[len(first):], " ")
	}
	return append(lines, prefix+text)
}

// shortenWords returns a text in which the longest words are shortened in the middle, to minWord bytes at least, so
// that it has most bytes. It returns the text as it is if that is not possible.
func shortenWords(text string, most int) string {
	words := strings.Split(text, " ")
	for shortened := text; ; shortened = strings.Join(words, " ") {
		over := len(shortened) - most
		if over <= 0 {
			return shortened
		}
		longest := 0
		for i, word := range words {
			if len(word) > len(words[longest]) {
				longest = i
			}
		}
		word := words[longest]
		if len(word) <= minWord {
			return text
		}
		words[longest] = policies.Shorten(word, max(minWord, len(word)-over))
	}
}
