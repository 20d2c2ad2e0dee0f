package bundle

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/types"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/sourceward/sourceward/api/v1alpha1"
	"github.com/sourceward/sourceward/policies"
)

// A Set holds compiled policies: their settings, and their Rego modules together with the built-in ones.
// It implements policies.Rules and is safe for concurrent use.
type Set struct {
	// Policies are the policies of the set, to be passed to policies.Resolve.
	Policies policies.Policies

	builtin  func() *module
	custom   map[string]*module // by the name of the policy
	compiled []*Policy
	// slots are those of the Compiler, since the Sets that it made before may still be in use.
	slots *slots
}

// A Policy is a SourceIPPolicy that compiled without errors.
type Policy struct {
	// SourceIPPolicy is the policy with its defaults set.
	v1alpha1.SourceIPPolicy
	// Rules are the ids of the rules that its own modules declare, sorted.
	Rules []string

	module *module // nil if the policy has no Rego
}

// An Error is one problem of one policy.
type Error struct {
	// Index is the position of the policy in the list that was compiled, from 0; Policy is its name.
	Index  int
	Policy string
	// Path is the JSON Pointer of the field of the policy.
	Path string
	// Module is the name of the Rego module, and Row and Column are the position in it, from 1.
	// They are empty and 0 if the problem has no position in Rego.
	Module      string
	Row, Column int
	// Line is the text of that row.
	Line string
	// Message says what is wrong and what to do, in one line.
	Message string

	// Unfinished is true if the compilation of the modules did not come to an end: it took too much time or memory, or
	// panicked. The reason may be a busy machine.
	Unfinished bool
}

func (e *Error) Error() string {
	policy := cmp.Or(e.Policy, fmt.Sprintf("number %d", e.Index+1))
	switch {
	case e.Module == "":
		return fmt.Sprintf("SourceIPPolicy %s: %s", policy, e.Message)
	case e.Row == 0:
		return fmt.Sprintf("SourceIPPolicy %s: %s: %s", policy, e.Module, e.Message)
	}
	return fmt.Sprintf("SourceIPPolicy %s: %s:%d:%d: %s", policy, e.Module, e.Row, e.Column, e.Message)
}

// Detail returns the text of Error and, below it, the line of the module with a mark under the column.
func (e *Error) Detail() string {
	const longest = 160 // A longer line would wrap, and the mark would be in the wrong place.
	if e.Line == "" || len(e.Line) > longest {
		return e.Error()
	}
	row := strconv.Itoa(e.Row)
	before := []rune(e.Line)
	before = before[:min(e.Column-1, len(before))]
	for i, r := range before {
		if r != '\t' { // A tab is as wide here as in the line above.
			before[i] = ' '
		}
	}
	return fmt.Sprintf("%s\n  %s | %s\n  %*s | %s^", e.Error(), row, e.Line, len(row), "", string(before))
}

const (
	// CompileTimeout bounds the compilation of one policy, which usually takes about ten milliseconds.
	CompileTimeout = 3 * time.Second
	// maxNesting bounds how deep comprehensions may be nested: every two levels more take OPA's compiler eight times as
	// long.
	maxNesting = 8
)

// contract lists the rules of a module that Sourceward reads. Each must be a partial set.
var contract = []string{"require_local", "keeps_source_ip", "deny", "warn", "spread"}

// sharesTraffic is the rule of built-in modules that Sourceward reads in addition to the contract.
const sharesTraffic = "shares_traffic"

// contractOf returns the rules of a module that Sourceward reads.
func contractOf(m *ast.Module) []string {
	if isBuiltin(m.Package) {
		return append(slices.Clone(contract), sharesTraffic)
	}
	return contract
}

// aboutKinds lists the kinds of objects that a rule of the contract applies to. The other rules apply to all kinds.
var aboutKinds = map[string][]string{
	"require_local": {"Service"}, "keeps_source_ip": {"Service"},
	"spread": policies.SpreadKinds,
}

// A Compiler compiles policies, each independently of the others. It is safe for concurrent use.
type Compiler struct {
	trials
	// builtin compiles the built-in modules when it is first called.
	builtin func() *module
	slots   *slots
	// compiling holds an element while modules are compiled: one policy at a time, since that may take much memory.
	compiling chan struct{}
}

