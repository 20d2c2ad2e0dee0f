package policies

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sourceward/sourceward/api/v1alpha1"
)

// fakeRules counts the evaluations of each policy, and returns an error for one policy.
type fakeRules struct {
	fails     string
	evaluated map[string]int
}

func (f *fakeRules) Evaluate(_ context.Context, _ Document, applied []AppliedPolicy) []Answer {
	answers := []Answer{{}}
	for _, policy := range applied {
		f.evaluated[policy.Name]++
		answer := Answer{Policy: policy.Name}
		if policy.Name == f.fails {
			answer.Err = fmt.Errorf("it was stopped: %w than 250ms", ErrTooSlow)
		}
		answers = append(answers, answer)
	}
	return answers
}

// TestUnseenKinds checks that a kind that could not be listed is reported where it could matter, and that all other
// rules run.
func TestUnseenKinds(t *testing.T) {
	t.Parallel()
	service := func(policy corev1.ServiceExternalTrafficPolicy) *corev1.Service {
		return &corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Namespace: "edge", Name: "web"},
			Spec: corev1.ServiceSpec{
				Type: corev1.ServiceTypeLoadBalancer, ExternalTrafficPolicy: policy, Selector: map[string]string{"app": "web"},
			},
		}
	}
	workload := objectOf(t, `{apiVersion: apps/v1, kind: Deployment, metadata: {namespace: edge, name: web},
		spec: {replicas: 3, selector: {matchLabels: {app: web}}, template: {metadata: {labels: {app: web}}}}}`)
	for _, test := range []struct {
		object  *Object
		policy  corev1.ServiceExternalTrafficPolicy
		want    bool
		besides string
	}{
		{workload, "Local", true, unspreadBehindLocal.ID},
		{workload, "Cluster", false, ""},
		{&Object{Ref: serviceRef(service("Local")), Service: service("Local")}, "Local", true, unspreadBehindLocal.ID},
		{&Object{Ref: serviceRef(service("Cluster")), Service: service("Cluster")}, "Cluster", false, ""},
	} {
		in := Input{Operation: Create, Object: test.object, Namespace: Namespace{Name: "edge"}, Related: Related{
			View: ViewCluster, Unseen: []string{"Rollout.argoproj.io"},
			Services: []*corev1.Service{service(test.policy)}, Workloads: []*Workload{workload.Workload},
		}}
		decision, err := Decide(t.Context(), in, &fakeRules{}, Settings{})
		if err != nil {
			t.Fatal(err)
		}
		says := func(rule string) bool {
			return slices.ContainsFunc(decision.Findings, func(f Finding) bool { return f.Rule == rule })
		}
		if says(neighboursUnknown.ID) != test.want || test.besides != "" && !says(test.besides) {
			t.Errorf("%s behind %s: findings %v; want one of %s: %t, and one of %q",
				test.object.Ref, test.policy, decision.Findings, neighboursUnknown.ID, test.want, test.besides)
		}
	}
}

// TestFailedPolicyIsNotEvaluatedForNeighbours: a policy that uses up its time limit would do so for each Service.
func TestFailedPolicyIsNotEvaluatedForNeighbours(t *testing.T) {
	t.Parallel()
	const services = 12
	labels := map[string]string{"app": "web"}
	object := objectOf(t, `{apiVersion: apps/v1, kind: Deployment, metadata: {namespace: edge, name: web},
		spec: {replicas: 3, selector: {matchLabels: {app: web}},
			template: {metadata: {labels: {app: web}}, spec: {containers: [{name: web}]}}}}`)
	in := Input{
		Operation: Create,
		Object:    object,
		Namespace: Namespace{Name: "edge"},
		Related:   Related{View: ViewCluster},
	}
	for i := range services {
		in.Related.Services = append(in.Related.Services, &corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Namespace: "edge", Name: fmt.Sprintf("web-%d", i)},
			Spec: corev1.ServiceSpec{
				Type: corev1.ServiceTypeLoadBalancer, ExternalTrafficPolicy: corev1.ServiceExternalTrafficPolicyLocal,
				Selector: labels,
			},
		})
	}
	all := prepared(t,
		policy("slow", func(*v1alpha1.SourceIPPolicySpec) {}),
		policy("sound", func(*v1alpha1.SourceIPPolicySpec) {}))
	rules := &fakeRules{fails: "slow", evaluated: map[string]int{}}
	_, err := Decide(t.Context(), in, rules, Resolve(all, in.Object, in.Namespace))
	if faults, _ := errors.AsType[Faults](err); len(faults) != 1 || faults[0].Policy != "slow" {
		t.Errorf("Decide() error = %v, want one fault, of policy slow", err)
	}
	if rules.evaluated["slow"] != 1 || rules.evaluated["sound"] != 2+services {
		t.Errorf("evaluated %v, want slow once, and sound for the object, its repair and all Services", rules.evaluated)
	}
}

