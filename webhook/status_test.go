package webhook

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/sourceward/sourceward/api/v1alpha1"
	"github.com/sourceward/sourceward/policies/bundle"
)

func TestStatusReportsWhatIsInForce(t *testing.T) {
	t.Parallel()
	problems := []*bundle.Error{
		{Policy: "corp", Module: "corp.rego", Row: 2, Column: 1, Line: "deny := true", Message: "deny must be a partial set"},
		{Policy: "corp", Message: "spec.loadBalancers: there is no provider"},
	}
	const why = "SourceIPPolicy corp: corp.rego:2:1: deny must be a partial set\n  2 | deny := true\n    | ^\n" +
		"SourceIPPolicy corp: spec.loadBalancers: there is no provider"
	condition := func(kind string, status metav1.ConditionStatus, reason, message string) metav1.Condition {
		return metav1.Condition{Type: kind, Status: status, Reason: reason, Message: message, ObservedGeneration: 5}
	}
	former := &bundle.Policy{Rules: []string{"corp"}}
	tests := map[string]struct {
		compiled         compiledPolicy
		selectsNamespace bool
		want             v1alpha1.SourceIPPolicyStatus
	}{
		"it compiles": {
			compiledPolicy{generation: 5, inForce: former, inForceGeneration: 5},
			true,
			v1alpha1.SourceIPPolicyStatus{ObservedGeneration: 5, Rules: []string{"corp"}, Conditions: []metav1.Condition{
				condition("Ready", metav1.ConditionTrue, "Compiled", "generation 5 is in force"),
				condition("Degraded", metav1.ConditionFalse, "Compiled", "generation 5 is in force"),
			}},
		},
		"it compiles, and matches no Namespace": {
			compiledPolicy{generation: 5, inForce: former, inForceGeneration: 5},
			false,
			v1alpha1.SourceIPPolicyStatus{ObservedGeneration: 5, Rules: []string{"corp"}, Conditions: []metav1.Condition{
				condition("Ready", metav1.ConditionTrue, "Compiled", "generation 5 is in force, but spec.match selects no "+
					"existing Namespace: it has no effect until one matches"),
				condition("Degraded", metav1.ConditionFalse, "Compiled", "generation 5 is in force"),
			}},
		},
		"an earlier generation compiles": {
			compiledPolicy{generation: 5, inForce: former, inForceGeneration: 3, problems: problems},
			true,
			v1alpha1.SourceIPPolicyStatus{ObservedGeneration: 5, Rules: []string{"corp"}, Conditions: []metav1.Condition{
				condition("Ready", metav1.ConditionFalse, "CompileFailed", why),
				condition("Degraded", metav1.ConditionTrue, "FormerInForce",
					"generation 5 does not compile: generation 3 is in force"),
			}},
		},
		"no generation compiles": {
			compiledPolicy{generation: 5, problems: problems},
			true,
			v1alpha1.SourceIPPolicyStatus{ObservedGeneration: 5, Conditions: []metav1.Condition{
				condition("Ready", metav1.ConditionFalse, "CompileFailed", why),
				condition("Degraded", metav1.ConditionTrue, "NotInForce",
					"generation 5 does not compile, and no earlier generation that compiles is known: "+
						"nothing of this policy is in force"),
			}},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := v1alpha1.SourceIPPolicyStatus{ObservedGeneration: 4, Rules: []string{"gone"}}
			test.compiled.status(&got, test.selectsNamespace)
			if diff := cmp.Diff(test.want, got, cmpopts.IgnoreFields(metav1.Condition{}, "LastTransitionTime")); diff != "" {
				t.Errorf("status() mismatch (-want +got):\n%s", diff)
			}
			again := *got.DeepCopy()
			test.compiled.status(&again, test.selectsNamespace)
			if diff := cmp.Diff(got, again); diff != "" {
				t.Errorf("status() is not the same again (-first +second):\n%s", diff)
			}
		})
	}
}

