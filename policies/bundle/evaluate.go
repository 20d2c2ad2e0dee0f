package bundle

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/topdown"
	"github.com/open-policy-agent/opa/v1/util"
	corev1 "k8s.io/api/core/v1"

	"github.com/sourceward/sourceward/api/v1alpha1"
	"github.com/sourceward/sourceward/policies"
)

const (
	// EvaluationTimeout bounds the evaluation of one policy's modules for one object, in wall-clock time,
	// beside what the context allows. One takes well under a millisecond; webhooks are given three seconds. One
	// that never ends takes memory until then, some 200 MiB in a second.
	EvaluationTimeout = 250 * time.Millisecond
	// MaxReasons bounds how many members one set may have, for one object.
	MaxReasons = 100
	// MaxReason bounds one member, in bytes of JSON. A warning is cut at 120 characters, an Event at 1 024.
	MaxReason = 4096
)

// module is the compiled modules of one policy.
type module struct {
	rules []rule
	// questions are what is asked about an object, by its kind; what is asked about a kind that is not there is under "".
	questions   map[string]question
	usesRelated bool
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
	in := input{document: document}
	answers := []policies.Answer{s.builtin.evaluate(ctx, &in, "", document.Parameters)}
	for _, policy := range applied {
		if m, ok := s.custom[policy.Name]; ok {
			answers = append(answers, m.evaluate(ctx, &in, policy.Name, policy.Parameters))
		}
	}
	return answers
}

func (m *module) evaluate(ctx context.Context, in *input, policy string, parameters map[string]any) policies.Answer {
	if policy != "" {
		// The built-in modules are known to end.
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, EvaluationTimeout, fmt.Errorf("the evaluation took longer than %s", EvaluationTimeout))
		defer cancel()
	}
	answer, err := m.answer(ctx, in, parameters)
	answer.Policy = policy
	if err != nil {
		return policies.Answer{Policy: policy, Err: err}
	}
	return answer
}

func (m *module) answer(ctx context.Context, in *input, parameters map[string]any) (answer policies.Answer, err error) {
	if ctx.Err() != nil {
		// OPA notices that only when it has evaluated for a while.
		return answer, fmt.Errorf("the evaluation was not begun: %w", context.Cause(ctx))
	}
	asked, ok := m.questions[in.document.Object.Kind]
	if !ok {
		asked = m.questions[""]
	}
	if len(asked.rules) == 0 {
		return answer, nil
	}
	value, err := in.value(m.usesRelated, parameters)
	if err != nil {
		return answer, err
	}
	results, err := asked.prepared.Eval(ctx, rego.EvalParsedInput(value), rego.EvalSortSets(true))
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
	for i, r := range asked.rules {
		members, _ := reasons[i].([]any)
		if len(members) > MaxReasons {
			return answer, fmt.Errorf("%s.%s: gave %d reasons; want at most %d", r.module, r.word, len(members), MaxReasons)
		}
		for _, member := range members {
			if err := r.read(member, &answer); err != nil {
				return answer, fmt.Errorf("%s.%s: %w", r.module, r.word, err)
			}
		}
	}
	return answer, nil
}

