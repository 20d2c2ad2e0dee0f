package webhook

import (
	"k8s.io/utils/clock"

	"github.com/sourceward/sourceward/policies"
)

// Remembered is the memory of admitted objects, for fake neighbours.
type Remembered = admitted

func NewRemembered() *Remembered { return newAdmitted(clock.RealClock{}) }

func (a *Remembered) Add(object *policies.Object) *Admission { return a.add(object, object.Revision()) }

// Objects returns the objects that are remembered in a namespace.
func (a *Remembered) Objects(namespace string) []*policies.Object { return a.before(nil, namespace) }
