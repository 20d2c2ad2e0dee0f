package suite

import (
	"context"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/sourceward/sourceward/policies/bundle"
)

// FuzzFolder checks that no policy, module or test makes a tool for authors panic, and that a folder which is formatted
// is formatted.
func FuzzFolder(f *testing.F) {
	f.Chdir(f.TempDir())
	if _, err := New("no-node-port"); err != nil {
		f.Fatal(err)
	}
	read := func(name string) string {
		text, err := os.ReadFile(filepath.Join("no-node-port", name))
		if err != nil {
			f.Fatal(err)
		}
		return string(text)
	}
	policy, module, test := read("policy.yaml"), read("no_node_port.rego"), read("no_node_port_test.rego")
	f.Add(policy, module, test)
	f.Add(strings.ReplaceAll(policy, ": ", ": &a "), module, test)
	f.Add(policy, "package corp\n\ndeny[x] { x := input.object[_] }\n", "package corp_test\n\ntest_it { true }\n")
	f.Add(policy, module, strings.ReplaceAll(test, "not ", "# METADATA\n# schemas: [{input: {$ref: \"#\"}}]\n"))
	compiler := bundle.NewCompiler(nil)
	f.Fuzz(func(t *testing.T, policy, module, test string) {
		dir := t.TempDir()
		for name, text := range map[string]string{
			"policy.yaml": policy, "no_node_port.rego": module, "no_node_port_test.rego": test,
		} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		list, problems, err := Load([]string{dir})
		if err != nil {
			return
		}
		for _, problem := range Vet(ctx, compiler, list, problems) {
			_ = problem.Error() + problem.Detail()
		}
		for _, p := range list {
			_, _ = p.Test(ctx, compiler, regexp.MustCompile(""), false)
		}
		if _, _, err := Format(ctx, nil, list); err != nil {
			t.Fatal(err)
		}
		list, _, err = Load([]string{dir})
		if err != nil {
			t.Fatalf("the formatted folder cannot be read: %v", err)
		}
		if changed, _, _ := Format(ctx, nil, list); changed != nil {
			t.Errorf("formatting changes %q again", changed)
		}
	})
}
