package bundle

import (
	"embed"
	"io/fs"
	"maps"
	"slices"
	"strings"

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

// providers returns the names of load balancers in the provider table, sorted.
func (e embedded) providers() []string {
	sourceward, _ := e.data["sourceward"].(map[string]any)
	table, _ := sourceward[providersKey].(map[string]any)
	names, _ := table["names"].(map[string]any)
	return slices.Sorted(maps.Keys(names))
}
