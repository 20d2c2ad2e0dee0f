package suite

import (
	"context"
	"slices"

	"github.com/sourceward/sourceward/api/v1alpha1"
	"github.com/sourceward/sourceward/policies"
	"github.com/sourceward/sourceward/policies/bundle"
)

// Format formats the Rego of policies as opa fmt does, and converts Rego v0 to v1. It writes the text of each module or
// test to its file, and that of each module into its policy too; all other bytes of the YAML stay the same. It returns
// the sorted paths of the files that changed, and a Problem for each module or test that cannot be parsed, which it
// does not change. It formats only policies on which trial has come to an end, unless trial is nil. The error is
// non-nil when a file cannot be read or written.
func Format(
	ctx context.Context, trial bundle.Trial, list []*Policy,
) (changed []string, problems []Problem, err error) {
	for _, p := range list {
		if trial != nil && len(p.Modules) > 0 {
			of := bundle.Sources{Rego: sources(p.Modules), Tests: sources(p.Tests), Vet: true}
			if err := trial(ctx, []bundle.Sources{of})[0]; err != nil {
				problems = append(problems, p.problemAt("/spec/rego", err.Error()))
				continue
			}
		}
		var operations []policies.PatchOperation
		for i := range p.Modules {
			pointer := p.pointer(p.Modules[i].Name)
			text, wrong := p.format(&p.Modules[i], pointer, &changed)
			problems = append(problems, wrong...)
			if wrong == nil && text != p.Spec.Rego[i].Module {
				operations = append(operations, policies.PatchOperation{Op: "add", Path: pointer, Value: text})
			}
		}
		for i := range p.Tests {
			_, wrong := p.format(&p.Tests[i], "", &changed)
			problems = append(problems, wrong...)
		}
		if operations == nil {
			continue
		}
		data, err := readFile(p.File())
		if err != nil {
			return nil, nil, readError(p.File(), err)
		}
		text, err := p.Edit(data, operations)
		if err != nil {
			problems = append(problems, p.problemAt(operations[0].Path, err.Error()))
			continue
		}
		if err := writeFile(p.File(), text); err != nil {
			return nil, nil, err
		}
		changed = append(changed, p.File())
	}
	slices.Sort(changed)
	return slices.Compact(changed), sortProblems(problems), nil
}

// format formats a module or test, writes it to its file if it has one, and returns the text.
func (p *Policy) format(file *File, pointer string, changed *[]string) (string, []Problem) {
	text, wrong := bundle.Format(v1alpha1.RegoModule{Name: file.Name, Module: file.Text})
	if wrong != nil {
		var problems []Problem
		for _, e := range wrong {
			e.Path = pointer
			problems = append(problems, p.problem(e))
		}
		return file.Text, problems
	}
	if file.Path == "" || text == file.Text {
		return text, nil
	}
	if err := writeFile(file.Path, []byte(text)); err != nil {
		return file.Text, []Problem{{place: place{File: file.Path, Message: err.Error()}}}
	}
	file.Text = text
	*changed = append(*changed, file.Path)
	return text, nil
}
