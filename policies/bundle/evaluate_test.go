package bundle

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/open-policy-agent/opa/v1/ast"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sourceward/sourceward/api/v1alpha1"
	"github.com/sourceward/sourceward/policies"
)

// object returns an object with the given content.
func object(t testing.TB, content map[string]any) *policies.Object {
	t.Helper()
	object, err := policies.NewObject(content)
	if err != nil {
		t.Fatal(err)
	}
	return object
}

// service returns the document for the creation of a Service for which the built-in modules give one reason.
func service(t testing.TB) policies.Document {
	t.Helper()
	return policies.Document{
		Operation: policies.Create,
		Object: object(t, map[string]any{
			"apiVersion": "v1", "kind": "Service",
			"metadata": map[string]any{
				"name":        "web",
				"annotations": map[string]any{"sourceward.dev/source-ip": "preserve"},
			},
			"spec": map[string]any{"type": "LoadBalancer"},
		}),
		Related: policies.RelatedDocument{
			Services:  []*corev1.Service{{ObjectMeta: metav1.ObjectMeta{Name: "neighbour"}}},
			Workloads: []*policies.Workload{{Ref: policies.Ref{APIVersion: "apps/v1", Kind: "Deployment", Name: "backend"}}},
		},
		Facts: policies.Facts{Replicas: 3},
	}
}

// builtinAnswer returns the answer of the built-in modules for service.
func builtinAnswer() policies.Answer {
	return policies.Answer{RequireLocal: []policies.RequireLocal{{
		Module:     "source_ip_annotation",
		Message:    "annotation sourceward.dev/source-ip=preserve asks for Local",
		Annotation: "sourceward.dev/source-ip",
		Value:      "preserve",
		Strength:   policies.StrengthSoft,
	}}}
}

// applied returns policies without parameters, as if they matched the object.
func applied(names ...string) []policies.AppliedPolicy {
	list := make([]policies.AppliedPolicy, len(names))
	for i, name := range names {
		list[i].Name = name
	}
	return list
}

// compiled returns the Set of valid policies.
func compiled(t testing.TB, list ...v1alpha1.SourceIPPolicy) *Set {
	t.Helper()
	set, errs := Compile(t.Context(), nil, list)
	for _, err := range errs {
		t.Fatal(err)
	}
	return set
}

// fault returns an error with the given text, for comparison.
func fault(text string) error { return errors.New(text) }

var sameText = cmp.Comparer(func(a, b error) bool {
	return a == nil && b == nil || a != nil && b != nil && a.Error() == b.Error()
})

func denial(message string) policies.HouseFinding {
	return policies.HouseFinding{Rule: "corp", Message: message}
}

