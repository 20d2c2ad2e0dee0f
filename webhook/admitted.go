package webhook

import (
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/util/resourceversion"
	"k8s.io/utils/clock"

	"github.com/sourceward/sourceward/policies"
)

// admittedFor is how long an admitted object is remembered if no watch delivers it: either a later webhook rejected
// it, or the watch lags. Watches normally lag by milliseconds.
const admittedFor = 5 * time.Second

// maxAdmitted bounds how many objects are remembered. Watches deliver thousands of objects in a second; objects
// beyond the bound are left to the look-up.
const maxAdmitted = 10_000

// admitted remembers the objects that this replica is about to admit or has just admitted, until the watches deliver
// them: a client that applies a Service and then the Deployment behind it is faster than the watches.
//
// Admissions are in the order in which they were added, and each request takes into account only those before its
// own. So of two requests at the same time, exactly one knows of the other.
type admitted struct {
	clock clock.PassiveClock

	mu sync.Mutex
	// namespaces holds the admissions of each object, in order.
	namespaces map[string]map[policies.Ref][]*Admission
	// added is the number of all admissions that were ever added, count the number of those that are remembered.
	added, count int
	// sweep is when add next removes the admissions that have expired.
	sweep time.Time
}

// Admission is an object that this replica is about to admit or has admitted.
type Admission struct {
	of     *admitted
	object *policies.Object
	// replaces is the stored revision that the object replaces. A new object has a UID, and no ResourceVersion.
	replaces policies.Revision
	number   int
	expires  time.Time
}

// Withdraw forgets an object that is not admitted after all. Its former state counts again, if it is still remembered.
// Withdraw does nothing if a is nil.
func (a *Admission) Withdraw() {
	if a == nil {
		return
	}
	a.of.mu.Lock()
	defer a.of.mu.Unlock()
	a.of.remove(a.object.Ref, func(other *Admission) bool { return other == a })
}

func newAdmitted(clock clock.PassiveClock) *admitted {
	return &admitted{clock: clock, namespaces: map[string]map[policies.Ref][]*Admission{}}
}

// add remembers object, which is to replace a stored revision. If maxAdmitted admissions are remembered already, it is
// never returned by before.
func (a *admitted) add(object *policies.Object, replaces policies.Revision) *Admission {
	now := a.clock.Now()
	a.mu.Lock()
	defer a.mu.Unlock()
	if now.After(a.sweep) {
		a.sweep = now.Add(admittedFor)
		for _, objects := range a.namespaces {
			for ref := range objects {
				a.remove(ref, func(admission *Admission) bool { return now.After(admission.expires) })
			}
		}
	}
	a.added++
	admission := &Admission{of: a, object: object, replaces: replaces, number: a.added, expires: now.Add(admittedFor)}
	if a.count >= maxAdmitted {
		return admission
	}
	a.count++
	if a.namespaces[object.Namespace] == nil {
		a.namespaces[object.Namespace] = map[policies.Ref][]*Admission{}
	}
	a.namespaces[object.Namespace][object.Ref] = append(a.namespaces[object.Namespace][object.Ref], admission)
	return admission
}

// forget removes the admissions of an object that a revision makes obsolete, which a watch has delivered.
func (a *admitted) forget(ref policies.Ref, revision policies.Revision) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.remove(ref, func(admission *Admission) bool { return admission.isObsolete(revision) })
}

// isObsolete reports whether a watch that has delivered a revision has also delivered a, or the change that kept a from
// being stored. It is false for a revision that is not newer than the one that a replaces, and for another object of
// the same name if a is new: that one was deleted before.
func (a *Admission) isObsolete(revision policies.Revision) bool {
	if a.replaces.ResourceVersion == "" {
		return a.replaces.UID == "" || a.replaces.UID == revision.UID
	}
	order, err := resourceversion.CompareResourceVersion(revision.ResourceVersion, a.replaces.ResourceVersion)
	return err != nil || order > 0
}

func (a *admitted) remove(ref policies.Ref, unwanted func(*Admission) bool) {
	objects := a.namespaces[ref.Namespace]
	admissions, ok := objects[ref]
	if !ok {
		return
	}
	left := slices.DeleteFunc(admissions, unwanted)
	a.count -= len(admissions) - len(left)
	objects[ref] = left
	if len(left) == 0 {
		delete(objects, ref)
	}
	if len(objects) == 0 {
		delete(a.namespaces, ref.Namespace)
	}
}

// before returns the objects in a namespace that were admitted before an admission, in any order; all if it is nil.
func (a *admitted) before(admission *Admission, namespace string) []*policies.Object {
	now := a.clock.Now()
	a.mu.Lock()
	defer a.mu.Unlock()
	var objects []*policies.Object
	for _, admissions := range a.namespaces[namespace] {
		for _, other := range slices.Backward(admissions) {
			if (admission == nil || other.number < admission.number) && !now.After(other.expires) {
				objects = append(objects, other.object)
				break
			}
		}
	}
	return objects
}
