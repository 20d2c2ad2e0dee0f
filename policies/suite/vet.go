package suite

import (
	"fmt"

	"github.com/sourceward/sourceward/policies/bundle"
)

// Vet returns all that an author should mend before the policies ship, sorted by file and line, with a Problem for each
// thing that Load found wrong.
func Vet(compiler *bundle.Compiler, policies []*Policy, problems []Problem) []Problem {
	named := map[string]bool{}
	for _, p := range policies {
		problems = append(problems, p.stray...)
		if named[p.Name] {
			problems = append(problems, Problem{place: place{File: p.File(), Position: p.Position("/metadata/name", 0),
				Message: "another policy has this name; rename one"}})
		}
		named[p.Name] = true
		reformat := "run sourceward policy fmt " + p.File()
		for i, module := range p.Modules {
			if module.Path != "" && module.Text != p.Spec.Rego[i].Module {
				problems = append(problems, Problem{place: place{File: p.File(), Position: p.Position(fmt.Sprintf("/spec/rego/%d/module", i), 0),
					Message: fmt.Sprintf("this is not the text of %s, so that does not ship; %s", module.Path, reformat)}})
			}
		}
		for _, wrong := range compiler.Vet(p.edited(), sources(p.Tests), reformat) {
			problems = append(problems, p.problem(wrong))
		}
	}
	return sortProblems(problems)
}
