package bundle

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/format"
	"github.com/open-policy-agent/opa/v1/tester"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sourceward/sourceward/api/v1alpha1"
	"github.com/sourceward/sourceward/policies"
)

// PackageOf returns the last element of the package of a rule: the rule's id with _ instead of -. ok is false if that
// name is a keyword of Rego.
func PackageOf(id string) (name string, ok bool) {
	name = strings.ReplaceAll(id, "-", "_")
	return name, !ast.IsKeywordInRegoVersion(name, ast.RegoV1)
}

// Vet returns the problems that an author should fix before a policy ships: everything that Compile rejects, and also
// missing METADATA, rules that nothing refers to, text that Format would change, and tests that do not compile. tests
// holds the policy's Rego tests. reformat is the advice in messages about formatting. The Path of an error in a test is
// empty.
func (c *Compiler) Vet(
	ctx context.Context, policy v1alpha1.SourceIPPolicy, tests []v1alpha1.RegoModule, reformat string,
) []*Error {
	// Compile would try only its own steps. Nothing bounds the steps below, which compile parts of the modules again.
	if err := c.outcome(ctx, Sources{Rego: policy.Spec.Rego, Tests: tests, Vet: true}); err != nil {
		return []*Error{{Policy: policy.Name, Path: "/spec/rego", Message: err.Error(), Unfinished: true}}
	}
	_, problems := c.Compile(ctx, policy)
	if slices.ContainsFunc(problems, isUnfinished) {
		return problems
	}
	isInRego := func(e *Error) bool { return e.Module != "" }
	if problems != nil && !slices.ContainsFunc(problems, isInRego) && len(policy.Spec.Rego) > 0 {
		// Compile stopped at invalid fields of the policy, so compile its modules without them.
		alone := v1alpha1.SourceIPPolicy{
			ObjectMeta: metav1.ObjectMeta{Name: "alone"}, Spec: v1alpha1.SourceIPPolicySpec{Rego: policy.Spec.Rego},
		}
		_, inRego := c.Compile(ctx, alone)
		if slices.ContainsFunc(inRego, isUnfinished) {
			return append(problems, inRego...)
		}
		problems = append(problems, slices.DeleteFunc(inRego, func(e *Error) bool { return !isInRego(e) })...)
	}
	broken := slices.ContainsFunc(problems, isInRego)
	modules := map[string]*ast.Module{}
	for i, source := range policy.Spec.Rego {
		of := style(source, reformat, modules)
		if v0 := older(source, reformat); v0 != nil {
			problems = slices.DeleteFunc(problems, func(e *Error) bool { return e.Module == source.Name })
			of = append(of, v0)
		}
		for _, e := range of {
			e.Path = fmt.Sprintf("/spec/rego/%d/module", i)
		}
		problems = append(problems, of...)
	}
	if len(modules) == len(policy.Spec.Rego) {
		lints := slices.Concat(c.further(modules, problems), undocumented(modules), c.absentIn(modules),
			c.unreferred(modules), faultyMembers(modules), neverHolding(modules))
		lints = slices.DeleteFunc(lints, func(e *Error) bool {
			return slices.ContainsFunc(problems, func(p *Error) bool {
				return p.Module == e.Module && p.Row == e.Row && p.Column == e.Column && p.Message == e.Message
			})
		})
		for _, e := range lints {
			i := slices.IndexFunc(policy.Spec.Rego, func(m v1alpha1.RegoModule) bool { return m.Name == e.Module })
			e.Path, e.Line = fmt.Sprintf("/spec/rego/%d/module", i), textRow(policy.Spec.Rego[i].Module, e.Row)
		}
		problems = append(problems, lints...)
	}

	all := maps.Clone(modules)
	parsed := true
	for _, source := range tests {
		of := style(source, reformat, all)
		if all[source.Name] == nil {
			parsed = false
			_, of = parse(source)
			if v0 := older(source, reformat); v0 != nil {
				of = []*Error{v0}
			}
		}
		problems = append(problems, of...)
	}
	if parsed && !broken {
		problems = append(problems, c.vetTests(all, tests)...)
	}
	for _, e := range problems {
		e.Policy = policy.Name
	}
	return problems
}