func TestEvaluateReadsTheContract(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		rules string
		want  policies.Answer
	}{
		"nothing found": {
			`deny contains {"message": "no"} if input.object.kind == "Deployment"`,
			policies.Answer{},
		},
		"a reason for Local": {
			`require_local contains {"message": "m", "annotation": "a", "value": "b", "strength": "hard"}`,
			policies.Answer{RequireLocal: []policies.RequireLocal{
				{Module: "corp", Message: "m", Annotation: "a", Value: "b", Strength: policies.StrengthHard},
			}},
		},
		"something that keeps the source IP": {
			`keeps_source_ip contains {"message": "m", "annotation": "a", "value": "b", "verdict": "single-announcer"}`,
			policies.Answer{KeepsSourceIP: []policies.KeepsSourceIP{
				{Module: "corp", Message: "m", Annotation: "a", Value: "b", Verdict: policies.VerdictSingleAnnouncer},
			}},
		},
		"a spread": {
			`spread contains {
	"message": "m", "strategy": "PodAntiAffinity", "whenUnsatisfiable": "DoNotSchedule", "maxSkew": 2,
}`,
			policies.Answer{Spread: []policies.SpreadWish{
				{Module: "corp", Message: "m", Strategy: "PodAntiAffinity", WhenUnsatisfiable: "DoNotSchedule", MaxSkew: 2},
			}},
		},
		"a spread that leaves everything to the settings": {
			`spread contains {"message": "m", "strategy": ""}`,
			policies.Answer{Spread: []policies.SpreadWish{{Module: "corp", Message: "m"}}},
		},
		"findings are in a fixed order": {
			`deny contains {"message": m, "path": "/spec/type", "fix": "f"} if some m in ["c", "a", "b"]
warn contains {"message": "w"}`,
			policies.Answer{
				Deny: []policies.HouseFinding{
					{Rule: "corp", Message: "a", Path: "/spec/type", Fix: "f"},
					{Rule: "corp", Message: "b", Path: "/spec/type", Fix: "f"},
					{Rule: "corp", Message: "c", Path: "/spec/type", Fix: "f"},
				},
				Warn: []policies.HouseFinding{denial("w")},
			},
		},
		"texts are joined to one line": {
			`deny contains {"message": " a\nb\t c\r\n", "fix": "d\ne"}`,
			policies.Answer{Deny: []policies.HouseFinding{{Rule: "corp", Message: "a b c", Fix: "d e"}}},
		},
		"old is undefined on CREATE": {
			`deny contains {"message": "new"} if not input.old
deny contains {"message": "old"} if input.old`,
			policies.Answer{Deny: []policies.HouseFinding{denial("new")}},
		},
		"a negated comparison holds if one side is undefined": {
			`deny contains {"message": "no owner"} if not input.object.metadata.labels.owner == "edge"`,
			policies.Answer{Deny: []policies.HouseFinding{denial("no owner")}},
		},
		"neighbors have the fields of their kind": {
			`deny contains {"message": w.metadata.name} if {
	some w in input.related.workloads
	w.kind == "Deployment"
	not w.spec.replicas
	not w.spec.template.spec.hostNetwork
}
deny contains {"message": s.metadata.name} if {
	some s in input.related.services
	not s.spec.externalTrafficPolicy
}`,
			policies.Answer{Deny: []policies.HouseFinding{denial("backend"), denial("neighbour")}},
		},
		"the library and the provider table are available": {
			`import data.sourceward.lib.rows

deny contains {"message": m.row.id} if some m in rows.holding`,
			policies.Answer{Deny: []policies.HouseFinding{denial("sourceward-preserve")}},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			set := compiled(t, policyWith("corp", test.rules), policyWith("other", `deny contains {"message": "other"}`))
			test.want.Policy = "corp"
			want := []policies.Answer{builtinAnswer(), test.want}
			if diff := cmp.Diff(want, set.Evaluate(t.Context(), service(t), applied("corp"))); diff != "" {
				t.Errorf("Evaluate() mismatch (-want +got):\n%s", diff)
			}
		})
	}
}

