package manifest

import (
	"fmt"

	"github.com/sourceward/sourceward/policies"
)

// Admit applies operations to a copy of o and makes the neighbours of o see that copy, as they would after a
// mutating webhook has changed it. o itself does not change.
// The error is non-nil when the operations cannot be applied to the object.
func (m *Manifests) Admit(o *Object, operations []policies.PatchOperation) error {
	admitted, err := o.Patched(operations)
	if err != nil {
		return fmt.Errorf("admit: %w", err)
	}
	m.index.PutCopy(admitted, o.number)
	for _, v := range o.variants {
		if admitted, err = v.Patched(operations); err != nil {
			return fmt.Errorf("admit: %w", err)
		}
		m.index.PutCopy(admitted, v.number)
	}
	return nil
}
