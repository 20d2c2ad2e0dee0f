package bundle

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/rego"

	"github.com/sourceward/sourceward/api/v1alpha1"
	"github.com/sourceward/sourceward/policies"
)

// EvaluationTimeout bounds the evaluation of one policy's modules for one object, in wall-clock time,
// beside what the context allows. One takes well under a millisecond; webhooks are given three seconds.
const EvaluationTimeout = time.Second

// module is the compiled modules of one policy.
type module struct {
	rules       []rule
	prepared    rego.PreparedEvalQuery
	usesRelated bool
}

// rule is one partial set of the contract in one module.
type rule struct {
	// module is the last element of its package, word its name.
	module, word string
	// severity is what the package's METADATA says; or empty.
	severity policies.Severity
}

func (m *module) add(r rule) { m.rules = append(m.rules, r) }

// declared are the ids of the modules that have findings of their own.
func (m *module) declared() []string {
	var ids []string
	for _, r := range m.rules {
		if id := ruleID(r.module); (r.word == "deny" || r.word == "warn") && !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	return ids
}

// query asks for all rules at once: one array, in the order of m.rules.
func (m *module) query(modules map[string]*ast.Module) string {
	packages := map[string]string{}
	for _, module := range modules {
		packages[lastElement(module.Package)] = module.Package.Path.String()
	}
	refs := make([]string, len(m.rules))
	for i, r := range m.rules {
		refs[i] = packages[r.module] + "." + r.word
	}
	return "reasons := [" + strings.Join(refs, ", ") + "]"
}

// Evaluate implements policies.Rules.
func (s *Set) Evaluate(ctx context.Context, document policies.Document, applied []policies.AppliedPolicy) []policies.Answer {
	in := input{document: document}
	answers := []policies.Answer{s.builtin.evaluate(ctx, &in, "", nil)}
	for _, policy := range applied {
		if m, ok := s.custom[policy.Name]; ok {
			answers = append(answers, m.evaluate(ctx, &in, policy.Name, policy.Parameters))
		}
	}
	return answers
}

func (m *module) evaluate(ctx context.Context, in *input, policy string, parameters map[string]any) policies.Answer {
	ctx, cancel := context.WithTimeout(ctx, EvaluationTimeout)
	defer cancel()
	answer, err := m.answer(ctx, in, parameters)
	answer.Policy = policy
	if err != nil {
		return policies.Answer{Policy: policy, Err: err}
	}
	return answer
}

func (m *module) answer(ctx context.Context, in *input, parameters map[string]any) (answer policies.Answer, err error) {
	value, err := in.value(m.usesRelated, parameters)
	if err != nil {
		return answer, err
	}
	results, err := m.prepared.Eval(ctx, rego.EvalParsedInput(value), rego.EvalSortSets(true))
	if err != nil {
		if ctx.Err() != nil {
			return answer, fmt.Errorf("the evaluation took longer than %s", EvaluationTimeout)
		}
		return answer, fmt.Errorf("%s", oneLine(err.Error()))
	}
	if len(results) != 1 {
		return answer, fmt.Errorf("the evaluation gave %d results", len(results))
	}
	reasons, _ := results[0].Bindings["reasons"].([]any)
	for i, r := range m.rules {
		members, _ := reasons[i].([]any)
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

func decode(member, into any, allowed string) error {
	if _, ok := member.(map[string]any); !ok {
		return fmt.Errorf("gave %s; want an object with %s", jsonText(member), allowed)
	}
	decoder := json.NewDecoder(bytes.NewReader([]byte(jsonText(member))))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		return fmt.Errorf("gave %.80s; want an object with %s", jsonText(member), allowed)
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

// input is a document on its way into OPA's types. The parts are converted once, whatever the number
// of policies that read them.
type input struct {
	document        policies.Document
	common, related [][2]*ast.Term
}

// value is input with the parameters of one policy.
func (in *input) value(withRelated bool, parameters map[string]any) (ast.Value, error) {
	if err := in.convert(withRelated); err != nil {
		return nil, err
	}
	if parameters == nil {
		parameters = map[string]any{}
	}
	own, err := member("parameters", parameters)
	if err != nil {
		return nil, err
	}
	members := slices.Concat(in.common, [][2]*ast.Term{own})
	if withRelated {
		members = append(members, in.related...)
	}
	return ast.NewObject(members...), nil
}

func (in *input) convert(withRelated bool) error {
	if in.common == nil {
		d := in.document
		for _, part := range []struct {
			name  string
			value any
		}{
			{"operation", string(d.Operation)},
			{"object", d.Object},
			{"namespace", map[string]any{
				"name": d.Namespace.Name, "labels": orEmpty(d.Namespace.Labels), "annotations": orEmpty(d.Namespace.Annotations),
			}},
			{"facts", map[string]any{
				"externally_accessible": d.Facts.ExternallyAccessible, "explicit": string(d.Facts.Explicit), "local": d.Facts.Local,
				"provider": d.Facts.Provider, "replicas": d.Facts.Replicas,
			}},
			{"cluster", map[string]any{"nodes": d.Cluster.Nodes, "version": d.Cluster.Version}},
		} {
			m, err := member(part.name, part.value)
			if err != nil {
				return err
			}
			in.common = append(in.common, m)
		}
		if d.Old != nil {
			m, err := member("old", d.Old)
			if err != nil {
				return err
			}
			in.common = append(in.common, m)
		}
	}
	if withRelated && in.related == nil {
		m, err := member("related", in.document.Related)
		if err != nil {
			return err
		}
		in.related = append(in.related, m)
	}
	return nil
}

func orEmpty(m map[string]string) map[string]string {
	if m == nil {
		return map[string]string{}
	}
	return m
}

func member(name string, value any) ([2]*ast.Term, error) {
	if document, ok := value.(map[string]any); ok && document != nil {
		// Most of an object is never looked at.
		return ast.Item(ast.StringTerm(name), ast.NewTerm(ast.LazyObject(document))), nil
	}
	converted, err := ast.InterfaceToValue(value)
	if err != nil {
		return [2]*ast.Term{}, fmt.Errorf("input.%s: %w", name, err)
	}
	return ast.Item(ast.StringTerm(name), ast.NewTerm(converted)), nil
}
