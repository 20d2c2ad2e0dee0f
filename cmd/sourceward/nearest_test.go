package main

import (
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestNotOneOfListsShortListsAndNamesTheNearestOfLongOnes(t *testing.T) {
	t.Parallel()
	long := []string{"a1", "b2", "c3", "d4", "e5", "f6", "g7", "h8", "i9"}
	got := []string{
		notOneOf("--f", "b", long[:3]).Error(), notOneOf("--f", "b", long[:4]).Error(), notOneOf("--f", "b", long).Error(),
	}
	want := []string{
		`--f "b" is not one of a1, b2, c3`,
		`--f "b" is not one of a1, b2, c3, d4; the nearest are b2, a1, c3`,
		`--f "b" is not a known value; the nearest are b2, a1, c3`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("notOneOf() mismatch (-want +got):\n%s", diff)
	}
}

// TestMistypedWordsNameTheNearest checks the first of the words that an error names.
func TestMistypedWordsNameTheNearest(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]string{
		"chek deploy/":                 "check",
		"explian unspread":             "explain",
		"polcy vet":                    "policy",
		"policy tset":                  "test",
		"policy bnch p/":               "bench",
		"help chek":                    "check",
		"help policy vte":              "vet",
		"completion bahs":              "bash",
		"check --polcy p.yaml":         "--policy",
		"check --fial-on warn":         "--fail-on",
		"check -policy p.yaml -x":      "--policy",
		"check --kubeversion 1.28":     "--kube-version",
		"policy eval p --filenam a":    "--filename",
		"explain --setting x":          "--settings",
		"explain unspred-behind-local": "unspread-behind-local",
		"explain unspread":             "unspread-behind-local",
		"check --provider metalb-l2":   "metallb-l2",
		"check --fail-on wran":         "warn",
		"check --color allways":        "always",
	} {
		var stderr strings.Builder
		code := run(t.Context(), strings.Fields("sourceward "+line), streams{strings.NewReader(""), io.Discard, &stderr})
		_, named, ok := strings.Cut(stderr.String(), "the nearest are ")
		first, _, _ := strings.Cut(named, ", ")
		if code != exitFault || !ok && want != "always" || ok && first != want {
			t.Errorf("%s: exit code %d, error %q; want 2, and %s as the nearest", line, code, stderr.String(), want)
		}
	}
}

func TestErrorsAboutOtherThingsStayAsTheyAre(t *testing.T) {
	t.Parallel()
	err := errors.New("flag needs an argument: --policy")
	if got := flagError(checkCommand(streams{}), err); !errors.Is(got, err) || got.Error() != err.Error() {
		t.Errorf("flagError() = %v, want %v", got, err)
	}
}