// NewCompiler returns a Compiler. Its Sets have the built-in modules, which are compiled when the first object needs
// them. It compiles modules of policies only after trial, unless that is nil.
func NewCompiler(trial Trial) *Compiler {
	limitBuiltins()
	c := &Compiler{trials: newTrials(trial), slots: newSlots(), compiling: make(chan struct{}, 1)}
	c.builtin = sync.OnceValue(func() *module {
		// Their types are checked by the tests, and they are never asked one by one.
		builtin, errs := c.compile(embeddedModules().rules, false)
		if errs != nil {
			panic(errors.Join(asErrors(errs)...)) // The tests compile them, too.
		}
		builtin.remembered = newRemembered()
		return builtin
	})
	return c
}

// Set returns the Set of the given policies, which may be in any order. No two of them may have the same name.
func (c *Compiler) Set(compiled []*Policy) *Set {
	set := &Set{builtin: c.builtin, custom: map[string]*module{}, compiled: compiled, slots: c.slots}
	list := make([]v1alpha1.SourceIPPolicy, len(compiled))
	for i, policy := range compiled {
		list[i] = policy.SourceIPPolicy
		if policy.module != nil {
			set.custom[policy.Name] = policy.module
		}
	}
	var err error
	if set.Policies, err = policies.NewPolicies(list); err != nil {
		panic(err) // Compile has validated the policies.
	}
	for _, policy := range compiled {
		set.Policies.Declared = append(set.Policies.Declared, policy.Rules...)
	}
	return set
}

// Compile validates policies and compiles their modules, after trial unless that is nil.
// It returns one Error for each problem, in the order of the policies. The Set, which is never nil, holds all policies
// without problems.
func Compile(ctx context.Context, trial Trial, list []v1alpha1.SourceIPPolicy) (*Set, []*Error) {
	c := NewCompiler(trial)
	c.Try(ctx, list)
	var compiled []*Policy
	var problems []*Error
	names := map[string]bool{}
	for i, policy := range list {
		one, wrong := c.Compile(ctx, policy)
		if names[policy.Name] {
			wrong = append(wrong, &Error{Path: "/metadata/name", Message: "another policy has this name; rename one"})
		}
		names[policy.Name] = true
		for _, w := range wrong {
			w.Index, w.Policy = i, policy.Name
		}
		problems = append(problems, wrong...)
		if wrong == nil {
			compiled = append(compiled, one)
		}
	}
	return c.Set(compiled), problems
}

func asErrors(errs []*Error) []error {
	list := make([]error, len(errs))
	for i, e := range errs {
		list[i] = e
	}
	return list
}

// Providers returns the provider names that spec.loadBalancers accepts, sorted.
func Providers() []string { return slices.Sorted(maps.Keys(providerData().entries("names"))) }

// Try tries the modules of policies together, which takes less time than when Compile tries those of each by itself.
func (c *Compiler) Try(ctx context.Context, list []v1alpha1.SourceIPPolicy) {
	sources := make([]Sources, len(list))
	for i, policy := range list {
		sources[i].Rego = policy.Spec.Rego
	}
	c.run(ctx, sources)
}

// Compile validates a policy and compiles its modules. It returns one Error for each problem, and a nil Policy if there
// are any. A compilation that does not end within CompileTimeout, or before ctx, is an Error too.
func (c *Compiler) Compile(ctx context.Context, policy v1alpha1.SourceIPPolicy) (*Policy, []*Error) {
	compiled, problems := c.compileInTime(ctx, policy)
	for _, p := range problems {
		p.Policy = policy.Name
	}
	return compiled, problems
}