// read decodes one member of a rule's set, strictly: what the contract does not allow is a fault and
// not a reason that says less.
func (r rule) read(member any, answer *policies.Answer) error {
	switch r.word {
	case "require_local":
		reason := policies.RequireLocal{Module: r.module}
		if err := decode(member, &reason, "message, annotation, value, strength"); err != nil {
			return err
		}
		if err := oneOf("strength", reason.Strength, []policies.Strength{policies.StrengthHard, policies.StrengthSoft}); err != nil {
			return err
		}
		answer.RequireLocal = append(answer.RequireLocal, reason)
		return needMessage(&answer.RequireLocal[len(answer.RequireLocal)-1].Message)
	case "keeps_source_ip":
		reason := policies.KeepsSourceIP{Module: r.module}
		if err := decode(member, &reason, "message, annotation, value, verdict"); err != nil {
			return err
		}
		if err := oneOf("verdict", reason.Verdict, policies.Verdicts); err != nil {
			return err
		}
		answer.KeepsSourceIP = append(answer.KeepsSourceIP, reason)
		return needMessage(&answer.KeepsSourceIP[len(answer.KeepsSourceIP)-1].Message)
	case "spread":
		wish := policies.SpreadWish{Module: r.module}
		if err := decode(member, &wish, "message, strategy, whenUnsatisfiable, maxSkew"); err != nil {
			return err
		}
		if err := oneOf("strategy", wish.Strategy, append([]policies.Strategy{""}, v1alpha1.SpreadStrategies...)); err != nil {
			return err
		}
		if err := oneOf("whenUnsatisfiable", wish.WhenUnsatisfiable, append([]policies.WhenUnsatisfiable{""}, v1alpha1.WhenUnsatisfiables...)); err != nil {
			return err
		}
		if wish.MaxSkew < 0 {
			return fmt.Errorf("maxSkew %d must be at least 1", wish.MaxSkew)
		}
		answer.Spread = append(answer.Spread, wish)
		return needMessage(&answer.Spread[len(answer.Spread)-1].Message)
	default:
		finding := policies.HouseFinding{Rule: ruleID(r.module), Severity: r.severity}
		if err := decode(member, &finding, "message, path, fix"); err != nil {
			return err
		}
		if finding.Path != "" && !strings.HasPrefix(finding.Path, "/") {
			return fmt.Errorf("path %q must be a JSON Pointer such as /spec/type", finding.Path)
		}
		finding.Fix = oneLine(finding.Fix)
		list := &answer.Deny
		if r.word == "warn" {
			list = &answer.Warn
		}
		*list = append(*list, finding)
		return needMessage(&(*list)[len(*list)-1].Message)
	}
}

// decode reads a member into a struct with the allowed keys, which are listed as the message lists them.
func decode(member, into any, allowed string) error {
	object, ok := member.(map[string]any)
	for key := range object {
		// encoding/json would take Message for message.
		ok = ok && slices.Contains(strings.Split(allowed, ", "), key)
	}
	text := jsonText(member)
	if len(text) > MaxReason {
		return fmt.Errorf("gave a reason of %d bytes; want at most %d", len(text), MaxReason)
	}
	if !ok || json.Unmarshal([]byte(text), into) != nil {
		return fmt.Errorf("gave %.80s; want an object with %s", text, allowed)
	}
	return nil
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

// input is a document on its way into OPA's types. Objects are converted as far as they are looked at,
// which for most is little, and once, whatever the number of policies that read them.
type input struct {
	document        policies.Document
	common, related map[string]any
}

// value is input with parameters.
func (in *input) value(withRelated bool, parameters map[string]any) (ast.Value, error) {
	if in.common == nil {
		in.common = commonInput(in.document)
	}
	all := maps.Clone(in.common)
	all["parameters"] = orEmpty(parameters)
	if withRelated {
		if in.related == nil {
			related, err := relatedInput(in.document.Related)
			if err != nil {
				return nil, err
			}
			in.related = related
		}
		all["related"] = ast.LazyObject(in.related)
	}
	return ast.LazyObject(all), nil
}

// commonInput is input less what not every module reads.
func commonInput(d policies.Document) map[string]any {
	common := map[string]any{
		"operation": string(d.Operation),
		"object":    ast.LazyObject(d.Object.Content()),
		"namespace": ast.LazyObject(map[string]any{
			"name": d.Namespace.Name, "labels": orEmpty(d.Namespace.Labels), "annotations": orEmpty(d.Namespace.Annotations),
		}),
		"facts": ast.LazyObject(map[string]any{
			"externally_accessible": d.Facts.ExternallyAccessible, "explicit": string(d.Facts.Explicit), "local": d.Facts.Local,
			"provider": d.Facts.Provider, "replicas": d.Facts.Replicas,
		}),
		"cluster": ast.LazyObject(map[string]any{"nodes": d.Cluster.Nodes, "version": d.Cluster.Version}),
	}
	if d.Old != nil {
		common["old"] = ast.LazyObject(d.Old.Content())
	}
	return common
}

func relatedInput(d policies.RelatedDocument) (map[string]any, error) {
	// No neighbours are an empty list: count(null) would be a fault.
	d.Services = append([]*corev1.Service{}, d.Services...)
	d.Workloads = append([]*policies.Workload{}, d.Workloads...)
	var related any = d
	if err := util.RoundTrip(&related); err != nil {
		return nil, fmt.Errorf("input.related: %w", err)
	}
	converted, _ := related.(map[string]any)
	return converted, nil
}

func orEmpty[V any](m map[string]V) map[string]V {
	if m == nil {
		return map[string]V{}
	}
	return m
}
