package policies

import (
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestChecksUseNoOtherCheck fails when a check_*.go file uses a name that another one declares. A file holds its rule
// and what only that rule needs; what several rules need has a file named after it.
func TestChecksUseNoOtherCheck(t *testing.T) {
	t.Parallel()
	paths, err := filepath.Glob("check_*.go")
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]*ast.File{}
	declaredIn := map[string]string{}
	for _, path := range paths {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		files[path] = file
		for _, name := range declaredNames(file) {
			declaredIn[name] = path
		}
	}
	if len(files) == 0 || len(declaredIn) == 0 {
		t.Fatal("found no checks")
	}
	for _, path := range slices.Sorted(maps.Keys(files)) {
		used := map[string]bool{}
		ast.Inspect(files[path], func(node ast.Node) bool {
			if name, ok := node.(*ast.Ident); ok {
				used[name.Name] = true
			}
			return true
		})
		for _, name := range slices.Sorted(maps.Keys(used)) {
			if other, ok := declaredIn[name]; ok && other != path {
				t.Errorf("%s uses %s of %s; move it to a file named after what both need", path, name, other)
			}
		}
	}
}

// TestRulesNameEarlierRules checks the ids by which rules refer to each other.
func TestRulesNameEarlierRules(t *testing.T) {
	t.Parallel()
	referring := 0
	earlier := map[string]bool{}
	for _, rule := range Catalogue() {
		for _, id := range []string{rule.follows, rule.yieldsTo} {
			if id == "" {
				continue
			}
			referring++
			if !earlier[id] {
				t.Errorf("%s refers to %s, which is not a rule before it", rule.ID, id)
			}
		}
		if earlier[rule.ID] {
			t.Errorf("there are two rules %s", rule.ID)
		}
		earlier[rule.ID] = true
	}
	if referring == 0 {
		t.Error("no rule refers to another")
	}
}

// declaredNames returns the names that a file declares at the top level, methods included.
func declaredNames(file *ast.File) []string {
	var names []string
	for _, declaration := range file.Decls {
		switch declaration := declaration.(type) {
		case *ast.FuncDecl:
			names = append(names, declaration.Name.Name)
		case *ast.GenDecl:
			for _, spec := range declaration.Specs {
				switch spec := spec.(type) {
				case *ast.ValueSpec:
					for _, name := range spec.Names {
						names = append(names, name.Name)
					}
				case *ast.TypeSpec:
					names = append(names, spec.Name.Name)
				}
			}
		}
	}
	return names
}