// TestFaultsAreAnswers evaluates a module that fails, between two that do not fail.
func TestFaultsAreAnswers(t *testing.T) {
	t.Parallel()
	const (
		finding = "; want an object with message, path, fix"
		reason  = "; want an object with message, annotation, value, strength"
	)
	tests := map[string]struct{ rules, want string }{
		"a division by zero": {
			`deny contains {"message": "no"} if 1 / (input.facts.replicas - 3) > 0`,
			"corp.deny: corp.rego:3: eval_builtin_error: div: divide by zero",
		},
		"a wrong type for a built-in function": {
			`deny contains {"message": "no"} if startswith(input.object.metadata, "w")`,
			"corp.deny: corp.rego:3: eval_type_error: startswith: operand 1 must be string but got object",
		},
		"a complete rule with two values": {
			"deny contains {\"message\": name}\n\nname := \"a\"\n\nname := \"b\"",
			`corp.deny: corp.rego:7: eval_conflict_error: rule data.sourceward.custom.corp.name produced conflicting values: ` +
				`"a" at corp.rego:5 "b" at corp.rego:7`,
		},
		"a function with two values": {
			"deny contains {\"message\": name(1)}\n\nname(_) := \"a\"\n\nname(_) := \"b\"",
			`corp.deny: corp.rego:7: eval_conflict_error: function data.sourceward.custom.corp.name produced conflicting ` +
				`values for the same inputs: "a" at corp.rego:5 "b" at corp.rego:7`,
		},
		"a member that is a string": {`deny contains "no"`, `corp.deny: gave "no"` + finding},
		"a member that is a list":   {`warn contains ["no"]`, `corp.warn: gave ["no"]` + finding},
		"a member that is null":     {`warn contains null`, `corp.warn: gave null` + finding},
		"a long member that is not an object": {
			`deny contains numbers.range(1, 90)`,
			`corp.deny: gave [1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16…8,79,80,81,82,83,84,85,86,87,88,89,90]` + finding,
		},
		"a key that does not exist": {
			`deny contains {"msg": "no"}`,
			`corp.deny: unknown key msg: gave {"msg":"no"}` + finding,
		},
		"a key in upper case": {
			`deny contains {"Message": "no"}`,
			`corp.deny: unknown key Message: gave {"Message":"no"}` + finding,
		},
		"a key of another rule": {
			`require_local contains {"message": "m", "strength": "hard", "path": "/spec"}`,
			`corp.require_local: unknown key path: gave {"message":"m","path":"/spec","strength":"hard"}` + reason,
		},
		"a message that is a number": {`deny contains {"message": 1}`, `corp.deny: message 1 must be a string`},
		"no message":                 {`deny contains {"path": "/spec"}`, "corp.deny: gave a member without a message"},
		"a message of white space":   {`warn contains {"message": " \n"}`, "corp.warn: gave a member without a message"},
		"no message for Local": {
			`require_local contains {"strength": "soft"}`,
			"corp.require_local: gave a member without a message",
		},
		"no message for a verdict": {
			`keeps_source_ip contains {"verdict": "proxy"}`,
			"corp.keeps_source_ip: gave a member without a message",
		},
		"no message for a spread": {`spread contains {"maxSkew": 1}`, "corp.spread: gave a member without a message"},
		"a path that is not a JSON Pointer": {
			`deny contains {"message": "no", "path": "spec.type"}`,
			`corp.deny: path "spec.type" must be a JSON Pointer such as /spec/type`,
		},
		"no strength": {
			`require_local contains {"message": "m"}`,
			`corp.require_local: strength "" is not one of hard, soft`,
		},
		"a strength that does not exist": {
			`require_local contains {"message": "m", "strength": "Hard"}`,
			`corp.require_local: strength "Hard" is not one of hard, soft`,
		},
		"a verdict that does not exist": {
			`keeps_source_ip contains {"message": "m", "verdict": "kept"}`,
			`corp.keeps_source_ip: verdict "kept" is not one of ` +
				`preserved, proxy, useless, forbidden, weighted, single-announcer`,
		},
		"a strategy that does not exist": {
			`spread contains {"message": "m", "strategy": "Zone"}`,
			`corp.spread: strategy "Zone" is not one of TopologySpread, PodAntiAffinity`,
		},
		"a spread that does not exist": {
			`spread contains {"message": "m", "whenUnsatisfiable": "Never"}`,
			`corp.spread: whenUnsatisfiable "Never" is not one of ScheduleAnyway, DoNotSchedule`,
		},
		"a negative maxSkew": {
			`spread contains {"message": "m", "maxSkew": -1}`,
			"corp.spread: maxSkew -1 must be at least 1",
		},
		"a maxSkew of 0": {
			`spread contains {"message": "m", "maxSkew": 0}`,
			"corp.spread: maxSkew 0 must be at least 1",
		},
		"a maxSkew that is not a whole number": {
			`spread contains {"message": "m", "maxSkew": 1.5}`,
			"corp.spread: maxSkew 1.5 must be a whole number of at least 1",
		},
		"a maxSkew that is a string": {
			`spread contains {"message": "m", "maxSkew": "2"}`,
			`corp.spread: maxSkew "2" must be a whole number of at least 1`,
		},
		"a verdict that is a list": {
			`keeps_source_ip contains {"message": "m", "verdict": ["proxy"]}`,
			`corp.keeps_source_ip: verdict ["proxy"] must be one of ` +
				`preserved, proxy, useless, forbidden, weighted, single-announcer`,
		},
		"a valid member next to an invalid one": {
			`deny contains {"message": "no"}` + "\n\nwarn contains 1",
			`corp.warn: gave 1` + finding,
		},
	}
	// Denials count in spite of faults.
	stay := map[string][]policies.HouseFinding{
		"no message":                            {{Rule: "corp", Message: "the module gave no message", Path: "/spec"}},
		"a valid member next to an invalid one": {denial("no")},
		"a path that is not a JSON Pointer":     {denial("no")},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			set := compiled(t,
				policyWith("before", `deny contains {"message": "before"}`),
				policyWith("corp", test.rules),
				policyWith("after", `deny contains {"message": "after"}`))
			want := []policies.Answer{
				builtinAnswer(),
				{Policy: "before", Deny: []policies.HouseFinding{{Rule: "before", Message: "before"}}},
				{Policy: "corp", Deny: stay[name], Err: fault(test.want), Failed: failedSet(test.want)},
				{Policy: "after", Deny: []policies.HouseFinding{{Rule: "after", Message: "after"}}},
			}
			got := set.Evaluate(t.Context(), service(t), applied("before", "corp", "after"))
			if diff := cmp.Diff(want, got, sameText); diff != "" {
				t.Errorf("Evaluate() mismatch (-want +got):\n%s", diff)
			}
		})
	}
}

