package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/invopop/jsonschema"

	"github.com/sourceward/sourceward/policies"
)

// TestSchemaOfTheReportMatchesItsTypes generates the JSON schema of -o json from the Go types and their comments, and
// compares it with the file. With -update it writes the file. Other tests validate reports with it.
func TestSchemaOfTheReportMatchesItsTypes(t *testing.T) {
	schema := reportSchema(t)
	matchesFile(t, "report.schema.json", schema)
	documented(t, "report", schema)
	for name, definition := range schema.Definitions {
		documented(t, name, definition)
	}
}

// documented fails the test unless a type and its properties have a description.
func documented(t *testing.T, name string, schema *jsonschema.Schema) {
	t.Helper()
	if schema.Description == "" {
		t.Errorf("%s has no comment", name)
	}
	for property := schema.Properties.Oldest(); property != nil; property = property.Next() {
		if property.Value.Description == "" {
			t.Errorf("%s of %s has no comment", property.Key, name)
		}
	}
}

// TestSchemaOfTheTrafficMatchesItsTypes does the same for -o json of traffic.
func TestSchemaOfTheTrafficMatchesItsTypes(t *testing.T) {
	schema := schemaOf(t, trafficReport{}, "traffic_report.go", "report.go",
		"../../policies/traffic.go", "../../policies/load_balancer.go", "../../policies/ref.go")
	schema.Title = "report of sourceward traffic"
	property(schema, "apiVersion").Const = emptyReport().APIVersion
	property(schema, "kind").Const = trafficKind
	matchesFile(t, "traffic.schema.json", schema)
	documented(t, "report", schema)
	for name, definition := range schema.Definitions {
		documented(t, name, definition)
	}
}

func reportSchema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	schema := schemaOf(t, report{}, "report.go", "baseline.go",
		"../../policies/decision.go", "../../policies/patch.go", "../../policies/ref.go")
	schema.Title = "report of sourceward check"
	constant := emptyReport()
	property(schema, "apiVersion").Const = constant.APIVersion
	property(schema, "kind").Const = constant.Kind
	for _, name := range []string{"finding", "goneFinding"} {
		property(schema.Definitions[name], "fingerprint").Pattern = "^[0-9a-f]{64}$"
	}
	return schema
}

// schemaOf returns the schema of a value. The Go files have the comments of its types.
func schemaOf(t *testing.T, value any, files ...string) *jsonschema.Schema {
	t.Helper()
	comments := comments(t, files...)
	reflector := jsonschema.Reflector{
		Anonymous:      true,
		ExpandedStruct: true,
		// A newer version may add properties.
		AllowAdditionalProperties: true,
		// AddGoComments of the library leaves out types that are not exported.
		LookupComment: func(of reflect.Type, field string) string {
			if field == "" {
				return comments[of.Name()]
			}
			return withKeys(of, comments[of.Name()+"."+field])
		},
		Mapper: func(of reflect.Type) *jsonschema.Schema {
			switch of {
			case reflect.TypeFor[policies.Mode]():
				return oneOf(policies.Modes)
			case reflect.TypeFor[policies.Severity]():
				return oneOf(policies.Severities)
			}
			return nil
		},
	}
	return reflector.Reflect(value)
}

func property(schema *jsonschema.Schema, key string) *jsonschema.Schema {
	value, _ := schema.Properties.Get(key)
	return value
}

func oneOf[T ~string](values []T) *jsonschema.Schema {
	schema := &jsonschema.Schema{Type: "string"}
	for _, value := range values {
		schema.Enum = append(schema.Enum, string(value))
	}
	return schema
}

// comments returns the comments of the types and of their fields in Go files, by Type and by Type.Field. A field
// without a comment has the one above it, if that names it.
func comments(t *testing.T, files ...string) map[string]string {
	t.Helper()
	found := map[string]string{}
	for _, name := range files {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		for _, declaration := range file.Decls {
			types, ok := declaration.(*ast.GenDecl)
			if !ok || types.Tok != token.TYPE {
				continue
			}
			spec := types.Specs[0].(*ast.TypeSpec)
			found[spec.Name.Name] = oneLine(types.Doc)
			fields, ok := spec.Type.(*ast.StructType)
			if !ok {
				continue
			}
			comment := ""
			for _, field := range fields.Fields.List {
				if field.Doc != nil {
					comment = oneLine(field.Doc)
				}
				for _, name := range field.Names {
					if field.Doc != nil || strings.Contains(comment, name.Name) {
						found[spec.Name.Name+"."+name.Name] = comment
					}
				}
			}
		}
	}
	return found
}

func oneLine(comment *ast.CommentGroup) string {
	return strings.Join(strings.Fields(comment.Text()), " ")
}

// withKeys returns a comment in which the fields of a type have the names that they have in JSON.
func withKeys(of reflect.Type, comment string) string {
	keys := map[string]string{}
	for field := range of.Fields() {
		keys[field.Name], _, _ = strings.Cut(field.Tag.Get("json"), ",")
	}
	return regexp.MustCompile(`\w+`).ReplaceAllStringFunc(comment, func(word string) string {
		if key := keys[word]; key != "" {
			return key
		}
		return word
	})
}
