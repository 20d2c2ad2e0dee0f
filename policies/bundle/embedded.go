package bundle

import (
	"embed"
	"io/fs"
	"slices"
	"strings"
	"sync"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/loader"
	"github.com/open-policy-agent/opa/v1/storage"
	"github.com/open-policy-agent/opa/v1/storage/inmem"
	"github.com/open-policy-agent/opa/v1/util"
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

// providersJSON is the provider table, generated from the files below sourceward/providers. It takes a tenth of the
// time to read.
//
//go:embed providers.json
var providersJSON []byte

const (
	libPrefix    = "sourceward/lib/"
	rulesPrefix  = "sourceward/rules/"
	testSuffix   = "_test.rego"
	providersKey = "providers"
)

// modules holds the embedded modules, without the tests, by path.
type modules struct {
	// lib holds those that other modules import, and rules those that Sourceward evaluates.
	lib, rules map[string]*ast.Module
}

// embeddedModules parses the embedded modules.
var embeddedModules = sync.OnceValue(func() modules {
	m := modules{lib: map[string]*ast.Module{}, rules: map[string]*ast.Module{}}
	for path, file := range load(func(path string) bool {
		return strings.HasSuffix(path, ".rego") && !strings.HasSuffix(path, testSuffix)
	}).Modules {
		if strings.HasPrefix(path, libPrefix) {
			m.lib[path] = file.Parsed
		} else {
			m.rules[path] = file.Parsed
		}
	}
	return m
})

// data is the part of the document data that does not come from rules: the provider table.
type data map[string]any

// providerData parses the provider table.
var providerData = sync.OnceValue(func() data {
	var table data
	if err := util.UnmarshalJSON(providersJSON, &table); err != nil {
		panic(err) // The file is part of the program, and its tests read it.
	}
	return table
})

// store holds the provider table for evaluations, which only read it.
var store = sync.OnceValue(func() storage.Store {
	return inmem.NewFromObjectWithOpts(
		providerData(), inmem.OptRoundTripOnWrite(false), inmem.OptReturnASTValuesOnRead(true))
})

// load parses those of the embedded files for which isWanted returns true.
func load(isWanted func(path string) bool) *loader.Result {
	loaded, err := loader.NewFileLoader().
		WithFS(files).
		WithRegoVersion(ast.RegoV1).
		WithCapabilities(capabilities()).
		WithProcessAnnotation(true).
		Filtered([]string{"."}, func(path string, info fs.FileInfo, _ int) bool { return !info.IsDir() && !isWanted(path) })
	if err != nil {
		panic(err) // The files are part of the program, and its tests load them.
	}
	return loaded
}

// ReadsAnnotation reports whether a built-in rule may read an annotation of that name: one of Sourceward's own, or one
// that the embedded modules or the provider table mention, by its name or by a prefix of it.
func ReadsAnnotation(name string) bool {
	if domain, _, _ := strings.Cut(name, "/"); domain == ownDomain || strings.HasSuffix(domain, "."+ownDomain) {
		return true
	}
	return strings.Contains(texts(), name) ||
		slices.ContainsFunc(builtinSubjects().prefixes, func(prefix string) bool { return strings.HasPrefix(name, prefix) })
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

// entries returns a part of the provider table.
func (d data) entries(part string) map[string]any {
	sourceward, _ := d["sourceward"].(map[string]any)
	providers, _ := sourceward[providersKey].(map[string]any)
	entries, _ := providers[part].(map[string]any)
	return entries
}
