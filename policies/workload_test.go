package policies

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/sourceward/sourceward/api/v1alpha1"
)

func workloadOf(t *testing.T, text string) *Workload {
	t.Helper()
	return objectOf(t, text).Workload
}

func objectOf(t *testing.T, text string) *Object {
	t.Helper()
	var content map[string]any
	if err := yaml.Unmarshal([]byte(text), &content); err != nil {
		t.Fatal(err)
	}
	object, err := NewObject(content)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return object
}

// TestLimits compares with numbers that were worked out by hand. Except for DaemonSets and CloneSets, maxUnavailable is
// rounded down; maxSurge is rounded up.
func TestLimits(t *testing.T) {
	t.Parallel()
	type limits struct {
		Type                 UpdateType
		Unavailable, Surplus int
	}
	tests := []struct {
		apiVersion, kind, spec string
		replicas               int
		want                   limits
	}{
		{"apps/v1", "Deployment", "", 3, limits{UpdateRolling, 0, 1}},
		{"apps/v1", "Deployment", "", 4, limits{UpdateRolling, 1, 1}},
		{"apps/v1", "Deployment", "", 9, limits{UpdateRolling, 2, 3}},
		{"apps/v1", "Deployment", "strategy: {type: Recreate}", 3, limits{UpdateRecreate, 0, 1}},
		{
			"apps/v1", "Deployment", "strategy: {rollingUpdate: {maxSurge: 0, maxUnavailable: 10%}}",
			3, limits{UpdateRolling, 1, 0},
		},
		{
			"apps/v1", "Deployment", "strategy: {rollingUpdate: {maxSurge: 2, maxUnavailable: 0}}",
			3, limits{UpdateRolling, 0, 2},
		},
		{"apps/v1", "StatefulSet", "", 3, limits{UpdateRolling, 1, 0}},
		{"apps/v1", "StatefulSet", "updateStrategy: {rollingUpdate: {maxUnavailable: 50%}}", 4, limits{UpdateRolling, 2, 0}},
		{"apps/v1", "StatefulSet", "updateStrategy: {type: OnDelete}", 3, limits{UpdateOnDelete, 1, 0}},
		{"apps/v1", "DaemonSet", "", 3, limits{UpdateRolling, 1, 0}},
		{
			"apps/v1", "DaemonSet", "updateStrategy: {rollingUpdate: {maxSurge: 1, maxUnavailable: 0}}",
			3, limits{UpdateRolling, 0, 1},
		},
		{"apps/v1", "DaemonSet", "updateStrategy: {rollingUpdate: {maxUnavailable: 70%}}", 3, limits{UpdateRolling, 3, 0}},
		{"apps/v1", "ReplicaSet", "", 3, limits{"", 0, 0}},
		{"v1", "ReplicationController", "", 3, limits{"", 0, 0}},
		{"argoproj.io/v1alpha1", "Rollout", "strategy: {canary: {}}", 3, limits{UpdateRolling, 0, 1}},
		{
			"argoproj.io/v1alpha1", "Rollout", "strategy: {canary: {maxSurge: 0, maxUnavailable: 1}}",
			3, limits{UpdateRolling, 1, 0},
		},
		{
			"argoproj.io/v1alpha1", "Rollout", "strategy: {canary: {maxSurge: 0, maxUnavailable: 5%}}",
			3, limits{UpdateRolling, 1, 0},
		},
		{"argoproj.io/v1alpha1", "Rollout", "strategy: {blueGreen: {activeService: web}}", 3, limits{UpdateRolling, 0, 3}},
		{
			"argoproj.io/v1alpha1", "Rollout",
			"strategy: {canary: {maxSurge: 0, maxUnavailable: 1, trafficRouting: {nginx: {stableIngress: web}}}}",
			3, limits{UpdateRolling, 0, 3},
		},
		{
			"argoproj.io/v1alpha1", "Rollout",
			"strategy: {canary: {maxUnavailable: 100%, dynamicStableScale: true, trafficRouting: {}}}",
			3, limits{UpdateRolling, 0, 1},
		},
		{"apps.kruise.io/v1alpha1", "CloneSet", "", 5, limits{UpdateRolling, 1, 0}},
		{"apps.kruise.io/v1alpha1", "CloneSet", "", 3, limits{UpdateRolling, 1, 0}},
		{"apps/v1", "StatefulSet", "updateStrategy: {rollingUpdate: {maxUnavailable: 10%}}", 3, limits{UpdateRolling, 1, 0}},
		{"apps/v1", "DaemonSet", "updateStrategy: {rollingUpdate: {maxUnavailable: 10%}}", 3, limits{UpdateRolling, 1, 0}},
		{"apps.kruise.io/v1beta1", "StatefulSet", "", 10, limits{UpdateRolling, 1, 0}},
		{"apps.kruise.io/v1alpha1", "CloneSet", "", 6, limits{UpdateRolling, 2, 0}},
		{"apps.kruise.io/v1alpha1", "CloneSet", "updateStrategy: {maxSurge: 1}", 4, limits{UpdateRolling, 0, 1}},
		{
			"apps.kruise.io/v1alpha1", "CloneSet", "updateStrategy: {maxSurge: 30%, maxUnavailable: 0}",
			5, limits{UpdateRolling, 0, 2},
		},
		{
			"apps.kruise.io/v1beta1", "StatefulSet",
			"podManagementPolicy: Parallel, updateStrategy: {rollingUpdate: {maxUnavailable: 3}}",
			5, limits{UpdateRolling, 3, 0},
		},
		{
			"apps.kruise.io/v1beta1", "StatefulSet", "updateStrategy: {rollingUpdate: {maxUnavailable: 3}}",
			5, limits{UpdateRolling, 1, 0},
		},
		{"apps.kruise.io/v1beta1", "StatefulSet", "updateStrategy: {rollingUpdate: {}}", 5, limits{UpdateRolling, 1, 0}},
		{"apps.kruise.io/v1alpha1", "StatefulSet", "", 5, limits{UpdateRolling, 1, 0}},
		{"apps.kruise.io/v1alpha1", "StatefulSet", "updateStrategy: {type: OnDelete}", 5, limits{UpdateOnDelete, 1, 0}},
	}
	for _, test := range tests {
		t.Run(fmt.Sprintf("%s %s %s %d", test.apiVersion, test.kind, test.spec, test.replicas), func(t *testing.T) {
			t.Parallel()
			w := workloadOf(t, fmt.Sprintf("{apiVersion: %s, kind: %s, metadata: {name: web}, spec: {%s}}",
				test.apiVersion, test.kind, test.spec))
			unavailable, surge := w.Update.limits(test.replicas)
			if diff := cmp.Diff(test.want, limits{w.Update.Type, unavailable, surge}); diff != "" {
				t.Errorf("limits() mismatch (-want +got):\n%s", diff)
			}
		})
	}
}

