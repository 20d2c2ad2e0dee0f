package test

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sourceward/sourceward/policies"
)

const corpusDir = "corpus"

// The findings expected in the corpus, with default settings, one a line. Both files are written by hand, so that
// -update cannot accept a wrong finding.
const (
	corpusWant  = "want.txt"       // the findings above mode audit
	corpusAudit = "want-audit.txt" // the findings in mode audit
)

// TestCorpus checks the corpus as one directory.
func TestCorpus(t *testing.T) {
	t.Parallel()
	stdout, stderr, code := runBinary(t, corpusDir, "check", "-q", "-o", "json", ".")
	if len(stderr) > 0 || code != 1 {
		t.Errorf("check exits with %d, want 1, and writes to stderr:\n%s", code, stderr)
	}
	var r report
	if err := json.Unmarshal(stdout, &r); err != nil {
		t.Fatal(err)
	}
	if len(r.Errors) > 0 {
		t.Errorf("check reports errors: %v", r.Errors)
	}
	got := map[string][]string{}
	for _, f := range r.Findings {
		file := corpusWant
		if f.Mode == policies.Audit {
			file = corpusAudit
		}
		got[file] = append(
			got[file],
			fmt.Sprintf("%s %s %s/%s/%s %s\n", f.File, f.Rule, f.Object.Kind, f.Object.Namespace, f.Object.Name, f.Mode),
		)
	}
	for _, file := range []string{corpusWant, corpusAudit} {
		want := readFile(t, filepath.Join(corpusDir, file))
		slices.Sort(got[file])
		if diff := cmp.Diff(string(want), strings.Join(got[file], "")); diff != "" {
			t.Errorf("check mismatch with %s (-want +got):\n%s", file, diff)
		}
	}
}

// TestCorpusReadme checks that the table of README.md has one row for each file; the row gives the reason for the
// expected findings.
func TestCorpusReadme(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile(filepath.Join(corpusDir, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	var rows, files []string
	for line := range strings.Lines(string(readme)) {
		if row, ok := strings.CutPrefix(line, "| `"); ok {
			name, _, _ := strings.Cut(row, "`")
			rows = append(rows, name)
		}
	}
	err = fs.WalkDir(os.DirFS(corpusDir), ".", func(path string, entry fs.DirEntry, err error) error {
		if !entry.IsDir() && !slices.Contains([]string{"README.md", corpusWant, corpusAudit}, path) {
			files = append(files, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(rows)
	slices.Sort(files)
	if diff := cmp.Diff(files, rows); diff != "" {
		t.Errorf("README.md mismatch (-files +rows):\n%s", diff)
	}
}
