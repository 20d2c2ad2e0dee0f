package suite

import (
	"context"
	"fmt"

	"github.com/sourceward/sourceward/policies/bundle"
)

// Vet returns everything that an author should fix before the policies ship, including the problems that Load found.
// The problems are sorted by file and line.
func Vet(ctx context.Context, compiler *bundle.Compiler, policies []*Policy, problems []Problem) []Problem {
	named := map[string]bool{}
	for _, p := range policies {
		problems = append(problems, p.stray...)
		if named[p.Name] {
			problems = append(problems, p.problemAt("/metadata/name", "another policy has this name; rename one"))
		}
		named[p.Name] = true
		reformat := "run sourceward policy fmt " + p.File()
		for i, module := range p.Modules {
			if module.Path != "" && module.Text != p.Spec.Rego[i].Module {
				problems = append(problems, p.problemAt(fmt.Sprintf("/spec/rego/%d/module", i),
					fmt.Sprintf("this text, which is what ships, differs from %s; %s", module.Path, reformat)))
			}
		}
		for _, wrong := range compiler.Vet(ctx, p.edited(), sources(p.Tests), reformat) {
			problems = append(problems, p.problem(wrong))
		}
	}
	return sortProblems(problems)
}