// failedSet returns what a message such as "corp.deny: …" is about.
func failedSet(message string) policies.FailedSet {
	place, _, _ := strings.Cut(message, ":")
	module, set, _ := strings.Cut(place, ".")
	return policies.FailedSet{Module: module, Set: set}
}

// TestAnEvaluationThatDoesNotEndIsStopped does not measure the time: without the deadline it would run for years.
func TestAnEvaluationThatDoesNotEndIsStopped(t *testing.T) {
	t.Parallel()
	set := compiled(t, policyWith("corp", `deny contains {"message": "no"} if {
	ns := numbers.range(1, 10000)
	count([1 | some x in ns; some y in ns; some z in ns; x * y * z < 0]) > 0
}`))
	got := set.Evaluate(t.Context(), service(t), applied("corp"))[1]
	want := policies.Answer{
		Policy: "corp",
		Err:    fault("corp.deny: the evaluation was stopped: the evaluation took longer than 250ms"),
		Failed: policies.FailedSet{Module: "corp", Set: "deny"},
	}
	if diff := cmp.Diff(want, got, sameText); diff != "" {
		t.Errorf("Evaluate() mismatch (-want +got):\n%s", diff)
	}
}

// TestSlowPoliciesLeaveTimeToOthers evaluates several policies that use up their time, and then one that does not.
// forever is an expression that takes minutes, in many steps.
const forever = `count([1 | ` +
	`terms := numbers.range(1, 1000); some x in terms; some y in terms; some z in terms; x * y * z < 0]) > 0`

func TestSlowPoliciesLeaveTimeToOthers(t *testing.T) {
	t.Parallel()
	var list []v1alpha1.SourceIPPolicy
	var names []string
	for i := range 6 {
		names = append(names, fmt.Sprintf("slow%d", i))
		rules := `deny contains {"message": "no"} if ` + forever
		list = append(list, policyWith(names[i], rules))
	}
	names = append(names, "corp")
	set := compiled(t, append(list, policyWith("corp", `deny contains {"message": "no"}`))...)
	ctx, cancel := context.WithTimeout(t.Context(), 2500*time.Millisecond)
	defer cancel()
	answers := set.Evaluate(ctx, service(t), applied(names...))
	for _, answer := range answers[1:7] {
		const want = ".deny: the evaluation was stopped: the evaluation took longer than "
		if answer.Err == nil || !strings.HasPrefix(answer.Err.Error(), answer.Policy+want) {
			t.Errorf("%s answers %v", answer.Policy, answer.Err)
		}
	}
	want := policies.Answer{Policy: "corp", Deny: []policies.HouseFinding{denial("no")}}
	if diff := cmp.Diff(want, answers[7], sameText); diff != "" {
		t.Errorf("Answer of the last policy mismatch (-want +got):\n%s", diff)
	}
}

// TestEvaluateDoesNotChangeTheObject gives a part of the object as a member. Its long text is shortened in the answer.
func TestEvaluateDoesNotChangeTheObject(t *testing.T) {
	t.Parallel()
	set := compiled(t, policyWith("corp", "deny contains input.object.metadata.annotations"))
	document := annotated(t, strings.Repeat("a", 2*MaxText))
	answers := set.Evaluate(t.Context(), document, applied("corp"))
	if answers[1].Err == nil || !strings.Contains(answers[1].Err.Error(), "unknown key text") {
		t.Errorf("Err is %v", answers[1].Err)
	}
	if got := len(document.Object.Annotations()["text"]); got != 2*MaxText {
		t.Errorf("the annotation has %d bytes after Evaluate, want %d", got, 2*MaxText)
	}
	metadata, _ := document.Object.Content()["metadata"].(map[string]any)
	annotations, _ := metadata["annotations"].(map[string]any)
	if text, _ := annotations["text"].(string); len(text) != 2*MaxText {
		t.Errorf("the annotation in the content has %d bytes after Evaluate, want %d", len(text), 2*MaxText)
	}
}

