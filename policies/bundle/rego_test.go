package bundle

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/cover"
	"github.com/open-policy-agent/opa/v1/format"
	"github.com/open-policy-agent/opa/v1/storage/inmem"
	"github.com/open-policy-agent/opa/v1/tester"
	"github.com/open-policy-agent/opa/v1/util/channel"
)

// regoSources returns the texts of the embedded modules and their tests, by path.
func regoSources(t testing.TB) map[string]string {
	t.Helper()
	sources := map[string]string{}
	err := fs.WalkDir(files, ".", func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".rego") {
			return err
		}
		source, err := files.ReadFile(path)
		sources[path] = string(source)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return sources
}

// parsed returns the embedded modules and their tests, by path.
func parsed(t testing.TB) map[string]*ast.Module {
	t.Helper()
	modules := map[string]*ast.Module{}
	for path, source := range regoSources(t) {
		module, err := ast.ParseModuleWithOpts(path, source, ast.ParserOptions{
			RegoVersion: ast.RegoV1, Capabilities: capabilities(), ProcessAnnotation: true,
		})
		if err != nil {
			t.Fatal(err)
		}
		modules[path] = module
	}
	return modules
}

func isTest(path string) bool { return strings.HasSuffix(path, testSuffix) }

// TestRego runs the Rego tests of the modules, compiled like policies. They must evaluate every line.
func TestRego(t *testing.T) {
	t.Parallel()
	modules := parsed(t)
	coverage := cover.New()
	results, err := tester.NewRunner().
		SetCompiler(newCompiler().WithEnablePrintStatements(true)).
		SetStore(inmem.NewFromObject(providerData())).
		SetModules(modules).
		SetCoverageQueryTracer(coverage).
		RaiseBuiltinErrors(true).
		RunTests(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	tests := channel.Collect(results)
	slices.SortFunc(tests, func(a, b *tester.Result) int {
		return strings.Compare(a.Package+"."+a.Name, b.Package+"."+b.Name)
	})
	for _, test := range tests {
		t.Run(strings.TrimPrefix(test.Package, "data.")+"/"+test.Name, func(t *testing.T) {
			for name, result := range test.SubResults.Iter {
				t.Run(strings.Join(name, "/"), func(t *testing.T) {
					if result.Fail {
						t.Errorf("%s: this case of %s fails", test.Location, test.Name)
					}
				})
			}
			if !test.Pass() {
				t.Errorf("%s: %s fails; %v\n%s", test.Location, test.Name, test.Error, test.Output)
			}
		})
	}

	report := coverage.Report(modules)
	var covered, all int
	for path := range modules {
		if isTest(path) {
			continue
		}
		file := report.Files[path]
		covered += file.CoveredLines
		all += file.CoveredLines + file.NotCoveredLines
		for _, missed := range file.NotCovered {
			t.Errorf("%s:%d: no test evaluates this", path, missed.Start.Row)
		}
	}
	t.Logf("%d tests cover %d of %d lines of Rego", len(tests), covered, all)
}

// TestRegoIsFormatted checks that the modules are formatted as opa fmt does it. With -update it formats them.
func TestRegoIsFormatted(t *testing.T) {
	t.Parallel()
	for path, source := range regoSources(t) {
		formatted, err := format.Source(path, []byte(source))
		if err != nil {
			t.Error(err)
			continue
		}
		if *update {
			if err := os.WriteFile(path, formatted, 0o644); err != nil {
				t.Error(err)
			}
			continue
		}
		if diff := cmp.Diff(string(formatted), source); diff != "" {
			t.Errorf("%s is not formatted as opa fmt does it; run make generate (-want +got):\n%s", path, diff)
		}
	}
}

// TestRegoIsDocumented checks that each package, and each rule that other modules may use, has METADATA.
func TestRegoIsDocumented(t *testing.T) {
	t.Parallel()
	modules := parsed(t)
	annotations, errs := ast.BuildAnnotationSet(slices.Collect(maps.Values(modules)))
	if errs != nil {
		t.Fatal(errs)
	}
	for path, module := range modules {
		if isTest(path) {
			continue
		}
		if own := annotations.GetPackageScope(module.Package); own == nil || own.Title == "" || own.Description == "" {
			t.Errorf("%s: package %s has no METADATA with title and description", path, packageName(module.Package))
		}
		for _, rule := range module.Rules {
			described := slices.ContainsFunc(annotations.GetRuleScope(rule), func(a *ast.Annotations) bool {
				return a.Description != ""
			})
			if name := ruleName(rule); !strings.HasPrefix(name, "_") && !described {
				t.Errorf("%s: %s has no METADATA with description; write it, or name it _%s", rule.Location, name, name)
			}
		}
	}
}

// TestBuiltinModulesAreChecked compiles the built-in modules like those of a user: a process does not check their types
// again each time that it starts.
func TestBuiltinModulesAreChecked(t *testing.T) {
	t.Parallel()
	c := NewCompiler(nil)
	if _, errs := c.compile(embeddedModules().rules, true); errs != nil {
		t.Error(errors.Join(asErrors(errs)...))
	}
}
