package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/invopop/jsonschema"
	"github.com/open-policy-agent/opa/v1/rego"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"sigs.k8s.io/yaml"
)

const schemaFile = "config.schema.json"

// TestSchemaMatchesTheFlags generates the JSON schema of a configuration file from the flags of check, and compares it
// with the file. With -update it writes the file.
func TestSchemaMatchesTheFlags(t *testing.T) {
	matchesFile(t, schemaFile, configSchema())
}

// matchesFile compares a schema with a file. With -update it writes the file first.
func matchesFile(t *testing.T, name string, schema *jsonschema.Schema) {
	t.Helper()
	want, err := json.MarshalIndent(schema, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	want = append(want, '\n')
	if flag.Lookup("update").Value.String() == "true" {
		if err := os.WriteFile(name, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(want, got) {
		t.Errorf("%s is outdated; run make generate (-want +got):\n%s", name, cmp.Diff(string(want), string(got)))
	}
}

func configSchema() *jsonschema.Schema {
	top := jsonschema.NewProperties()
	of := jsonschema.NewProperties()
	least := uint64(1)
	of.Set(keyName, &jsonschema.Schema{
		Type: "string", Pattern: `\S`, Description: "name of the environment in the report",
	})
	of.Set(keyPaths, &jsonschema.Schema{
		Type: "array", Items: &jsonschema.Schema{Type: "string", MinLength: &least}, MinItems: &least,
		Description: "files and folders of the environment, relative to this file",
	})
	cmd := checkCommand(streams{})
	newFlags(&checkFlags{}).VisitAll(func(flag *pflag.Flag) {
		schema := flagSchema(cmd, flag)
		top.Set(flag.Name, schema)
		if !slices.Contains(reportFlags, flag.Name) {
			of.Set(flag.Name, schema)
		}
	})
	top.Set(keyEnvironments, &jsonschema.Schema{
		Type:        "array",
		Description: "sets of manifests, each checked apart from the others; where one sets nothing, the top level applies",
		Items: &jsonschema.Schema{
			Type: "object", Properties: of, Required: []string{keyName, keyPaths}, AdditionalProperties: jsonschema.FalseSchema,
		},
	})
	return &jsonschema.Schema{
		Version: jsonschema.Version, Title: configName, Description: "settings of sourceward check",
		Type: "object", Properties: top, AdditionalProperties: jsonschema.FalseSchema,
	}
}

// flagSchema returns the schema of the value of a flag. The values that the shell completes are all that there are,
// unless a file name may follow.
func flagSchema(cmd *cobra.Command, flag *pflag.Flag) *jsonschema.Schema {
	schema := &jsonschema.Schema{Type: "string"}
	switch flag.Value.Type() {
	case "bool":
		schema.Type = "boolean"
	case "int":
		schema.Type = "integer"
	}
	what, usage := pflag.UnquoteUsage(flag)
	if complete, ok := cmd.GetFlagCompletionFunc(flag.Name); ok && !strings.Contains(what, "=") {
		words, _ := complete(cmd, nil, "")
		for _, word := range words {
			schema.Enum = append(schema.Enum, word)
		}
	}
	if _, isList := flag.Value.(pflag.SliceValue); isList {
		schema = &jsonschema.Schema{Type: "array", Items: schema}
	}
	schema.Description = strings.Join(strings.Fields(strings.TrimSuffix(usage, "; repeatable")), " ")
	return schema
}

// TestSchemaAcceptsWhatIsRead evaluates the schema with files that are valid, and with some that are not.
func TestSchemaAcceptsWhatIsRead(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		file string
		want bool
	}{
		"all flags": {"color: never\ncontext: [nodes.yaml]\ndiff: true\nexclude: ['*.tmp']\nfail-on: warn\n" +
			"kube-version: '1.36'\nnamespace: edge\nnodes: 3\noutput: [text, json=report.json]\npolicy: [policies]\n" +
			"provider: gke\nquiet: false\nshow: [audit]\nbaseline: baseline.json\n", true},
		"an environment": {"environments: [{name: a, paths: [b], nodes: 3, policy: []}]", true},
		"nothing":        {"{}", true},

		"a misspelt key":                    {"fail_on: warn", false},
		"a text for a number":               {"nodes: three", false},
		"a number for a text":               {"kube-version: 1.36", false},
		"a text for a list":                 {"policy: policies", false},
		"an unknown value":                  {"fail-on: error", false},
		"an unknown provider":               {"provider: gkee", false},
		"an unknown value in a list":        {"show: [warn]", false},
		"a key for the command line":        {"show-config: true", false},
		"an environment without a name":     {"environments: [{paths: [b]}]", false},
		"an environment with a blank name":  {"environments: [{name: ' ', paths: [b]}]", false},
		"an environment without paths":      {"environments: [{name: a}]", false},
		"an environment with no paths":      {"environments: [{name: a, paths: []}]", false},
		"a key of the report":               {"environments: [{name: a, paths: [b], fail-on: warn}]", false},
		"a misspelt key of an environment":  {"environments: [{name: a, paths: [b], nods: 3}]", false},
		"a wrong value in an environment":   {"environments: [{name: a, paths: [b], nodes: x}]", false},
		"a mapping instead of environments": {"environments: {a: [b]}", false},
	}
	schema, err := os.ReadFile(schemaFile)
	if err != nil {
		t.Fatal(err)
	}
	query, err := rego.New(rego.Query("json.match_schema(input.file, input.schema)[0]")).PrepareForEval(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file, err := yaml.YAMLToJSON([]byte(test.file))
			if err != nil {
				t.Fatal(err)
			}
			input := map[string]any{"file": string(file), "schema": string(schema)}
			result, err := query.Eval(t.Context(), rego.EvalInput(input))
			if err != nil {
				t.Fatal(err)
			}
			if got := result[0].Expressions[0].Value; got != test.want {
				t.Errorf("the schema accepts %s: %v, want %t", test.file, got, test.want)
			}
			if errs := (&config{file: configName}).parse([]byte(test.file)); (errs == nil) != test.want {
				t.Errorf("parse(%s) = %v, want no error: %t", test.file, errs, test.want)
			}
		})
	}
}

// TestReportFlagsExist holds the list of the flags that no environment can set against the flags.
func TestReportFlagsExist(t *testing.T) {
	t.Parallel()
	flags := newFlags(&checkFlags{})
	for _, name := range reportFlags {
		if flags.Lookup(name) == nil {
			t.Errorf("check has no flag --%s", name)
		}
	}
}

// FuzzConfig checks that no text of a configuration file makes the program panic, and that what is read can be applied.
func FuzzConfig(f *testing.F) {
	f.Add("fail-on: warn\nenvironments: [{name: a, paths: [b], nodes: 3}]\n")
	f.Add("a: &x [*x]\n<<: {nodes: 1}\noutput: [json=a]\n")
	f.Fuzz(func(t *testing.T, text string) {
		c := &config{file: configName, folder: "/repo", working: "/repo/apps"}
		if errs := c.parse([]byte(text)); errs != nil {
			return
		}
		if err := c.show(&bytes.Buffer{}, newFlags(&checkFlags{})); err != nil {
			t.Errorf("show() = %v for a file that was read without an error", err)
		}
		if _, worlds := c.worlds(newFlags(&checkFlags{}), nil); len(worlds) != max(1, len(c.environments)) {
			t.Errorf("worlds() returns %d worlds for %d environments", len(worlds), len(c.environments))
		}
	})
}