// TestAnInputIsNotShared evaluates policies of which some have parameters, and one is stopped, in one call: each must
// see its own parameters, and the object as it is.
func TestAnInputIsNotShared(t *testing.T) {
	t.Parallel()
	const rule = `deny contains {"message": object.get(input.parameters, "text", "none")} if input.object.spec`
	const slow = `deny contains {"message": "no"} if {
	some i in numbers.range(1, 1000)
	some j in numbers.range(1, 1000)
	i * j < 0
}`
	var list []v1alpha1.SourceIPPolicy
	var asked []policies.AppliedPolicy
	for i := range 12 {
		one := policyWith(fmt.Sprintf("corp%d", i), rule)
		a := applied(one.Name)[0]
		switch i % 4 {
		case 1:
			a.Parameters = map[string]any{"text": one.Name}
		case 2:
			one = policyWith(one.Name, slow)
		}
		list, asked = append(list, one), append(asked, a)
	}
	answers := compiled(t, list...).Evaluate(t.Context(), service(t), asked)[1:]
	for i, answer := range answers {
		want := "none"
		switch i % 4 {
		case 1:
			want = list[i].Name
		case 2:
			if answer.Err == nil || answer.Deny != nil {
				t.Errorf("%s answers %v, %v; want an error", answer.Policy, answer.Deny, answer.Err)
			}
			continue
		}
		if errors.Is(answer.Err, policies.ErrTooSlow) {
			continue // the machine is busy
		}
		if answer.Err != nil || len(answer.Deny) != 1 || answer.Deny[0].Message != want || answer.Policy != list[i].Name {
			t.Errorf("answer %d is %+v, want %s of %s", i, answer, want, list[i].Name)
		}
	}
}

func TestAPanicIsAFault(t *testing.T) {
	t.Parallel()
	broken := question{rules: []rule{{module: "corp", word: "deny"}}} // nothing is prepared
	answer := broken.evaluate(t.Context(), ast.NewObject())
	if answer.Err == nil || !strings.HasPrefix(answer.Err.Error(), "corp.deny: the evaluation panicked: ") {
		t.Errorf("evaluate() = %+v", answer)
	}
}

// TestDenialsCountInSpiteOfFaults evaluates modules that deny an object, but would also fail for it, for example
// because of a long annotation. The author of the object could otherwise evade the denial by making the module fail.
func TestDenialsCountInSpiteOfFaults(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("é", MaxText)
	tests := map[string]struct {
		rules, fault string
		denials      int
		message      string
	}{
		"a long message": {
			`deny contains {"message": concat(" ", ["owner", input.parameters.long]), "fix": input.parameters.long}`, "", 1,
			policies.Shorten("owner "+long, MaxText),
		},
		"too many members": {
			`deny contains {"message": sprintf("%03d", [x])} if some x in numbers.range(1, 101)`,
			"corp.deny: the set has 101 members; want at most 100", MaxReasons, "001",
		},
		"a fault in another set": {
			`deny contains {"message": "no"}` + "\n\n" + `spread contains {"maxSkew": 1}`,
			"corp.spread: gave a member without a message", 1, "no",
		},
		"an empty message": {
			`deny contains {"message": input.parameters.empty}`,
			"corp.deny: gave a member without a message", 1, "the module gave no message",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			policy := applied("corp")
			policy[0].Parameters = map[string]any{"long": long, "empty": ""}
			answer := compiled(t, policyWith("corp", test.rules)).Evaluate(t.Context(), service(t), policy)[1]
			if len(answer.Deny) != test.denials || answer.Deny[0].Message != test.message {
				t.Errorf("it denies %+v, want %d, the first: %s", answer.Deny, test.denials, test.message)
			}
			if got := fmt.Sprint(answer.Err); got != test.fault && (test.fault != "" || answer.Err != nil) {
				t.Errorf("the fault is %s, want %s", got, test.fault)
			}
		})
	}
}

