package main

import (
	"os"
	"regexp"
	"testing"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"
	"go.uber.org/zap"
)

// TestFlagsOfThePage checks that the operator's page lists all flags, with their default values and in the order of
// the help.
func TestFlagsOfThePage(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../config/README.md")
	if err != nil {
		t.Fatal(err)
	}
	var got, want []string
	for _, match := range regexp.MustCompile("(?m)^\\| `(--[^`]*)` \\|").FindAllStringSubmatch(string(page), -1) {
		got = append(got, match[1])
	}
	command(logr.Discard(), zap.NewAtomicLevel()).Flags().VisitAll(func(flag *pflag.Flag) {
		text := "--" + flag.Name
		if flag.DefValue != "" && flag.DefValue != "[]" {
			text += "=" + flag.DefValue
		}
		want = append(want, text)
	})
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("flags in config/README.md mismatch (-want +got):\n%s", diff)
	}
}
