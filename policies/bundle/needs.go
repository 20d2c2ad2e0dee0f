package bundle

import (
	"slices"

	"github.com/open-policy-agent/opa/v1/ast"
	corev1 "k8s.io/api/core/v1"

	"github.com/sourceward/sourceward/policies"
)

// need is what an object must have so that one rule of a module can be true of it. The zero value is nothing.
type need struct {
	// kind is the kind of the object, and annotation the name of one of its annotations; each may be empty.
	kind, annotation string
}

// isMetBy reports whether the object of a document has what is needed.
func (n need) isMetBy(document policies.Document) bool {
	object := document.Object
	if n.kind != "" && n.kind != object.Kind {
		return false
	}
	if n.annotation == "" {
		return true
	}
	_, has := object.Annotations()[n.annotation]
	return has
}

// needsOf returns what objects need so that a set of a package can have a member: one need for each rule of the set.
func needsOf(compiler *ast.Compiler, modules map[string]*ast.Module, set rule) []need {
	var needs []need
	for name, m := range modules {
		if lastElement(m.Package) != set.module {
			continue
		}
		for _, r := range compiler.Modules[name].Rules {
			if n := needOf(r.Body); ruleName(r) == set.word && !slices.Contains(needs, n) {
				needs = append(needs, n)
			}
		}
	}
	return needs
}

var annotationsRef = ast.MustParseRef("input.object.metadata.annotations")

// needOf returns what an object needs so that a compiled body can be true.
//
// OPA evaluates a body from its first expression to the first that is not true. As far as these only compare parts of
// input and variables, none of them can fail, so a rule that is not evaluated is one that would have been false. What
// comes after any other expression does not count: that one may fail, and a failure must be reported. Only a comparison
// that takes too long, for that of many parts with each other, is not reported either.
func needOf(body ast.Body) need {
	var n need
	for _, expr := range body {
		operands, ok := comparedParts(expr)
		if !ok {
			break
		}
		if expr.Negated {
			continue
		}
		for _, operand := range operands {
			ref, _ := operand.Value.(ast.Ref)
			if len(ref) <= len(annotationsRef) || !ref.HasPrefix(annotationsRef) {
				continue
			}
			// Objects are kept without the record of kubectl, but input has it.
			name, isText := ref[len(annotationsRef)].Value.(ast.String)
			if isText && name != corev1.LastAppliedConfigAnnotation {
				n.annotation = string(name)
			}
		}
		if kind := guardOf(&ast.Rule{Body: ast.NewBody(expr)}); kind != "" {
			n.kind = kind
		}
	}
	return n
}

// comparisons are the functions that never fail.
var comparisons = []*ast.Builtin{
	ast.Equality, ast.Equal, ast.NotEqual, ast.LessThan, ast.LessThanEq, ast.GreaterThan, ast.GreaterThanEq,
}

// comparedParts returns the operands of a comparison, or the only term of an expression. ok is false if evaluating the
// expression may do more than compare constants, variables and parts of input.
func comparedParts(expr *ast.Expr) (operands []*ast.Term, ok bool) {
	switch terms := expr.Terms.(type) {
	case *ast.Term:
		operands = []*ast.Term{terms}
	case []*ast.Term:
		isOperator := func(b *ast.Builtin) bool { return expr.Operator().Equal(b.Ref()) }
		if operands = expr.Operands(); !slices.ContainsFunc(comparisons, isOperator) {
			return nil, false
		}
	default:
		return nil, false
	}
	return operands, len(expr.With) == 0 && !slices.ContainsFunc(operands, func(t *ast.Term) bool { return !isPart(t) })
}

// isPart reports whether a term is a constant, a variable, or a part of input or of a variable.
func isPart(t *ast.Term) bool {
	switch value := t.Value.(type) {
	case ast.Null, ast.Boolean, ast.Number, ast.String, ast.Var:
		return true
	case ast.Ref:
		isElement := func(e *ast.Term) bool {
			_, isVariable := e.Value.(ast.Var)
			return isVariable || ast.IsConstant(e.Value)
		}
		// What begins with data may be a rule. What begins with a variable is a part of what that holds.
		isOther := func(e *ast.Term) bool { return !isElement(e) }
		return !value.HasPrefix(ast.DefaultRootRef) && !slices.ContainsFunc(value, isOther)
	default:
		return false
	}
}