func isUnfinished(e *Error) bool { return e.Unfinished }

// parse parses a module as Rego v1. OPA sees its METADATA only if checkMetadata allows it.
func parse(source v1alpha1.RegoModule) (*ast.Module, []*Error) {
	options := ast.ParserOptions{RegoVersion: ast.RegoV1, Capabilities: capabilities()}
	m, err := ast.ParseModuleWithOpts(source.Name, source.Module, options)
	if err == nil {
		if wrong := checkMetadata(source.Name, m); wrong != nil {
			return nil, inSources(wrong, []v1alpha1.RegoModule{source})
		}
		options.ProcessAnnotation = true
		m, err = ast.ParseModuleWithOpts(source.Name, source.Module, options)
	}
	if err == nil {
		return m, nil
	}
	problems := inSources(regoErrors(err), []v1alpha1.RegoModule{source})
	for _, e := range problems {
		if strings.Contains(e.Message, "keyword is required") && isV0(source) {
			e.Message += `, as "sourceward policy fmt" does`
		}
	}
	return nil, problems
}

// inSources sets the Line of each error, and the Module of errors that have none. It returns problems.
func inSources(problems []*Error, sources []v1alpha1.RegoModule) []*Error {
	for _, e := range problems {
		for _, source := range sources {
			if e.Module = cmp.Or(e.Module, source.Name); e.Module == source.Name {
				e.Line = textRow(source.Module, e.Row)
			}
		}
	}
	return problems
}

// textRow returns a row of a text, counted from 1, or "" if there is no such row.
func textRow(text string, number int) string {
	lines := strings.Split(text, "\n")
	if number < 1 || number > len(lines) {
		return ""
	}
	return lines[number-1]
}

// style parses a file into a map, and returns an error if the file is not formatted. It returns nil for a file that
// does not parse.
func style(source v1alpha1.RegoModule, reformat string, into map[string]*ast.Module) []*Error {
	m, problems := parse(source)
	if problems != nil {
		return nil
	}
	into[source.Name] = m
	formatted, problems := Format(source)
	if problems != nil || formatted == source.Module {
		return problems
	}
	got, want := strings.Split(source.Module, "\n"), strings.Split(formatted, "\n")
	at := 0
	for at < len(got)-1 && at < len(want)-1 && got[at] == want[at] {
		at++
	}
	message := "this is not formatted as opa fmt does it; " + reformat
	return []*Error{{Module: source.Name, Row: at + 1, Column: 1, Line: got[at], Message: message}}
}

// older returns an error if a module is Rego v0 and not v1, and nil otherwise.
func older(source v1alpha1.RegoModule, reformat string) *Error {
	_, problems := parse(source)
	if problems == nil {
		return nil
	}
	// parse also refuses the METADATA of modules that are v1.
	_, err := ast.ParseModuleWithOpts(source.Name, source.Module, ast.ParserOptions{
		RegoVersion: ast.RegoV1, Capabilities: capabilities(),
	})
	if err == nil || !isV0(source) {
		return nil
	}
	first := *problems[0]
	first.Message = "this is Rego v0, but must be v1; " + reformat
	return &first
}

func isV0(source v1alpha1.RegoModule) bool {
	_, err := ast.ParseModuleWithOpts(source.Name, source.Module, ast.ParserOptions{RegoVersion: ast.RegoV0})
	return err == nil
}

