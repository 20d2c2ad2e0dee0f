package policies

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

// TestEligible has one node of each sort, and checks which of them may run pods.
func TestEligible(t *testing.T) {
	t.Parallel()
	nodes := func() *Nodes {
		var list []*corev1.Node
		for _, text := range []string{
			"{metadata: {name: plain, labels: {kubernetes.io/hostname: plain, pool: web}}}",
			"{metadata: {name: other, labels: {kubernetes.io/hostname: other, pool: batch}}}",
			`{metadata: {name: avoided, labels: {kubernetes.io/hostname: avoided, pool: web}},
				spec: {taints: [{key: spot, effect: PreferNoSchedule}]}}`,
			`{metadata: {name: control, labels: {kubernetes.io/hostname: control}},
				spec: {taints: [{key: node-role.kubernetes.io/control-plane, effect: NoSchedule}]}}`,
			`{metadata: {name: leaving, labels: {kubernetes.io/hostname: leaving, pool: web}},
				spec: {taints: [{key: maintenance, value: soon, effect: NoExecute}]}}`,
			`{metadata: {name: cordoned, labels: {kubernetes.io/hostname: cordoned, pool: web}},
				spec: {unschedulable: true, taints: [{key: node.kubernetes.io/unschedulable, effect: NoSchedule}]}}`,
			`{metadata: {name: tiered, labels: {kubernetes.io/hostname: tiered}},
				spec: {taints: [{key: tier, value: "3", effect: NoSchedule}]}}`,
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
	requiring := func(term string) string {
		return "{affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [" +
			term + "]}}}}"
	}
	tests := map[string]struct {
		pod  string
		want []string
	}{
		"any":    {"{}", []string{"avoided", "other", "plain"}},
		"a pool": {"{nodeSelector: {pool: web}}", []string{"avoided", "plain"}},
		"a pool by affinity": {
			requiring("{matchExpressions: [{key: pool, operator: In, values: [batch]}]}"),
			[]string{"other"},
		},
		"a node by its name": {
			requiring("{matchFields: [{key: metadata.name, operator: In, values: [plain]}]}"),
			[]string{"plain"},
		},
		"a preference excludes no node": {
			`{affinity: {nodeAffinity: {preferredDuringSchedulingIgnoredDuringExecution: [
				{weight: 1, preference: {matchExpressions: [{key: pool, operator: Exists}]}}]}}}`,
			[]string{"avoided", "other", "plain"},
		},
		"the control plane": {
			"{tolerations: [{key: node-role.kubernetes.io/control-plane, operator: Exists}]}",
			[]string{"avoided", "control", "other", "plain"},
		},
		"everything tolerated": {
			"{tolerations: [{operator: Exists}]}",
			[]string{"avoided", "control", "cordoned", "leaving", "other", "plain", "tiered"},
		},
		"one effect tolerated": {
			"{tolerations: [{operator: Exists, effect: NoExecute}]}",
			[]string{"avoided", "leaving", "other", "plain"},
		},
		"a comparison, which tolerates nothing by default": {
			`{tolerations: [{key: tier, operator: Gt, value: "1"}]}`,
			[]string{"avoided", "other", "plain"},
		},
		"another value tolerated": {
			"{tolerations: [{key: maintenance, value: later}]}",
			[]string{"avoided", "other", "plain"},
		},
		"an invalid term selects no node": {
			requiring("{matchExpressions: [{key: pool, operator: Odd}]}"),
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
			known, given := (Cluster{Known: nodes}).eligible(w), (Cluster{Known: nodes, Nodes: 9}).eligible(w)
			if known != len(got) || given != 9 {
				t.Errorf("eligible() of a Cluster = %d, and %d if Nodes is 9; want %d and 9", known, given, len(got))
			}
		})
	}
	if got := (Cluster{}).eligible(&Workload{}); got != 0 {
		t.Errorf("eligible() of an unknown Cluster = %d, want 0", got)
	}
}

func TestChoosesNodes(t *testing.T) {
	t.Parallel()
	for pod, want := range map[string]bool{
		"": false,
		"nodeSelector: {kubernetes.io/os: linux}": false,
		"nodeSelector: {disk: ssd}":               true,
		"affinity: {podAffinity: {}}":             false,
		"affinity: {nodeAffinity: {preferredDuringSchedulingIgnoredDuringExecution: [{weight: 1, preference: {}}]}}": false,
		"affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [" +
			"{matchExpressions: [{key: kubernetes.io/os, operator: In, values: [linux]}]}]}}}": false,
		"affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [" +
			"{matchExpressions: [{key: disk, operator: Exists}]}]}}}": true,
		"affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [" +
			"{matchFields: [{key: metadata.name, operator: In, values: [a]}]}]}}}": true,
	} {
		w := workloadOf(t, "{apiVersion: apps/v1, kind: DaemonSet, metadata: {name: web}, "+
			"spec: {template: {spec: {"+pod+"}}}}")
		if got := choosesNodes(w.Template.Spec); got != want {
			t.Errorf("choosesNodes({%s}) = %t, want %t", pod, got, want)
		}
	}
}

func TestReducedNode(t *testing.T) {
	t.Parallel()
	cordon := corev1.Taint{Key: corev1.TaintNodeUnschedulable, Effect: corev1.TaintEffectNoSchedule}
	dedicated := corev1.Taint{Key: "dedicated", Effect: corev1.TaintEffectNoExecute}
	soft := corev1.Taint{Key: "soft", Effect: corev1.TaintEffectPreferNoSchedule}
	tests := map[string]struct {
		cordoned     bool
		taints, want []corev1.Taint
	}{
		"no taint":                          {false, nil, nil},
		"a soft one":                        {false, []corev1.Taint{soft, dedicated}, []corev1.Taint{dedicated}},
		"cordoned":                          {true, nil, []corev1.Taint{cordon}},
		"cordoned beside another one":       {true, []corev1.Taint{dedicated}, []corev1.Taint{dedicated, cordon}},
		"cordoned, with the taint for it":   {true, []corev1.Taint{cordon}, []corev1.Taint{cordon}},
		"only the taint of a cordoned node": {false, []corev1.Taint{cordon}, []corev1.Taint{cordon}},
	}
	for name, test := range tests {
		node := &corev1.Node{Spec: corev1.NodeSpec{Unschedulable: test.cordoned, Taints: test.taints}}
		got := ReducedNode(node).Spec.Taints
		if diff := cmp.Diff(test.want, got, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%s: taints mismatch (-want +got):\n%s", name, diff)
		}
	}
}

func TestSchedulable(t *testing.T) {
	t.Parallel()
	node := func(name string, cordoned bool) *corev1.Node {
		return &corev1.Node{
			ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{corev1.LabelHostname: name}},
			Spec:       corev1.NodeSpec{Unschedulable: cordoned},
		}
	}
	known := NewNodes([]*corev1.Node{
		ReducedNode(node("a", false)), ReducedNode(node("b", true)),
	})
	for _, test := range []struct {
		cluster Cluster
		want    int
	}{
		{Cluster{}, 0}, {Cluster{Nodes: 9}, 9}, {Cluster{Known: known}, 1}, {Cluster{Known: known, Nodes: 9}, 9},
	} {
		if got := test.cluster.schedulable(); got != test.want {
			t.Errorf("schedulable() of %+v = %d, want %d", test.cluster, got, test.want)
		}
	}
}