// TestPartitioned checks of which workloads a rollout leaves some pods as they are.
func TestPartitioned(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		apiVersion, kind, spec string
		want                   bool
	}{
		{"apps.kruise.io/v1alpha1", "CloneSet", "", false},
		{"apps.kruise.io/v1alpha1", "CloneSet", "updateStrategy: {partition: 0}", false},
		{"apps.kruise.io/v1alpha1", "CloneSet", "updateStrategy: {partition: 0%}", false},
		{"apps.kruise.io/v1alpha1", "CloneSet", "updateStrategy: {partition: 1}", true},
		{"apps.kruise.io/v1alpha1", "CloneSet", "updateStrategy: {partition: 50%}", true},
		{"apps/v1", "StatefulSet", "", false},
		{"apps/v1", "StatefulSet", "updateStrategy: {rollingUpdate: {partition: 0}}", false},
		{"apps/v1", "StatefulSet", "updateStrategy: {rollingUpdate: {partition: 1}}", true},
	} {
		w := workloadOf(t, fmt.Sprintf("{apiVersion: %s, kind: %s, metadata: {name: web}, spec: {%s}}",
			test.apiVersion, test.kind, test.spec))
		if w.Update.partitioned != test.want {
			t.Errorf("%s {%s}: partitioned is %t, want %t", test.kind, test.spec, w.Update.partitioned, test.want)
		}
	}
}

// TestWaits checks which workloads remove no pod before an additional one is ready.
func TestWaits(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		apiVersion, kind, spec string
		want                   bool
	}{
		{"apps/v1", "Deployment", "", true},
		{"apps/v1", "Deployment", "strategy: {type: Recreate}", false},
		{"apps/v1", "Deployment", "strategy: {rollingUpdate: {maxSurge: 1, maxUnavailable: 1}}", false},
		{"apps/v1", "Deployment", "strategy: {rollingUpdate: {maxSurge: 0, maxUnavailable: 0}}", false},
		{"apps/v1", "StatefulSet", "", false},
		{"apps/v1", "DaemonSet", "updateStrategy: {rollingUpdate: {maxSurge: 1, maxUnavailable: 0}}", true},
		{"apps.kruise.io/v1alpha1", "CloneSet", "updateStrategy: {maxSurge: 0, maxUnavailable: 0}", false},
		{"apps/v1", "ReplicaSet", "", false},
	} {
		w := workloadOf(t, fmt.Sprintf("{apiVersion: %s, kind: %s, metadata: {name: web}, spec: {%s}}",
			test.apiVersion, test.kind, test.spec))
		if got := w.Update.waits(3); got != test.want {
			t.Errorf("%s {%s}: waits() = %t, want %t", test.kind, test.spec, got, test.want)
		}
	}
}