// Format returns the text of a module as opa fmt writes it, in Rego v1. The module may be v0. The errors are non-nil if
// it parses as neither.
func Format(source v1alpha1.RegoModule) (string, []*Error) {
	m, problems := parse(source)
	if problems != nil {
		older, err := ast.ParseModuleWithOpts(source.Name, source.Module, ast.ParserOptions{RegoVersion: ast.RegoV0})
		if err != nil {
			return "", problems
		}
		m = older
	}
	// Like opa fmt, keep import rego.v1 in a module that is v1 already.
	formatted, err := formatted(m, format.Opts{RegoVersion: ast.RegoV1, DropRedundantDirectiveImports: problems != nil})
	if err == nil {
		_, again := parse(v1alpha1.RegoModule{Name: source.Name, Module: formatted})
		if again == nil {
			return formatted, nil
		}
		err = errors.New(again[0].Message)
	}
	if problems == nil { // The module is Rego v1, and the formatter failed.
		problems = []*Error{{Module: source.Name, Message: fmt.Sprintf(
			"OPA's formatter cannot write this module (%s); write it in another way", panicText(err))}}
	}
	return "", problems
}

// formatted returns the text of a module. The error is non-nil if OPA's formatter fails, or panics.
func formatted(m *ast.Module, options format.Opts) (text string, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = errors.New(panicText(p))
		}
	}()
	written, err := format.AstWithOpts(m, options)
	return string(written), err
}

// further returns errors in addition to those already reported: OPA's compiler stops at the first stage that finds any.
// It compiles the modules again without the rules that have errors. It leaves out only rules of the contract, since no
// other rule depends on those.
func (c *Compiler) further(modules map[string]*ast.Module, reported []*Error) []*Error {
	var found []*Error
	left := maps.Clone(modules)
	for {
		removed := false
		for name, m := range left {
			rest := m.Copy()
			rest.Rules = slices.DeleteFunc(rest.Rules, func(rule *ast.Rule) bool {
				last := rule.Location.Row + strings.Count(string(rule.Location.Text), "\n")
				return slices.Contains(contract, ruleName(rule)) && slices.ContainsFunc(reported, func(e *Error) bool {
					return e.Module == name && rule.Location.Row <= e.Row && e.Row <= last
				})
			})
			removed = removed || len(rest.Rules) < len(m.Rules)
			left[name] = rest
			if nesting(rest) > maxNesting {
				return found // The compiler might not terminate.
			}
		}
		if !removed {
			return found
		}
		compiler := newCompiler()
		all := maps.Clone(embeddedModules().lib)
		maps.Copy(all, left)
		if compiler.Compile(all); !compiler.Failed() {
			return found
		}
		// An import may be unused now only because its rule was removed.
		reported = slices.DeleteFunc(regoErrors(compiler.Errors), func(e *Error) bool {
			return strings.HasPrefix(e.Message, "import ")
		})
		found = append(found, reported...)
	}
}

// undocumented returns an error for each package without a title or description in its METADATA, and for each rule of
// the contract without a description. explain shows them, and reviewers read them.
func undocumented(modules map[string]*ast.Module) []*Error {
	annotations, errs := ast.BuildAnnotationSet(slices.Collect(maps.Values(modules)))
	if errs != nil {
		return nil // Compile reports these errors.
	}
	var problems []*Error
	report := func(name string, at *ast.Location, format string, args ...any) {
		problems = append(problems, &Error{Module: name, Row: at.Row, Column: at.Col, Message: fmt.Sprintf(format, args...)})
	}
	for _, name := range slices.Sorted(maps.Keys(modules)) {
		m := modules[name]
		own := annotations.GetPackageScope(m.Package)
		for _, key := range []struct {
			name    string
			missing bool
		}{{"title", own == nil || own.Title == ""}, {"description", own == nil || own.Description == ""}} {
			if key.missing {
				report(name, m.Package.Location,
					`the package has no METADATA with a %s; write "# METADATA" and "# %[1]s: ..." above it`, key.name)
			}
		}
		for _, word := range contract {
			var rules []*ast.Rule
			for _, rule := range m.Rules {
				if ruleName(rule) == word {
					rules = append(rules, rule)
				}
			}
			described := slices.ContainsFunc(rules, func(rule *ast.Rule) bool {
				return slices.ContainsFunc(annotations.GetRuleScope(rule), func(a *ast.Annotations) bool {
					return a.Description != ""
				})
			})
			if len(rules) > 0 && !described {
				report(name, rules[0].Location,
					`%s has no METADATA with a description; write "# METADATA" and "# description: ..." above it`, word)
			}
		}
	}
	return problems
}

