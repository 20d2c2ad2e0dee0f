// Package suite creates, checks, formats, tests and measures the policies that authors write. A policy is a
// SourceIPPolicy in a YAML file. In the same folder are its Rego modules, their tests, and its cases. A case is an
// object together with the decision that is expected for it.
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

// CasesDir is the name of the folder with the cases of a policy. It is in the folder of the policy.
const CasesDir = "cases"

const (
	regoSuffix = ".rego"
	testSuffix = "_test.rego"
)

// Policy is a policy with the files in its folder.
type Policy struct {
	*manifest.Policy
	// Modules are the modules in spec.rego, in the same order.
	Modules []File
	// Tests are the files with its Rego tests. Cases are the folders of its cases. Both are sorted.
	Tests []File
	Cases []string

	stray []Problem // problems with the set of files in the folder, such as a file that no policy uses
}

// File is a file of Rego.
type File struct {
	// Name is the name of the file, and of the module in spec.rego.
	Name string
	// Path is the path of the file. It is empty for a module that is only in the YAML.
	Path string
	// Text is the text of the file or, if there is none, of the module in the YAML.
	Text string
}

// Problem is one problem in a policy, with its place in a file.
type Problem struct {
	place
	// Text is the line of Rego with the problem. It is empty if the problem is not in a line of Rego.
	Text string
	// row and column are the place that Detail shows for Text. They are rows and columns of the module, and so differ
	// from Line and Column, if the place in the file is not known.
	row, column int
}

// place is an alias, so that Problem can embed manifest.Error, with its method of the same name.
type place = manifest.Error

// Detail returns two lines: the line of Rego with the problem, and a mark under the column. It is empty if the problem
// is not in a line of Rego.
func (p *Problem) Detail() string {
	of := &bundle.Error{Row: p.row, Column: p.column, Line: p.Text}
	return strings.TrimPrefix(strings.TrimPrefix(of.Detail(), of.Error()), "\n")
}

// Load finds the policies in paths. A path is a YAML file, a folder, which is searched at any depth except in hidden
// folders, or a .rego file, whose folder is searched instead. Load leaves out policies that cannot be decoded and
// returns a Problem for each error in them. The error is non-nil when a path cannot be read or contains no policy.
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

// readFolder reads the modules, tests and cases in a folder with policies.
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
		text, err := readFile(path)
		if err != nil {
			return readError(path, err)
		}
		texts[entry.Name()] = string(text)
	}
	shipped := map[string]int{} // the number of policies that ship a module, by its name
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
			case ok: // the file could belong to any of the policies
				p.add(p.File(), "this policy and another one in the same folder both ship %s; put each policy into its own folder",
					module.Name)
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
			policies[0].add(file.Path, "by its name, this file tests %s, but no policy in this folder ships that module; "+
				"rename the file after a module, or remove it", stem+regoSuffix)
		default:
			policies[0].add(file.Path, "%[1]s does not ship this file; add it to spec.rego with name: %[2]s and run "+
				"sourceward policy fmt %[1]s, or rename it to *%[3]s if it contains tests, or remove it",
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
		policies[0].add(root, "these cases must belong to one policy, but this folder has %d; "+
			"put each policy into its own folder", len(policies))
		return nil
	}
	for _, entry := range entries {
		path := filepath.Join(root, entry.Name())
		switch {
		case strings.HasPrefix(entry.Name(), "."):
		case entry.IsDir():
			policies[0].Cases = append(policies[0].Cases, path)
		default:
			policies[0].add(path, "not part of a case; a case is a folder in %s that contains %s", CasesDir, objectFile)
		}
	}
	return nil
}

func (p *Policy) add(file, format string, args ...any) {
	p.stray = append(p.stray, Problem{place: place{
		File: file, Position: manifest.Position{Line: 1, Column: 1}, Message: fmt.Sprintf(format, args...),
	}})
}

// problemAt returns a problem at a JSON Pointer into the policy.
func (p *Policy) problemAt(pointer, message string) Problem {
	return Problem{place: place{File: p.File(), Position: p.Position(pointer, 0), Message: message}}
}

// readError returns the error for a path that cannot be read.
func readError(path string, err error) error {
	if wrong, ok := errors.AsType[*fs.PathError](err); ok {
		err = wrong.Err
	}
	return fmt.Errorf("%s: cannot be read: %w; check the path and its permissions", path, err)
}

// edited returns a copy of the policy in which the modules have the texts of their files, which the author edits,
// instead of those in the YAML.
func (p *Policy) edited() v1alpha1.SourceIPPolicy {
	policy := *p.DeepCopy()
	for i, module := range p.Modules {
		policy.Spec.Rego[i].Module = module.Text
	}
	return policy
}

// sources converts files into the type that package bundle expects.
func sources(files []File) []v1alpha1.RegoModule {
	list := make([]v1alpha1.RegoModule, len(files))
	for i, file := range files {
		list[i] = v1alpha1.RegoModule{Name: file.Name, Module: file.Text}
	}
	return list
}

// problem converts an error of package bundle, and finds its place in a file.
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
		if found.Column == 0 { // the file holds the line of the module as it is, except for its indentation
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

// file returns the module or test with that name, or nil if there is none.
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

// at returns the place of a row of a module or test.
func (p *Policy) at(module string, row int) place {
	return p.problem(&bundle.Error{Module: module, Row: row, Column: 1, Path: p.pointer(module)}).place
}

// pointer returns the JSON Pointer to the text of a module.
func (p *Policy) pointer(module string) string {
	return fmt.Sprintf("/spec/rego/%d/module", slices.IndexFunc(p.Modules, func(m File) bool { return m.Name == module }))
}

func sortProblems(problems []Problem) []Problem {
	slices.SortStableFunc(problems, func(a, b Problem) int {
		return cmp.Or(strings.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column),
			strings.Compare(a.Message, b.Message))
	})
	return slices.CompactFunc(problems, func(a, b Problem) bool { return a.place == b.place })
}
