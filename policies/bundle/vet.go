package bundle

import (
	"cmp"
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

// PackageOf is the last element of the package of a rule, which is its id with _ for -. ok is false if that is a keyword of
// Rego.
func PackageOf(id string) (name string, ok bool) {
	name = strings.ReplaceAll(id, "-", "_")
	return name, !ast.IsKeywordInRegoVersion(name, ast.RegoV1)
}

// Vet returns what an author should mend before a policy ships: all that Compile refuses, and beside it METADATA that is
// missing, rules that nothing refers to, text that is not as Format writes it, and tests that do not compile. tests are
// the files of its Rego tests, and reformat is what to do about what Format would change. An error about a test has an
// empty Path.
func (c *Compiler) Vet(policy v1alpha1.SourceIPPolicy, tests []v1alpha1.RegoModule, reformat string) []*Error {
	_, problems := c.Compile(policy)
	isAboutRego := func(e *Error) bool { return e.Module != "" }
	if problems != nil && !slices.ContainsFunc(problems, isAboutRego) && len(policy.Spec.Rego) > 0 {
		// Its fields are wrong, and so its modules were not looked at.
		alone := v1alpha1.SourceIPPolicy{ObjectMeta: metav1.ObjectMeta{Name: "alone"}, Spec: v1alpha1.SourceIPPolicySpec{Rego: policy.Spec.Rego}}
		_, ofRego := c.Compile(alone)
		problems = append(problems, slices.DeleteFunc(ofRego, func(e *Error) bool { return !isAboutRego(e) })...)
	}
	broken := slices.ContainsFunc(problems, isAboutRego)
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
		lints := slices.Concat(c.further(modules, problems), undocumented(modules), c.unreferred(modules), faultyMembers(modules), neverHolding(modules))
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

// parse parses a module, in Rego v1.
func parse(source v1alpha1.RegoModule) (*ast.Module, []*Error) {
	m, err := ast.ParseModuleWithOpts(source.Name, source.Module, ast.ParserOptions{
		RegoVersion: ast.RegoV1, Capabilities: capabilities(), ProcessAnnotation: true,
	})
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

// inSources gives errors the text of their lines, and the name of the file to those that have none.
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

// textRow is a row of a text, counted from 1; empty if it has no such row.
func textRow(text string, number int) string {
	lines := strings.Split(text, "\n")
	if number < 1 || number > len(lines) {
		return ""
	}
	return lines[number-1]
}

// style parses a file into modules, and tells if it is not formatted. What does not parse is not its matter.
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
	return []*Error{{Module: source.Name, Row: at + 1, Column: 1, Line: got[at], Message: "this is not as opa fmt writes it; " + reformat}}
}

// older tells that a module is Rego v0; nil if it is not.
func older(source v1alpha1.RegoModule, reformat string) *Error {
	_, problems := parse(source)
	if problems == nil {
		return nil
	}
	if !isV0(source) {
		return nil
	}
	first := *problems[0]
	first.Message = "this is Rego v0, and must be v1; " + reformat
	return &first
}

func isV0(source v1alpha1.RegoModule) bool {
	_, err := ast.ParseModuleWithOpts(source.Name, source.Module, ast.ParserOptions{RegoVersion: ast.RegoV0})
	return err == nil
}

// Format is the text of a module as opa fmt writes it, in Rego v1 also where it was v0. The errors say why it cannot be
// parsed as either.
func Format(source v1alpha1.RegoModule) (string, []*Error) {
	m, problems := parse(source)
	if problems != nil {
		older, err := ast.ParseModuleWithOpts(source.Name, source.Module, ast.ParserOptions{RegoVersion: ast.RegoV0})
		if err != nil {
			return "", problems
		}
		m = older
	}
	// opa fmt keeps import rego.v1 in what is v1.
	formatted, err := format.AstWithOpts(m, format.Opts{RegoVersion: ast.RegoV1, DropRedundantDirectiveImports: problems != nil})
	if err == nil {
		_, again := parse(v1alpha1.RegoModule{Name: source.Name, Module: string(formatted)})
		if again == nil {
			return string(formatted), nil
		}
	}
	if problems == nil { // It is Rego v1, and the formatter fails.
		problems = inSources(regoErrors(err), []v1alpha1.RegoModule{source})
	}
	return "", problems
}

// further finds what is wrong beside what was told: OPA's compiler stops at the first stage that finds anything. It compiles
// what is left without the rules that are wrong, as far as these are of the contract, on which no other depends.
func (c *Compiler) further(modules map[string]*ast.Module, told []*Error) []*Error {
	var found []*Error
	left := maps.Clone(modules)
	for {
		removed := false
		for name, m := range left {
			rest := m.Copy()
			rest.Rules = slices.DeleteFunc(rest.Rules, func(rule *ast.Rule) bool {
				last := rule.Location.Row + strings.Count(string(rule.Location.Text), "\n")
				return slices.Contains(contract, ruleName(rule)) && slices.ContainsFunc(told, func(e *Error) bool {
					return e.Module == name && rule.Location.Row <= e.Row && e.Row <= last
				})
			})
			removed = removed || len(rest.Rules) < len(m.Rules)
			left[name] = rest
			if nesting(rest) > maxNesting {
				return found // The compiler might not come to an end.
			}
		}
		if !removed {
			return found
		}
		compiler := newCompiler()
		all := maps.Clone(c.lib)
		maps.Copy(all, left)
		if compiler.Compile(all); !compiler.Failed() {
			return found
		}
		// An import may have been for a rule that was removed.
		told = slices.DeleteFunc(regoErrors(compiler.Errors), func(e *Error) bool { return strings.HasPrefix(e.Message, "import ") })
		found = append(found, told...)
	}
}

// undocumented tells which packages have no METADATA with title and description, and which rules of the contract have
// none with a description: they are what explain and reviewers read.
func undocumented(modules map[string]*ast.Module) []*Error {
	annotations, errs := ast.BuildAnnotationSet(slices.Collect(maps.Values(modules)))
	if errs != nil {
		return nil // Compile tells.
	}
	var problems []*Error
	for _, name := range slices.Sorted(maps.Keys(modules)) {
		m := modules[name]
		own := annotations.GetPackageScope(m.Package)
		for _, key := range []struct {
			name    string
			missing bool
		}{{"title", own == nil || own.Title == ""}, {"description", own == nil || own.Description == ""}} {
			if key.missing {
				problems = append(problems, &Error{Module: name, Row: m.Package.Location.Row, Column: m.Package.Location.Col, Message: fmt.Sprintf(
					`the package has no METADATA with a %s; write "# METADATA" and "# %[1]s: ..." above it`, key.name)})
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
				return slices.ContainsFunc(annotations.GetRuleScope(rule), func(a *ast.Annotations) bool { return a.Description != "" })
			})
			if len(rules) > 0 && !described {
				problems = append(problems, &Error{Module: name, Row: rules[0].Location.Row, Column: rules[0].Location.Col, Message: fmt.Sprintf(
					`%s has no METADATA with a description; write "# METADATA" and "# description: ..." above it`, word)})
			}
		}
	}
	return problems
}

// unreferred tells which rules of the modules nothing refers to, but for the contract's, and for the sets that Compile
// tells of.
func (c *Compiler) unreferred(modules map[string]*ast.Module) []*Error {
	compiler := c.resolve(modules)
	if compiler == nil {
		return nil // Compile tells.
	}
	var problems []*Error
	for _, name := range slices.Sorted(maps.Keys(modules)) {
		problems = append(problems, absent(compiler, modules[name], name, "so this never holds; modules")...)
	}
	referred := referredIn(compiler, modules)
	for _, name := range slices.Sorted(maps.Keys(modules)) {
		m := modules[name]
		whole := m.Package.Path.String()
		told := map[string]bool{}
		for _, rule := range m.Rules {
			word := ruleName(rule)
			ofCompile := rule.Head.RuleKind() == ast.MultiValue && !strings.HasPrefix(word, "_")
			if told[word] || ofCompile || slices.Contains(contract, word) || referred[whole+"."+word] {
				continue
			}
			told[word] = true
			problems = append(problems, &Error{Module: name, Row: rule.Location.Row, Column: rule.Location.Col,
				Message: fmt.Sprintf("nothing refers to %s; remove it", word)})
		}
	}
	return problems
}

// resolve compiles modules together with the library as far as their references are in full; nil if they do not compile.
func (c *Compiler) resolve(modules map[string]*ast.Module) *ast.Compiler {
	compiler := newCompiler().WithStrict(false).WithOnlyStagesUpTo(ast.StageResolveRefs)
	all := maps.Clone(c.lib)
	maps.Copy(all, modules)
	if compiler.Compile(all); compiler.Failed() {
		return nil
	}
	return compiler
}

// referredIn are the paths that modules refer to.
func referredIn(compiler *ast.Compiler, modules map[string]*ast.Module) map[string]bool {
	referred := map[string]bool{}
	for name := range modules {
		ast.WalkRefs(compiler.Modules[name], func(ref ast.Ref) bool {
			prefix := ref.ConstantPrefix()
			for n := range prefix {
				referred[prefix[:n+1].String()] = true
			}
			referred[ref.String()] = true // a package that is read as a whole
			return false
		})
	}
	return referred
}

// absent tells which data a module imports or refers to that is not there; what it imports is told where it does that, and
// no more where it is used. consequence says what comes of it, and who asks.
func absent(compiler *ast.Compiler, m *ast.Module, name, consequence string) []*Error {
	var problems []*Error
	var imports []ast.Ref
	check := func(ref ast.Ref) bool {
		prefix := ref.ConstantPrefix()
		if !strings.HasPrefix(prefix.String(), "data.") || isThere(compiler, prefix) || slices.ContainsFunc(imports, prefix.HasPrefix) {
			return false
		}
		at := prefix[len(prefix)-1].Location // Terms that stand for an import have one place for all its uses.
		problems = append(problems, &Error{Module: name, Row: at.Row, Column: at.Col, Message: fmt.Sprintf(
			"there is no %v, %s see the rules of their own policy, those of data.sourceward.lib, and data.sourceward.providers", prefix, consequence)})
		return false
	}
	for _, imported := range m.Imports { // which the compiler drops when they are resolved
		path, _ := imported.Path.Value.(ast.Ref)
		told := len(problems)
		if check(path); len(problems) > told {
			imports = append(imports, path)
		}
	}
	ast.WalkRefs(compiler.Modules[name], check)
	return problems
}

// isThere tells whether rules or data are at a path, or on the way to it or below it.
func isThere(compiler *ast.Compiler, path ast.Ref) bool {
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

// faultyMembers tells which members of the contract's sets, as far as they are written out, would be faults when they are
// given: it reads the object in a rule's head, or the one that its body assigns to the name in the head.
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
				problems = append(problems, &Error{Module: name, Row: at.Row, Column: at.Col, Message: fmt.Sprintf(format, args...)})
			}
			object, isObject := member.Value.(ast.Object)
			if !isObject {
				if isText(member) {
					problem(member.Location, `%s gives a text; give an object with %s: {"message": ...}`, ruleName(rule), keys)
				}
				continue
			}
			given := map[string]bool{}
			open := false
			object.Foreach(func(key, value *ast.Term) {
				word, isConstant := key.Value.(ast.String)
				given[string(word)] = true
				isKey := slices.Contains(strings.Split(keys, ", "), string(word))
				open = open || !isKey // which may be a misspelt one
				text, isText := value.Value.(ast.String)
				wanted, isWord := memberWords[string(word)]
				switch {
				case isConstant && !isKey:
					problem(key.Location, "a member of %s has no key %s; want one of %s", ruleName(rule), string(word), keys)
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

// isSkew tells whether a value is a whole number of at least 1.
func isSkew(value ast.Value) bool {
	number, _ := value.(ast.Number)
	n, whole := number.Int()
	return whole && n >= 1
}

// memberWords are the words that a key of a member may have as its value.
var memberWords = map[string][]string{
	"strength":          {string(policies.StrengthHard), string(policies.StrengthSoft)},
	"verdict":           words(policies.Verdicts),
	"strategy":          words(v1alpha1.SpreadStrategies),
	"whenUnsatisfiable": words(v1alpha1.WhenUnsatisfiables),
}

// written is the term that a rule adds to its set, where the head names what the body assigns.
func written(rule *ast.Rule) *ast.Term {
	name, ok := rule.Head.Key.Value.(ast.Var)
	for _, expr := range rule.Body {
		if ok && (expr.IsAssignment() || expr.IsEquality()) && expr.Operand(0).Value.Compare(name) == 0 {
			return expr.Operand(1)
		}
	}
	return rule.Head.Key
}

// isText tells whether a term is, whatever its variables are, no object but a text.
func isText(term *ast.Term) bool {
	switch value := term.Value.(type) {
	case ast.String:
		return true
	case ast.Call:
		return slices.Contains([]string{"sprintf", "concat"}, value[0].String())
	}
	return false
}

// neverHolding tells which rules ask for an object of a kind that is never judged.
func neverHolding(modules map[string]*ast.Module) []*Error {
	var problems []*Error
	for _, name := range slices.Sorted(maps.Keys(modules)) {
		for _, rule := range modules[name].Rules {
			if kind := guardOf(rule); kind != "" && !slices.Contains(policies.Kinds, kind) {
				problems = append(problems, &Error{Module: name, Row: rule.Location.Row, Column: rule.Location.Col, Message: fmt.Sprintf(
					"input.object.kind is never %s, so this never holds; want one of %s", kind, strings.Join(policies.Kinds, ", "))})
			}
		}
	}
	return problems
}

// vetTests tells what is wrong with tests that can be parsed, as are the modules that they are about.
func (c *Compiler) vetTests(all map[string]*ast.Module, tests []v1alpha1.RegoModule) []*Error {
	problems := c.absentForTests(all, tests)
	if problems == nil {
		problems = c.compileTests(all, tests)
	}
	compiler := c.resolve(all)
	if compiler == nil {
		return problems // compileTests tells.
	}
	referred := referredIn(compiler, all)
	for _, source := range tests {
		m := all[source.Name]
		for _, rule := range m.Rules {
			word := ruleName(rule)
			runs := strings.HasPrefix(word, tester.TestPrefix) || strings.HasPrefix(word, tester.SkipTestPrefix)
			if !runs && !strings.HasPrefix(word, "_") && !referred[m.Package.Path.String()+"."+word] {
				problems = append(problems, &Error{Module: source.Name, Row: rule.Location.Row, Column: rule.Location.Col,
					Message: fmt.Sprintf("nothing runs %s or refers to it; begin its name with %s, or remove it", word, tester.TestPrefix)})
			}
		}
	}
	return inSources(problems, tests)
}

// absentForTests tells what tests import or refer to that is not there: OPA says of the one what follows from it, and of the
// other nothing.
func (c *Compiler) absentForTests(all map[string]*ast.Module, tests []v1alpha1.RegoModule) []*Error {
	compiler := c.resolve(all)
	if compiler == nil {
		return nil // compileTests tells.
	}
	var problems []*Error
	for _, source := range tests {
		problems = append(problems, absent(compiler, all[source.Name], source.Name, "so a test of it tells nothing; tests")...)
	}
	return inSources(problems, tests)
}

// compileTests compiles tests together with the modules that they are about.
func (c *Compiler) compileTests(all map[string]*ast.Module, tests []v1alpha1.RegoModule) []*Error {
	compiler := newCompiler().WithEnablePrintStatements(true)
	together := maps.Clone(c.lib)
	maps.Copy(together, all)
	if compiler.Compile(together); !compiler.Failed() {
		return nil
	}
	return slices.DeleteFunc(inSources(regoErrors(compiler.Errors), tests), func(e *Error) bool {
		return !slices.ContainsFunc(tests, func(t v1alpha1.RegoModule) bool { return t.Name == e.Module })
	})
}
