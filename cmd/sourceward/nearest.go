package main

import (
	"fmt"
	"strings"

	"github.com/sourceward/sourceward/policies"
)

const (
	// maxListed is the number of values up to which an error lists all of them. A longer list hides what is wrong.
	maxListed = 8
	// maxNearest is the number of values that an error names instead.
	maxNearest = 3
)

// notOneOf returns the error for a flag whose value is not an allowed one. The help of the flag lists all of them.
func notOneOf(flag, value string, allowed []string) error {
	if len(allowed) > maxListed {
		return fmt.Errorf("%s %q is not a known value; the nearest are %s",
			flag, value, strings.Join(policies.Nearest(value, allowed, maxNearest), ", "))
	}
	return fmt.Errorf("%s %q is not one of %s", flag, value, strings.Join(allowed, ", "))
}
