//go:build unix

package suite

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/sourceward/sourceward/policies/bundle"
)

// TestFilesOutsideThePolicy checks that no tool reads or writes a file outside the policy's folder by a symlink in it,
// or waits for a pipe.
func TestFilesOutsideThePolicy(t *testing.T) {
	t.Parallel()
	const policy = "apiVersion: sourceward.dev/v1alpha1\nkind: SourceIPPolicy\nmetadata: {name: corp}\n" +
		"spec: {rego: [{name: corp.rego, module: \"package sourceward.custom.corp\\n\"}]}\n"
	const module = "package sourceward.custom.corp\n\ndeny contains   {\"message\": \"no\"} if true\n"
	tests := map[string]struct {
		// link makes a file of a policy in dir of one in outside.
		link func(outside, dir string) error
		want string
	}{
		"a module": {
			func(outside, dir string) error {
				return os.Symlink(filepath.Join(outside, "secret"), filepath.Join(dir, "corp.rego"))
			},
			"corp.rego: cannot be read: path escapes from parent",
		},
		"a module by a relative path": {
			func(outside, dir string) error {
				relative, err := filepath.Rel(dir, filepath.Join(outside, "secret"))
				if err != nil {
					return err
				}
				return os.Symlink(relative, filepath.Join(dir, "corp.rego"))
			},
			"corp.rego: cannot be read: path escapes from parent",
		},
		"a pipe": {
			func(_, dir string) error { return syscall.Mkfifo(filepath.Join(dir, "corp.rego"), 0o600) },
			"corp.rego: cannot be read: not a file",
		},
		"a module in the same folder": {
			func(_, dir string) error {
				if err := os.WriteFile(filepath.Join(dir, "shared"), []byte(module), 0o600); err != nil {
					return err
				}
				return os.Symlink("shared", filepath.Join(dir, "corp.rego"))
			},
			"",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			outside, dir := t.TempDir(), t.TempDir()
			secret := filepath.Join(outside, "secret")
			for path, text := range map[string]string{secret: module, filepath.Join(dir, "policy.yaml"): policy} {
				if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if err := test.link(outside, dir); err != nil {
				t.Fatal(err)
			}
			loaded, _, err := Load([]string{dir})
			if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Fatalf("Load() error is %v, want %q", err, test.want)
			}
			if _, _, err := Format(t.Context(), nil, loaded); err != nil {
				t.Error(err)
			}
			Vet(t.Context(), bundle.NewCompiler(nil), loaded, nil)
			if text, err := os.ReadFile(secret); err != nil || string(text) != module {
				t.Errorf("the file outside is now %q (%v)", text, err)
			}
		})
	}
}
