package policies

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

// TestEligible has one node of each sort, and asks which of them may run pods.
func TestEligible(t *testing.T) {
	t.Parallel()
	nodes := func() *Nodes {
		var list []*corev1.Node
		for _, text := range []string{
			"{metadata: {name: plain, labels: {kubernetes.io/hostname: plain, pool: web}}}",
			"{metadata: {name: other, labels: {kubernetes.io/hostname: other, pool: batch}}}",
			"{metadata: {name: wished-away, labels: {kubernetes.io/hostname: wished-away, pool: web}}, spec: {taints: [{key: spot, effect: PreferNoSchedule}]}}",
			"{metadata: {name: control, labels: {kubernetes.io/hostname: control}}, spec: {taints: [{key: node-role.kubernetes.io/control-plane, effect: NoSchedule}]}}",
			"{metadata: {name: leaving, labels: {kubernetes.io/hostname: leaving, pool: web}}, spec: {taints: [{key: maintenance, value: soon, effect: NoExecute}]}}",
			"{metadata: {name: cordoned, labels: {kubernetes.io/hostname: cordoned, pool: web}}, spec: {unschedulable: true, taints: [{key: node.kubernetes.io/unschedulable, effect: NoSchedule}]}}",
			"{metadata: {name: nameless, labels: {pool: web}}}",
		} {
			var node corev1.Node
			if err := yaml.UnmarshalStrict([]byte(text), &node); err != nil {
				t.Fatal(err)
			}
			list = append(list, ReducedNode(&node))
		}
		return NewNodes(list)
	}()
	tests := map[string]struct {
		pod  string
		want []string
	}{
		"any":    {"{}", []string{"other", "plain", "wished-away"}},
		"a pool": {"{nodeSelector: {pool: web}}", []string{"plain", "wished-away"}},
		"a pool by affinity": {
			"{affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: pool, operator: In, values: [batch]}]}]}}}}",
			[]string{"other"},
		},
		"a node by its name": {
			"{affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchFields: [{key: metadata.name, operator: In, values: [plain]}]}]}}}}",
			[]string{"plain"},
		},
		"a wish is no condition": {
			"{affinity: {nodeAffinity: {preferredDuringSchedulingIgnoredDuringExecution: [{weight: 1, preference: {matchExpressions: [{key: pool, operator: Exists}]}}]}}}",
			[]string{"other", "plain", "wished-away"},
		},
		"the control plane": {
			"{tolerations: [{key: node-role.kubernetes.io/control-plane, operator: Exists}]}",
			[]string{"control", "other", "plain", "wished-away"},
		},
		"everything tolerated": {
			"{tolerations: [{operator: Exists}]}",
			[]string{"control", "cordoned", "leaving", "other", "plain", "wished-away"},
		},
		"one effect tolerated": {
			"{tolerations: [{operator: Exists, effect: NoExecute}]}",
			[]string{"leaving", "other", "plain", "wished-away"},
		},
		"another value tolerated": {
			"{tolerations: [{key: maintenance, value: later}]}",
			[]string{"other", "plain", "wished-away"},
		},
		"a condition that is wrong": {
			"{affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: pool, operator: Odd}]}]}}}}",
			nil,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var pod corev1.PodSpec
			if err := yaml.UnmarshalStrict([]byte(test.pod), &pod); err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, node := range nodes.eligible(pod) {
				got = append(got, node.Name)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("eligible() mismatch (-want +got):\n%s", diff)
			}
			w := &Workload{Template: corev1.PodTemplateSpec{Spec: pod}}
			if known, told := (Cluster{Known: nodes}).eligible(w), (Cluster{Known: nodes, Nodes: 9}).eligible(w); known != len(
				got,
			) ||
				told != 9 {
				t.Errorf("eligible() of a Cluster = %d, and %d where the number is told; want %d and 9", known, told, len(got))
			}
		})
	}
	if got := (Cluster{}).eligible(&Workload{}); got != 0 {
		t.Errorf("eligible() of an unknown Cluster = %d, want 0", got)
	}
}
