package main

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestNearest(t *testing.T) {
	t.Parallel()
	names := []string{"unspread-behind-local", "single-replica-local", "corp", "Gke", "azure", "bee", "corp"}
	tests := map[string]struct {
		word  string
		names []string
		want  []string
	}{
		"the most similar name is first": {"unspred-behind-local", names,
			[]string{"unspread-behind-local", "single-replica-local", "azure"}},
		"letter case does not count":                      {"gKE", names, []string{"Gke", "bee", "azure"}},
		"equally similar names are in alphabetical order": {"", []string{"c", "b", "d", "a"}, []string{"a", "b", "c"}},
		"a name that is listed twice is returned once":    {"crop", names, []string{"corp", "Gke", "bee"}},
		"there may be fewer than three names":             {"a", []string{"b"}, []string{"b"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(test.want, nearest(test.word, test.names)); diff != "" {
				t.Errorf("nearest(%q) mismatch (-want +got):\n%s", test.word, diff)
			}
		})
	}
}

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
