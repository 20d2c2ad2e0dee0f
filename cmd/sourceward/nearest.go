package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/agnivade/levenshtein"
)

const (
	// maxListed is the number of values up to which an error lists all of them. A longer list hides what is wrong.
	maxListed = 8
	// maxNearest is the number of values that an error names instead.
	maxNearest = 3
)

// nearest returns the names that are spelled most like word, at most maxNearest, the most similar first. Letter case
// does not count. Names that are equally similar are in alphabetical order, and a name that is listed twice is returned
// once.
func nearest(word string, names []string) []string {
	word = strings.ToLower(word)
	sorted := slices.Clone(names)
	slices.SortFunc(sorted, func(a, b string) int {
		return cmp.Or(
			cmp.Compare(
				levenshtein.ComputeDistance(word, strings.ToLower(a)),
				levenshtein.ComputeDistance(word, strings.ToLower(b)),
			),
			cmp.Compare(a, b),
		)
	})
	sorted = slices.Compact(sorted)
	return sorted[:min(maxNearest, len(sorted))]
}

// notOneOf returns the error for a flag whose value is not an allowed one. The help of the flag lists all of them.
func notOneOf(flag, value string, allowed []string) error {
	if len(allowed) > maxListed {
		return fmt.Errorf("%s %q is not a known value; the nearest are %s",
			flag, value, strings.Join(nearest(value, allowed), ", "))
	}
	return fmt.Errorf("%s %q is not one of %s", flag, value, strings.Join(allowed, ", "))
}
