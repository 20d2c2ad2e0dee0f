package main

import (
	"context"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/sourceward/sourceward/policies"
	"github.com/sourceward/sourceward/policies/bundle"
)

// neighbourRules is a bundle.Set that evaluates the rules about a neighbour once. Each workload behind a Service asks
// about that Service, and in one run the answer is always the same. It implements policies.Rules.
type neighbourRules struct {
	*bundle.Set
	answers map[question][]policies.Answer
}

// question identifies a neighbour and the names of the policies that are asked about it.
type question struct {
	neighbour *corev1.Service
	applied   string
}

func newNeighbourRules(set *bundle.Set) *neighbourRules {
	return &neighbourRules{set, map[question][]policies.Answer{}}
}

// Evaluate implements policies.Rules.
func (n *neighbourRules) Evaluate(
	ctx context.Context, document policies.Document, applied []policies.AppliedPolicy,
) []policies.Answer {
	if !document.Neighbour {
		return n.Set.Evaluate(ctx, document, applied)
	}
	var names strings.Builder
	for _, policy := range applied {
		names.WriteString(policy.Name + "\n")
	}
	asked := question{document.Object.Service, names.String()}
	if answers, ok := n.answers[asked]; ok {
		return answers
	}
	answers := n.Set.Evaluate(ctx, document, applied)
	// An evaluation that failed for lack of time may succeed the next time.
	if !slices.ContainsFunc(answers, func(a policies.Answer) bool { return a.Err != nil }) {
		n.answers[asked] = answers
	}
	return answers
}