// TestDilutedBy has a soft constraint on the hostname among others, on nodes of which all have a zone and none a rack.
func TestDilutedBy(t *testing.T) {
	t.Parallel()
	var list []*corev1.Node
	for _, name := range []string{"a", "b", "c"} {
		labels := map[string]string{corev1.LabelHostname: name, corev1.LabelTopologyZone: "z"}
		if name != "c" {
			labels["disk"] = "ssd"
		}
		list = append(list, ReducedNode(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}}))
	}
	nodes := Cluster{Known: NewNodes(list)}.topologyOf(&Workload{})
	for _, test := range []struct {
		keys    []string
		by      int
		carried carriers
	}{
		{[]string{corev1.LabelHostname}, -1, allNodes},
		{[]string{corev1.LabelHostname, corev1.LabelHostname}, -1, allNodes},
		{[]string{corev1.LabelHostname, corev1.LabelTopologyZone}, 1, allNodes},
		{[]string{corev1.LabelHostname, corev1.LabelTopologyZone, "disk", "rack"}, 3, noNode},
		{[]string{"rack", corev1.LabelHostname, "disk", corev1.LabelTopologyZone}, 0, noNode},
		{[]string{"disk", corev1.LabelHostname, corev1.LabelTopologyZone}, 0, someNodes},
		{[]string{"rack", "shelf", corev1.LabelHostname}, 0, noNode},
	} {
		var constraints []corev1.TopologySpreadConstraint
		for _, key := range test.keys {
			constraints = append(constraints, corev1.TopologySpreadConstraint{
				TopologyKey: key, WhenUnsatisfiable: corev1.ScheduleAnyway,
			})
		}
		by, carried := dilutedBy(constraints, slices.Index(test.keys, corev1.LabelHostname), nodes)
		if by != test.by || carried != test.carried {
			t.Errorf("dilutedBy(%q) = %d, %d; want %d, %d", test.keys, by, carried, test.by, test.carried)
		}
	}
}

