package main

import (
	"cmp"
	_ "embed"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// flip is one change of the source: one operator or word instead of another. It takes effect in a process in which the
// variable flipVariable has its number, so that one binary has all flips.
type flip struct {
	number       int
	file         string
	from, to     string
	line, column int
	// text is the source line as it is.
	text  string
	edits []edit
}

// flipVariable is the variable of the environment that helpers.go.txt reads.
const flipVariable = "SOURCEWARD_FLIP"

func (f flip) String() string {
	return fmt.Sprintf("%s:%d:%d: %q instead of %q in: %s", f.file, f.line, f.column, f.to, f.from, f.text)
}

// edit replaces length bytes at an offset of a file by text.
type edit struct {
	offset, length int
	text           string
	// ends is true for the end of an expression that another edit begins.
	ends bool
}

// helpers are the functions that the changed source calls, without their package clause.
//
//go:embed helpers.go.txt
var helpers string

// compared holds the operators of two values that can be ordered, with what each becomes and its function in helpers.
// combined holds those of two booleans, and negated those that become their negation.
var (
	compared = map[token.Token][2]string{
		token.LSS: {"<=", "flipLess"}, token.LEQ: {"<", "flipAtMost"},
		token.GTR: {">=", "flipMore"}, token.GEQ: {">", "flipAtLeast"},
	}
	combined = map[token.Token][2]string{token.LAND: {"||", "flipAnd"}, token.LOR: {"&&", "flipOr"}}
	negated  = map[token.Token]string{token.EQL: "!=", token.NEQ: "=="}
	branches = map[token.Token]string{token.CONTINUE: "break", token.BREAK: "continue"}
	words    = map[string]string{"true": "false", "false": "true"}
)

// flipsIn returns all flips of the Go files in a folder, except of tests, in their order and numbered from 1, and the
// name of the package. The error is non-nil when a file cannot be read or parsed.
func flipsIn(folder string) (flips []flip, name string, err error) {
	paths, err := filepath.Glob(filepath.Join(folder, "*.go"))
	if err != nil {
		return nil, "", err
	}
	for _, path := range paths {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		source, err := os.ReadFile(path)
		if err != nil {
			return nil, "", err
		}
		found, of, err := flipsOf(path, source, len(flips)+1)
		if err != nil {
			return nil, "", err
		}
		flips, name = append(flips, found...), of
	}
	return flips, name, nil
}

// flipsOf returns all flips of one file, numbered from first on, and the name of its package: operators that compare or
// combine, true and false, continue and break of loops, and each ! that is dropped. Constants have none.
func flipsOf(path string, source []byte, first int) (flips []flip, name string, err error) {
	files := token.NewFileSet()
	file, err := parser.ParseFile(files, path, source, 0)
	if err != nil {
		return nil, "", err
	}
	lines := strings.Split(string(source), "\n")
	at := func(pos token.Pos) int { return files.Position(pos).Offset }
	add := func(pos token.Pos, from, to string, edits func(number int) []edit) {
		place, number := files.Position(pos), first+len(flips)
		text := strings.TrimSpace(lines[place.Line-1])
		flips = append(flips, flip{number, path, from, to, place.Line, place.Column, text, edits(number)})
	}
	// around begins and ends an expression.
	around := func(node ast.Expr, begin, end string) []edit {
		return []edit{{at(node.Pos()), 0, begin, false}, {at(node.End()), 0, end, true}}
	}
	negate := func(node ast.Expr) func(int) []edit {
		return func(number int) []edit { return around(node, fmt.Sprintf("(flipped(%d) != (", number), "))") }
	}
	ast.Inspect(file, func(node ast.Node) bool {
		switch node := node.(type) {
		case *ast.GenDecl:
			return node.Tok != token.CONST
		case *ast.BinaryExpr:
			// call makes a call of the two operands.
			call := func(function, between, end string) func(int) []edit {
				return func(number int) []edit {
					edits := around(node, fmt.Sprintf("%s(%d, ", function, number), end)
					return append(edits, edit{at(node.OpPos), len(node.Op.String()), between, false})
				}
			}
			if to, ok := negated[node.Op]; ok {
				add(node.OpPos, node.Op.String(), to, negate(node))
			} else if to, ok := compared[node.Op]; ok {
				add(node.OpPos, node.Op.String(), to[0], call(to[1], ",", ")"))
			} else if to, ok := combined[node.Op]; ok {
				add(node.OpPos, node.Op.String(), to[0], call(to[1], ", func() bool { return (", ") })"))
			}
		case *ast.UnaryExpr:
			if node.Op == token.NOT {
				add(node.OpPos, "!", "", negate(node))
			}
		case *ast.Ident:
			if to, ok := words[node.Name]; ok {
				add(node.Pos(), node.Name, to, negate(node))
			}
		case *ast.BranchStmt:
			if to, ok := branches[node.Tok]; ok {
				add(node.Pos(), node.Tok.String(), to, func(number int) []edit {
					label := ""
					if node.Label != nil {
						label = " " + node.Label.Name
					}
					return []edit{{at(node.Pos()), 0, fmt.Sprintf("if flipped(%d) { %s%s }; ", number, to, label), false}}
				})
			}
		}
		return true
	})
	return flips, file.Name.Name, nil
}

// apply returns the source of a file with the edits of all its flips, in as many lines.
func apply(source []byte, flips []flip) []byte {
	// A flip has a smaller number than those that its expression contains. So at one offset the inner expressions end
	// first, then the outer ones begin first.
	type numbered struct {
		edit
		order int
	}
	var edits []numbered
	for _, f := range flips {
		for _, e := range f.edits {
			order := f.number
			if e.ends {
				order = -f.number
			}
			edits = append(edits, numbered{e, order})
		}
	}
	slices.SortFunc(edits, func(a, b numbered) int {
		return cmp.Or(cmp.Compare(a.offset, b.offset), cmp.Compare(a.order, b.order))
	})
	from := 0
	var changed []byte
	for _, e := range edits {
		changed = append(append(changed, source[from:e.offset]...), e.text...)
		from = e.offset + e.length
	}
	return append(changed, source[from:]...)
}

// chosen returns the flips in an order that depends only on the seed.
func chosen(flips []flip, seed uint64) []flip {
	random := rand.New(rand.NewPCG(seed, 0))
	shuffled := slices.Clone(flips)
	random.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
	return shuffled
}
