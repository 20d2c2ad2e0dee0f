package main

import (
	"fmt"
	"math"
	"slices"

	"github.com/sourceward/sourceward/api/v1alpha1"
	"github.com/sourceward/sourceward/policies"
	"github.com/sourceward/sourceward/policies/bundle"
	"github.com/sourceward/sourceward/policies/manifest"
)

// loadPolicies reads and compiles policies. Those that are wrong are left out and told of. A provider
// that is named is the word of one more policy, which comes before all others.
func loadPolicies(paths []string, provider string) (*bundle.Set, []*manifest.Error) {
	loaded, problems := manifest.LoadPolicies(paths)
	rules, wrong := compile(loaded)
	if provider != "" {
		var err error
		rules.Policies, err = policies.NewPolicies(slices.AppendSeq([]v1alpha1.SourceIPPolicy{{Spec: v1alpha1.SourceIPPolicySpec{
			Priority:      math.MaxInt32,
			LoadBalancers: &v1alpha1.LoadBalancers{Default: provider},
		}}}, rules.Policies.All()))
		if err != nil {
			panic(err) // They were ready before.
		}
	}
	for _, w := range wrong {
		problems = append(problems, placed(loaded, w))
	}
	return rules, problems
}

// compile is bundle.Compile of policies that were read from files.
func compile(loaded []*manifest.Policy) (*bundle.Set, []*bundle.Error) {
	list := make([]v1alpha1.SourceIPPolicy, len(loaded))
	for i, policy := range loaded {
		list[i] = policy.SourceIPPolicy
	}
	return bundle.Compile(list)
}

// placed is what compile found wrong, with its place in a file.
func placed(loaded []*manifest.Policy, wrong *bundle.Error) *manifest.Error {
	policy := loaded[wrong.Index]
	return &manifest.Error{File: policy.File(), Position: policy.Position(wrong.Path, wrong.Row), Message: wrong.Error()}
}

// ownRules are the rules that policies declare, by policy. The error is errReported if one cannot be read or compiled, which
// is told.
func ownRules(s streams, paths []string) ([]policies.Rule, error) {
	if len(paths) == 0 {
		return nil, nil
	}
	loaded, problems := manifest.LoadPolicies(paths)
	compiler := bundle.NewCompiler()
	var rules []policies.Rule
	for i, policy := range loaded {
		compiled, wrong := compiler.Compile(policy.SourceIPPolicy)
		for _, w := range wrong {
			w.Index = i
			problems = append(problems, placed(loaded, w))
		}
		if compiled != nil {
			rules = append(rules, compiled.Catalogue()...)
		}
	}
	for _, e := range problems {
		fmt.Fprintf(s.err, "error: %s\n", printable(e.Error()))
	}
	if problems != nil {
		return rules, errReported
	}
	return rules, nil
}
