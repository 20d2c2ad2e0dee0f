package cluster

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestCompileReturnsTheErrorsOfTheCompiler(t *testing.T) {
	module := t.TempDir()
	for name, content := range map[string]string{
		"go.mod":  "module broken\n",
		"main.go": "package main\n\nfunc main() { missing() }\n",
	} {
		if err := os.WriteFile(filepath.Join(module, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	var progress bytes.Buffer
	err := compile(t.Context(), "build broken v1.0.0", module, t.TempDir(), "", []string{"broken"}, &progress)
	if want := "main.go:3:15: undefined: missing"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("compile() = %v, want an error that contains %q", err, want)
	}
	if got, want := progress.String(), "build broken v1.0.0\n"; got != want {
		t.Errorf("progress is %q, want %q", got, want)
	}
}

func TestAnUnknownVersionIsAnError(t *testing.T) {
	_, err := find(t.Context(), "v1.5")
	if want := `there is no control plane "v1.5"; want one of ["v1.37" "v1.36"]`; err == nil || err.Error() != want {
		t.Errorf("find() = %v, want %s", err, want)
	}
}
