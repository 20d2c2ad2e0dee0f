// Package suite is what the author of a policy works with: a SourceIPPolicy and, in the folder beside it, its Rego modules,
// their tests, and cases, which are objects with what the policy is to find.
package suite

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/sourceward/sourceward/api/v1alpha1"
	"github.com/sourceward/sourceward/policies/bundle"
	"github.com/sourceward/sourceward/policies/manifest"
)

// CasesDir is the folder, beside a policy, of its cases.
const CasesDir = "cases"

const (
	regoSuffix = ".rego"
	testSuffix = "_test.rego"
)

// Policy is a policy and what lies beside it.
type Policy struct {
	*manifest.Policy
	// Modules are those of spec.rego, in its order.
	Modules []File
	// Tests are the files of its Rego tests, and Cases the folders of its cases, both sorted.
	Tests []File
	Cases []string

	stray []Problem
}

// File is a file of Rego.
type File struct {
	// Name is the name in spec.rego, and that of the file.
	Name string
	// Path is the path of the file; empty for a module that is only in the YAML.
	Path string
	// Text is that of the file or, if there is none, that in the YAML.
	Text string
}

// Problem is one thing that is wrong with a policy, at its place in a file.
type Problem struct {
	place
	// Text is the line of the file, or of the module in it; empty where it is not about a line of Rego.
	Text string
	// row and column are the place in Text; they differ from Line and Column where the place in the file is not known.
	row, column int
}

// place is embedded, with its method Error.
type place = manifest.Error

// Detail is the line of the problem with a mark under the column, two lines, or empty where it is not about a line of Rego.
func (p *Problem) Detail() string {
	of := &bundle.Error{Row: p.row, Column: p.column, Line: p.Text}
	return strings.TrimPrefix(strings.TrimPrefix(of.Detail(), of.Error()), "\n")
}

// Load finds the policies in paths: in folders, and all below them that are not hidden, in YAML files, and in the folders of
// .rego files. Policies that cannot be read are left out, with a Problem for each thing that is wrong with one. The error is
// non-nil when a path cannot be read, or there is no policy in it.
func Load(paths []string) ([]*Policy, []Problem, error) {
	where := make([]string, len(paths))
	for i, path := range paths {
		where[i] = path
		if strings.HasSuffix(path, regoSuffix) {
			if _, err := os.Stat(path); err == nil {
				where[i] = filepath.Dir(path)
			}
		}
	}
	loaded, errs := manifest.LoadPolicies(where)
	var problems []Problem
	var faults []error
	for _, e := range errs {
		if e.Line > 0 {
			problems = append(problems, Problem{place: *e})
		} else {
			faults = append(faults, e)
		}
	}
	in := map[string][]*Policy{}
	var all []*Policy
	for _, policy := range loaded {
		p := &Policy{Policy: policy}
		dir := filepath.Dir(policy.File())
		in[dir] = append(in[dir], p)
		all = append(all, p)
	}
	for dir, policies := range in {
		if err := readFolder(dir, policies); err != nil {
			faults = append(faults, err)
		}
	}
	slices.SortStableFunc(all, func(a, b *Policy) int { return strings.Compare(a.File(), b.File()) })
	slices.SortFunc(faults, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return all, problems, errors.Join(faults...)
}

// readFolder reads what lies beside the policies of a folder.
func readFolder(dir string, policies []*Policy) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return readError(dir, err)
	}
	texts := map[string]string{}
	for _, entry := range entries {
		path := filepath.Join(dir, entry.Name())
		if entry.IsDir() || !strings.HasSuffix(entry.Name(), regoSuffix) || strings.HasPrefix(entry.Name(), ".") {
			continue
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return readError(path, err)
		}
		texts[entry.Name()] = string(text)
	}
	shipped := map[string]int{} // by how many policies
	for _, p := range policies {
		for _, module := range p.Spec.Rego {
			shipped[module.Name]++
		}
	}
	for _, p := range policies {
		for _, module := range p.Spec.Rego {
			file := File{Name: module.Name, Text: module.Module}
			text, ok := texts[module.Name]
			switch path := filepath.Join(dir, module.Name); {
			case ok && shipped[module.Name] == 1:
				file.Path, file.Text = path, text
			case ok: // whose it is nobody knows
				p.add(p.File(), "this ships %s, and so does another policy beside the file of that name; give each policy a folder of its own", module.Name)
			}
			p.Modules = append(p.Modules, file)
		}
	}
	for _, entry := range entries {
		name := entry.Name()
		text, isRego := texts[name]
		if !isRego || shipped[name] > 0 {
			continue
		}
		file := File{Name: name, Path: filepath.Join(dir, name), Text: text}
		stem, isTest := strings.CutSuffix(name, testSuffix)
		of := slices.IndexFunc(policies, func(p *Policy) bool {
			return slices.ContainsFunc(p.Modules, func(m File) bool { return m.Name == stem+regoSuffix })
		})
		switch {
		case isTest && (of >= 0 || len(policies) == 1):
			policies[max(of, 0)].Tests = append(policies[max(of, 0)].Tests, file)
		case isTest:
			policies[0].add(file.Path, "no policy of this folder ships %s, which this tests by its name; rename it after a module, or remove it", stem+regoSuffix)
		default:
			policies[0].add(file.Path, "%[1]s does not ship this; add it to spec.rego with name: %[2]s and run sourceward policy fmt %[1]s, or name it *%[3]s if it holds tests, or remove it",
				policies[0].File(), name, testSuffix)
		}
	}
	return readCases(dir, policies)
}

