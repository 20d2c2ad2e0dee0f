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

// files are the embedded modules, their tests and the data, where path, package and name are the
// same word.
//
//go:embed sourceward
var files embed.FS

// schema is the JSON schema of input, generated from the Go types of package policies.
//
//go:embed schema/input.json
var schema []byte

// kindsSchema is the JSON schema of those of policies.Kinds that are Kubernetes' own, generated from its Go types: a property for
// each kind.
//
//go:embed schema/kinds.json
var kindsSchema []byte

const (
	libPrefix    = "sourceward/lib/"
	rulesPrefix  = "sourceward/rules/"
	testSuffix   = "_test.rego"
	providersKey = "providers"
)

// embedded is what is in files, less the tests.
type embedded struct {
	// lib are the modules that other modules import, rules those that answer; by path.
	lib, rules map[string]*ast.Module
	// data is the document data, as far as it is not made by rules.
	data map[string]any
}

// load reads the embedded files. The error is non-nil only if they are broken, which a test excludes.
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

// providers are the names of load balancers that the provider table knows, sorted.
func (e embedded) providers() []string {
	sourceward, _ := e.data["sourceward"].(map[string]any)
	table, _ := sourceward[providersKey].(map[string]any)
	names, _ := table["names"].(map[string]any)
	return slices.Sorted(maps.Keys(names))
}