// TestASetThatFailsSwitchesOffNoOther evaluates an object that makes one set of a policy fail, or use up its time, and
// that another set denies.
func TestASetThatFailsSwitchesOffNoOther(t *testing.T) {
	t.Parallel()
	const noNodePort = `deny contains {"message": "no node ports"} if input.object.spec.type == "LoadBalancer"` + "\n\n"
	tests := map[string]struct {
		// modules holds the rules of the modules corp and other.
		corp, other string
		fault       string
		failed      policies.FailedSet
		warnings    int
	}{
		"an error in warn of the same module": {
			corp:   noNodePort + `warn contains {"message": "m"} if net.cidr_contains("10.0.0.0/8", input.object.metadata.name)`,
			fault:  "corp.warn: corp.rego:5: eval_builtin_error: net.cidr_contains: ",
			failed: policies.FailedSet{Module: "corp", Set: "warn"},
		},
		"an error in deny of another module": {
			corp:   noNodePort + `warn contains {"message": "seen"}`,
			other:  `deny contains {"message": "range"} if net.cidr_contains("10.0.0.0/8", input.object.metadata.name)`,
			fault:  "other.deny: other.rego:3: eval_builtin_error: net.cidr_contains: ",
			failed: policies.FailedSet{Module: "other", Set: "deny"}, warnings: 1,
		},
		"a spread that does not end": {
			corp:   noNodePort + `warn contains {"message": "seen"}`,
			other:  `require_local contains {"message": "m", "strength": "soft"} if ` + forever,
			fault:  "other.require_local: the evaluation was stopped: the evaluation took longer than 250ms",
			failed: policies.FailedSet{Module: "other", Set: "require_local"}, warnings: 1,
		},
		"a deny that does not end": {
			corp: noNodePort + `warn contains {"message": "seen"}`, other: `deny contains {"message": "m"} if ` + forever,
			fault:  "other.deny: the evaluation was stopped: the evaluation took longer than 250ms",
			failed: policies.FailedSet{Module: "other", Set: "deny"}, warnings: 1,
		},
		"too many members of warn": {
			corp:   noNodePort + `warn contains {"message": sprintf("%d", [x])} if some x in numbers.range(1, 101)`,
			fault:  "corp.warn: the set has 101 members; want at most 100",
			failed: policies.FailedSet{Module: "corp", Set: "warn"},
		},
		"two sets that fail": {
			corp: noNodePort + `warn contains 1`, other: `warn contains 2`,
			fault:  "corp.warn: gave 1; want an object with message, path, fix; other.warn: gave 2; want an object",
			failed: policies.FailedSet{Module: "corp", Set: "warn"},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			policy := policyWith("corp", test.corp)
			if test.other != "" {
				policy.Spec.Rego = append(policy.Spec.Rego, v1alpha1.RegoModule{
					Name: "other.rego", Module: "package sourceward.custom.other\n\n" + test.other + "\n",
				})
			}
			answer := compiled(t, policy).Evaluate(t.Context(), service(t), applied("corp"))[1]
			if len(answer.Deny) != 1 || answer.Deny[0].Message != "no node ports" || len(answer.Warn) != test.warnings {
				t.Errorf("it denies %+v and warns %+v, want the denial and %d warnings", answer.Deny, answer.Warn, test.warnings)
			}
			if got := fmt.Sprint(answer.Err); !strings.HasPrefix(got, test.fault) || answer.Failed != test.failed {
				t.Errorf("the fault is %s, of %+v; want %s… of %+v", got, answer.Failed, test.fault, test.failed)
			}
		})
	}
}

func TestNothingIsEvaluatedAfterTheDeadline(t *testing.T) {
	t.Parallel()
	set := compiled(t, policyWith("corp", `deny contains {"message": "no"}`))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	want := set.Evaluate(t.Context(), service(t), nil) // the built-in rules are decided in any case
	want = append(want, policies.Answer{Policy: "corp", Err: fault("the evaluation was not started: context canceled")})
	if diff := cmp.Diff(want, set.Evaluate(ctx, service(t), applied("corp")), sameText); diff != "" {
		t.Errorf("Evaluate() mismatch (-want +got):\n%s", diff)
	}
}

func TestEachPolicySeesItsOwnParameters(t *testing.T) {
	t.Parallel()
	rules := `deny contains {"message": json.marshal(input.parameters)}`
	set := compiled(t, policyWith("a", rules), policyWith("b", rules), policyWith("c", rules))
	want := []policies.Answer{
		builtinAnswer(),
		{Policy: "a", Deny: []policies.HouseFinding{{Rule: "a", Message: `{"only":"a"}`}}},
		{Policy: "b", Deny: []policies.HouseFinding{{Rule: "b", Message: `{"list":[1,{"x":true}],"only":"b"}`}}},
		{Policy: "c", Deny: []policies.HouseFinding{{Rule: "c", Message: `{}`}}},
	}
	got := set.Evaluate(t.Context(), service(t), []policies.AppliedPolicy{
		{Name: "a", Parameters: map[string]any{"only": "a"}},
		{Name: "b", Parameters: map[string]any{"only": "b", "list": []any{1, map[string]any{"x": true}}}},
		{Name: "c"},
		{Name: "without Rego", Parameters: map[string]any{"only": "d"}},
	})
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Evaluate() mismatch (-want +got):\n%s", diff)
	}
}

