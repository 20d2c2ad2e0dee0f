package webhook

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/types"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/sourceward/sourceward/policies"
)

var start = time.Date(2026, time.December, 1, 0, 0, 0, 0, time.UTC)

func named(namespace, name string) *policies.Object {
	return &policies.Object{Ref: policies.Ref{APIVersion: "v1", Kind: "Service", Namespace: namespace, Name: name}}
}

func revision(uid, resourceVersion string) policies.Revision {
	return policies.Revision{UID: types.UID(uid), ResourceVersion: resourceVersion}
}

func TestAdmittedIsRememberedUntilAWatchDeliversIt(t *testing.T) {
	t.Parallel()
	clock := clocktesting.NewFakeClock(start)
	a := newAdmitted(clock)
	count := func(namespace string) int { return len(a.before(nil, namespace)) }

	a.add(named("edge", "web"), revision("1", ""))
	a.add(named("edge", "api"), revision("2", ""))
	a.add(named("shop", "web"), revision("3", ""))
	if count("edge") != 2 || count("shop") != 1 || count("other") != 0 {
		t.Errorf("remembers %d, %d and %d; want 2, 1 and 0", count("edge"), count("shop"), count("other"))
	}
	a.forget(named("edge", "api").Ref, revision("2", "7"))
	a.forget(named("edge", "never-seen").Ref, revision("4", "8"))
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
	a.add(named("other", "web"), revision("5", ""))
	if len(a.namespaces) != 1 {
		t.Errorf("%d Namespaces are kept, want only the one that was added last", len(a.namespaces))
	}
	for i := range maxAdmitted + 1 {
		a.add(named("other", fmt.Sprint(i)), revision("6", ""))
	}
	if count("other") != maxAdmitted || a.count != maxAdmitted {
		t.Errorf("remembers %d and counts %d, want %d", count("other"), a.count, maxAdmitted)
	}
	for i := range maxAdmitted {
		a.forget(named("other", fmt.Sprint(i)).Ref, revision("6", "9"))
	}
	a.forget(named("other", "web").Ref, revision("5", "9"))
	if a.count != 0 || len(a.namespaces) != 0 {
		t.Errorf("%d objects are left, want none", a.count)
	}
}

// TestAdmittedIsForgotten checks which events of a watch make an admitted object be forgotten.
func TestAdmittedIsForgotten(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		replaces, delivered policies.Revision
		forgotten           bool
	}{
		"it was created":                        {revision("new", ""), revision("new", "12"), true},
		"it was updated":                        {revision("web", "9"), revision("web", "12"), true},
		"it was updated by another client":      {revision("web", "100"), revision("web", "101"), true},
		"the state that it replaces":            {revision("web", "9"), revision("web", "9"), false},
		"an earlier state":                      {revision("web", "100"), revision("web", "99"), false},
		"the deletion of its predecessor":       {revision("new", ""), revision("web", "12"), false},
		"a state that cannot be compared":       {revision("web", "9"), revision("web", "newest"), true},
		"it was created without a UID":          {revision("", ""), revision("web", "12"), true},
		"its successor after its deletion":      {revision("web", "9"), revision("next", "12"), true},
		"nothing is known of what was admitted": {revision("", ""), revision("", ""), true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := newAdmitted(clocktesting.NewFakeClock(start))
			object := named("edge", "web")
			a.add(object, test.replaces)
			a.forget(object.Ref, test.delivered)
			if forgotten := len(a.before(nil, "edge")) == 0; forgotten != test.forgotten {
				t.Errorf("forgotten: %t, want %t", forgotten, test.forgotten)
			}
		})
	}
}

// TestAdmittedBefore checks that of two requests at the same time exactly one knows of the other, and that an object
// that is withdrawn leaves what was there before.
func TestAdmittedBefore(t *testing.T) {
	t.Parallel()
	a := newAdmitted(clocktesting.NewFakeClock(start))
	former, service := named("edge", "web"), named("edge", "web")
	deployment, later := named("edge", "api"), named("edge", "db")
	a.add(former, revision("web", ""))
	first := a.add(deployment, revision("api", ""))
	second := a.add(service, revision("web", "5"))
	a.add(later, revision("db", ""))

	check := func(what string, admission *Admission, want ...*policies.Object) {
		t.Helper()
		seen := map[*policies.Object]bool{}
		for _, object := range a.before(admission, "edge") {
			seen[object] = true
		}
		for _, object := range want {
			if !seen[object] {
				t.Errorf("%s: %s is not seen", what, object.Name)
			}
		}
		if diff := cmp.Diff(len(want), len(seen)); diff != "" {
			t.Errorf("%s: objects seen (-want +got):\n%s", what, diff)
		}
	}
	check("the first of two", first, former)
	check("the second of two", second, former, deployment)
	check("a request that stores nothing", nil, service, deployment, later)
	second.Withdraw()
	check("after the second was refused", nil, former, deployment, later)
	second.Withdraw()
	check("after it was withdrawn twice", nil, former, deployment, later)
	first.Withdraw()
	check("after both were refused", nil, former, later)
	(*Admission)(nil).Withdraw()
}
