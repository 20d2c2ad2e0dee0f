package main

import (
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

// flip is one change of the source: at an offset in a file, one text instead of another.
type flip struct {
	file     string
	offset   int
	from, to string
	// place is file:line, and line the source line as it is.
	place, line string
}

func (f flip) String() string {
	return fmt.Sprintf("%s: %q instead of %q in: %s", f.place, f.to, f.from, f.line)
}

// apply returns the source of the file with the flip.
func (f flip) apply(source []byte) []byte {
	return slices.Concat(source[:f.offset], []byte(f.to), source[f.offset+len(f.from):])
}

// opposites holds what each operator becomes.
var opposites = map[token.Token]string{
	token.EQL: "!=", token.NEQ: "==", token.LAND: "||", token.LOR: "&&",
	token.LSS: "<=", token.LEQ: "<", token.GTR: ">=", token.GEQ: ">",
}

// flipsIn returns all flips of the Go files in a folder, except of tests, in their order. The error is non-nil when a
// file cannot be read or parsed.
func flipsIn(folder string) ([]flip, error) {
	paths, err := filepath.Glob(filepath.Join(folder, "*.go"))
	if err != nil {
		return nil, err
	}
	var flips []flip
	for _, path := range paths {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		source, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		found, err := flipsOf(path, source)
		if err != nil {
			return nil, err
		}
		flips = append(flips, found...)
	}
	return flips, nil
}

// flipsOf returns all flips of one file: operators that compare or combine, true and false, continue and break of
// loops, and each ! that is dropped.
func flipsOf(path string, source []byte) ([]flip, error) {
	files := token.NewFileSet()
	file, err := parser.ParseFile(files, path, source, 0)
	if err != nil {
		return nil, err
	}
	lines := strings.Split(string(source), "\n")
	var flips []flip
	add := func(at token.Pos, from, to string) {
		place := files.Position(at)
		flips = append(flips, flip{
			path, place.Offset, from, to, fmt.Sprintf("%s:%d", path, place.Line), strings.TrimSpace(lines[place.Line-1]),
		})
	}
	ast.Inspect(file, func(node ast.Node) bool {
		switch node := node.(type) {
		case *ast.BinaryExpr:
			if to, ok := opposites[node.Op]; ok {
				add(node.OpPos, node.Op.String(), to)
			}
		case *ast.UnaryExpr:
			if node.Op == token.NOT {
				add(node.OpPos, "!", "")
			}
		case *ast.Ident:
			switch node.Name {
			case "true":
				add(node.Pos(), "true", "false")
			case "false":
				add(node.Pos(), "false", "true")
			}
		case *ast.BranchStmt:
			switch node.Tok {
			case token.CONTINUE:
				add(node.Pos(), "continue", "break")
			case token.BREAK:
				add(node.Pos(), "break", "continue")
			}
		}
		return true
	})
	slices.SortStableFunc(flips, func(a, b flip) int { return a.offset - b.offset })
	return flips, nil
}

// chosen returns n of the flips in an order that depends only on the seed; all if there are fewer.
func chosen(flips []flip, n int, seed uint64) []flip {
	random := rand.New(rand.NewPCG(seed, 0))
	shuffled := slices.Clone(flips)
	random.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
	return shuffled[:min(n, len(shuffled))]
}