func TestModulesOfOnePackageAreMerged(t *testing.T) {
	t.Parallel()
	policy := policyWith("corp", `deny contains {"message": "b"}`)
	policy.Spec.Rego = append(policy.Spec.Rego,
		v1alpha1.RegoModule{Name: "more.rego", Module: `# METADATA
# custom: {severity: info}
package sourceward.custom.corp

import data.sourceward.custom.words

deny contains {"message": "a"}

warn contains {"message": words.greeting}
`},
		v1alpha1.RegoModule{Name: "words.rego", Module: `package sourceward.custom.words

greeting := "hello"
`})
	want := policies.Answer{
		Policy: "corp",
		Deny: []policies.HouseFinding{
			{Rule: "corp", Severity: policies.SeverityInfo, Message: "a"},
			{Rule: "corp", Severity: policies.SeverityInfo, Message: "b"},
		},
		Warn: []policies.HouseFinding{{Rule: "corp", Severity: policies.SeverityInfo, Message: "hello"}},
	}
	if diff := cmp.Diff(want, compiled(t, policy).Evaluate(t.Context(), service(t), applied("corp"))[1]); diff != "" {
		t.Errorf("Evaluate() mismatch (-want +got):\n%s", diff)
	}
}

// TestKindsSelectTheObjectsOfAModule checks that a module is evaluated only for objects of the kinds in METADATA
// custom.kinds.
func TestKindsSelectTheObjectsOfAModule(t *testing.T) {
	t.Parallel()
	policy := policyWith("corp", `deny contains {"message": "all"}`)
	for _, kinds := range []string{"Service", "Deployment", "Service, Deployment"} {
		name := strings.ToLower(strings.ReplaceAll(kinds, ", ", "_"))
		policy.Spec.Rego = append(policy.Spec.Rego, v1alpha1.RegoModule{Name: name + ".rego", Module: fmt.Sprintf(
			"# METADATA\n# custom: {kinds: [%s]}\npackage sourceward.custom.%s\n\n"+
				"deny contains {\"message\": input.object.kind}\n", kinds, name)})
	}
	deployment := service(t)
	deployment.Object = object(t, map[string]any{"apiVersion": "apps/v1", "kind": "Deployment",
		"metadata": map[string]any{"name": "web", "annotations": map[string]any{"sourceward.dev/source-ip": "preserve"}}})
	tests := map[string]struct {
		document policies.Document
		builtin  policies.Answer
		rules    []string
	}{
		"a Service":    {service(t), builtinAnswer(), []string{"corp", "service", "service-deployment"}},
		"a Deployment": {deployment, policies.Answer{}, []string{"corp", "deployment", "service-deployment"}},
	}
	set := compiled(t, policy)
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			answers := set.Evaluate(t.Context(), test.document, applied("corp"))
			if diff := cmp.Diff(test.builtin, answers[0]); diff != "" {
				t.Errorf("the built-in modules (-want +got):\n%s", diff)
			}
			var rules []string
			for _, f := range answers[1].Deny {
				rules = append(rules, f.Rule)
			}
			if diff := cmp.Diff(test.rules, rules); diff != "" || answers[1].Err != nil {
				t.Errorf("the policy's (-want +got):\n%s%v", diff, answers[1].Err)
			}
		})
	}
}

// TestRelatedCanBeReadInEveryWay reads the name of a neighbor, which OPA converts only when it is read, in every way
// that Rego has.
func TestRelatedCanBeReadInEveryWay(t *testing.T) {
	t.Parallel()
	tests := map[string]string{
		"a reference":       `deny contains {"message": s.metadata.name} if some s in input.related.services`,
		"a key in brackets": `deny contains {"message": s.metadata.name} if some s in input["related"].services`,
		"a key in a variable": `deny contains {"message": s.metadata.name} if ` +
			`{ key := "related"; some s in input[key].services }`,
		"any key": `deny contains {"message": s.metadata.name} if { some key; some s in input[key].services }`,
		"an alias": `deny contains {"message": s.metadata.name} if ` +
			`{ document := input; some s in document.related.services }`,
		"an import": "import input as document\n\n" +
			`deny contains {"message": s.metadata.name} if some s in document.related.services`,
		"an import of related": "import input.related as neighbours\n\n" +
			`deny contains {"message": s.metadata.name} if some s in neighbours.services`,
		"an argument": "deny contains {\"message\": name(input)}\n\n" +
			"name(document) := document.related.services[0].metadata.name",
		"an argument in a list": "deny contains {\"message\": name([input])}\n\n" +
			"name(list) := list[0].related.services[0].metadata.name",
		"a function of OPA": `deny contains {"message": ` +
			`object.get(input, ["related", "services", 0, "metadata", "name"], "none")}`,
		"walk": `deny contains {"message": name} if ` +
			`walk(input, [["related", "services", 0, "metadata", "name"], name])`,
		"a comprehension": `deny contains {"message": ` +
			`concat("", [s.metadata.name | some s in input.related.services])}`,
		"another rule": "deny contains {\"message\": name}\n\n" +
			"name := neighbours[0].metadata.name\n\n" +
			"neighbours := input.related.services",
		"with another object": "deny contains {\"message\": m} if some m in names with input.object as {}\n\n" +
			"names contains input.related.services[_].metadata.name",
		"with input as input": "deny contains {\"message\": m} if " +
			"some m in names with input as object.union(input, {\"object\": {}})\n\n" +
			"names contains input.related.services[_].metadata.name",
		"every": `deny contains {"message": "neighbour"} if ` +
			`every s in input.related.services { s.metadata.name == "neighbour" }`,
		"a template": `deny contains {"message": $"{input.related.services[0].metadata.name}"}`,
		"the whole input as JSON": `deny contains {"message": ` +
			`json.unmarshal(json.marshal(input)).related.services[0].metadata.name}`,
		"not at all": `deny contains {"message": "neighbour"} if input.object.metadata.name == "web"`,
	}
	for name, rules := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			set := compiled(t, policyWith("corp", rules))
			want := policies.Answer{Policy: "corp", Deny: []policies.HouseFinding{denial("neighbour")}}
			if diff := cmp.Diff(want, set.Evaluate(t.Context(), service(t), applied("corp"))[1]); diff != "" {
				t.Errorf("Evaluate() mismatch (-want +got):\n%s", diff)
			}
		})
	}
}

