package bundle

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"slices"

	"k8s.io/utils/lru"

	"github.com/sourceward/sourceward/api/v1alpha1"
	"github.com/sourceward/sourceward/policies"
)

// Sources are the texts of one policy that OPA reads.
type Sources struct {
	Rego []v1alpha1.RegoModule
	// Tests are the policy's Rego tests. Vet is true if the sources are for the tools of an author, who sees more than
	// the errors of Compile. Both are empty elsewhere.
	Tests []v1alpha1.RegoModule
	Vet   bool
}

// A Trial calls Attempt for each of the sources where it can do no harm: in another process. It returns one error for
// each, which is nil if Attempt came to an end. Otherwise the error says why not and what to do.
//
// OPA's compiler cannot be stopped, and no program survives a stack overflow or lack of memory.
type Trial func(ctx context.Context, list []Sources) []error

// maxTried is how many sources a Compiler remembers. Each takes about 200 bytes.
const maxTried = 4096

// trials remembers the outcomes of trials.
type trials struct {
	trial Trial
	// outcomes holds nil or an error for each of the sources that were tried, by their hash.
	outcomes *lru.Cache
}

func newTrials(trial Trial) trials { return trials{trial: trial, outcomes: lru.New(maxTried)} }

// run tries all sources that were not tried before, together.
func (t trials) run(ctx context.Context, list []Sources) {
	if t.trial == nil {
		return
	}
	var untried []Sources
	for _, sources := range list {
		if _, known := t.outcomes.Get(sources.hash()); !known && len(sources.Rego) > 0 {
			untried = append(untried, sources)
		}
	}
	if untried == nil {
		return
	}
	for i, err := range t.trial(ctx, untried) {
		sources := untried[i]
		t.outcomes.Add(sources.hash(), err)
		if sources.Vet && err == nil { // Vet begins with Compile.
			t.outcomes.Add(Sources{Rego: sources.Rego}.hash(), nil)
		}
	}
}

// outcome tries sources, unless that was done before. The error is non-nil if their Attempt does not come to an end. It
// is returned once and then forgotten, since a busy machine may be the reason.
func (t trials) outcome(ctx context.Context, sources Sources) error {
	if t.trial == nil || len(sources.Rego) == 0 {
		return nil
	}
	t.run(ctx, []Sources{sources})
	outcome, known := t.outcomes.Get(sources.hash())
	if !known {
		return errors.New("the modules were not tried; try again")
	}
	err, _ := outcome.(error)
	if err != nil {
		t.outcomes.Remove(sources.hash())
	}
	return err
}

func (s Sources) hash() [sha256.Size]byte {
	text, err := json.Marshal(s)
	if err != nil {
		panic(err) // Strings and booleans can be encoded.
	}
	return sha256.Sum256(text)
}

// Attempt does with each of the sources what Compile does, or Format and Vet if they are for an author. It evaluates
// those that compile for a few objects, and drops all results. It takes the sources from next until that returns
// io.EOF, and reports nil for those that came to an end. It stops after the first that did not, with the reason: a
// panic, or that compiling took longer than CompileTimeout. The error is that of next or report, which ends it as well.
func Attempt(ctx context.Context, next func() (Sources, error), report func(outcome error) error) error {
	c := NewCompiler(nil)
	for {
		sources, err := next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		outcome := c.attempt(ctx, sources)
		if err := report(outcome); err != nil || outcome != nil {
			return err
		}
	}
}

func (c *Compiler) attempt(ctx context.Context, sources Sources) error {
	var policy v1alpha1.SourceIPPolicy
	policy.Name, policy.Spec.Rego = "attempt", sources.Rego
	compiled, problems := c.Compile(ctx, policy)
	// Vet would wait for a compilation that does not end.
	if sources.Vet && !slices.ContainsFunc(problems, isUnfinished) {
		for _, source := range slices.Concat(sources.Rego, sources.Tests) {
			_, _ = Format(source)
		}
		problems = c.Vet(ctx, policy, sources.Tests, "")
	}
	if i := slices.IndexFunc(problems, isUnfinished); i >= 0 {
		return errors.New(problems[i].Message)
	}
	if compiled != nil && compiled.module != nil {
		for _, sample := range samples() {
			compiled.module.try(ctx, sample)
		}
	}
	return nil
}

// try evaluates the modules for a document. Whether that fails does not matter here, only whether the process survives.
// A step that does not end is waited for.
func (m *module) try(ctx context.Context, document policies.Document) {
	ctx, cancel := context.WithTimeout(ctx, EvaluationTimeout)
	defer cancel()
	if asked := m.asked(document); len(asked.rules) > 0 {
		asked.evaluate(ctx, inputOf(document, nil))
	}
}

// samples returns the creation of a Service and of a workload. What ends the process for any object ends it for these.
func samples() []policies.Document {
	template := map[string]any{
		"metadata": map[string]any{"labels": map[string]any{"app": "web"}},
		"spec":     map[string]any{"containers": []any{map[string]any{"name": "web", "image": "web"}}},
	}
	specs := map[string]map[string]any{
		"Service": {
			"type": "LoadBalancer", "externalTrafficPolicy": "Local", "selector": map[string]any{"app": "web"},
			"ports": []any{map[string]any{"name": "web", "port": int64(80), "protocol": "TCP"}},
		},
		"Deployment": {
			"replicas": int64(2), "selector": map[string]any{"matchLabels": map[string]any{"app": "web"}}, "template": template,
		},
	}
	var documents []policies.Document
	for _, kind := range slices.Sorted(maps.Keys(specs)) {
		version := "apps/v1"
		if kind == "Service" {
			version = "v1"
		}
		object, err := policies.NewObject(map[string]any{
			"apiVersion": version, "kind": kind, "spec": specs[kind],
			"metadata": map[string]any{"namespace": "default", "name": "web"},
		})
		if err != nil {
			panic(err) // The objects above are valid.
		}
		documents = append(documents, policies.Document{Operation: policies.Create, Object: object})
	}
	return documents
}
