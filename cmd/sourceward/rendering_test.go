package main_test

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// wanted matches a comment that lists the rules with a finding on its line.
var wanted = regexp.MustCompile(`# want: ([a-z -]+)`)

// TestFindingsInRenderedObjectsAreAtTheirSource compares the findings in the repository of a case with the comments in
// its files, which say where a reader would look for them.
func TestFindingsInRenderedObjectsAreAtTheirSource(t *testing.T) {
	t.Parallel()
	const dir = "testdata/a-repository-is-checked-as-it-will-be-applied"
	var want []string
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(dir, path)
		for i, line := range strings.Split(string(text), "\n") {
			if match := wanted.FindStringSubmatch(line); match != nil {
				for rule := range strings.FieldsSeq(match[1]) {
					want = append(want, fmt.Sprintf("%s:%d %s", filepath.ToSlash(name), i+1, rule))
				}
			}
		}
		return err
	})
	if err != nil || len(want) < 8 {
		t.Fatalf("%d comments, %v", len(want), err)
	}
	result := run(t, command(t, dir, "check", "-o", "json", "."))
	var report struct {
		Findings []struct {
			Rule, File string
			Line       int
		}
	}
	if err := json.Unmarshal([]byte(result.Stdout), &report); err != nil {
		t.Fatalf("%v: %+v", err, result)
	}
	var got []string
	for _, f := range report.Findings {
		got = append(got, fmt.Sprintf("%s:%d %s", f.File, f.Line, f.Rule))
	}
	for _, list := range []*[]string{&got, &want} {
		slices.Sort(*list)
		*list = slices.Compact(*list)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("findings mismatch (-want +got):\n%s", diff)
	}
}
