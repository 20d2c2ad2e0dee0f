package bundle

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/topdown"
	corev1 "k8s.io/api/core/v1"

	"github.com/sourceward/sourceward/api/v1alpha1"
	"github.com/sourceward/sourceward/policies"
)

const (
	// EvaluationTimeout bounds the evaluation of one policy's modules for one object, in wall-clock time,
	// beside what the context allows. One takes well under a millisecond; webhooks are given three seconds. One
	// that never ends takes memory until then, some 200 MiB in a second.
	EvaluationTimeout = 250 * time.Millisecond
	// shareOfTime is the part of the time that the context allows which one policy may use up, so that many that take too
	// long leave enough to all others.
	shareOfTime = 8
	// maxEvaluations bounds how many evaluations of one policy's modules are under way at a time. It bounds what they hold
	// of memory, and of processors, if they do not end.
	maxEvaluations = 2
	// MaxReasons bounds how many members one set may have, for one object.
	MaxReasons = 100
	// MaxText bounds each text of a member, in bytes. A warning is cut at 120 characters, an Event at 1 024.
	MaxText = 1024
)

// module is the compiled modules of one policy.
type module struct {
	rules []rule
	// questions are what is asked about an object, by its kind; what is asked about a kind that is not there is under "".
	// verdicts are the part of them that is asked about a neighbour.
	questions, verdicts map[string]question
	// slots are taken by evaluations that are under way.
	slots chan struct{}
}

// question asks for all rules at once: one array, in their order. Without rules it asks for nothing.
type question struct {
	rules    []rule
	prepared rego.PreparedEvalQuery
}

// rule is one partial set of the contract in one module.
type rule struct {
	// module is the last element of its package, word its name.
	module, word string
	// severity is what the package's METADATA says; or empty.
	severity policies.Severity
	// builtin tells that the module is one of ours.
	builtin bool
}

