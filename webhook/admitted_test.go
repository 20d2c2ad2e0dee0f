package webhook

import (
	"fmt"
	"testing"
	"time"

	clocktesting "k8s.io/utils/clock/testing"

	"github.com/sourceward/sourceward/policies"
)

func TestAdmittedIsRememberedUntilAWatchDeliversIt(t *testing.T) {
	t.Parallel()
	clock := clocktesting.NewFakeClock(time.Date(2026, time.December, 1, 0, 0, 0, 0, time.UTC))
	a := newAdmitted(clock)
	object := func(namespace, name string) *policies.Object {
		return &policies.Object{Ref: policies.Ref{APIVersion: "v1", Kind: "Service", Namespace: namespace, Name: name}}
	}
	count := func(namespace string) int { return len(a.in(namespace)) }

	a.add(object("edge", "web"))
	a.add(object("edge", "api"))
	a.add(object("shop", "web"))
	if count("edge") != 2 || count("shop") != 1 || count("other") != 0 {
		t.Errorf("remembers %d, %d and %d; want 2, 1 and 0", count("edge"), count("shop"), count("other"))
	}
	a.add(object("edge", "web"))
	a.forget(object("edge", "api").Ref)
	a.forget(object("edge", "never-seen").Ref)
	if count("edge") != 1 {
		t.Errorf("remembers %d, want only the one that no watch has delivered", count("edge"))
	}

	clock.Step(admittedFor)
	if count("edge") != 1 {
		t.Error("an object is forgotten before admittedFor is over")
	}
	clock.Step(time.Nanosecond)
	if count("edge") != 0 {
		t.Error("an object that a later webhook rejected is remembered forever")
	}
	// add removes the expired objects of all Namespaces, not only of the one that it adds to.
	a.add(object("other", "web"))
	if len(a.namespaces) != 1 {
		t.Errorf("%d Namespaces are kept, want only the one that was added last", len(a.namespaces))
	}
	for i := range maxAdmitted + 1 {
		a.add(object("other", fmt.Sprint(i)))
	}
	if count("other") != maxAdmitted || a.count != maxAdmitted {
		t.Errorf("remembers %d and counts %d, want %d", count("other"), a.count, maxAdmitted)
	}
	for i := range maxAdmitted {
		a.forget(object("other", fmt.Sprint(i)).Ref)
	}
	a.forget(object("other", "web").Ref)
	if a.count != 0 || len(a.namespaces) != 0 {
		t.Errorf("%d objects are left, want none", a.count)
	}
}