func TestWorkloadKindOf(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{
		"apps/v1 Deployment":                   true,
		"apps/v1beta1 Deployment":              false,
		"apps/v1 StatefulSet":                  true,
		"apps.kruise.io/v1beta1 StatefulSet":   true,
		"apps.kruise.io/v1alpha1 StatefulSet":  true,
		"v1 Pod":                               true,
		"v1 ReplicationController":             true,
		"v1 PodTemplate":                       true,
		"batch/v1 Job":                         false,
		"argoproj.io/v1alpha1 Rollout":         true,
		"argoproj.io/v1alpha1/beta Rollout":    false,
		"apps.openshift.io/v1 Deployment":      false,
		"rollouts.kruise.io/v1beta1 Rollout":   false,
		"apps.kruise.io/v1alpha1 CloneSet":     true,
		"apps.kruise.io/v1alpha1 SidecarSet":   false,
		"serving.knative.dev/v1 Configuration": false,
	} {
		var apiVersion, kind string
		if _, err := fmt.Sscan(text, &apiVersion, &kind); err != nil {
			t.Fatal(err)
		}
		if kindOf, ok := WorkloadKindOf(apiVersion, kind); ok != want || ok && kindOf.Kind != kind {
			t.Errorf("WorkloadKindOf(%s) = %v, %t, want %t", text, kindOf.Kind, ok, want)
		}
	}
}

// TestChildren checks that a workload has no findings if its controller makes objects of its kind, and only then: users
// may write owner references. It also checks that ReplicaSets are never neighbours, since their Deployments are.
func TestChildren(t *testing.T) {
	t.Parallel()
	const format = `{apiVersion: %s, kind: %s, metadata: {namespace: edge, name: web%s},
		spec: {replicas: 3, selector: {matchLabels: {app: web}},
			template: {metadata: {labels: {app: web}}, spec: {containers: [{name: web}]}}}}`
	owner := func(apiVersion, kind string, controller bool) string {
		return fmt.Sprintf(", ownerReferences: [{apiVersion: %s, kind: %s, name: o, uid: u, controller: %t}]",
			apiVersion, kind, controller)
	}
	service := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "edge", Name: "web"}, Spec: corev1.ServiceSpec{
		Type: corev1.ServiceTypeLoadBalancer, ExternalTrafficPolicy: "Local", Selector: map[string]string{"app": "web"},
	}}
	for _, test := range []struct {
		apiVersion, kind, owner string
		isChild                 bool
	}{
		{"apps/v1", "Deployment", "", false},
		{"apps/v1", "Deployment", owner("v1", "ConfigMap", true), false},
		{"apps/v1", "Deployment", owner("apps/v1", "Deployment", true), false},
		{"apps/v1", "Deployment", owner("apps/v1", "ReplicaSet", true), false},
		{"apps/v1", "StatefulSet", owner("example.com/v1", "Database", true), false},
		{"apps/v1", "ReplicaSet", "", false},
		{"apps/v1", "ReplicaSet", owner("apps/v1", "Deployment", true), true},
		{"apps/v1", "ReplicaSet", owner("apps/v1beta2", "Deployment", true), true},
		{"apps/v1", "ReplicaSet", owner("apps/v1", "Deployment", false), false},
		{"apps/v1", "ReplicaSet", owner("argoproj.io/v1alpha1", "Rollout", true), true},
		{"apps/v1", "ReplicaSet", owner("evil.example/v1", "Deployment", true), false},
		{"apps/v1", "ReplicaSet", owner("v1", "Deployment", true), false},
		{"apps/v1", "ReplicaSet", owner("argoproj.io/v1alpha1", "Deployment", true), false},
		{"v1", "ReplicationController", "", false},
		{"v1", "ReplicationController", owner("apps.openshift.io/v1", "DeploymentConfig", true), true},
		{"v1", "ReplicationController", owner("apps/v1", "Deployment", true), false},
		{"argoproj.io/v1alpha1", "Rollout", owner("v1", "ConfigMap", true), false},
	} {
		text := fmt.Sprintf(format, test.apiVersion, test.kind, test.owner)
		isNeighbour := test.kind != "ReplicaSet"
		if test.kind == "ReplicationController" {
			text, isNeighbour = strings.Replace(text, "{matchLabels: {app: web}}", "{app: web}", 1), false
		}
		object := objectOf(t, text)
		index := NewIndex(ViewCluster)
		index.PutService(service)
		index.Put(object)
		related := index.Related(&Object{Ref: serviceRef(service), Service: service})
		if (len(related.Workloads) == 1) != isNeighbour {
			t.Errorf("%s with %q is a neighbour: %t, want %t", test.kind, test.owner, !isNeighbour, isNeighbour)
		}
		for name, in := range map[string]Input{
			"creation": {Operation: Create, Object: object, Related: index.Related(object)},
			"update":   {Operation: Update, Object: object, Old: object, Related: index.Related(object)},
		} {
			decision, err := Decide(t.Context(), in, &fakeRules{}, Settings{Exemptions: v1alpha1.ExemptionsNone})
			if err != nil || (len(decision.Findings) == 0) != test.isChild {
				t.Errorf("%s of %s with %q: findings %v, error %v", name, test.kind, test.owner, decision.Findings, err)
			}
		}
	}
}