func (c *Compiler) compileInTime(ctx context.Context, policy v1alpha1.SourceIPPolicy) (*Policy, []*Error) {
	refused := func(format string, args ...any) []*Error {
		return []*Error{{Path: "/spec/rego", Message: fmt.Sprintf(format, args...), Unfinished: true}}
	}
	select {
	case c.compiling <- struct{}{}:
	case <-ctx.Done():
		return nil, refused("the modules were not compiled in time, since others are being compiled; try again")
	}
	if err := c.outcome(ctx, Sources{Rego: policy.Spec.Rego}); err != nil {
		<-c.compiling
		return nil, refused("%s", err)
	}
	type outcome struct {
		policy   *Policy
		problems []*Error
	}
	done := make(chan outcome, 1)
	go func() {
		result := outcome{problems: refused("the Rego compiler stopped without a result; write the modules in another way")}
		defer func() {
			if p := recover(); p != nil {
				result = outcome{problems: refused(
					"the Rego compiler panicked (%s); write the modules in another way", panicText(p))}
			}
			<-c.compiling
			done <- result
		}()
		compiled, problems := c.check(policy)
		result = outcome{compiled, problems}
	}()
	timeout := time.NewTimer(CompileTimeout)
	defer timeout.Stop()
	select {
	case result := <-done:
		return result.policy, result.problems
	case <-timeout.C:
		return nil, refused("compiling the modules takes longer than %s; make them shorter, or nest less deeply",
			CompileTimeout)
	case <-ctx.Done():
		return nil, refused("the modules were not compiled in time; try again")
	}
}

func (c *Compiler) check(policy v1alpha1.SourceIPPolicy) (*Policy, []*Error) {
	policy.Default()
	compiled := &Policy{SourceIPPolicy: policy}
	var problems []*Error
	for _, e := range policy.Validate() {
		problems = append(problems, &Error{Path: pointer(e.Field), Message: e.Error()})
	}
	if problems == nil && len(policy.Spec.Rego) > 0 {
		compiled.module, problems = c.modules(policy.Spec.Rego)
	}
	if problems == nil {
		if compiled.module != nil {
			compiled.Rules = compiled.module.declared()
		}
		problems = append(
			checkRules(policy.Spec.Rules, compiled.Rules, compiled.module != nil),
			checkProviders(policy.Spec.LoadBalancers, Providers())...,
		)
	}
	if problems != nil {
		return nil, problems
	}
	if compiled.Spec.EvaluationFailure == "" {
		compiled.Spec.EvaluationFailure = compiled.defaultFailure()
	}
	return compiled, nil
}

// defaultFailure returns the evaluationFailure of a policy that does not set it: a denial must not depend on whether an
// object makes the policy fail.
func (p *Policy) defaultFailure() v1alpha1.EvaluationFailure {
	isDeny := func(mode v1alpha1.RuleMode) bool { return mode.Mode == v1alpha1.ModeDeny }
	denies := slices.ContainsFunc(p.Spec.Rules, isDeny)
	if p.module != nil {
		denies = denies || slices.ContainsFunc(p.module.rules, func(r rule) bool {
			isSet := func(mode v1alpha1.RuleMode) bool { return mode.ID == ruleID(r.module) }
			return r.word == "deny" && !slices.ContainsFunc(p.Spec.Rules, isSet)
		})
	}
	if denies {
		return v1alpha1.FailureDeny
	}
	return v1alpha1.FailureWarn
}

func checkRules(modes []v1alpha1.RuleMode, declared []string, hasRego bool) []*Error {
	var problems []*Error
	for i, mode := range modes {
		path := fmt.Sprintf("/spec/rules/%d", i)
		rule, known := policies.RuleByID(mode.ID)
		switch {
		case !known && !slices.Contains(declared, mode.ID):
			problems = append(problems, &Error{Path: path + "/id", Message: fmt.Sprintf(
				`spec.rules[%d].id: there is no rule %q; the nearest are %s; "sourceward rules" lists all%s`,
				i, mode.ID, strings.Join(policies.Nearest(mode.ID, append(ruleIDs(), declared...), 3), ", "),
				ownRules(declared, hasRego))})
		case mode.ID == "policy-not-evaluated":
			problems = append(problems, &Error{Path: path + "/id", Message: fmt.Sprintf(
				"spec.rules[%d].id: policy-not-evaluated takes its mode from spec.evaluationFailure; set that field instead", i)})
		case mode.Mode == v1alpha1.ModeMutate && !rule.Mutable:
			problems = append(problems, &Error{Path: path + "/mode", Message: fmt.Sprintf(
				"spec.rules[%d].mode: %s cannot be repaired at admission; use Off, Audit, Warn or Deny", i, mode.ID)})
		}
	}
	return problems
}