// declared are the ids of the modules that have findings of their own, sorted.
func (m *module) declared() []string {
	var ids []string
	for _, r := range m.rules {
		if id := ruleID(r.module); (r.word == "deny" || r.word == "warn") && !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

// query is the Rego of a question.
func query(rules []rule, modules map[string]*ast.Module) string {
	packages := map[string]string{}
	for _, module := range modules {
		packages[lastElement(module.Package)] = module.Package.Path.String()
	}
	refs := make([]string, len(rules))
	for i, r := range rules {
		refs[i] = packages[r.module] + "." + r.word
	}
	return "reasons := [" + strings.Join(refs, ", ") + "]"
}

// Evaluate implements policies.Rules.
func (s *Set) Evaluate(ctx context.Context, document policies.Document, applied []policies.AppliedPolicy) []policies.Answer {
	answers := []policies.Answer{s.builtin.evaluateHere(ctx, document)}
	for _, policy := range applied {
		if m, ok := s.custom[policy.Name]; ok {
			answer := m.evaluateInTime(ctx, document, policy.Parameters)
			answer.Policy = policy.Name
			answers = append(answers, answer)
		}
	}
	return answers
}

// evaluateHere evaluates modules that are known to end.
func (m *module) evaluateHere(ctx context.Context, document policies.Document) policies.Answer {
	asked := m.asked(document)
	if len(asked.rules) == 0 {
		return policies.Answer{}
	}
	return asked.evaluate(ctx, inputOf(document, document.Parameters))
}

// asked is the question about the object of a document.
func (m *module) asked(document policies.Document) question {
	questions := m.questions
	if document.Neighbour {
		questions = m.verdicts
	}
	if asked, ok := questions[document.Object.Kind]; ok {
		return asked
	}
	return questions[""]
}

// evaluateInTime evaluates modules whose author may have written anything. It returns in time, even if they do not end:
// OPA looks at the time between its steps, and not within one.
func (m *module) evaluateInTime(ctx context.Context, document policies.Document, parameters map[string]any) policies.Answer {
	asked := m.asked(document)
	if len(asked.rules) == 0 {
		return policies.Answer{}
	}
	limit := EvaluationTimeout
	if deadline, ok := ctx.Deadline(); ok {
		limit = min(limit, time.Until(deadline)/shareOfTime)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("the evaluation took longer than %s", limit.Round(time.Millisecond)))
	defer cancel()
	if ctx.Err() != nil {
		return policies.Answer{Err: fmt.Errorf("the evaluation was not begun: %w", context.Cause(ctx))}
	}
	select {
	case m.slots <- struct{}{}:
	case <-ctx.Done():
		return policies.Answer{Err: fmt.Errorf("the evaluation was not begun: %d others of this policy did not end", maxEvaluations)}
	}
	value := inputOf(document, parameters)
	answered := make(chan policies.Answer, 1)
	go func() {
		defer func() { <-m.slots }()
		answered <- asked.evaluate(ctx, value)
	}()
	select {
	case answer := <-answered:
		return answer
	case <-ctx.Done():
		// It ends a moment later, or after one long step.
		return policies.Answer{Err: fmt.Errorf("the evaluation was stopped: %w", context.Cause(ctx))}
	}
}

// evaluate asks the question about an input. Of modules that fail it returns the denials that they did give, and the
// error: an object must not be let in for being worse.
func (q question) evaluate(ctx context.Context, value ast.Value) (answer policies.Answer) {
	defer func() {
		if p := recover(); p != nil {
			answer = policies.Answer{Err: fmt.Errorf("the evaluation panicked: %.160s", oneLine(fmt.Sprint(p)))}
		}
	}()
	answer, err := q.answer(ctx, value)
	if err != nil {
		return policies.Answer{Deny: answer.Deny, Err: err}
	}
	return answer
}

func (q question) answer(ctx context.Context, value ast.Value) (answer policies.Answer, err error) {
	if ctx.Err() != nil {
		// OPA notices that only when it has evaluated for a while.
		return answer, fmt.Errorf("the evaluation was not begun: %w", context.Cause(ctx))
	}
	results, err := q.prepared.Eval(ctx, rego.EvalParsedInput(value), rego.EvalSortSets(true))
	if err != nil {
		if topdown.IsCancel(err) {
			return answer, fmt.Errorf("the evaluation was stopped: %w", context.Cause(ctx))
		}
		return answer, fmt.Errorf("%s", oneLine(err.Error()))
	}
	if len(results) != 1 {
		return answer, fmt.Errorf("the evaluation gave %d results", len(results))
	}
	reasons, _ := results[0].Bindings["reasons"].([]any)
	var first error
	for i, r := range q.rules {
		members, _ := reasons[i].([]any)
		if len(members) > MaxReasons {
			first = cmp.Or(first, fmt.Errorf("%s.%s: gave %d reasons; want at most %d", r.module, r.word, len(members), MaxReasons))
			members = members[:MaxReasons]
		}
		for _, member := range members {
			if err := r.read(member, &answer); err != nil {
				first = cmp.Or(first, fmt.Errorf("%s.%s: %w", r.module, r.word, err))
			}
		}
	}
	return answer, first
}

// memberKeys are the keys that a member of each set may have, as messages list them.
var memberKeys = map[string]string{
	"require_local":   "message, annotation, value, strength",
	"keeps_source_ip": "message, annotation, value, verdict",
	"deny":            "message, path, fix",
	"warn":            "message, path, fix",
	"spread":          "message, strategy, whenUnsatisfiable, maxSkew",
}

// read decodes one member of a rule's set, strictly: what the contract does not allow is a fault and
// not a reason that says less.
func (r rule) read(member any, answer *policies.Answer) error {
	switch r.word {
	case "require_local":
		reason := policies.RequireLocal{Module: r.module}
		if err := decode(member, &reason, memberKeys[r.word]); err != nil {
			return err
		}
		if err := oneOf("strength", reason.Strength, []policies.Strength{policies.StrengthHard, policies.StrengthSoft}); err != nil {
			return err
		}
		answer.RequireLocal = append(answer.RequireLocal, reason)
		return needMessage(&answer.RequireLocal[len(answer.RequireLocal)-1].Message)
	case "keeps_source_ip":
		reason := policies.KeepsSourceIP{Module: r.module}
		if err := decode(member, &reason, memberKeys[r.word]); err != nil {
			return err
		}
		if err := oneOf("verdict", reason.Verdict, policies.Verdicts); err != nil {
			return err
		}
		answer.KeepsSourceIP = append(answer.KeepsSourceIP, reason)
		return needMessage(&answer.KeepsSourceIP[len(answer.KeepsSourceIP)-1].Message)
	case "spread":
		wish := policies.SpreadWish{Module: r.module}
		if err := decode(member, &wish, memberKeys[r.word]); err != nil {
			return err
		}
		if err := oneOf("strategy", wish.Strategy, append([]policies.Strategy{""}, v1alpha1.SpreadStrategies...)); err != nil {
			return err
		}
		if err := oneOf("whenUnsatisfiable", wish.WhenUnsatisfiable, append([]policies.WhenUnsatisfiable{""}, v1alpha1.WhenUnsatisfiables...)); err != nil {
			return err
		}
		// A key that is written wishes something, and 0 would wish nothing.
		if object, _ := member.(map[string]any); wish.MaxSkew < 1 && object["maxSkew"] != nil {
			return fmt.Errorf("maxSkew %d must be at least 1", wish.MaxSkew)
		}
		answer.Spread = append(answer.Spread, wish)
		return needMessage(&answer.Spread[len(answer.Spread)-1].Message)
	default:
		finding := policies.HouseFinding{Rule: ruleID(r.module), Severity: r.severity}
		allowed := memberKeys[r.word]
		if r.builtin {
			allowed += ", want, unwanted, because"
		}
		if err := decode(member, &finding, allowed); err != nil {
			return err
		}
		err := needMessage(&finding.Message)
		if err != nil {
			finding.Message = "no message was given"
		}
		if finding.Path != "" && !strings.HasPrefix(finding.Path, "/") {
			err, finding.Path = fmt.Errorf("path %q must be a JSON Pointer such as /spec/type", finding.Path), ""
		}
		finding.Fix = oneLine(finding.Fix)
		list := &answer.Deny
		if r.word == "warn" {
			list = &answer.Warn
		}
		// What is denied stays denied, even without a good word.
		*list = append(*list, finding)
		return err
	}
}

// decode reads a member into a struct with the allowed keys, which are listed as the message lists them.
func decode(member, into any, allowed string) error {
	object, ok := member.(map[string]any)
	text := jsonText(shortened(member))
	gave := fmt.Sprintf("gave %.80s; want an object with %s", text, allowed)
	for _, key := range slices.Sorted(maps.Keys(object)) {
		// encoding/json would take Message for message.
		if !slices.Contains(strings.Split(allowed, ", "), key) {
			return fmt.Errorf("there is no key %.80s: %s", oneLine(key), gave)
		}
	}
	err := json.Unmarshal([]byte(text), into)
	if wrong, is := errors.AsType[*json.UnmarshalTypeError](err); ok && is {
		return fmt.Errorf("%s %.80s must be %s", wrong.Field, jsonText(object[wrong.Field]), wantedOf(wrong.Field))
	}
	if !ok || err != nil {
		return errors.New(gave)
	}
	return nil
}

// wantedOf says what the value of a key of a member must be.
func wantedOf(key string) string {
	switch allowed, isWord := memberWords[key]; {
	case isWord:
		return "one of " + strings.Join(allowed, ", ")
	case key == "maxSkew":
		return "a whole number of at least 1"
	default:
		return "a text"
	}
}

// shortened is a member whose texts are no longer than MaxText. One that is must not cost its author's denial.
func shortened(member any) any {
	object, _ := member.(map[string]any)
	for key, value := range object {
		if text, ok := value.(string); ok && len(text) > MaxText {
			const ellipsis = "…"
			object[key] = strings.ToValidUTF8(text[:MaxText-len(ellipsis)], "") + ellipsis
		}
	}
	return member
}

func jsonText(value any) string {
	text, err := json.Marshal(value)
	if err != nil {
		return fmt.Sprint(value)
	}
	return string(text)
}

// needMessage makes a message one line, and refuses an empty one.
func needMessage(message *string) error {
	*message = oneLine(*message)
	if *message == "" {
		return fmt.Errorf("gave a reason without a message")
	}
	return nil
}

func oneOf[T ~string](name string, value T, allowed []T) error {
	if !slices.Contains(allowed, value) {
		return fmt.Errorf("%s %q is not one of %s", name, string(value), joined(slices.DeleteFunc(slices.Clone(allowed), func(v T) bool { return v == "" })))
	}
	return nil
}

// inputOf is input for a policy with these parameters. It is converted into OPA's types as far as it is looked at, which for
// most is little. What lies within is plain, as OPA wants it that gives all of it to a function.
func inputOf(d policies.Document, parameters map[string]any) ast.Value {
	document := map[string]any{
		"operation": string(d.Operation),
		"object":    d.Object.Content(),
		"namespace": map[string]any{
			"name": d.Namespace.Name, "labels": orEmpty(d.Namespace.Labels), "annotations": orEmpty(d.Namespace.Annotations),
		},
		"related": map[string]any{
			// No neighbours are an empty list: count(null) would be a fault.
			"services":  append([]*corev1.Service{}, d.Related.Services...),
			"workloads": append([]*policies.Workload{}, d.Related.Workloads...),
			"view":      string(d.Related.View),
		},
		"facts": map[string]any{
			"externally_accessible": d.Facts.ExternallyAccessible, "explicit": string(d.Facts.Explicit), "local": d.Facts.Local,
			"provider": d.Facts.Provider, "replicas": d.Facts.Replicas, "spread": string(d.Facts.Spread),
		},
		"cluster":    map[string]any{"nodes": d.Cluster.Nodes, "version": d.Cluster.Version},
		"parameters": orEmpty(parameters),
	}
	if d.Old != nil {
		document["old"] = d.Old.Content()
	}
	return ast.LazyObject(document)
}

func orEmpty[V any](m map[string]V) map[string]V {
	if m == nil {
		return map[string]V{}
	}
	return m
}