// TestStatusIsWrittenOnlyWhenItChanges checks that a pass over the policies, which every change of a Namespace causes,
// writes nothing that is stored already.
func TestStatusIsWrittenOnlyWhenItChanges(t *testing.T) {
	t.Parallel()
	scheme := runtime.NewScheme()
	if err := errors.Join(v1alpha1.AddToScheme(scheme), corev1.AddToScheme(scheme)); err != nil {
		t.Fatal(err)
	}
	policy := &v1alpha1.SourceIPPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: "corp", UID: "u1", Generation: 1},
		Spec: v1alpha1.SourceIPPolicySpec{Match: &v1alpha1.Match{
			NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"team": "edge"}},
		}},
	}
	cluster := fake.NewClientBuilder().WithScheme(scheme).WithObjects(policy).WithStatusSubresource(policy).Build()
	recorder := events.NewFakeRecorder(10)
	writer := &statusWriter{client: cluster, recorder: recorder, log: logr.Discard()}
	compiled := []compiledPolicy{{name: "corp", uid: "u1", generation: 1, inForce: &bundle.Policy{}, inForceGeneration: 1}}
	namespace := func(name string, labels map[string]string) *corev1.Namespace {
		return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}}
	}
	const idle = ", but spec.match selects no existing Namespace: it has no effect until one matches"
	for _, step := range []struct {
		what      string
		namespace *corev1.Namespace // to be created
		written   bool
		message   string
	}{
		{"at first", nil, true, idle},
		{"again", nil, false, idle},
		{"with a Namespace that does not match", namespace("mail", nil), false, idle},
		{"with one that matches", namespace("edge", map[string]string{"team": "edge"}), true, ""},
		{"with another that matches", namespace("edge-2", map[string]string{"team": "edge"}), false, ""},
	} {
		if step.namespace != nil {
			if err := cluster.Create(t.Context(), step.namespace); err != nil {
				t.Fatal(err)
			}
		}
		written, err := writer.writeAll(t.Context(), compiled)
		if err != nil {
			t.Fatal(err)
		}
		var stored v1alpha1.SourceIPPolicy
		if err := cluster.Get(t.Context(), client.ObjectKeyFromObject(policy), &stored); err != nil {
			t.Fatal(err)
		}
		message, want := stored.Status.Conditions[0].Message, "generation 1 is in force"+step.message
		if written != step.written || message != want {
			t.Errorf("%s: written: %t, %q; want %t, %q", step.what, written, message, step.written, want)
		}
	}
	if len(recorder.Events) != 1 {
		t.Errorf("%d Events, want one, when the policy was compiled", len(recorder.Events))
	}
}

// TestStatusFitsIntoItsBounds checks a limit beyond which an API server rejects the status.
func TestStatusFitsIntoItsBounds(t *testing.T) {
	t.Parallel()
	compiled := compiledPolicy{generation: 1}
	for range 1000 {
		compiled.problems = append(compiled.problems, &bundle.Error{Policy: "corp", Message: strings.Repeat("é", 100)})
	}
	var status v1alpha1.SourceIPPolicyStatus
	compiled.status(&status, true)
	message := status.Conditions[0].Message
	if len(message) > maxConditionMessage || !strings.Contains(message, "é…é") || !strings.HasSuffix(message, "é") {
		t.Errorf("a message has %d bytes, want at most %d and its middle left out", len(message), maxConditionMessage)
	}
}

// TestStatusIsDroppedByAnOldSchema checks that a replica says so if the API server does not know lastCompiled: it
// ignores the field, and an update that changes nothing else leaves the object as it is.
func TestStatusIsDroppedByAnOldSchema(t *testing.T) {
	t.Parallel()
	c := newPolicyCluster(t, bundle.NewCompiler(nil))
	c.store("u1", 1, goodSpec(1))
	replica := c.start()
	replica.work()
	c.storeLastCompiled(nil)
	replica.writer.client = interceptor.NewClient(c.Client.(client.WithWatch), interceptor.Funcs{
		SubResourceUpdate: func(
			context.Context, client.Client, string, client.Object, ...client.SubResourceUpdateOption,
		) error {
			return nil
		},
	})
	written, err := replica.writer.writeAll(t.Context(), replica.source.current.Load().policies)
	if written || err == nil || !strings.Contains(err.Error(), "apply config/crd") {
		t.Errorf("written: %t, error %v; want an error that says what to do", written, err)
	}
	if logged := *replica.errors; len(logged) != 1 || !strings.Contains(logged[0], "apply config/crd") {
		t.Errorf("the errors in the log are %q", logged)
	}
}

// TestLastCompiledIsNotReplacedByAFormerOne checks that a replica that cannot compile the stored generation leaves it
// to the version of Sourceward that could.
func TestLastCompiledIsNotReplacedByAFormerOne(t *testing.T) {
	t.Parallel()
	stored := &v1alpha1.Revision{Generation: 4, Spec: []byte("of another version")}
	for inForce, want := range map[int64]int64{3: 4, 4: 4, 5: 5} {
		status := v1alpha1.SourceIPPolicyStatus{LastCompiled: stored}
		compiled := compiledPolicy{generation: 5, inForce: &bundle.Policy{}, inForceGeneration: inForce}
		if err := compiled.remember(&status); err != nil {
			t.Fatal(err)
		}
		isReplaced := status.LastCompiled != stored
		if got := status.LastCompiled.Generation; got != want || isReplaced != (inForce > 3) {
			t.Errorf("with generation %d in force, lastCompiled is generation %d, want %d", inForce, got, want)
		}
	}
}
