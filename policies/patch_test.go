package policies

import (
	"encoding/json"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	jsonpatch "github.com/evanphx/json-patch/v5"
	"k8s.io/apimachinery/pkg/runtime"
	utiljson "k8s.io/apimachinery/pkg/util/json"
)

// TestOperationsApplyLikeJSONPatch applies random operations to random documents, and compares the result with that of
// a library. The document itself must not change.
func TestOperationsApplyLikeJSONPatch(t *testing.T) {
	t.Parallel()
	const seed, patches = 18, 20_000
	random := rand.New(rand.NewPCG(seed, 0))
	keys := []string{"a", "b", "a/b", "m~n", "0"}
	var value func(depth int) any
	value = func(depth int) any {
		switch n := random.IntN(7); {
		case n < 2 && depth > 0:
			object := map[string]any{}
			for range random.IntN(4) {
				object[keys[random.IntN(len(keys))]] = value(depth - 1)
			}
			return object
		case n < 4 && depth > 0:
			list := []any{}
			for range random.IntN(3) {
				list = append(list, value(depth-1))
			}
			return list
		case n == 4:
			return nil
		default:
			return []any{"x", int64(1), true}[random.IntN(3)]
		}
	}
	applied, refused := 0, 0
	for range patches {
		content := map[string]any{"a": value(3), "b": value(3)}
		operation := PatchOperation{Op: []string{"add", "remove"}[random.IntN(2)]}
		for range 1 + random.IntN(3) {
			part := append(keys, "-", "1", "2")[random.IntN(len(keys)+3)]
			operation.Path += pointer(part)
		}
		if operation.Op == "add" {
			operation.Value = []any{"new", map[string]any{"a": "b"}, []any{"x"}}[random.IntN(3)]
		}
		before := runtime.DeepCopyJSON(content)
		got, err := operation.apply(content)
		if !reflect.DeepEqual(content, before) {
			t.Fatalf("%+v changed the document %v to %v", operation, before, content)
		}
		text, _ := json.Marshal([]PatchOperation{operation})
		patch, wrong := jsonpatch.DecodePatch(text)
		if wrong != nil {
			t.Fatal(wrong)
		}
		document, _ := json.Marshal(content)
		patched, wrong := patch.Apply(document)
		if (err == nil) != (wrong == nil) {
			t.Fatalf("%s on %s: error %v, want %v", text, document, err, wrong)
		}
		if err != nil {
			refused++
			if !strings.Contains(err.Error(), operation.Path) {
				t.Errorf("the error %q does not name the path %s", err, operation.Path)
			}
			continue
		}
		applied++
		var want map[string]any
		if err := utiljson.Unmarshal(patched, &want); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("%s on %s: %v, want %v", text, document, got, want)
		}
	}
	if t.Logf("%d operations applied, %d refused (seed %d)", applied, refused, seed); applied < 1000 || refused < 1000 {
		t.Error("the operations are all of one sort")
	}
}
