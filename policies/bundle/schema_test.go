package bundle

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/invopop/jsonschema"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/sourceward/sourceward/policies"
)

var update = flag.Bool("update", false, "write the golden files")

// TestSchemaMatchesTheGoTypes generates the schema of input, and compares it with the embedded one.
func TestSchemaMatchesTheGoTypes(t *testing.T) {
	object := &jsonschema.Schema{Type: "object", AdditionalProperties: jsonschema.TrueSchema}
	reflector := jsonschema.Reflector{
		Anonymous:      true,
		ExpandedStruct: true,
		DoNotReference: true,
		Mapper: func(t reflect.Type) *jsonschema.Schema {
			// Kubernetes objects are open: a newer cluster may have more fields.
			switch t {
			case reflect.TypeFor[policies.Object](), reflect.TypeFor[map[string]any](),
				reflect.TypeFor[corev1.Service](), reflect.TypeFor[policies.Workload]():
				return object
			}
			return nil
		},
	}
	matches(t, "schema/input.json", reflector.Reflect(&policies.Document{}), schema)
}

// TestSchemaOfKindsMatchesTheGoTypes does the same for the kinds of input.object.
func TestSchemaOfKindsMatchesTheGoTypes(t *testing.T) {
	text := &jsonschema.Schema{Type: "string"}
	reflector := jsonschema.Reflector{
		Anonymous:      true,
		ExpandedStruct: true,
		Mapper: func(t reflect.Type) *jsonschema.Schema {
			// The JSON of these types is defined by their own marshalers.
			switch t {
			case reflect.TypeFor[metav1.Time](), reflect.TypeFor[metav1.MicroTime]():
				return text
			case reflect.TypeFor[resource.Quantity](), reflect.TypeFor[intstr.IntOrString]():
				return &jsonschema.Schema{AnyOf: []*jsonschema.Schema{text, {Type: "number"}}}
			case reflect.TypeFor[metav1.FieldsV1](), reflect.TypeFor[runtime.RawExtension]():
				return &jsonschema.Schema{Type: "object", AdditionalProperties: jsonschema.TrueSchema}
			}
			return nil
		},
	}
	kinds := struct {
		Service    corev1.Service
		Deployment appsv1.Deployment
		DaemonSet  appsv1.DaemonSet
		ReplicaSet appsv1.ReplicaSet

		ReplicationController corev1.ReplicationController
		PodTemplate           corev1.PodTemplate
		Pod                   corev1.Pod
	}{}
	matches(t, "schema/kinds.json", reflector.Reflect(kinds), kindsSchema)
	for _, kind := range policies.WorkloadKinds {
		isCustom := slices.ContainsFunc(policies.WorkloadKinds, func(k policies.WorkloadKind) bool {
			return k.Kind == kind.Kind && k.Custom
		})
		if _, ok := reflect.TypeOf(kinds).FieldByName(kind.Kind); ok == isCustom {
			t.Errorf("schema/kinds.json has %s: %t; this test must list the Go types of all kinds that are never custom",
				kind.Kind, ok)
		}
	}
}

// TestProvidersMatchTheirFiles compares the provider table in JSON with the files that it is generated from.
func TestProvidersMatchTheirFiles(t *testing.T) {
	table := load(func(path string) bool { return !strings.HasSuffix(path, ".rego") }).Documents
	matches(t, "providers.json", table, providersJSON)
}

// matches compares a generated file with the embedded one. With -update it writes the file.
func matches(t *testing.T, path string, generated any, have []byte) {
	t.Helper()
	want, err := json.MarshalIndent(generated, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	want = append(want, '\n')
	if *update {
		if err := os.WriteFile(path, want, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if !bytes.Equal(have, want) {
		t.Errorf("%s does not match what it is generated from; run make generate (-want +got):\n%s",
			path, cmp.Diff(string(want), string(have)))
	}
}