// ruleIDs returns the ids of the catalogue.
func ruleIDs() []string {
	var ids []string
	for _, rule := range policies.Catalogue() {
		ids = append(ids, rule.ID)
	}
	return ids
}

// ownRules returns the end of a message about an unknown rule: which rules the policy declares itself.
func ownRules(declared []string, hasRego bool) string {
	switch {
	case !hasRego:
		return ""
	case len(declared) == 0:
		return "; this policy's Rego declares no rule: only deny and warn declare one"
	default:
		return "; this policy's Rego declares " + strings.Join(declared, ", ")
	}
}

func checkProviders(balancers *v1alpha1.LoadBalancers, known []string) []*Error {
	if balancers == nil {
		return nil
	}
	var problems []*Error
	check := func(path, field, name string) {
		if !slices.Contains(known, name) {
			problems = append(problems, &Error{Path: path, Message: fmt.Sprintf(
				"spec.loadBalancers.%s: there is no provider %q; the nearest are %s",
				field, name, strings.Join(policies.Nearest(name, known, 3), ", "))})
		}
	}
	if balancers.Default != "" {
		check("/spec/loadBalancers/default", "default", balancers.Default)
	}
	for _, class := range slices.Sorted(maps.Keys(balancers.Classes)) {
		key := strings.NewReplacer("~", "~0", "/", "~1").Replace(class)
		check("/spec/loadBalancers/classes/"+key, fmt.Sprintf("classes[%s]", class), balancers.Classes[class])
	}
	return problems
}

// modules parses, checks and compiles the modules of one policy.
func (c *Compiler) modules(sources []v1alpha1.RegoModule) (*module, []*Error) {
	parsed := map[string]*ast.Module{}
	at := map[string]int{}
	var problems []*Error
	for i, source := range sources {
		m, wrong := parse(source)
		at[source.Name] = i
		if wrong != nil {
			problems = append(problems, wrong...)
			continue
		}
		parsed[source.Name] = m
		problems = append(problems, checkModule(source.Name, m)...)
	}
	var compiled *module
	if problems == nil {
		compiled, problems = c.compile(parsed, true)
	}
	if problems == nil && len(compiled.rules) == 0 {
		problems = append(problems, &Error{Module: sources[0].Name, Row: 1, Column: 1,
			Message: "the modules define none of " + strings.Join(contract, ", ") + ", so they have no effect; define one"})
	}
	for _, p := range problems {
		p.Path = fmt.Sprintf("/spec/rego/%d/module", at[p.Module])
		if lines := strings.Split(sources[at[p.Module]].Module, "\n"); p.Row >= 1 && p.Row <= len(lines) {
			p.Line = lines[p.Row-1]
		}
	}
	return compiled, problems
}

// checkModule checks what the compiler does not know: that the package is sourceward.custom.<name>, and that the rules
// of the contract are partial sets. Sourceward would silently ignore anything else.
func checkModule(name string, m *ast.Module) []*Error {
	problem := func(location *ast.Location, format string, args ...any) *Error {
		return &Error{Module: name, Row: location.Row, Column: location.Col, Message: fmt.Sprintf(format, args...)}
	}
	id, ok := customRule(m.Package)
	if !ok {
		return []*Error{problem(m.Package.Location, "package %s must be sourceward.custom.<name>", packageName(m.Package))}
	}
	var problems []*Error
	if _, clash := policies.RuleByID(id); clash {
		problems = append(problems, problem(m.Package.Location,
			"the package has the name of the built-in rule %s; rename it", id))
	}
	// The keys of exemptions and of audit annotations end in the id.
	if validation.IsDNS1123Label(id) != nil {
		problems = append(problems, problem(m.Package.Location, "%q cannot be the id of a rule; "+
			"rename the package: at most %d lowercase letters, digits and _, with a letter or digit at both ends",
			policies.Shorten(id, v1alpha1.MaxRuleID), v1alpha1.MaxRuleID))
	}
	for _, rule := range m.Rules {
		// A set below the name, such as deny.x, would make deny an object instead of the set that Sourceward reads.
		partialSet := rule.Head.RuleKind() == ast.MultiValue && len(rule.Head.Ref()) == 1
		if word := ruleName(rule); slices.Contains(contract, word) && !partialSet {
			problems = append(problems, problem(rule.Location,
				"%s must be a partial set; write: %s contains reason if { ... }", word, word))
		}
		if depth := nesting(rule); depth > maxNesting {
			problems = append(problems, problem(rule.Location,
				"comprehensions are nested %d deep, want at most %d; move the inner ones to rules of their own", depth, maxNesting))
		}
	}
	return problems
}

