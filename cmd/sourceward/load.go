package main

import (
	"context"
	"fmt"
	"math"
	"slices"

	"github.com/sourceward/sourceward/api/v1alpha1"
	"github.com/sourceward/sourceward/policies"
	"github.com/sourceward/sourceward/policies/bundle"
	"github.com/sourceward/sourceward/policies/child"
	"github.com/sourceward/sourceward/policies/manifest"
)

// loadPolicies reads and compiles policies. It leaves out policies with errors, and returns the errors. A provider that
// is not empty becomes one more policy, which takes precedence over all others.
func loadPolicies(
	ctx context.Context, paths []string, provider string,
) (loaded []*manifest.Policy, rules *bundle.Set, problems []*manifest.Error) {
	loaded, problems = manifest.LoadPolicies(paths)
	rules, wrong := compilePolicies(ctx, objects(loaded), provider)
	for _, w := range wrong {
		problems = append(problems, placed(loaded, w))
	}
	return loaded, rules, problems
}

// compilePolicies compiles policies. It leaves out those with errors, which it returns. The provider is that of
// loadPolicies.
func compilePolicies(
	ctx context.Context, list []v1alpha1.SourceIPPolicy, provider string,
) (rules *bundle.Set, wrong []*bundle.Error) {
	rules, wrong = bundle.Compile(ctx, child.Try, list)
	if provider != "" {
		var err error
		first := v1alpha1.SourceIPPolicy{Spec: v1alpha1.SourceIPPolicySpec{
			Priority:      math.MaxInt32,
			LoadBalancers: &v1alpha1.LoadBalancers{Default: provider},
		}}
		declared := rules.Policies.Declared
		rules.Policies, err = policies.NewPolicies(slices.AppendSeq([]v1alpha1.SourceIPPolicy{first}, rules.Policies.All()))
		if err != nil {
			panic(err) // All of these policies have compiled.
		}
		rules.Policies.Declared = declared
	}
	return rules, wrong
}

// policyFiles returns the names of the files of policies.
func policyFiles(loaded []*manifest.Policy) []string {
	var names []string
	for _, policy := range loaded {
		names = append(names, policy.File())
	}
	return names
}

// objects returns policies without their files.
func objects(loaded []*manifest.Policy) []v1alpha1.SourceIPPolicy {
	list := make([]v1alpha1.SourceIPPolicy, len(loaded))
	for i, policy := range loaded {
		list[i] = policy.SourceIPPolicy
	}
	return list
}

// placed returns an error of compile with its place in a file.
func placed(loaded []*manifest.Policy, wrong *bundle.Error) *manifest.Error {
	policy := loaded[wrong.Index]
	return &manifest.Error{File: policy.File(), Position: policy.Position(wrong.Path, wrong.Row), Message: wrong.Error()}
}

// ownRules returns the rules that the policies in paths declare, in the order of the policies. The error is errReported
// if a policy cannot be read or compiled; ownRules has then written why.
func ownRules(ctx context.Context, s streams, paths []string) ([]policies.Rule, error) {
	if len(paths) == 0 {
		return nil, nil
	}
	loaded, problems := manifest.LoadPolicies(paths)
	compiler := bundle.NewCompiler(child.Try)
	compiler.Try(ctx, objects(loaded))
	var rules []policies.Rule
	for i, policy := range loaded {
		compiled, wrong := compiler.Compile(ctx, policy.SourceIPPolicy)
		for _, w := range wrong {
			w.Index = i
			problems = append(problems, placed(loaded, w))
		}
		if compiled != nil {
			rules = append(rules, compiled.Catalogue()...)
		}
	}
	for _, e := range problems {
		fmt.Fprintf(s.err, "error: %s\n", policies.Printable(e.Error()))
	}
	if problems != nil {
		return rules, errReported
	}
	return rules, nil
}
