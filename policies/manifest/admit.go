package manifest

import (
	"fmt"

	"github.com/sourceward/sourceward/policies"
)

// Admit lets the neighbours of an object see it as a webhook would have changed it. The object itself
// stays as it was read.
// The error is non-nil when the operations do not apply to the object.
func (m *Manifests) Admit(o *Object, operations []policies.PatchOperation) error {
	admitted, err := o.Patched(operations)
	if err != nil {
		return fmt.Errorf("admit: %w", err)
	}
	m.index.Put(admitted)
	return nil
}