// nesting returns how deep closures (comprehensions and every) are nested in an AST node.
func nesting(of any) int {
	deepest := 0
	ast.WalkClosures(of, func(closure any) bool {
		if closure == of {
			return false
		}
		deepest = max(deepest, 1+nesting(closure))
		return true
	})
	return deepest
}

// compile compiles modules together with the library, and prepares the queries for the rules of the contract that they
// define. Modules of a user are checked for what would make a rule silently have no effect, and may fail, so that their
// rules have queries of their own.
func (c *Compiler) compile(modules map[string]*ast.Module, ofUser bool) (*module, []*Error) {
	all := maps.Clone(embeddedModules().lib)
	maps.Copy(all, modules)
	compiler := untypedCompiler()
	if ofUser {
		compiler = newCompiler()
	}
	if compiler.Compile(all); compiler.Failed() {
		return nil, regoErrors(compiler.Errors)
	}

	if ofUser {
		if unread := unreadSets(compiler.Modules, modules); unread != nil {
			return nil, unread
		}
	}
	compiled := &module{
		questions: map[string]question{}, verdicts: map[string]question{}, alone: map[rule]question{},
	}
	kinds := map[string][]string{} // by module
	needs := map[rule][]need{}
	inPackage := func(name, message string) []*Error {
		at := modules[name].Package.Location
		return []*Error{{Module: name, Row: at.Row, Column: at.Col, Message: message}}
	}
	for _, name := range slices.Sorted(maps.Keys(modules)) {
		m := modules[name]
		severity, err1 := severityOf(compiler, m)
		ofKinds, err2 := kindsOf(compiler, m)
		if err := cmp.Or(err1, err2); err != nil {
			return nil, inPackage(name, err.Error())
		}
		kinds[lastElement(m.Package)] = ofKinds
		words := contractOf(m)
		for _, word := range words {
			r := rule{module: lastElement(m.Package), word: word, severity: severity, builtin: isBuiltin(m.Package)}
			defined := slices.ContainsFunc(m.Rules, func(r *ast.Rule) bool { return ruleName(r) == word })
			about := aboutKinds[word]
			isAsked := func(kind string) bool { return slices.Contains(about, kind) }
			if defined && about != nil && ofKinds != nil && !slices.ContainsFunc(ofKinds, isAsked) {
				return nil, inPackage(name, fmt.Sprintf(
					"%s applies to a %s, which METADATA custom.kinds omits, so it would never fire; add %[2]s to custom.kinds",
					word, about[0]))
			}
			// Modules that share a package define one set together.
			if defined && !slices.Contains(compiled.rules, r) {
				compiled.rules = append(compiled.rules, r)
				needs[r] = needsOf(compiler, modules, r)
			}
		}
	}
	if ofUser {
		undefined := undefinedFields(compiler, modules, kinds)
		if undefined == nil {
			undefined = c.absentIn(modules)
		}
		if undefined != nil {
			return nil, undefined
		}
	}
	if ofUser && len(compiled.rules) > 1 {
		for _, r := range compiled.rules {
			alone, err := c.prepare(compiler, []rule{r}, modules)
			if err != nil {
				return nil, regoErrors(err)
			}
			compiled.alone[r] = alone
		}
	}
	for _, kind := range append(slices.Concat(slices.Collect(maps.Values(kinds))...), "") {
		if _, ok := compiled.questions[kind]; ok {
			continue
		}
		var all, verdicts []rule
		for _, r := range compiled.rules {
			if of := kinds[r.module]; of != nil && !slices.Contains(of, kind) {
				continue
			}
			all = append(all, r)
			if r.word == "keeps_source_ip" {
				verdicts = append(verdicts, r)
			}
		}
		var err1, err2 error
		compiled.questions[kind], err1 = c.prepare(compiler, all, modules)
		compiled.verdicts[kind], err2 = c.prepare(compiler, verdicts, modules)
		compiled.questions[kind] = compiled.questions[kind].needing(needs)
		compiled.verdicts[kind] = compiled.verdicts[kind].needing(needs)
		if err := cmp.Or(err1, err2); err != nil {
			return nil, regoErrors(err)
		}
	}
	return compiled, nil
}

