package manifest

import (
	"encoding/json"
	"fmt"

	jsonpatch "github.com/evanphx/json-patch/v5"
	utiljson "k8s.io/apimachinery/pkg/util/json"

	"github.com/sourceward/sourceward/policies"
)

// Admit lets the neighbours of an object see it as a webhook would have changed it. The object itself
// stays as it was read.
// The error is non-nil when the operations do not apply to the object.
func (m *Manifests) Admit(o *Object, operations []policies.PatchOperation) error {
	document, err := json.Marshal(o.Object)
	if err != nil {
		return fmt.Errorf("admit %s: %w", o.Ref, err)
	}
	text, err := json.Marshal(operations)
	if err != nil {
		return fmt.Errorf("admit %s: %w", o.Ref, err)
	}
	patch, err := jsonpatch.DecodePatch(text)
	if err != nil {
		return fmt.Errorf("admit %s: %w", o.Ref, err)
	}
	if document, err = patch.Apply(document); err != nil {
		return fmt.Errorf("admit %s: %w", o.Ref, err)
	}
	var content map[string]any
	if err := utiljson.Unmarshal(document, &content); err != nil {
		return fmt.Errorf("admit %s: %w", o.Ref, err)
	}
	admitted, err := policies.NewObject(content)
	if err != nil {
		return fmt.Errorf("admit %s: %w", o.Ref, err)
	}
	m.index.Put(admitted)
	return nil
}