// TestFailedPolicyIsReportedOnce: an object that a webhook repairs is judged twice, and a policy that uses up its time
// limit would do so twice.
func TestFailedPolicyIsReportedOnce(t *testing.T) {
	t.Parallel()
	object, err := ReadObject("apps/v1", "Deployment", "", []byte(`{
		"metadata": {"namespace": "edge", "name": "web"},
		"spec": {"replicas": 3, "selector": {"matchLabels": {"app": "web"}},
			"template": {"metadata": {"labels": {"app": "web"}}}}
	}`))
	if err != nil {
		t.Fatal(err)
	}
	in := Input{
		Operation: Create,
		Object:    object,
		Namespace: Namespace{Name: "edge"},
		Related: Related{View: ViewCluster, Services: []*corev1.Service{{
			ObjectMeta: metav1.ObjectMeta{Namespace: "edge", Name: "web"},
			Spec: corev1.ServiceSpec{
				Type: corev1.ServiceTypeLoadBalancer, ExternalTrafficPolicy: corev1.ServiceExternalTrafficPolicyLocal,
				Selector: map[string]string{"app": "web"},
			},
		}}},
	}
	all := prepared(t,
		policy("slow", func(*v1alpha1.SourceIPPolicySpec) {}),
		policy("sound", func(spec *v1alpha1.SourceIPPolicySpec) {
			spec.Rules = []v1alpha1.RuleMode{{ID: unspreadBehindLocal.ID, Mode: v1alpha1.ModeMutate}}
		}))
	rules := &fakeRules{fails: "slow", evaluated: map[string]int{}}
	decision, err := Decide(t.Context(), in, rules, Resolve(all, in.Object, in.Namespace))
	if faults, _ := errors.AsType[Faults](err); len(faults) != 1 || faults[0].Policy != "slow" {
		t.Errorf("Decide() error = %v, want one fault, of policy slow", err)
	}
	isOther := func(f Finding) bool { return f.Rule != policyNotEvaluated.ID }
	reported := slices.DeleteFunc(slices.Clone(decision.Findings), isOther)
	if len(reported) != 1 || len(decision.Mutations()) == 0 {
		t.Errorf("findings %v and %d mutations, want one of %s, and a repair",
			reported, len(decision.Mutations()), policyNotEvaluated.ID)
	}
	const fix = "make the Rego module that the message names faster, or give Sourceward more CPU"
	if len(reported) == 1 && reported[0].Fix != fix {
		t.Errorf("the fix is %q, want %q", reported[0].Fix, fix)
	}
	if rules.evaluated["slow"] != 1 || rules.evaluated["sound"] < 3 {
		t.Errorf("evaluated %v, want slow once, and sound for the object, the Service and the repaired object",
			rules.evaluated)
	}
}

