package main

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestNotOneOfListsShortListsAndNamesTheNearestOfLongOnes(t *testing.T) {
	t.Parallel()
	long := []string{"a1", "b2", "c3", "d4", "e5", "f6", "g7", "h8", "i9"}
	got := []string{notOneOf("--f", "b", long[:3]).Error(), notOneOf("--f", "b", long).Error()}
	want := []string{
		`--f "b" is not one of a1, b2, c3`,
		`--f "b" is not a known value; the nearest are b2, a1, c3`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("notOneOf() mismatch (-want +got):\n%s", diff)
	}
}
