package webhook

import (
	"fmt"
	"testing"
	"time"

	clocktesting "k8s.io/utils/clock/testing"

	"github.com/sourceward/sourceward/policies"
)

func TestAdmittedIsRememberedUntilAWatchTellsOfIt(t *testing.T) {
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
		t.Errorf("remembers %d, want the one of which no watch told", count("edge"))
	}

	clock.Step(admittedFor)
	if count("edge") != 1 {
		t.Error("what is as old as allowed is forgotten")
	}
	clock.Step(time.Nanosecond)
	if count("edge") != 0 {
		t.Error("what was refused after all is remembered for ever")
	}
	// Only that of the Namespace that is written now would be seen otherwise.
	a.add(object("other", "web"))
	if len(a.namespaces) != 1 {
		t.Errorf("%d Namespaces are kept, want only the one that was written last", len(a.namespaces))
	}
	for i := range maxAdmitted + 1 {
		a.add(object("other", fmt.Sprint(i)))
	}
	if count("other") != maxAdmitted || a.count != maxAdmitted {
		t.Errorf("remembers %d, and counts %d, want no more than %d", count("other"), a.count, maxAdmitted)
	}
	for i := range maxAdmitted {
		a.forget(object("other", fmt.Sprint(i)).Ref)
	}
	a.forget(object("other", "web").Ref)
	if a.count != 0 || len(a.namespaces) != 0 {
		t.Errorf("%d are left, want none", a.count)
	}
}
