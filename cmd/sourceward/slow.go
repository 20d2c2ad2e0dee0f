package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/sourceward/sourceward/policies"
	"github.com/sourceward/sourceward/policies/bundle"
)

// maxSlow is after how many evaluations in a row that take too long a policy is not evaluated any more. The time of
// each has an upper bound, but the number of objects has none.
const maxSlow = 10

// slowRules leaves out the policies that have taken too long maxSlow times in a row. It implements policies.Rules.
type slowRules struct {
	*neighbourRules
	// inRow counts, for each policy, the last evaluations in a row that took too long.
	inRow map[string]int
	// left holds the policies that were left out for the object that is being judged. unjudged counts, for each policy,
	// the objects for which it was.
	left     map[string]bool
	unjudged map[string]int
}

func newSlowRules(set *bundle.Set) *slowRules {
	return &slowRules{
		neighbourRules: newNeighbourRules(set),
		inRow:          map[string]int{}, left: map[string]bool{}, unjudged: map[string]int{},
	}
}

// Evaluate implements policies.Rules.
func (s *slowRules) Evaluate(
	ctx context.Context, document policies.Document, applied []policies.AppliedPolicy,
) []policies.Answer {
	asked := slices.DeleteFunc(slices.Clone(applied), func(a policies.AppliedPolicy) bool {
		isSlow := s.inRow[a.Name] >= maxSlow && s.Asks(a.Name, document)
		if isSlow {
			s.left[a.Name] = true
		}
		return isSlow
	})
	answers := s.neighbourRules.Evaluate(ctx, document, asked)
	for _, answer := range answers {
		switch {
		case errors.Is(answer.Err, policies.ErrTooSlow):
			s.inRow[answer.Policy]++
		case s.Asks(answer.Policy, document):
			s.inRow[answer.Policy] = 0
		}
	}
	return answers
}

// judged is called after each object.
func (s *slowRules) judged() {
	for policy := range s.left {
		s.unjudged[policy]++
	}
	clear(s.left)
}

// faults returns one message for each policy that was left out.
func (s *slowRules) faults() []string {
	var list []string
	for _, policy := range slices.Sorted(maps.Keys(s.unjudged)) {
		list = append(list, fmt.Sprintf("SourceIPPolicy %s took too long %d times in a row and was not evaluated for the "+
			"other %s; fix the policy", policy, maxSlow, count(s.unjudged[policy], "object")))
	}
	return list
}