// readCases finds the folders of cases.
func readCases(dir string, policies []*Policy) error {
	root := filepath.Join(dir, CasesDir)
	entries, err := os.ReadDir(root)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return readError(root, err)
	}
	if len(policies) > 1 {
		policies[0].add(root, "these are the cases of one policy, and beside them are %d; give each policy a folder of its own", len(policies))
		return nil
	}
	for _, entry := range entries {
		path := filepath.Join(root, entry.Name())
		switch {
		case strings.HasPrefix(entry.Name(), "."):
		case entry.IsDir():
			policies[0].Cases = append(policies[0].Cases, path)
		default:
			policies[0].add(path, "nobody reads this; a case is a folder in %s with %s", CasesDir, objectFile)
		}
	}
	return nil
}

func (p *Policy) add(file, format string, args ...any) {
	p.stray = append(p.stray, Problem{place: place{File: file, Position: manifest.Position{Line: 1, Column: 1}, Message: fmt.Sprintf(format, args...)}})
}

// readError is why a path cannot be read.
func readError(path string, err error) error {
	if wrong, ok := errors.AsType[*fs.PathError](err); ok {
		err = wrong.Err
	}
	return fmt.Errorf("%s: cannot be read: %w; check the path and its permissions", path, err)
}

// edited is the policy with the texts of the files, which its author edits, in the place of those in the YAML.
func (p *Policy) edited() v1alpha1.SourceIPPolicy {
	policy := *p.DeepCopy()
	for i, module := range p.Modules {
		policy.Spec.Rego[i].Module = module.Text
	}
	return policy
}

// sources are files as package bundle takes them.
func sources(files []File) []v1alpha1.RegoModule {
	list := make([]v1alpha1.RegoModule, len(files))
	for i, file := range files {
		list[i] = v1alpha1.RegoModule{Name: file.Name, Module: file.Text}
	}
	return list
}

// problem is what package bundle found wrong, with its place in a file.
func (p *Policy) problem(wrong *bundle.Error) Problem {
	found := Problem{
		place: place{File: p.File(), Message: wrong.Message},
		Text:  wrong.Line, row: wrong.Row, column: wrong.Column,
	}
	file := p.file(wrong.Module)
	switch {
	case wrong.Module == "":
		found.Position = p.Position(wrong.Path, 0)
	case file != nil && file.Path != "":
		found.File, found.Position = file.Path, manifest.Position{Line: max(wrong.Row, 1), Column: max(wrong.Column, 1)}
	default:
		found.Position = p.Position(wrong.Path, wrong.Row)
		if found.Column == 0 { // The very line of the module is a line of the file, indented.
			indent := p.Indent(wrong.Path, wrong.Row)
			found.Column = indent + wrong.Column
			found.row, found.column, found.Text = found.Line, found.Column, strings.Repeat(" ", indent)+wrong.Line
		} else {
			found.Message = strings.TrimPrefix((&bundle.Error{
				Policy: p.Name, Module: wrong.Module, Row: wrong.Row, Column: wrong.Column, Message: wrong.Message,
			}).Error(), "SourceIPPolicy "+p.Name+": ")
		}
	}
	return found
}

// file is the module or the test of a name; nil if there is none.
func (p *Policy) file(name string) *File {
	for _, files := range [][]File{p.Modules, p.Tests} {
		for i := range files {
			if files[i].Name == name {
				return &files[i]
			}
		}
	}
	return nil
}

// at is the place of a row of a module or test.
func (p *Policy) at(module string, row int) place {
	return p.problem(&bundle.Error{Module: module, Row: row, Column: 1, Path: p.pointer(module)}).place
}

// pointer is the JSON Pointer of the text of a module.
func (p *Policy) pointer(module string) string {
	return fmt.Sprintf("/spec/rego/%d/module", slices.IndexFunc(p.Modules, func(m File) bool { return m.Name == module }))
}

func sortProblems(problems []Problem) []Problem {
	slices.SortStableFunc(problems, func(a, b Problem) int {
		return cmp.Or(strings.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column), strings.Compare(a.Message, b.Message))
	})
	return slices.CompactFunc(problems, func(a, b Problem) bool { return a.place == b.place })
}
