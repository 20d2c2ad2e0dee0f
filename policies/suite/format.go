package suite

import (
	"os"
	"slices"

	"github.com/sourceward/sourceward/api/v1alpha1"
	"github.com/sourceward/sourceward/policies"
	"github.com/sourceward/sourceward/policies/bundle"
)

// Format writes the Rego of policies as opa fmt does, in Rego v1 also where it was v0, and the text of each module that has
// a file into its policy; all other bytes of the YAML stay as they are. It returns the paths of the files that changed,
// sorted, and what cannot be parsed, which stays as it is. The error is non-nil when a file cannot be read or written.
func Format(list []*Policy) (changed []string, problems []Problem, err error) {
	for _, p := range list {
		var operations []policies.PatchOperation
		for i := range p.Modules {
			text, wrong := p.format(&p.Modules[i], p.pointer(p.Modules[i].Name), &changed)
			problems = append(problems, wrong...)
			if wrong == nil && text != p.Spec.Rego[i].Module {
				operations = append(operations, policies.PatchOperation{Op: "add", Path: p.pointer(p.Modules[i].Name), Value: text})
			}
		}
		for i := range p.Tests {
			_, wrong := p.format(&p.Tests[i], "", &changed)
			problems = append(problems, wrong...)
		}
		if operations == nil {
			continue
		}
		data, err := os.ReadFile(p.File())
		if err != nil {
			return nil, nil, readError(p.File(), err)
		}
		text, err := p.Edit(data, operations)
		if err != nil {
			problems = append(problems, Problem{place: place{File: p.File(), Position: p.Position(operations[0].Path, 0), Message: err.Error()}})
			continue
		}
		if err := os.WriteFile(p.File(), text, newFile); err != nil {
			return nil, nil, err
		}
		changed = append(changed, p.File())
	}
	slices.Sort(changed)
	return slices.Compact(changed), sortProblems(problems), nil
}

// format is the formatted text of a module or test, which it writes to its file.
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
	if err := os.WriteFile(file.Path, []byte(text), newFile); err != nil {
		return file.Text, []Problem{{place: place{File: file.Path, Message: err.Error()}}}
	}
	file.Text = text
	*changed = append(*changed, file.Path)
	return text, nil
}