// absentIn returns an error for each import of, and each reference to, data that does not exist. A rule of another
// policy does not exist either.
func (c *Compiler) absentIn(modules map[string]*ast.Module) []*Error {
	compiler := c.resolve(modules)
	if compiler == nil {
		return nil // Compile reports why.
	}
	var problems []*Error
	for _, name := range slices.Sorted(maps.Keys(modules)) {
		problems = append(problems, absent(compiler, modules[name], name, "so this is always undefined; modules")...)
	}
	return problems
}

// unreferred returns an error for each rule that nothing refers to. It leaves out the rules of the contract, and the
// sets that Compile reports.
func (c *Compiler) unreferred(modules map[string]*ast.Module) []*Error {
	compiler := c.resolve(modules)
	if compiler == nil {
		return nil // Compile reports why.
	}
	var problems []*Error
	referred := referredIn(compiler, modules)
	for _, name := range slices.Sorted(maps.Keys(modules)) {
		m := modules[name]
		whole := m.Package.Path.String()
		reported := map[string]bool{}
		for _, rule := range m.Rules {
			word := ruleName(rule)
			byCompile := rule.Head.RuleKind() == ast.MultiValue && !strings.HasPrefix(word, "_")
			if reported[word] || byCompile || slices.Contains(contract, word) || referred[whole+"."+word] {
				continue
			}
			reported[word] = true
			problems = append(problems, &Error{Module: name, Row: rule.Location.Row, Column: rule.Location.Col,
				Message: fmt.Sprintf("nothing refers to %s; remove it", word)})
		}
	}
	return problems
}

// resolve compiles modules together with the library up to the stage that resolves references to full paths. It returns
// nil if they do not compile.
func (c *Compiler) resolve(modules map[string]*ast.Module) *ast.Compiler {
	compiler := newCompiler().WithStrict(false).WithOnlyStagesUpTo(ast.StageResolveRefs)
	all := maps.Clone(embeddedModules().lib)
	maps.Copy(all, modules)
	if compiler.Compile(all); compiler.Failed() {
		return nil
	}
	return compiler
}

// referredIn returns the paths that modules refer to.
func referredIn(compiler *ast.Compiler, modules map[string]*ast.Module) map[string]bool {
	referred := map[string]bool{}
	for name := range modules {
		ast.WalkRefs(compiler.Modules[name], func(ref ast.Ref) bool {
			prefix := ref.ConstantPrefix()
			for n := range prefix {
				referred[prefix[:n+1].String()] = true
			}
			referred[ref.String()] = true // A module may read a package as a whole.
			return false
		})
	}
	return referred
}

// absent returns an error for each import of, and each reference to, data that does not exist. It reports an import
// once, and not where the imported data is used. consequence continues the message after the path, up to the subject of
// "can read".
func absent(compiler *ast.Compiler, m *ast.Module, name, consequence string) []*Error {
	var problems []*Error
	var imports []ast.Ref
	check := func(ref ast.Ref) bool {
		prefix := ref.ConstantPrefix()
		if !strings.HasPrefix(prefix.String(), "data.") || exists(compiler, prefix) ||
			slices.ContainsFunc(imports, prefix.HasPrefix) {
			return false
		}
		at := prefix[len(prefix)-1].Location // The other terms of an imported path have the location of the import.
		problems = append(problems, &Error{Module: name, Row: at.Row, Column: at.Col, Message: fmt.Sprintf(
			"there is no %v, %s can read the rules of their own policy, data.sourceward.lib and data.sourceward.providers",
			prefix, consequence)})
		return false
	}
	for _, imported := range m.Imports { // The compiled modules have no imports: the compiler drops them.
		path, _ := imported.Path.Value.(ast.Ref)
		reported := len(problems)
		if check(path); len(problems) > reported {
			imports = append(imports, path)
		}
	}
	ast.WalkRefs(compiler.Modules[name], check)
	return problems
}

