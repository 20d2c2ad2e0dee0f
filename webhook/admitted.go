package webhook

import (
	"sync"
	"time"

	"k8s.io/utils/clock"

	"github.com/sourceward/sourceward/policies"
)

// admittedFor is how long an admitted object is remembered if no watch delivers it: either a later webhook rejected
// it, or the watch lags. Watches normally lag by milliseconds.
const admittedFor = 5 * time.Second

// maxAdmitted bounds how many objects are remembered. Watches deliver thousands of objects in a second; objects
// beyond the bound are left to the look-up.
const maxAdmitted = 10_000

// admitted remembers the objects that this replica has just admitted until the watches deliver them: a client that
// applies a Service and then the Deployment behind it is faster than the watches.
type admitted struct {
	clock clock.PassiveClock

	mu         sync.Mutex
	namespaces map[string]map[policies.Ref]admission
	count      int
	// sweep is when add next removes the objects that have expired.
	sweep time.Time
}

type admission struct {
	object  *policies.Object
	expires time.Time
}

func newAdmitted(clock clock.PassiveClock) *admitted {
	return &admitted{clock: clock, namespaces: map[string]map[policies.Ref]admission{}}
}

// add remembers object and forgets its former version. If maxAdmitted other objects are remembered already, it only
// forgets the former version.
func (a *admitted) add(object *policies.Object) {
	now := a.clock.Now()
	a.mu.Lock()
	defer a.mu.Unlock()
	if now.After(a.sweep) {
		a.sweep = now.Add(admittedFor)
		for namespace, objects := range a.namespaces {
			for ref, admission := range objects {
				if now.After(admission.expires) {
					a.remove(namespace, ref)
				}
			}
		}
	}
	a.remove(object.Namespace, object.Ref)
	if a.count >= maxAdmitted {
		return
	}
	a.count++
	if a.namespaces[object.Namespace] == nil {
		a.namespaces[object.Namespace] = map[policies.Ref]admission{}
	}
	a.namespaces[object.Namespace][object.Ref] = admission{object, now.Add(admittedFor)}
}

// forget removes an object once a watch has delivered it or its deletion.
func (a *admitted) forget(ref policies.Ref) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.remove(ref.Namespace, ref)
}

func (a *admitted) remove(namespace string, ref policies.Ref) {
	if _, ok := a.namespaces[namespace][ref]; !ok {
		return
	}
	a.count--
	delete(a.namespaces[namespace], ref)
	if len(a.namespaces[namespace]) == 0 {
		delete(a.namespaces, namespace)
	}
}

// in returns the objects that are remembered in a namespace, in any order.
func (a *admitted) in(namespace string) []*policies.Object {
	now := a.clock.Now()
	a.mu.Lock()
	defer a.mu.Unlock()
	var objects []*policies.Object
	for _, admission := range a.namespaces[namespace] {
		if !now.After(admission.expires) {
			objects = append(objects, admission.object)
		}
	}
	return objects
}
