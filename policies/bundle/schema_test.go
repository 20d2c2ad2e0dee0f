package bundle

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/invopop/jsonschema"
	corev1 "k8s.io/api/core/v1"

	"github.com/sourceward/sourceward/policies"
)

var update = flag.Bool("update", false, "write the golden files anew")

// TestSchemaIsThatOfTheGoTypes generates the schema of input and compares it with the one that
// modules are compiled against.
func TestSchemaIsThatOfTheGoTypes(t *testing.T) {
	object := &jsonschema.Schema{Type: "object", AdditionalProperties: jsonschema.TrueSchema}
	reflector := jsonschema.Reflector{
		Anonymous:      true,
		ExpandedStruct: true,
		DoNotReference: true,
		Mapper: func(t reflect.Type) *jsonschema.Schema {
			// Kubernetes objects are open: a cluster may know fields that we do not.
			switch t {
			case reflect.TypeFor[policies.Object](), reflect.TypeFor[map[string]any](),
				reflect.TypeFor[corev1.Service](), reflect.TypeFor[policies.Workload]():
				return object
			}
			return nil
		},
	}
	generated, err := json.MarshalIndent(reflector.Reflect(&policies.Document{}), "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	generated = append(generated, '\n')
	const path = "schema/input.json"
	if *update {
		if err := os.WriteFile(path, generated, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if !bytes.Equal(schema, generated) {
		t.Errorf("%s is not that of the Go types; run make generate (-want +got):\n%s", path, cmp.Diff(string(generated), string(schema)))
	}
}