// exists reports whether a path names, contains or lies within a rule or the provider table.
func exists(compiler *ast.Compiler, path ast.Ref) bool {
	table := ast.MustParseRef("data.sourceward." + providersKey)
	if path.HasPrefix(table) || table.HasPrefix(path) {
		return true
	}
	for _, m := range compiler.Modules {
		if m.Package.Path.HasPrefix(path) {
			return true
		}
		if path.HasPrefix(m.Package.Path) && slices.ContainsFunc(m.Rules, func(rule *ast.Rule) bool {
			return path[len(m.Package.Path)].Value.Compare(ast.String(ruleName(rule))) == 0
		}) {
			return true
		}
	}
	return false
}

// faultyMembers returns an error for each member of the contract's sets that would fail at evaluation. It checks
// members that are object literals: in the head of a rule, or assigned in its body to the variable in the head.
func faultyMembers(modules map[string]*ast.Module) []*Error {
	var problems []*Error
	for _, name := range slices.Sorted(maps.Keys(modules)) {
		for _, rule := range modules[name].Rules {
			keys, ok := memberKeys[ruleName(rule)]
			if !ok || rule.Head.Key == nil {
				continue
			}
			member := written(rule)
			problem := func(at *ast.Location, format string, args ...any) {
				if at == nil {
					at = rule.Location
				}
				message := fmt.Sprintf(format, args...)
				problems = append(problems, &Error{Module: name, Row: at.Row, Column: at.Col, Message: message})
			}
			object, isObject := member.Value.(ast.Object)
			if !isObject {
				if isText(member) {
					problem(member.Location, `%s contains a string; want an object with %s: {"message": ...}`, ruleName(rule), keys)
				}
				continue
			}
			given := map[string]bool{}
			open := false
			object.Foreach(func(key, value *ast.Term) {
				word, isConstant := key.Value.(ast.String)
				given[string(word)] = true
				isKey := slices.Contains(strings.Split(keys, ", "), string(word))
				open = open || !isKey // It may be a misspelled key, so do not report a missing one as well.
				text, isText := value.Value.(ast.String)
				wanted, isWord := memberWords[string(word)]
				switch {
				case isConstant && !isKey:
					problem(key.Location, "a member of %s cannot have the key %s; want one of %s", ruleName(rule), string(word), keys)
				case isText && isWord && !slices.Contains(wanted, string(text)):
					problem(value.Location, "%s %s is not one of %s", string(word), text, strings.Join(wanted, ", "))
				case isText && word == "path" && text != "" && !strings.HasPrefix(string(text), "/"):
					problem(value.Location, "path %s must be a JSON Pointer such as /spec/type", text)
				case word == "maxSkew" && ast.IsScalar(value.Value) && !isSkew(value.Value):
					problem(value.Location, "maxSkew %v must be %s", value, wantedOf("maxSkew"))
				}
			})
			for _, word := range []string{"message", "strength", "verdict"} {
				if !open && !given[word] && slices.Contains(strings.Split(keys, ", "), word) {
					problem(member.Location, "this member of %s has no %s; add it", ruleName(rule), word)
				}
			}
		}
	}
	return problems
}

// isSkew reports whether a value is a whole number of at least 1.
func isSkew(value ast.Value) bool {
	number, _ := value.(ast.Number)
	n, whole := number.Int()
	return whole && n >= 1
}

// memberWords holds, for the keys of members that accept only some words, those words.
var memberWords = map[string][]string{
	"strength":          {string(policies.StrengthHard), string(policies.StrengthSoft)},
	"verdict":           words(policies.Verdicts),
	"strategy":          words(v1alpha1.SpreadStrategies),
	"whenUnsatisfiable": words(v1alpha1.WhenUnsatisfiables),
}

