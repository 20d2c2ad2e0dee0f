package policies

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestChecksUseNoOtherCheck fails when a check_*.go file uses a name that another one declares. A file holds its rule
// and what only that rule needs; what several rules need has a file named after it.
func TestChecksUseNoOtherCheck(t *testing.T) {
	t.Parallel()
	files := checkFiles(t)
	if uses := usesAcross(files); len(uses) > 0 {
		t.Errorf("move these to files named after what several rules need:\n%s", strings.Join(uses, "\n"))
	}
	parse := func(source string) *ast.File {
		file, err := parser.ParseFile(token.NewFileSet(), "", "package policies\n"+source, 0)
		if err != nil {
			t.Fatal(err)
		}
		return file
	}
	got := usesAcross(map[string]*ast.File{
		"check_a.go": parse("func (r *run) shared() int { return own }\nconst own = 1"),
		"check_b.go": parse("func check(r *run) int { return r.shared() }"),
	})
	if want := []string{"check_b.go uses shared of check_a.go"}; !slices.Equal(got, want) {
		t.Errorf("usesAcross() is %q, want %q", got, want)
	}
}

// TestChecksSayWhatTheyCouldNotSee fails when a check asks for the Services in front of a workload and cannot say that
// they could not be seen.
func TestChecksSayWhatTheyCouldNotSee(t *testing.T) {
	t.Parallel()
	exempt := map[string]string{
		"check_shared_selector.go":    "it asks only where other workloads were seen",
		"check_neighbours_unknown.go": "it asks only where all was seen but some kinds",
	}
	asking := 0
	for path, file := range checkFiles(t) {
		used := usedNames(file)
		if !used["localServices"] && !used["evenServices"] {
			continue
		}
		asking++
		if exempt[path] == "" && !used["noLocalService"] {
			t.Errorf("%s asks for the Services in front of a workload; return noLocalService if there are none", path)
		}
	}
	if asking == 0 {
		t.Error("no check asks for Services")
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

// checkFiles returns the files of the checks, by name.
func checkFiles(t *testing.T) map[string]*ast.File {
	t.Helper()
	paths, err := filepath.Glob("check_*.go")
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]*ast.File{}
	for _, path := range paths {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		if files[path], err = parser.ParseFile(token.NewFileSet(), path, nil, 0); err != nil {
			t.Fatal(err)
		}
	}
	if len(files) == 0 {
		t.Fatal("found no checks")
	}
	return files
}

// usesAcross returns a line for each name that a file uses and another one declares, sorted.
func usesAcross(files map[string]*ast.File) []string {
	declaredIn := map[string]string{}
	for path, file := range files {
		for _, name := range declaredNames(file) {
			declaredIn[name] = path
		}
	}
	var uses []string
	for path, file := range files {
		for name := range usedNames(file) {
			if other, ok := declaredIn[name]; ok && other != path {
				uses = append(uses, fmt.Sprintf("%s uses %s of %s", path, name, other))
			}
		}
	}
	slices.Sort(uses)
	return uses
}

// usedNames returns the identifiers in a file.
func usedNames(file *ast.File) map[string]bool {
	used := map[string]bool{}
	ast.Inspect(file, func(node ast.Node) bool {
		if name, ok := node.(*ast.Ident); ok {
			used[name.Name] = true
		}
		return true
	})
	return used
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
