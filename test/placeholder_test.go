package test

import (
	"bytes"
	"flag"
	"fmt"
	"hash/fnv"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/sourceward/sourceward/policies"
	"github.com/sourceward/sourceward/policies/manifest"
)

var everyPlaceholder = flag.Bool(
	"every-placeholder", false, "put a placeholder into every value, not into one in a hundred",
)

// TestFindingsBesidePlaceholdersHold puts a placeholder into a value of a case. What the case holds there is one of the
// values that may replace the placeholder: so no built-in rule may have a finding that it does not have in the case. In
// selectors and references, a placeholder is a text like any other, and not tested.
func TestFindingsBesidePlaceholdersHold(t *testing.T) {
	t.Parallel()
	if *update {
		t.Skip("it takes long and writes nothing")
	}
	for _, rule := range entries(t, casesDir) {
		for _, name := range entries(t, filepath.Join(casesDir, rule)) {
			dir := filepath.Join(casesDir, rule, name)
			c := readCase(t, dir)
			if c.Has(oldFile) || !c.forBinary() {
				continue
			}
			t.Run(rule+"/"+name, func(t *testing.T) {
				t.Parallel()
				testPlaceholders(t, c)
			})
		}
	}
}

func testPlaceholders(t *testing.T, c readyCase) {
	var files []string
	for _, file := range []string{objectFile, relatedFile} {
		if c.Has(file) {
			files = append(files, file)
		}
	}
	// The contents of the documents of each file.
	contents := map[string][]map[string]any{}
	for _, file := range files {
		text, err := os.ReadFile(c.Path(file))
		if err != nil {
			t.Fatal(err)
		}
		documents, errs := manifest.Parse(file, text)
		if errs != nil {
			t.Fatal(errs)
		}
		for _, document := range documents {
			contents[file] = append(contents[file], document.Content)
		}
	}
	folder := t.TempDir()
	findings := func() (found map[string]bool, problems []*manifest.Error) {
		for _, file := range files {
			var text bytes.Buffer
			for _, content := range contents[file] {
				encoded, err := yaml.Marshal(content)
				if err != nil {
					t.Fatal(err)
				}
				fmt.Fprintf(&text, "---\n%s", encoded)
			}
			if err := os.WriteFile(filepath.Join(folder, file), text.Bytes(), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		options := manifest.Options{Paths: []string{filepath.Join(folder, objectFile)}, Version: c.Input.Cluster.Version}
		if c.Has(relatedFile) {
			options.Context = []string{filepath.Join(folder, relatedFile)}
		}
		m, err := manifest.Load(options)
		if err != nil {
			t.Fatal(err)
		}
		found = map[string]bool{}
		for _, o := range m.Objects {
			cluster := c.Input.Cluster
			cluster.Known = nil
			decision, _, _ := m.Decide(t.Context(), o, manifest.Bench{ //nolint:dogsled // a policy of the case may fail
				Rules: c.rules, Policies: c.rules.Policies, Cluster: cluster, Now: c.Input.Now,
			})
			for _, f := range decision.Findings {
				if rule, ok := policies.RuleByID(f.Rule); ok && rule.ID != "policy-not-evaluated" {
					found[fmt.Sprint(f.Rule, " ", f.Mode)] = true
				}
			}
		}
		return found, m.Errors
	}
	before, errs := findings()
	if errs != nil {
		t.Fatal(errs)
	}
	count := 0
	for _, file := range files {
		for i, content := range contents[file] {
			leaves(content, "", func(path string, set func(any), former any) {
				if isText.MatchString(path) {
					return
				}
				if hash := fnv.New32(); !*everyPlaceholder {
					fmt.Fprint(hash, c.Dir, file, i, path)
					if hash.Sum32()%100 != 0 {
						return
					}
				}
				set("${VALUE}")
				defer set(former)
				count++
				after, errs := findings()
				for _, e := range errs {
					t.Errorf("%s %d %s: %v", file, i, path, e)
				}
				for _, finding := range slices.Sorted(maps.Keys(after)) {
					if !before[finding] {
						t.Errorf("%s %d %s = ${VALUE}: finding %s, which is not there with %v", file, i, path, finding, former)
					}
				}
			})
		}
	}
}

var isText = regexp.MustCompile(`/(selector|labelSelector|matchLabels|scaleTargetRef|workloadRef)/`)

// leaves calls visit for each value in spec, and each annotation, that is no object or list.
func leaves(node any, path string, visit func(path string, set func(any), former any)) {
	each := func(path string, value any, set func(any)) {
		switch value.(type) {
		case map[string]any, []any:
			leaves(value, path, visit)
		default:
			if strings.HasPrefix(path, "/spec/") || strings.HasPrefix(path, "/metadata/annotations/") {
				visit(path, set, value)
			}
		}
	}
	switch node := node.(type) {
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(node)) {
			each(path+"/"+key, node[key], func(v any) { node[key] = v })
		}
	case []any:
		for i := range node {
			each(fmt.Sprintf("%s/%d", path, i), node[i], func(v any) { node[i] = v })
		}
	}
}
