package suite

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestSampleIsWhatNewCreates compares New with the sample, because README links to the sample to show what New creates.
func TestSampleIsWhatNewCreates(t *testing.T) {
	const name = "load-balancers-only"
	sample := texts(t, os.DirFS(filepath.Join("../../config/samples", name)))
	t.Chdir(t.TempDir())
	if _, err := New(name); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(texts(t, os.DirFS(name)), sample); diff != "" {
		t.Errorf("config/samples/%s mismatch (-New +sample); fix with: cd config/samples && rm -r %[1]s && "+
			"sourceward policy new %[1]s\n%s", name, diff)
	}
}

// texts returns the texts of the files below a folder, by path.
func texts(t *testing.T, dir fs.FS) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := fs.WalkDir(dir, ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		text, err := fs.ReadFile(dir, path)
		all[path] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestCoverageNamesItsLines(t *testing.T) {
	t.Parallel()
	for want, of := range map[string]Coverage{
		"corp.rego: 3 of 3 lines": {Path: "corp.rego", Lines: 3},
		"corp.rego: 2 of 3 lines; line 12 is not evaluated": {
			Path: "corp.rego", Lines: 3, Missed: []int{12}},
		"corp.rego: 4 of 10 lines; lines 1-3, 5, 8-9 are not evaluated": {
			Path: "corp.rego", Lines: 10, Missed: []int{1, 2, 3, 5, 8, 9}},
		"corp.rego: 0 of 2 lines; lines 4, 6 are not evaluated": {
			Path: "corp.rego", Lines: 2, Missed: []int{4, 6}},
	} {
		if got := of.String(); got != want {
			t.Errorf("String() = %q, want %q", got, want)
		}
	}
}
