package review_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	admissionv1 "k8s.io/api/admission/v1"

	"github.com/sourceward/sourceward/policies"
	"github.com/sourceward/sourceward/policies/review"
)

var web = policies.Ref{APIVersion: "v1", Kind: "Service", Namespace: "edge", Name: "web"}

func TestRespond(t *testing.T) {
	t.Parallel()
	deny := policies.Finding{
		Rule:    "local-on-cluster-ip",
		Mode:    policies.Deny,
		Message: "m",
		Fix:     "f",
		Object:  web,
		Path:    "/spec/externalTrafficPolicy",
	}
	house := policies.Finding{Rule: "no-node-port", Mode: policies.Deny, Message: "h", Object: web}
	warn := policies.Finding{Rule: "unspread-behind-local", Mode: policies.Warn, Message: "m", Fix: "f", Object: web}
	mutate := policies.Finding{Rule: "source-ip-needs-local", Mode: policies.Mutate, Message: "m", Fix: "f", Object: web}
	audit := policies.Finding{Rule: "neighbours-unknown", Mode: policies.Audit, Message: "m", Object: web}
	exempt := policies.Finding{
		Rule:    "unspread-behind-local",
		Mode:    policies.Deny,
		Message: "m",
		Object:  web,
		Exempt:  &policies.Exemption{Reason: "r"},
	}
	long := mutate
	long.Message = "annotation example.com/wish=yes asks for the client's address, but the Service is Cluster"
	repair := policies.Patch{
		Rule: "source-ip-needs-local", Mode: policies.Mutate, Done: "externalTrafficPolicy set to Local",
		Operations: []policies.PatchOperation{{Op: "add", Path: "/spec/externalTrafficPolicy", Value: "Local"}},
	}
	byHand := policies.Patch{Rule: "unspread-behind-local", Mode: policies.Warn, Operations: []policies.PatchOperation{
		{Op: "add", Path: "/spec/template/spec/affinity", Value: map[string]any{}},
	}}

	type want struct {
		Outcome  review.Outcome
		Refusal  string
		Warnings []string
		Patch    string
	}
	tests := map[string]struct {
		endpoint review.Endpoint
		decision policies.Decision
		want     want
	}{
		"nothing found is allowed without a word": {
			endpoint: review.Validate, want: want{Outcome: review.Allowed},
		},
		"what the API server refuses before it asks validate is refused by mutate": {
			endpoint: review.Mutate, decision: policies.Decision{Findings: []policies.Finding{deny}},
			want: want{
				Outcome: review.Denied,
				Refusal: "local-on-cluster-ip: Service edge/web /spec/externalTrafficPolicy: m; fix: f",
			},
		},
		"validate refuses it too, should an API server ask": {
			endpoint: review.Validate, decision: policies.Decision{Findings: []policies.Finding{deny}},
			want: want{
				Outcome: review.Denied,
				Refusal: "local-on-cluster-ip: Service edge/web /spec/externalTrafficPolicy: m; fix: f",
			},
		},
		"mutate leaves other denials and warnings to validate, which sees the final object": {
			endpoint: review.Mutate, decision: policies.Decision{Findings: []policies.Finding{house, warn}},
			want: want{Outcome: review.Allowed},
		},
		"a denial says all denials, a line each, and the warnings beside": {
			endpoint: review.Validate, decision: policies.Decision{Findings: []policies.Finding{deny, house, warn}},
			want: want{
				Outcome: review.Denied,
				Refusal: "local-on-cluster-ip: Service edge/web /spec/externalTrafficPolicy: m; fix: f\n" +
					"no-node-port: Service edge/web: h",
				Warnings: []string{"unspread-behind-local: m; fix: f"},
			},
		},
		"only the patches of mode mutate are applied, each with one warning": {
			endpoint: review.Mutate, decision: policies.Decision{
				Findings: []policies.Finding{mutate, warn}, Patches: []policies.Patch{repair, byHand},
			},
			want: want{
				Outcome: review.Mutated, Warnings: []string{
					"source-ip-needs-local: repaired: externalTrafficPolicy set to Local; m",
				},
				Patch: `[{"op":"add","path":"/spec/externalTrafficPolicy","value":"Local"}]`,
			},
		},
		"what was set comes first, and what asked for it in a second line if need be": {
			endpoint: review.Mutate, decision: policies.Decision{
				Findings: []policies.Finding{long}, Patches: []policies.Patch{repair},
			},
			want: want{
				Outcome: review.Mutated, Warnings: []string{
					"source-ip-needs-local: repaired: externalTrafficPolicy set to Local",
					"source-ip-needs-local: " + long.Message,
				},
				Patch: `[{"op":"add","path":"/spec/externalTrafficPolicy","value":"Local"}]`,
			},
		},
		"a repair that did not happen is a warning of validate, which cannot repair": {
			endpoint: review.Validate, decision: policies.Decision{
				Findings: []policies.Finding{mutate}, Patches: []policies.Patch{repair},
			},
			want: want{Outcome: review.Warned, Warnings: []string{"source-ip-needs-local: m; fix: f"}},
		},
		"a refused object is not repaired, and nothing is said of a repair": {
			endpoint: review.Mutate, decision: policies.Decision{
				Findings: []policies.Finding{deny, mutate}, Patches: []policies.Patch{repair},
			},
			want: want{
				Outcome: review.Denied, Refusal: "local-on-cluster-ip: Service edge/web /spec/externalTrafficPolicy: m; fix: f",
			},
		},
		"what is exempt, or for audit, is not said": {
			endpoint: review.Validate, decision: policies.Decision{Findings: []policies.Finding{audit, exempt}},
			want: want{Outcome: review.Allowed},
		},
		"equal warnings are one": {
			endpoint: review.Validate, decision: policies.Decision{Findings: []policies.Finding{warn, warn}},
			want: want{Outcome: review.Warned, Warnings: []string{"unspread-behind-local: m; fix: f"}},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			response, outcome, err := review.Respond(test.endpoint, test.decision)
			if err != nil {
				t.Fatal(err)
			}
			got := want{Outcome: outcome, Warnings: response.Warnings, Patch: string(response.Patch)}
			if response.Result != nil {
				got.Refusal = response.Result.Message
				if len(response.Result.Details.Causes) != strings.Count(got.Refusal, "\n")+1 {
					t.Errorf("causes %v do not match the lines of %q", response.Result.Details.Causes, got.Refusal)
				}
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("Respond() mismatch (-want +got):\n%s", diff)
			}
			if response.Allowed != (outcome != review.Denied) || (response.PatchType != nil) != (response.Patch != nil) {
				t.Errorf("Respond() is not consistent: %+v", response)
			}
		})
	}
}

