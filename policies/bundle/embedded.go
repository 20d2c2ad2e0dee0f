package bundle

import (
	"embed"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/loader"
)

// files holds the embedded modules, their tests and the data. The path of a module matches its package.
//
//go:embed sourceward
var files embed.FS

// schema is the JSON schema of input, generated from the Go types of package policies.
//
//go:embed schema/input.json
var schema []byte

// kindsSchema is a JSON schema with one property for each of policies.Kinds that is built into Kubernetes, generated
// from the Go types of Kubernetes.
//
//go:embed schema/kinds.json
var kindsSchema []byte

const (
	libPrefix    = "sourceward/lib/"
	rulesPrefix  = "sourceward/rules/"
	testSuffix   = "_test.rego"
	providersKey = "providers"
)

// embedded holds the parsed contents of files, without the tests.
type embedded struct {
	// lib holds the modules that other modules import, and rules those that Sourceward evaluates, by path.
	lib, rules map[string]*ast.Module
	// data is the part of the document data that does not come from rules.
	data map[string]any
}

// load parses the embedded files. The error is non-nil only if they are invalid, which a test rules out.
func load() (embedded, error) {
	loaded, err := loader.NewFileLoader().
		WithFS(files).
		WithRegoVersion(ast.RegoV1).
		WithCapabilities(capabilities()).
		WithProcessAnnotation(true).
		Filtered([]string{"."}, func(path string, _ fs.FileInfo, _ int) bool {
			return strings.HasSuffix(path, testSuffix)
		})
	if err != nil {
		return embedded{}, err
	}
	e := embedded{lib: map[string]*ast.Module{}, rules: map[string]*ast.Module{}, data: loaded.Documents}
	for path, file := range loaded.Modules {
		if strings.HasPrefix(path, libPrefix) {
			e.lib[path] = file.Parsed
		} else {
			e.rules[path] = file.Parsed
		}
	}
	return e, nil
}

// ReadsAnnotation reports whether a built-in rule may read an annotation of that name: one of Sourceward's own, or one
// that the embedded modules or the provider table mention, by its name or by a prefix of it.
func ReadsAnnotation(name string) bool {
	if domain, _, _ := strings.Cut(name, "/"); domain == ownDomain || strings.HasSuffix(domain, "."+ownDomain) {
		return true
	}
	return strings.Contains(texts(), name) ||
		slices.ContainsFunc(prefixes(), func(prefix string) bool { return strings.HasPrefix(name, prefix) })
}

const ownDomain = "sourceward.dev"

// texts returns the text of all embedded files but the tests.
var texts = sync.OnceValue(func() string {
	var all strings.Builder
	err := fs.WalkDir(files, ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || strings.HasSuffix(path, testSuffix) {
			return err
		}
		text, err := files.ReadFile(path)
		all.Write(text)
		return err
	})
	if err != nil {
		panic(err) // The files are part of the program.
	}
	return all.String()
})

// prefixes returns the prefixes of annotations in the provider table.
var prefixes = sync.OnceValue(func() []string {
	e, err := load()
	if err != nil {
		panic(err) // As in NewCompiler.
	}
	return e.keys("prefixes")
})

// providers returns the names of load balancers in the provider table, sorted.
func (e embedded) providers() []string { return e.keys("names") }

// keys returns the keys of a part of the provider table, sorted.
func (e embedded) keys(part string) []string {
	sourceward, _ := e.data["sourceward"].(map[string]any)
	table, _ := sourceward[providersKey].(map[string]any)
	entries, _ := table[part].(map[string]any)
	return slices.Sorted(maps.Keys(entries))
}