// TestRepairThatDoesNotApplyIsAFault: an object whose content disagrees with what the rules read, as one with a
// duplicate key would, must not stop the request.
func TestRepairThatDoesNotApplyIsAFault(t *testing.T) {
	t.Parallel()
	const (
		service = `{"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web",
			"annotations": {"sourceward.dev/source-ip": "preserve"}},
			"spec": {"type": "LoadBalancer", "externalTrafficPolicy": "Cluster", "selector": {"app": "web"}}}`
		deployment = `{"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
			"spec": {"replicas": 3, "selector": {"matchLabels": {"app": "web"}},
				"template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "web"}]}}}}`
	)
	tests := map[string]struct {
		apiVersion, kind, text, content string
		rule                            Rule
	}{
		"a Service without spec":        {"v1", "Service", service, `{"spec": null}`, sourceIPNeedsLocal},
		"a Service that is a list":      {"v1", "Service", service, `[]`, sourceIPNeedsLocal},
		"a Service that is null":        {"v1", "Service", service, `null`, sourceIPNeedsLocal},
		"a Service that is not JSON":    {"v1", "Service", service, `{`, sourceIPNeedsLocal},
		"a Service without a name":      {"v1", "Service", service, `{"spec": {}}`, sourceIPNeedsLocal},
		"a Deployment without template": {"apps/v1", "Deployment", deployment, `{"spec": {}}`, unspreadBehindLocal},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			object, err := ReadObject(test.apiVersion, test.kind, "edge", []byte(test.text))
			if err != nil {
				t.Fatal(err)
			}
			object.Release(func() map[string]any { return decoded([]byte(test.content)) })
			in := Input{
				Operation: Create,
				Object:    object,
				Namespace: Namespace{Name: "edge"},
				Related: Related{View: ViewCluster, Services: []*corev1.Service{{
					ObjectMeta: metav1.ObjectMeta{Namespace: "edge", Name: "front"},
					Spec: corev1.ServiceSpec{
						Type: corev1.ServiceTypeLoadBalancer, ExternalTrafficPolicy: corev1.ServiceExternalTrafficPolicyLocal,
						Selector: map[string]string{"app": "web"},
					},
				}}},
			}
			answers := []Answer{{RequireLocal: []RequireLocal{{Message: "it is wanted", Strength: StrengthSoft}}}}
			decision, err := Decide(t.Context(), in, answering(answers), Settings{Modes: map[string]Mode{
				sourceIPNeedsLocal.ID: Mutate, unspreadBehindLocal.ID: Mutate,
			}})
			if faults, _ := errors.AsType[Faults](err); len(faults) != 1 || faults[0].Policy != "" ||
				!strings.Contains(err.Error(), "the repair does not apply") {
				t.Errorf("Decide() error = %v, want one fault, of the built-in rules, about the repairs", err)
			}
			modes := map[string]Mode{}
			for _, finding := range decision.Findings {
				modes[finding.Rule] = finding.Mode
			}
			if modes[test.rule.ID] != Warn || modes[policyNotEvaluated.ID] != Warn {
				t.Errorf("modes of the findings are %v, want %s and %s as warnings",
					modes, test.rule.ID, policyNotEvaluated.ID)
			}
			if mutations := decision.Mutations(); mutations != nil {
				t.Errorf("Decide() mutates %v, want nothing", mutations)
			}
		})
	}
}

// answering returns the same answers to every question.
type answering []Answer

func (a answering) Evaluate(context.Context, Document, []AppliedPolicy) []Answer { return a }

// TestMisplacedKeyIsEscaped: a slash in a key must not look like the end of a part of the path.
func TestMisplacedKeyIsEscaped(t *testing.T) {
	t.Parallel()
	object, err := NewObject(map[string]any{
		"apiVersion": "v1", "kind": "Service", "metadata": map[string]any{"name": "web"},
		"spec": map[string]any{
			"type": "LoadBalancer", "ports": []any{map[string]any{"port": int64(80)}}, "external/TrafficPolicy": "Local",
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	in := Input{Operation: Create, Object: object, Related: Related{View: ViewFiles}, InFile: InFileAbsent}
	decision, err := Decide(t.Context(), in, answering(nil), Settings{})
	isMisplaced := func(p Patch) bool {
		return p.Rule == misplacedField.ID && p.Operations[0].Path == "/spec/external~1TrafficPolicy"
	}
	if err != nil || !slices.ContainsFunc(decision.Patches, isMisplaced) {
		t.Errorf("Decide() = %+v, %v; want a repair of the misplaced field", decision, err)
	}
}