// TestIndexFindsUsers checks that the index finds, for a workload, the workloads that use its template, and their
// autoscalers.
func TestIndexFindsUsers(t *testing.T) {
	t.Parallel()
	index := NewIndex(ViewCluster)
	deployment := workloadOf(t, `{apiVersion: apps/v1, kind: Deployment, metadata: {namespace: edge, name: web},
		spec: {replicas: 0, template: {metadata: {labels: {app: web}}}}}`)
	rollout := workloadOf(t, `{apiVersion: argoproj.io/v1alpha1, kind: Rollout,
		metadata: {namespace: edge, name: canary},
		spec: {workloadRef: {apiVersion: apps/v1, kind: Deployment, name: web}}}`)
	for _, w := range []*Workload{deployment, rollout} {
		index.PutWorkload(w)
	}
	scaler := Autoscaler{
		Ref:         Ref{Kind: "HorizontalPodAutoscaler", Namespace: "edge", Name: "canary"},
		Target:      WorkloadRef{"argoproj.io", "Rollout", "canary"},
		MaxReplicas: 3,
	}
	index.PutAutoscaler(scaler)
	object := &Object{Ref: deployment.Ref, Workload: deployment}
	want := Related{View: ViewCluster, Users: []*Workload{rollout}, Autoscalers: []Autoscaler{scaler}}
	equal := cmp.Options{cmp.AllowUnexported(UpdateStrategy{}), cmpopts.IgnoreUnexported(Related{})}
	if diff := cmp.Diff(want, index.Related(object), equal); diff != "" {
		t.Errorf("Related() mismatch (-want +got):\n%s", diff)
	}
	index.Delete(rollout.Ref)
	if diff := cmp.Diff(Related{View: ViewCluster}, index.Related(object), equal); diff != "" {
		t.Errorf("Related() after Delete() mismatch (-want +got):\n%s", diff)
	}
}

func TestNewAutoscaler(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]Autoscaler{
		`{apiVersion: autoscaling/v2, kind: HorizontalPodAutoscaler, metadata: {namespace: edge, name: web},
			spec: {maxReplicas: 7, scaleTargetRef: {apiVersion: argoproj.io/v1alpha1, kind: Rollout, name: web}}}`: {
			Ref{"autoscaling/v2", "HorizontalPodAutoscaler", "edge", "web"},
			WorkloadRef{"argoproj.io", "Rollout", "web"}, 1, 7,
		},
		`{apiVersion: autoscaling/v1, kind: HorizontalPodAutoscaler, metadata: {name: web},
			spec: {minReplicas: 0, maxReplicas: 7, scaleTargetRef: {kind: Deployment, name: web}}}`: {
			Ref{"autoscaling/v1", "HorizontalPodAutoscaler", "default", "web"},
			WorkloadRef{"apps", "Deployment", "web"}, 0, 7,
		},
		`{apiVersion: keda.sh/v1alpha1, kind: ScaledObject, metadata: {namespace: edge, name: web},
			spec: {scaleTargetRef: {name: web}}}`: {
			Ref{"keda.sh/v1alpha1", "ScaledObject", "edge", "web"}, WorkloadRef{"apps", "Deployment", "web"}, 0, 100,
		},
		`{apiVersion: keda.sh/v1alpha1, kind: ScaledObject, metadata: {namespace: edge, name: web},
			spec: {minReplicaCount: 2, maxReplicaCount: 5, scaleTargetRef: {kind: StatefulSet, name: web}}}`: {
			Ref{"keda.sh/v1alpha1", "ScaledObject", "edge", "web"}, WorkloadRef{"apps", "StatefulSet", "web"}, 2, 5,
		},
	} {
		var content map[string]any
		if err := yaml.Unmarshal([]byte(text), &content); err != nil {
			t.Fatal(err)
		}
		got, err := NewAutoscaler(content)
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("%s: error %v, mismatch (-want +got):\n%s", text, err, diff)
		}
	}
}