// prepare returns the question that evaluates some rules of compiled modules.
func (c *Compiler) prepare(compiler *ast.Compiler, rules []rule, modules map[string]*ast.Module) (question, error) {
	if len(rules) == 0 {
		return question{}, nil
	}
	body, err := ast.ParseBody(query(rules, modules))
	if err != nil {
		return question{}, err
	}
	of := compiler.QueryCompiler()
	compiled, err := of.Compile(body)
	return question{rules: rules, query: compiled, compiler: of, modules: compiler}, err
}

// unreadSets returns an Error for each set that neither Sourceward nor another rule reads. A misspelled name of the
// contract would otherwise be a rule that never fires.
func unreadSets(all, modules map[string]*ast.Module) []*Error {
	read := map[string]bool{}
	for _, m := range all {
		for _, rule := range m.Rules {
			ast.WalkRefs(rule, func(ref ast.Ref) bool {
				// A reference below a set reads the set, and a reference to a package reads all of its sets.
				prefix := ref.ConstantPrefix()
				read[prefix[:min(len(prefix), len(m.Package.Path)+1)].String()] = true
				return false
			})
		}
	}
	var unread []*Error
	for _, name := range slices.Sorted(maps.Keys(modules)) {
		contract := contractOf(modules[name])
		for _, rule := range modules[name].Rules {
			word := ruleName(rule)
			whole := modules[name].Package.Path.String()
			if rule.Head.RuleKind() != ast.MultiValue || strings.HasPrefix(word, "_") || slices.Contains(contract, word) ||
				read[whole] || read[whole+"."+word] {
				continue
			}
			unread = append(unread, &Error{Module: name, Row: rule.Location.Row, Column: rule.Location.Col, Message: fmt.Sprintf(
				"nothing reads the set %s; name it one of %s, or begin its name with _", word, strings.Join(contract, ", "))})
		}
	}
	return unread
}

// newCompiler returns the compiler for all modules: strict, hermetic, and with the schema of input.
func newCompiler() *ast.Compiler {
	return untypedCompiler().WithSchemas(schemaSet(parseSchema(schema))).WithUseTypeCheckAnnotations(true)
}

// untypedCompiler returns a compiler that does not know the schema of input, which takes most of the time to compile.
func untypedCompiler() *ast.Compiler {
	return ast.NewCompiler().WithCapabilities(capabilities()).WithDefaultRegoVersion(ast.RegoV1).WithStrict(true)
}

func packageName(p *ast.Package) string { return strings.TrimPrefix(p.Path.String(), "data.") }

func lastElement(p *ast.Package) string {
	name, _ := p.Path[len(p.Path)-1].Value.(ast.String)
	return string(name)
}

// isBuiltin reports whether a package is that of a built-in rule.
func isBuiltin(p *ast.Package) bool {
	return strings.HasPrefix(p.Path.String(), "data.sourceward.rules.")
}

// customRule returns the rule id of a user's package sourceward.custom.<name>. ok is false for any other package.
func customRule(p *ast.Package) (id string, ok bool) {
	if len(p.Path) != 4 || !strings.HasPrefix(p.Path.String(), "data.sourceward.custom.") {
		return "", false
	}
	return ruleID(lastElement(p)), true
}