// TestWarningsFit checks the form of warnings that are too long for one line, and their number. An API server may
// truncate longer warnings and leave out some of too many, without saying so.
func TestWarningsFit(t *testing.T) {
	t.Parallel()
	name := strings.Repeat("a", 63) + "/" + strings.Repeat("b", 63)
	prose := strings.Repeat("ünspread ", 60)
	tests := map[string]struct {
		findings []policies.Finding
		want     []string
	}{
		"a short fix is in the line of its message": {
			[]policies.Finding{{Rule: "one", Message: "1", Fix: "2"}},
			[]string{"one: 1; fix: 2"},
		},
		"a long fix is in a line of its own": {
			[]policies.Finding{{Rule: "one", Message: strings.Repeat("m", 100), Fix: strings.Repeat("f", 100)}},
			[]string{"one: " + strings.Repeat("m", 100), "one: fix: " + strings.Repeat("f", 100)},
		},
		"a long name is shortened in the middle": {
			[]policies.Finding{{Rule: "unspread-behind-local", Message: "pods of Local Service " + name + " may share a node"}},
			[]string{"unspread-behind-local: pods of Local Service " +
				strings.Repeat("a", 28) + "…" + strings.Repeat("b", 27) + " may share a node"},
		},
		"long prose is broken at spaces, and its middle is left out": {
			[]policies.Finding{{Rule: "one", Message: prose + "end"}},
			[]string{
				"one: " + strings.TrimSpace(strings.Repeat("ünspread ", 11)),
				"one: … ünspread ünspread ünspread ünspre…ead " + strings.TrimSpace(strings.Repeat("ünspread ", 6)),
				"one: … " + strings.Repeat("ünspread ", 8) + "end",
			},
		},
		"equal lines are shown once": {
			[]policies.Finding{{Rule: "one", Message: "1"}, {Rule: "one", Message: "1"}},
			[]string{"one: 1"},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for i := range test.findings {
				test.findings[i].Mode = policies.Warn
			}
			response, _, err := review.Respond(review.Validate, policies.Decision{Findings: test.findings})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, response.Warnings); diff != "" {
				t.Errorf("warnings mismatch (-want +got):\n%s", diff)
			}
			for _, warning := range response.Warnings {
				if len(warning) > 120 || warning != strings.ToValidUTF8(warning, "?") || strings.HasSuffix(warning, "…") {
					t.Errorf("a warning has %d bytes, is not valid UTF-8 or ends in an ellipsis: %q", len(warning), warning)
				}
			}
		})
	}
}