// TestBackendWithIdleWorkloads checks which labels the pods of all, and of the running ones, have in common.
func TestBackendWithIdleWorkloads(t *testing.T) {
	t.Parallel()
	labelled := func(labels map[string]string) *Workload {
		return &Workload{Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}}}
	}
	idle := labelled(map[string]string{"app": "web"})
	alsoIdle := labelled(map[string]string{"app": "web", "tier": "a"})
	first := labelled(map[string]string{"app": "web", "tier": "a", "track": "x"})
	second := labelled(map[string]string{"app": "web", "tier": "a", "track": "y"})
	isIdle := func(w *Workload) bool { return w == idle || w == alsoIdle }
	b := newBackend(nil, []*Workload{idle, alsoIdle, first, second}, isIdle)
	got := []map[string]string{b.common, b.commonRunning}
	want := []map[string]string{{"app": "web"}, {"app": "web", "tier": "a"}}
	if diff := cmp.Diff(want, got); diff != "" || !b.idle[idle] || !b.idle[alsoIdle] || len(b.idle) != 2 {
		t.Errorf("labels in common mismatch (-want +got):\n%s%d idle workloads, want 2", diff, len(b.idle))
	}
}

// TestKindsThatSurge lists the kinds that may have more pods than replicas during a rollout.
func TestKindsThatSurge(t *testing.T) {
	t.Parallel()
	var got []string
	for _, kind := range WorkloadKinds {
		if kind.surges {
			got = append(got, kind.Kind)
		}
	}
	slices.Sort(got)
	if diff := cmp.Diff([]string{"CloneSet", "DaemonSet", "Deployment", "Rollout"}, slices.Compact(got)); diff != "" {
		t.Errorf("kinds that surge mismatch (-want +got):\n%s", diff)
	}
}

func TestToleratesAll(t *testing.T) {
	t.Parallel()
	for toleration, want := range map[string]bool{
		"{operator: Exists}":                           true,
		"{operator: Exists, effect: NoSchedule}":       true,
		"{operator: Exists, effect: NoExecute}":        false,
		"{operator: Exists, key: dedicated}":           false,
		"{key: dedicated, value: web}":                 false,
		"{operator: Exists, effect: PreferNoSchedule}": false,
	} {
		var parsed corev1.Toleration
		if err := yaml.UnmarshalStrict([]byte(toleration), &parsed); err != nil {
			t.Fatal(err)
		}
		if got := toleratesAll(corev1.PodSpec{Tolerations: []corev1.Toleration{parsed}}); got != want {
			t.Errorf("toleratesAll(%s) = %t, want %t", toleration, got, want)
		}
	}
}