// ruleID returns the rule id for the last element of a package.
func ruleID(element string) string { return strings.ReplaceAll(element, "_", "-") }

func ruleName(rule *ast.Rule) string { return rule.Head.Ref()[0].String() }

// custom returns the value of custom.<key> in a package's METADATA.
func custom(compiler *ast.Compiler, m *ast.Module, key string) (value any, ok bool) {
	annotations := compiler.GetAnnotationSet().GetPackageScope(m.Package)
	if annotations == nil {
		return nil, false
	}
	value, ok = annotations.Custom[key]
	return value, ok
}

// severityOf returns custom.severity of a package's METADATA, or "" if it is absent.
func severityOf(compiler *ast.Compiler, m *ast.Module) (policies.Severity, error) {
	value, ok := custom(compiler, m, "severity")
	if !ok {
		return "", nil
	}
	text, _ := value.(string)
	if !slices.Contains(policies.Severities, policies.Severity(text)) {
		return "", fmt.Errorf("METADATA custom.severity %s is not one of %s", jsonText(value), joined(policies.Severities))
	}
	return policies.Severity(text), nil
}

// kindsOf returns custom.kinds of a package's METADATA: the kinds of objects that its rules apply to, or nil for all.
func kindsOf(compiler *ast.Compiler, m *ast.Module) ([]string, error) {
	value, ok := custom(compiler, m, "kinds")
	if !ok {
		return nil, nil
	}
	list, _ := value.([]any)
	kinds := make([]string, len(list))
	for i := range list {
		kinds[i], _ = list[i].(string)
	}
	unknown := func(kind string) bool { return !slices.Contains(policies.Kinds, kind) }
	if len(kinds) == 0 || slices.ContainsFunc(kinds, unknown) {
		return nil, fmt.Errorf("METADATA custom.kinds %s must be a list of one or more of %s",
			jsonText(value), joined(policies.Kinds))
	}
	return kinds, nil
}

// regoErrors splits an error of OPA into its problems, sorted by position.
func regoErrors(err error) []*Error {
	var list ast.Errors
	if !errors.As(err, &list) {
		var one *ast.Error
		if !errors.As(err, &one) {
			return []*Error{{Message: oneLine(err.Error())}}
		}
		list = ast.Errors{one}
	}
	var problems []*Error
	for _, e := range list {
		problem := &Error{Message: oneLine(e.Message) + remedy(e)}
		if e.Location != nil {
			problem.Module, problem.Row = e.Location.File, e.Location.Row
			problem.Column = max(e.Location.Col, 1) // 0 is the end of the line before.
		}
		problems = append(problems, problem)
	}
	slices.SortStableFunc(problems, func(a, b *Error) int {
		return cmp.Or(strings.Compare(a.Module, b.Module), cmp.Compare(a.Row, b.Row), cmp.Compare(a.Column, b.Column))
	})
	return problems
}