func TestNoMoreThanTenWarnings(t *testing.T) {
	t.Parallel()
	var decision policies.Decision
	for i := range 12 {
		decision.Findings = append(decision.Findings,
			policies.Finding{Rule: "many", Mode: policies.Warn, Message: string(rune('a' + i))})
	}
	response, _, err := review.Respond(review.Validate, decision)
	if err != nil {
		t.Fatal(err)
	}
	if len(response.Warnings) != 10 {
		t.Errorf("%d warnings, want 10: %q", len(response.Warnings), response.Warnings)
	}
	if last, want := response.Warnings[9], "3 more warnings are not shown; sourceward check shows all"; last != want {
		t.Errorf("the last warning is %q, want %q", last, want)
	}
}

func TestRespondScale(t *testing.T) {
	t.Parallel()
	unspread := policies.Finding{Rule: "unspread-behind-local", Mode: policies.Deny, Message: "m", Fix: "f"}
	house := policies.Finding{Rule: "no-node-port", Mode: policies.Deny, Message: "h"}
	tests := map[string]struct {
		from, to string
		grows    bool
	}{
		"more replicas cause a warning and no denial, and house rules are left out": {"1", "3", true},
		"fewer replicas cause nothing":                                              {"3", "2", false},
		"the same number of replicas causes nothing":                                {"3", "3", false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			scale := func(replicas string) []byte {
				return []byte(
					`{"apiVersion":"autoscaling/v1","kind":"Scale","metadata":{"name":"web","namespace":"edge"},` +
						`"spec":{"replicas":` + replicas + `}}`,
				)
			}
			request := &admissionv1.AdmissionRequest{Operation: admissionv1.Update}
			request.Object.Raw, request.OldObject.Raw = scale(test.to), scale(test.from)
			workload := &policies.Workload{
				Ref: policies.Ref{APIVersion: "apps/v1", Kind: "Deployment", Namespace: "edge", Name: "web"},
			}
			in, err := review.ReadScale(request, workload)
			if err != nil {
				t.Fatal(err)
			}
			if got := review.Grows(in); got != test.grows {
				t.Errorf("Grows() is %t, want %t", got, test.grows)
			}
			response, outcome := review.RespondScale(policies.Decision{Findings: []policies.Finding{house, unspread}})
			if diff := cmp.Diff([]string{"unspread-behind-local: m; fix: f"}, response.Warnings); diff != "" ||
				!response.Allowed ||
				outcome != review.Warned {
				t.Errorf("RespondScale() allowed: %t, %s, mismatch (-want +got):\n%s", response.Allowed, outcome, diff)
			}
			if workload.Replicas != nil {
				t.Error("ReadScale() changed the workload")
			}
		})
	}
}