// TestInputMatchesTheDocument compares the input, which is assembled by hand for speed, with the JSON of
// policies.Document and the parameters.
func TestInputMatchesTheDocument(t *testing.T) {
	t.Parallel()
	everything := policies.Document{
		Operation: policies.Update,
		Object:    service(t).Object,
		Old: object(t, map[string]any{"apiVersion": "v1", "kind": "Service", "metadata": map[string]any{"name": "web"},
			"spec": map[string]any{"ports": []any{map[string]any{"port": int64(80)}}}}),
		Namespace: policies.NamespaceDocument{
			Name: "edge", Labels: map[string]string{"team": "edge"}, Annotations: map[string]string{"a": "b"},
		},
		Related: policies.RelatedDocument{
			Services: service(t).Related.Services, Workloads: service(t).Related.Workloads, View: policies.ViewCluster,
		},
		Facts: policies.Facts{
			ExternallyAccessible: true, Explicit: policies.ExplicitWritten, Local: true, Provider: "metallb-l2", Replicas: 3,
		},
		Cluster: policies.ClusterDocument{Nodes: 4, Version: "1.37"},
	}
	// Nil maps and lists become empty ones, since functions fail for null.
	nothing := policies.Document{Object: service(t).Object}
	empty := nothing
	empty.Namespace = policies.NamespaceDocument{Labels: map[string]string{}, Annotations: map[string]string{}}
	empty.Related = policies.RelatedDocument{Services: []*corev1.Service{}, Workloads: []*policies.Workload{}}

	tests := map[string]struct {
		in, want   policies.Document
		parameters map[string]any
	}{
		"everything": {everything, everything, map[string]any{"a": []any{"b"}}},
		"nothing":    {nothing, empty, nil},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test.want.Parameters = orEmpty(test.parameters)
			want, err := ast.InterfaceToValue(test.want)
			if err != nil {
				t.Fatal(err)
			}
			got := inputOf(test.in, test.parameters)
			if want.Compare(got) != 0 {
				t.Errorf("inputOf() mismatch (-want +got):\n%s", cmp.Diff(want.String(), got.String()))
			}
		})
	}
}

// TestEvaluateIsDeterministic evaluates one document many times, in several goroutines at once.
func TestEvaluateIsDeterministic(t *testing.T) {
	t.Parallel()
	set := compiled(t,
		policyWith("a", `deny contains {"message": m} if some m in {"x", "y", "z"} | object.keys(input.object)`),
		policyWith("b", `warn contains {"message": s.metadata.name} if some s in input.related.services`),
		policyWith("c", `spread contains {"message": "m", "maxSkew": 1 / (input.facts.replicas - 3)}`))
	document := service(t)
	matching := applied("a", "b", "c")
	want := set.Evaluate(t.Context(), document, matching)
	for name := range map[string]bool{"first": true, "second": true, "third": true, "fourth": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for range 100 {
				if diff := cmp.Diff(want, set.Evaluate(t.Context(), document, matching), sameText); diff != "" {
					t.Fatalf("Evaluate() mismatch (-want +got):\n%s", diff)
				}
			}
		})
	}
}
