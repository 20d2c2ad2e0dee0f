package test

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"

	"github.com/sourceward/sourceward/policies"
)

// TestFieldReference compares the table of fields in api/README.md with the schema of SourceIPPolicy. With -update it
// writes the table.
func TestFieldReference(t *testing.T) {
	const path, begin, end = "../api/README.md", "<!-- fields: make generate -->\n", "<!-- end of fields -->\n"
	readme, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok1 := strings.Cut(string(readme), begin)
	table, after, ok2 := strings.Cut(rest, end)
	if !ok1 || !ok2 {
		t.Fatalf("%s has no %q … %q", path, begin, end)
	}
	var want strings.Builder
	want.WriteString("| field | type | meaning |\n|---|---|---|\n")
	root := readCRD(t).Spec.Versions[0].Schema.OpenAPIV3Schema
	for _, part := range []string{"spec", "status"} {
		writeFields(&want, part, root.Properties[part])
	}
	if *update {
		if err := os.WriteFile(path, []byte(before+begin+want.String()+end+after), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(want.String(), table); diff != "" {
		t.Errorf("the table of fields in %s differs from the schema; run make generate (-want +got):\n%s", path, diff)
	}
}

// writeFields writes a row for a field and for the fields below it. Of a type that Kubernetes defines, it writes only
// the name.
func writeFields(table *strings.Builder, path string, schema apiextensionsv1.JSONSchemaProps) {
	kind, below := fieldType(schema)
	meaning := strings.Join(strings.Fields(schema.Description), " ")
	if schema.Default != nil {
		kind += ", default `" + strings.Trim(string(schema.Default.Raw), `"`) + "`"
	}
	fmt.Fprintf(table, "| `%s` | %s | %s |\n", path, kind, strings.ReplaceAll(meaning, "|", `\|`))
	if below == nil {
		return
	}
	if schema.Items != nil {
		path += "[]"
	}
	for _, name := range slices.Sorted(maps.Keys(below)) {
		writeFields(table, path+"."+name, below[name])
	}
}

// fieldType returns the type of a field with its bounds, in a few words, and the fields below it.
func fieldType(
	schema apiextensionsv1.JSONSchemaProps,
) (kind string, below map[string]apiextensionsv1.JSONSchemaProps) {
	bound := func(most *int64, unit string) string {
		if most == nil {
			return ""
		}
		return fmt.Sprintf(", at most %d%s", *most, unit)
	}
	switch {
	case len(schema.Enum) > 0:
		words := make([]string, len(schema.Enum))
		for i, word := range schema.Enum {
			words[i] = "`" + strings.Trim(string(word.Raw), `"`) + "`"
		}
		return strings.Join(words, ", "), nil
	case schema.Properties["matchLabels"].Type != "":
		return "LabelSelector", nil
	case schema.Items != nil && schema.Items.Schema.Properties["lastTransitionTime"].Type != "":
		return "list of Condition", nil
	case schema.Items != nil:
		of, below := fieldType(*schema.Items.Schema)
		return "list of " + of + bound(schema.MaxItems, " items"), below
	case schema.AdditionalProperties != nil:
		return "map of " + schema.AdditionalProperties.Schema.Type + bound(schema.MaxProperties, " entries"), nil
	case schema.Minimum != nil:
		return fmt.Sprintf("%s, at least %v", schema.Type, *schema.Minimum), nil
	default:
		return schema.Type + bound(schema.MaxLength, " characters"), schema.Properties
	}
}

// TestSchemaKnowsWhatCanBeRepaired compares the rules that the schema allows in mode Mutate with the catalogue.
func TestSchemaKnowsWhatCanBeRepaired(t *testing.T) {
	t.Parallel()
	var mutable []string
	for _, rule := range policies.Catalogue() {
		if rule.Mutable {
			mutable = append(mutable, "'"+rule.ID+"'")
		}
	}
	want := "self.mode != 'Mutate' || self.id in [" + strings.Join(mutable, ", ") + "]"
	schema, err := os.ReadFile(crdFile)
	if err != nil {
		t.Fatal(err)
	}
	// YAML breaks long lines.
	if got := strings.Join(strings.Fields(string(schema)), " "); !strings.Contains(got, want) {
		t.Errorf("the schema has no rule %s; fix the marker of RuleMode", want)
	}
}
