// Command rule writes the skeleton of a new rule; `make rule NAME=no-such-port` runs it in the root of the repository.
//
// It writes the Go file of the rule, its line in the catalogue and three cases. Tests fail until the author has
// replaced every text that begins with FILL IN.
package main

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"go/ast"
	"go/build"
	"go/format"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/sourceward/sourceward/api/v1alpha1"
	"github.com/sourceward/sourceward/policies"
)

// template holds the files of a rule: rule.go.txt, and cases, a folder for each case. In names and texts, RULE_ID is
// the id of the rule, ruleName its variable, and RuleName its name inside other identifiers.
//
//go:embed template
var template embed.FS

const (
	usage = "usage: make rule NAME=ID, where ID is the id of the new rule, such as no-such-port"

	catalogueFile = "policies/catalogue.go"
	// regoRulesLine ends the list of the rules that are written in Go. A new rule becomes the last of them, and so its
	// patch applies to the result of theirs.
	regoRulesLine = "\t},\n\tregoRules,\n"

	newFile   = 0o644
	newFolder = 0o755
)

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1) //nolint:forbidigo // this is a main
	}
}

// run writes the skeleton of a rule; its id is the only argument. It checks everything before it writes the first file.
func run(args []string, out io.Writer) error {
	if len(args) != 1 || args[0] == "" {
		return errors.New(usage)
	}
	id := args[0]
	if err := checkID(id); err != nil {
		return err
	}
	variable, capital := goNames(id)
	if err := checkNames(id, variable, "check"+capital); err != nil {
		return err
	}
	catalogue, err := catalogueWith(variable)
	if err != nil {
		return err
	}
	files, err := expand(id, variable, capital)
	if err != nil {
		return err
	}
	for _, file := range slices.Sorted(maps.Keys(files)) {
		if _, err := os.Lstat(file); err == nil {
			return fmt.Errorf("%s exists; choose another id, or remove the file", file)
		} else if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	for _, file := range slices.Sorted(maps.Keys(files)) {
		if err := os.MkdirAll(filepath.Dir(file), newFolder); err != nil {
			return err
		}
		if err := os.WriteFile(file, files[file], newFile); err != nil {
			return err
		}
		fmt.Fprintln(out, "wrote", file)
	}
	if err := os.WriteFile(catalogueFile, catalogue, newFile); err != nil {
		return err
	}
	fmt.Fprintln(out, "added a line to", catalogueFile)
	fmt.Fprintln(out, "Next: replace each FILL IN, which go test ./test lists; run make generate; edit CHANGELOG.md.")
	return nil
}

var kebab = regexp.MustCompile(`^[a-z][a-z0-9]*(-[a-z0-9]+)*$`)

// checkID returns an error if a new rule cannot have an id.
func checkID(id string) error {
	_, exists := policies.RuleByID(id)
	switch {
	case !kebab.MatchString(id) || len(id) > v1alpha1.MaxRuleID:
		return fmt.Errorf(
			"%q is not a valid rule id: want at most %d lowercase letters, digits and dashes, such as no-such-port",
			id, v1alpha1.MaxRuleID)
	case exists:
		return fmt.Errorf("rule %s exists; choose another id", id)
	}
	// Go leaves files out by the end of their names: _test.go is for tests, _linux.go for one system.
	if match, err := (&build.Context{
		Compiler: "gc",
		OpenFile: func(string) (io.ReadCloser, error) { return io.NopCloser(strings.NewReader("package policies\n")), nil },
	}).MatchFile("", path.Base(ruleFile(id))); err != nil || !match || strings.HasSuffix(id, "-test") {
		return fmt.Errorf("the last word of %s would keep Go from compiling %s; choose another id", id, ruleFile(id))
	}
	return nil
}

// ruleFile returns the path of the Go file of a rule.
func ruleFile(id string) string { return "policies/check_" + strings.ReplaceAll(id, "-", "_") + ".go" }

// initialisms are the words that Go writes in capitals.
var initialisms = map[string]string{
	"api": "API", "bgp": "BGP", "dns": "DNS", "http": "HTTP", "https": "HTTPS", "id": "ID", "ip": "IP", "ips": "IPs",
	"tcp": "TCP", "tls": "TLS", "udp": "UDP", "uid": "UID", "url": "URL",
}

// goNames returns the name of the variable of a rule, and the same with a capital letter.
func goNames(id string) (variable, capital string) {
	words := strings.Split(id, "-")
	variable = words[0]
	for i, word := range words {
		if initialism, ok := initialisms[word]; ok {
			words[i] = initialism
		} else {
			words[i] = strings.ToUpper(word[:1]) + word[1:]
		}
	}
	return variable + strings.Join(words[1:], ""), strings.Join(words, "")
}

// checkNames returns an error if a name that a rule would have in package policies is taken there.
func checkNames(id string, names ...string) error {
	taken := map[string]string{}
	for _, name := range types.Universe.Names() {
		taken[name] = "Go"
	}
	for word := token.BREAK; word <= token.VAR; word++ {
		taken[word.String()] = "Go"
	}
	files, err := filepath.Glob("policies/*.go")
	if err != nil {
		return err
	}
	for _, file := range files {
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		for _, name := range declared(parsed) {
			taken[name] = file
		}
	}
	for _, name := range names {
		if where, ok := taken[name]; ok {
			return fmt.Errorf("rule %s would be called %s in Go, a name that is taken (by %s); choose another id",
				id, name, where)
		}
	}
	return nil
}

// declared returns the names that a file declares in its package, and those of its imports, which nothing in the
// package may have.
func declared(file *ast.File) []string {
	var names []string
	for _, spec := range file.Imports {
		if imported, err := strconv.Unquote(spec.Path.Value); err == nil && spec.Name == nil {
			names = append(names, path.Base(imported))
		} else if spec.Name != nil {
			names = append(names, spec.Name.Name)
		}
	}
	for _, decl := range file.Decls {
		switch decl := decl.(type) {
		case *ast.FuncDecl:
			if decl.Recv == nil {
				names = append(names, decl.Name.Name)
			}
		case *ast.GenDecl:
			for _, spec := range decl.Specs {
				switch spec := spec.(type) {
				case *ast.TypeSpec:
					names = append(names, spec.Name.Name)
				case *ast.ValueSpec:
					for _, name := range spec.Names {
						names = append(names, name.Name)
					}
				}
			}
		}
	}
	return names
}

// catalogueWith returns the text of the catalogue with a line for the variable of a rule.
func catalogueWith(variable string) ([]byte, error) {
	text, err := os.ReadFile(catalogueFile)
	if err != nil {
		return nil, fmt.Errorf("%w; run make rule in the root of the repository", err)
	}
	before, after, ok := strings.Cut(string(text), regoRulesLine)
	if !ok {
		return nil, fmt.Errorf("%s does not list the Go rules before regoRules; adapt test/rule to it", catalogueFile)
	}
	return format.Source([]byte(before + "\t\t" + variable + ",\n" + regoRulesLine + after))
}

// expand returns the files of a rule, by path.
func expand(id, variable, capital string) (map[string][]byte, error) {
	const root = "template"
	names := strings.NewReplacer("RULE_ID", id, "ruleName", variable, "RuleName", capital)
	files := map[string][]byte{}
	err := fs.WalkDir(template, root, func(file string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		text, err := template.ReadFile(file)
		if err != nil {
			return err
		}
		text = []byte(names.Replace(string(text)))
		if target, ok := strings.CutPrefix(file, root+"/cases/"); ok {
			files[path.Join("test/cases", id, target)] = text
			return nil
		}
		// Longer names move what gofmt aligns.
		if text, err = format.Source(bytes.TrimSpace(text)); err != nil {
			return err
		}
		files[ruleFile(id)] = append(text, '\n')
		return nil
	})
	return files, err
}