// written returns the term that a rule adds to its set. If the head is a variable, that is the term that the body
// assigns to it.
func written(rule *ast.Rule) *ast.Term {
	name, ok := rule.Head.Key.Value.(ast.Var)
	for _, expr := range rule.Body {
		if ok && (expr.IsAssignment() || expr.IsEquality()) && expr.Operand(0).Value.Compare(name) == 0 {
			return expr.Operand(1)
		}
	}
	return rule.Head.Key
}

// isText reports whether a term is a string for all values of its variables.
func isText(term *ast.Term) bool {
	switch value := term.Value.(type) {
	case ast.String:
		return true
	case ast.Call:
		return slices.Contains([]string{"sprintf", "concat"}, value[0].String())
	}
	return false
}

// neverHolding returns an error for each rule that compares input.object.kind with a kind that is never checked.
func neverHolding(modules map[string]*ast.Module) []*Error {
	var problems []*Error
	for _, name := range slices.Sorted(maps.Keys(modules)) {
		for _, rule := range modules[name].Rules {
			if kind := guardOf(rule); kind != "" && !slices.Contains(policies.Kinds, kind) {
				message := fmt.Sprintf("input.object.kind is never %s, so this rule never fires; want one of %s",
					kind, strings.Join(policies.Kinds, ", "))
				problems = append(problems, &Error{
					Module: name, Row: rule.Location.Row, Column: rule.Location.Col, Message: message,
				})
			}
		}
	}
	return problems
}

// vetTests returns the problems of tests. The tests and the modules that they test have been parsed.
func (c *Compiler) vetTests(all map[string]*ast.Module, tests []v1alpha1.RegoModule) []*Error {
	problems := c.absentForTests(all, tests)
	if problems == nil {
		problems = c.compileTests(all, tests)
	}
	compiler := c.resolve(all)
	if compiler == nil {
		return problems // compileTests reports why.
	}
	referred := referredIn(compiler, all)
	for _, source := range tests {
		m := all[source.Name]
		for _, rule := range m.Rules {
			word := ruleName(rule)
			runs := strings.HasPrefix(word, tester.TestPrefix) || strings.HasPrefix(word, tester.SkipTestPrefix)
			if !runs && !strings.HasPrefix(word, "_") && !referred[m.Package.Path.String()+"."+word] {
				message := fmt.Sprintf("nothing runs %s or refers to it; begin its name with %s, or remove it",
					word, tester.TestPrefix)
				problems = append(problems, &Error{
					Module: source.Name, Row: rule.Location.Row, Column: rule.Location.Col, Message: message,
				})
			}
		}
	}
	return inSources(problems, tests)
}

// absentForTests returns an error for each import of, and each reference to, data that does not exist. OPA reports only
// consequences of such an import, and does not report such a reference at all.
func (c *Compiler) absentForTests(all map[string]*ast.Module, tests []v1alpha1.RegoModule) []*Error {
	compiler := c.resolve(all)
	if compiler == nil {
		return nil // compileTests reports why.
	}
	var problems []*Error
	for _, source := range tests {
		found := absent(compiler, all[source.Name], source.Name, "so a test of it proves nothing; tests")
		problems = append(problems, found...)
	}
	return inSources(problems, tests)
}

// compileTests compiles tests together with the modules that they test, and returns the errors in the tests.
func (c *Compiler) compileTests(all map[string]*ast.Module, tests []v1alpha1.RegoModule) []*Error {
	compiler := newCompiler().WithEnablePrintStatements(true)
	together := maps.Clone(embeddedModules().lib)
	maps.Copy(together, all)
	if compiler.Compile(together); !compiler.Failed() {
		return nil
	}
	return slices.DeleteFunc(inSources(regoErrors(compiler.Errors), tests), func(e *Error) bool {
		return !slices.ContainsFunc(tests, func(t v1alpha1.RegoModule) bool { return t.Name == e.Module })
	})
}