// remedy returns how to fix an error of OPA, to be appended to its message; empty if there is no advice.
func remedy(e *ast.Error) string {
	switch detail := e.Details.(type) {
	case *ast.RefErrInvalidDetail:
		if len(detail.OneOf) > 0 {
			want := make([]string, len(detail.OneOf))
			for i, value := range detail.OneOf {
				want[i] = unquoted(value)
			}
			return "; want one of " + closest(want, unquoted(detail.Ref[detail.Pos].Value))
		}
		if types.Compare(detail.Want, types.N) == 0 {
			return fmt.Sprintf("; the keys of %v are numbers, write %[1]v[_]", detail.Ref[:detail.Pos])
		}
	case *ast.RefErrUnsupportedDetail:
		switch detail.Have.(type) {
		case types.String, types.Number, types.Boolean:
			return fmt.Sprintf("; %v is a %v and has no fields", detail.Ref[:detail.Pos+1], detail.Have)
		}
	case *ast.UnificationErrDetail:
		return fmt.Sprintf("; a %v never equals a %v, compare values of the same type", detail.Left, detail.Right)
	case *ast.ArgErrDetail:
		return "; " + oneLine(strings.Join(detail.Lines(), ", ")) + "; pass arguments of the types it wants"
	}
	function, undefined := strings.CutPrefix(e.Message, "undefined function ")
	_, ofOPA := ast.BuiltinMap[function]
	switch {
	case ofOPA:
		return "; remove it: modules cannot use functions that reach outside, depend on time or chance, " +
			"read keys or code, or make huge results from small arguments"
	case undefined:
		return "; check its spelling: modules can call the functions of OPA, of data.sourceward.lib and of their own policy"
	case strings.HasPrefix(e.Message, "`contains` keyword is required"):
		return "; write NAME contains VALUE instead of NAME[VALUE]"
	case strings.HasPrefix(e.Message, "`if` keyword is required"):
		return "; write if before the {"
	case e.Message == "package expected", e.Message == "empty module":
		return "; begin with package sourceward.custom.<name>"
	case strings.HasPrefix(e.Message, "yaml: "):
		return "; METADATA must be valid YAML"
	case strings.HasSuffix(e.Message, " unused"):
		return "; remove it"
	case strings.HasSuffix(e.Message, " is unsafe"):
		return `; assign it a value, with := or some ... in; or, if it is part of a key, write labels["my-key"]`
	case strings.HasSuffix(e.Message, " assigned above"), strings.HasSuffix(e.Message, " declared above"):
		return "; choose another name, or compare with =="
	case strings.HasPrefix(e.Message, "unexpected and token"), strings.HasPrefix(e.Message, "unexpected or token"),
		e.Message == "var cannot be used for rule name", strings.HasPrefix(e.Message, "rule must have value assignment"):
		return "; check the syntax there: put conditions that must all hold on lines of their own within { }, " +
			"and write alternatives as rules of the same name"
	case strings.Contains(e.Message, " is recursive: "):
		return "; use a comprehension, every, or walk instead of recursion"
	case e.Code == ast.ParseErr:
		return syntaxRemedy(e)
	default:
		return ""
	}
}

// syntaxRemedy returns how to fix a text that does not parse as Rego.
func syntaxRemedy(e *ast.Error) string {
	line, rest := "", "" // the line, and the part of it that begins at the error
	if detail, ok := e.Details.(*ast.ParserErrorDetail); ok {
		line, rest = detail.Line, detail.Line[min(detail.Idx, len(detail.Line)):]
	}
	switch {
	case strings.HasPrefix(e.Message, "unexpected eof token"):
		return "; close each {, ( and [, or complete the last line"
	case strings.HasPrefix(e.Message, "unexpected minus token") && strings.HasPrefix(line, "package "):
		return "; write _ instead of - in the name of a package"
	case e.Message == "illegal token" && strings.HasPrefix(rest, "'"):
		return "; put strings in double quotes or backquotes"
	default:
		return "; check the syntax there"
	}
}

// closest lists all names if they are few, and otherwise the ones that are spelled most like a word.
func closest(names []string, word string) string {
	const most = 10
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	const shown = 5
	return fmt.Sprintf("%s, or %d others", strings.Join(policies.Nearest(word, names, shown), ", "), len(names)-shown)
}

func unquoted(value ast.Value) string { return strings.Trim(value.String(), `"`) }

// panicText returns the value of a panic in one line of at most 160 bytes.
func panicText(value any) string { return policies.Shorten(oneLine(fmt.Sprint(value)), 160) }

// oneLine joins the lines of a text. Most texts are one line already.
func oneLine(text string) string {
	afterSpace := true
	for _, r := range text {
		isSpace := unicode.IsSpace(r)
		if isSpace && (afterSpace || r != ' ') {
			return strings.Join(strings.Fields(text), " ")
		}
		afterSpace = isSpace
	}
	return strings.TrimSuffix(text, " ")
}

func joined[T ~string](values []T) string { return strings.Join(words(values), ", ") }

func words[T ~string](values []T) []string {
	words := make([]string, len(values))
	for i, v := range values {
		words[i] = string(v)
	}
	return words
}

// pointer converts the path of a field error, such as spec.rules[0].id, into a JSON Pointer.
func pointer(field string) string {
	return "/" + strings.NewReplacer(".", "/", "[", "/", "]", "").Replace(field)
}
