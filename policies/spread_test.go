package policies

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// selecting returns a selector of one label.
func selecting(key, value string) *metav1.LabelSelector {
	return &metav1.LabelSelector{MatchLabels: map[string]string{key: value}}
}

// TestSpreadingOf has a case for each clause of what counts as spread: one that just does, and those
// that just do not. The pods are labelled app: web and run in namespace edge, labelled team: a.
func TestSpreadingOf(t *testing.T) {
	constraint := func(tweak func(*corev1.TopologySpreadConstraint)) func(*corev1.PodSpec) {
		c := corev1.TopologySpreadConstraint{
			MaxSkew: 1, TopologyKey: corev1.LabelHostname, WhenUnsatisfiable: corev1.ScheduleAnyway, LabelSelector: selecting("app", "web"),
		}
		tweak(&c)
		return func(pod *corev1.PodSpec) { pod.TopologySpreadConstraints = append(pod.TopologySpreadConstraints, c) }
	}
	term := func(tweak func(*corev1.PodAffinityTerm)) corev1.PodAffinityTerm {
		term := corev1.PodAffinityTerm{TopologyKey: corev1.LabelHostname, LabelSelector: selecting("app", "web")}
		tweak(&term)
		return term
	}
	required := func(tweak func(*corev1.PodAffinityTerm)) func(*corev1.PodSpec) {
		return func(pod *corev1.PodSpec) {
			pod.Affinity = &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{
				RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{term(tweak)},
			}}
		}
	}
	preferred := func(tweak func(*corev1.PodAffinityTerm)) func(*corev1.PodSpec) {
		return func(pod *corev1.PodSpec) {
			pod.Affinity = &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{
				PreferredDuringSchedulingIgnoredDuringExecution: []corev1.WeightedPodAffinityTerm{
					{Weight: 1, PodAffinityTerm: term(tweak)},
				},
			}}
		}
	}
	asIs := func(*corev1.PodAffinityTerm) {}
	port := func(p corev1.ContainerPort) []corev1.Container {
		return []corev1.Container{{Ports: []corev1.ContainerPort{p}}}
	}
	always := corev1.ContainerRestartPolicyAlways

	const (
		kept        = "kept"
		unspread    = "unspread"
		constraint0 = "/spec/template/spec/topologySpreadConstraints/0"
		required0   = "/spec/template/spec/affinity/podAntiAffinity/requiredDuringSchedulingIgnoredDuringExecution/0"
		preferred0  = "/spec/template/spec/affinity/podAntiAffinity/preferredDuringSchedulingIgnoredDuringExecution/0/podAffinityTerm"
	)
	tests := map[string]struct {
		pod func(*corev1.PodSpec)
		// want is kept, unspread, or the path of what is ineffective.
		want string
	}{
		"nothing keeps the pods apart": {func(*corev1.PodSpec) {}, unspread},

		"a soft constraint with maxSkew 1 counts": {constraint(func(*corev1.TopologySpreadConstraint) {}), kept},
		"a hard constraint counts": {
			constraint(func(c *corev1.TopologySpreadConstraint) { c.WhenUnsatisfiable = corev1.DoNotSchedule }),
			kept,
		},
		"a constraint with maxSkew 5 counts": {
			constraint(func(c *corev1.TopologySpreadConstraint) { c.MaxSkew = 5 }),
			kept,
		},
		"matchLabelKeys only narrow a constraint": {
			constraint(func(c *corev1.TopologySpreadConstraint) { c.MatchLabelKeys = []string{"pod-template-hash"} }),
			kept,
		},
		"a constraint without labelSelector counts no pod": {
			constraint(func(c *corev1.TopologySpreadConstraint) { c.LabelSelector = nil }),
			constraint0,
		},
		"a constraint with an empty labelSelector counts no pod": {
			constraint(func(c *corev1.TopologySpreadConstraint) { c.LabelSelector = &metav1.LabelSelector{} }), constraint0},
		"a constraint on others' labels does not count these pods": {
			constraint(func(c *corev1.TopologySpreadConstraint) { c.LabelSelector = selecting("app", "api") }), constraint0},
		"matchExpressions are read": {
			constraint(func(c *corev1.TopologySpreadConstraint) {
				c.LabelSelector = &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{
					{Key: "app", Operator: metav1.LabelSelectorOpIn, Values: []string{"api", "web"}},
				}}
			}), kept},
		"matchExpressions that exclude the pods are read": {
			constraint(func(c *corev1.TopologySpreadConstraint) {
				c.LabelSelector = &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{
					{Key: "app", Operator: metav1.LabelSelectorOpNotIn, Values: []string{"web"}},
				}}
			}), constraint0},
		"a labelSelector that is not valid counts no pod": {
			constraint(func(c *corev1.TopologySpreadConstraint) {
				c.LabelSelector = &metav1.LabelSelector{
					MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "app", Operator: "Like"}},
				}
			}), constraint0},
		"a constraint on zones leaves pods on one node": {
			constraint(func(c *corev1.TopologySpreadConstraint) { c.TopologyKey = corev1.LabelTopologyZone }), constraint0},
		"a key that only looks like hostname is no node": {
			constraint(
				func(c *corev1.TopologySpreadConstraint) { c.TopologyKey = "topology.kubernetes.io/hostname" },
			), unspread},
		"a good constraint beside a bad one is enough": {
			func(pod *corev1.PodSpec) {
				constraint(func(c *corev1.TopologySpreadConstraint) { c.LabelSelector = nil })(pod)
				constraint(func(c *corev1.TopologySpreadConstraint) { c.WhenUnsatisfiable = corev1.DoNotSchedule })(pod)
			}, kept},
		"a broken hostname constraint is told before a zone constraint": {
			func(pod *corev1.PodSpec) {
				constraint(func(c *corev1.TopologySpreadConstraint) { c.TopologyKey = corev1.LabelTopologyZone })(pod)
				constraint(func(c *corev1.TopologySpreadConstraint) { c.LabelSelector = nil })(pod)
			}, "/spec/template/spec/topologySpreadConstraints/1"},

		"required anti-affinity counts":  {required(asIs), kept},
		"preferred anti-affinity counts": {preferred(asIs), kept},
		"an empty labelSelector of an anti-affinity term matches every pod": {
			required(func(t *corev1.PodAffinityTerm) { t.LabelSelector = &metav1.LabelSelector{} }), kept},
		"no labelSelector of an anti-affinity term matches no pod": {
			required(func(t *corev1.PodAffinityTerm) { t.LabelSelector = nil }), required0},
		"an anti-affinity term on others' labels does not count": {
			preferred(func(t *corev1.PodAffinityTerm) { t.LabelSelector = selecting("app", "api") }), preferred0},
		"an anti-affinity term that names its own namespace counts": {
			required(func(t *corev1.PodAffinityTerm) { t.Namespaces = []string{"edge", "mail"} }), kept},
		"an anti-affinity term that names another namespace does not count": {
			required(func(t *corev1.PodAffinityTerm) { t.Namespaces = []string{"mail"} }), required0},
		"an empty namespaceSelector is all namespaces": {
			required(func(t *corev1.PodAffinityTerm) { t.NamespaceSelector = &metav1.LabelSelector{} }), kept},
		"a namespaceSelector that selects its own namespace counts": {
			required(func(t *corev1.PodAffinityTerm) { t.NamespaceSelector = selecting("team", "a") }), kept},
		"a namespaceSelector that selects another does not count": {
			required(func(t *corev1.PodAffinityTerm) { t.NamespaceSelector = selecting("team", "b") }), required0},
		"namespaces and namespaceSelector add up": {
			required(func(t *corev1.PodAffinityTerm) {
				t.Namespaces = []string{"edge"}
				t.NamespaceSelector = selecting("team", "b")
			}), kept},
		"mismatchLabelKeys exclude the workload's own pods": {
			required(func(t *corev1.PodAffinityTerm) { t.MismatchLabelKeys = []string{"app"} }), required0},
		"mismatchLabelKeys of a label that the pods lack exclude nothing": {
			required(func(t *corev1.PodAffinityTerm) { t.MismatchLabelKeys = []string{"tenant"} }), kept},
		"required anti-affinity in a zone leaves one pod in a zone, so one on a node": {
			required(func(t *corev1.PodAffinityTerm) { t.TopologyKey = corev1.LabelTopologyZone }), kept},
		"preferred anti-affinity in a zone does not count": {
			preferred(func(t *corev1.PodAffinityTerm) { t.TopologyKey = corev1.LabelTopologyZone }), preferred0},
		"required anti-affinity in a zone on others' labels does not count": {
			required(func(t *corev1.PodAffinityTerm) {
				t.TopologyKey, t.LabelSelector = corev1.LabelTopologyZone, selecting("app", "api")
			}), required0},

		"a host port admits one pod to a node": {
			func(pod *corev1.PodSpec) {
				pod.Containers = port(corev1.ContainerPort{ContainerPort: 80, HostPort: 80})
			}, kept},
		"a container port alone does not": {
			func(pod *corev1.PodSpec) { pod.Containers = port(corev1.ContainerPort{ContainerPort: 80}) }, unspread},
		"a container port in the host's network admits one pod to a node": {
			func(pod *corev1.PodSpec) {
				pod.HostNetwork, pod.Containers = true, port(corev1.ContainerPort{ContainerPort: 80})
			}, kept},
		"the host's network without ports admits many": {
			func(pod *corev1.PodSpec) { pod.HostNetwork = true }, unspread},
		"a host port of a sidecar counts": {
			func(pod *corev1.PodSpec) {
				pod.InitContainers = port(corev1.ContainerPort{ContainerPort: 80, HostPort: 80})
				pod.InitContainers[0].RestartPolicy = &always
			}, kept},
		"a host port of an init container that ends does not count": {
			func(pod *corev1.PodSpec) {
				pod.InitContainers = port(corev1.ContainerPort{ContainerPort: 80, HostPort: 80})
			}, unspread},

		"nodeName pins the pods": {func(pod *corev1.PodSpec) { pod.NodeName = "n1" }, kept},
		"a nodeSelector on hostname pins the pods": {
			func(pod *corev1.PodSpec) { pod.NodeSelector = map[string]string{corev1.LabelHostname: "n1"} }, kept},
		"a nodeSelector on another label does not": {
			func(pod *corev1.PodSpec) { pod.NodeSelector = map[string]string{"disk": "ssd"} }, unspread},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := &Workload{
				Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "web"}}},
			}
			test.pod(&w.Template.Spec)
			s := spreadingOf(w, Namespace{Name: "edge", Labels: map[string]string{"team": "a"}})
			got := unspread
			switch {
			case s.kept():
				got = kept
			case s.ineffective != nil:
				got = s.ineffective.path
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("spreadingOf() mismatch (-want +got):\n%s", diff)
			}
		})
	}
}

// TestSpreadingOfPodsAsTheyWillBe has labels that the template does not show, and constraints that weaken each other.
func TestSpreadingOfPodsAsTheyWillBe(t *testing.T) {
	hostname := corev1.TopologySpreadConstraint{
		MaxSkew: 1, TopologyKey: corev1.LabelHostname, WhenUnsatisfiable: corev1.ScheduleAnyway, LabelSelector: selecting("app", "web"),
	}
	constraints := func(more ...corev1.TopologySpreadConstraint) corev1.PodSpec {
		return corev1.PodSpec{TopologySpreadConstraints: more}
	}
	tweaked := func(tweak func(*corev1.TopologySpreadConstraint)) corev1.TopologySpreadConstraint {
		c := hostname
		tweak(&c)
		return c
	}
	constraint := func(tweak func(*corev1.TopologySpreadConstraint)) corev1.PodSpec { return constraints(tweaked(tweak)) }
	term := func(tweak func(*corev1.PodAffinityTerm)) corev1.PodSpec {
		term := corev1.PodAffinityTerm{TopologyKey: corev1.LabelHostname, LabelSelector: selecting("app", "web")}
		tweak(&term)
		return corev1.PodSpec{Affinity: &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{
			RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{term},
		}}}
	}
	asking := func(key string, operator metav1.LabelSelectorOperator, values ...string) *metav1.LabelSelector {
		return &metav1.LabelSelector{
			MatchExpressions: []metav1.LabelSelectorRequirement{{Key: key, Operator: operator, Values: values}},
		}
	}
	const hash, revision, podName = "pod-template-hash", "controller-revision-hash", "statefulset.kubernetes.io/pod-name"
	tests := map[string]struct {
		kind string
		pod  corev1.PodSpec
		want Spreading
	}{
		"matchLabelKeys fill an empty selector": {"Deployment", constraint(func(c *corev1.TopologySpreadConstraint) {
			c.LabelSelector, c.MatchLabelKeys = &metav1.LabelSelector{}, []string{hash}
		}), SpreadStrong},
		"matchLabelKeys of the template fill an empty selector": {
			"ReplicaSet",
			constraint(func(c *corev1.TopologySpreadConstraint) {
				c.LabelSelector, c.MatchLabelKeys = &metav1.LabelSelector{}, []string{"app"}
			}),
			SpreadStrong,
		},
		"matchLabelKeys that the pods lack do not": {"StatefulSet", constraint(func(c *corev1.TopologySpreadConstraint) {
			c.LabelSelector, c.MatchLabelKeys = &metav1.LabelSelector{}, []string{hash}
		}), SpreadIneffective},
		"matchLabelKeys that no two pods share leave each pod with itself": {
			"StatefulSet",
			constraint(func(c *corev1.TopologySpreadConstraint) {
				c.MatchLabelKeys = []string{podName}
			}),
			SpreadIneffective,
		},
		"they are nothing to a Deployment, whose pods lack them": {
			"Deployment",
			constraint(func(c *corev1.TopologySpreadConstraint) {
				c.MatchLabelKeys = []string{podName}
			}),
			SpreadStrong,
		},
		"a label of the controller is selected": {"Deployment", constraint(func(c *corev1.TopologySpreadConstraint) {
			c.LabelSelector = asking(hash, metav1.LabelSelectorOpExists)
		}), SpreadStrong},
		"a label of another controller is not": {"StatefulSet", constraint(func(c *corev1.TopologySpreadConstraint) {
			c.LabelSelector = asking(hash, metav1.LabelSelectorOpExists)
		}), SpreadIneffective},
		"a label of the controller is excluded": {"StatefulSet", constraint(func(c *corev1.TopologySpreadConstraint) {
			c.LabelSelector = asking(revision, metav1.LabelSelectorOpDoesNotExist)
		}), SpreadIneffective},
		"one revision is selected, which is soon another's": {
			"Deployment",
			constraint(func(c *corev1.TopologySpreadConstraint) {
				c.LabelSelector = asking(hash, metav1.LabelSelectorOpIn, "5d4f8c7b9")
			}),
			SpreadIneffective,
		},

		"a term that looks at other revisions lets those of one share a node": {
			"Deployment",
			term(func(t *corev1.PodAffinityTerm) {
				t.MismatchLabelKeys = []string{hash}
			}),
			SpreadIneffective,
		},
		"a term that excludes the pod itself looks at all others": {"StatefulSet", term(func(t *corev1.PodAffinityTerm) {
			t.MismatchLabelKeys = []string{podName}
		}), SpreadStrong},
		"a term that looks at the pod itself alone": {"StatefulSet", term(func(t *corev1.PodAffinityTerm) {
			t.MatchLabelKeys = []string{podName}
		}), SpreadIneffective},
		"a term within a revision": {"Deployment", term(func(t *corev1.PodAffinityTerm) {
			t.MatchLabelKeys = []string{hash}
		}), SpreadStrong},
		"a term on racks leaves one pod in a rack, so one on a node": {"Deployment", term(func(t *corev1.PodAffinityTerm) {
			t.TopologyKey = "example.com/rack"
		}), SpreadStrong},
		"a term on racks about other pods does not": {"Deployment", term(func(t *corev1.PodAffinityTerm) {
			t.TopologyKey, t.LabelSelector = "example.com/rack", selecting("app", "api")
		}), SpreadNone},

		"two soft constraints have no effect on nodes that lack one of the labels": {"Deployment", constraints(
			tweaked(func(c *corev1.TopologySpreadConstraint) { c.TopologyKey = corev1.LabelTopologyZone }), hostname,
		), SpreadWeak},
		"a hard constraint does not weaken a soft one": {"Deployment", constraints(
			tweaked(func(c *corev1.TopologySpreadConstraint) {
				c.TopologyKey, c.WhenUnsatisfiable = corev1.LabelTopologyZone, corev1.DoNotSchedule
			}), hostname,
		), SpreadStrong},
		"a soft constraint does not weaken a hard one": {"Deployment", constraints(
			tweaked(func(c *corev1.TopologySpreadConstraint) { c.TopologyKey = corev1.LabelTopologyZone }),
			tweaked(func(c *corev1.TopologySpreadConstraint) { c.WhenUnsatisfiable = corev1.DoNotSchedule }),
		), SpreadStrong},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			i := slices.IndexFunc(WorkloadKinds, func(k WorkloadKind) bool { return k.Kind == test.kind })
			w := &Workload{
				Ref: Ref{APIVersion: WorkloadKinds[i].APIVersion(), Kind: test.kind},
				Template: corev1.PodTemplateSpec{
					ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "web"}}, Spec: test.pod,
				},
			}
			if got := spreadingOf(w, Namespace{Name: "edge"}).Spreading; got != test.want {
				t.Errorf("spreadingOf() = %s, want %s", got, test.want)
			}
		})
	}
}

func TestReplicasOf(t *testing.T) {
	t.Parallel()
	number := func(n int32) *int32 { return &n }
	web := Ref{APIVersion: "apps/v1", Kind: "Deployment", Namespace: "edge", Name: "web"}
	scaler := func(namespace, kind, target string, least, most int32) Autoscaler {
		group := "apps"
		if kind == "Rollout" {
			group = "argoproj.io"
		}
		return Autoscaler{
			Ref:         Ref{Namespace: namespace, Name: target},
			Target:      WorkloadRef{group, kind, target},
			MinReplicas: least,
			MaxReplicas: most,
		}
	}
	scales := func(least, most int32) []Autoscaler {
		return []Autoscaler{scaler("edge", "Deployment", "web", least, most)}
	}
	rollout := func(replicas *int32) []*Workload {
		return []*Workload{{
			Ref:      Ref{APIVersion: "argoproj.io/v1alpha1", Kind: "Rollout", Namespace: "edge", Name: "canary"},
			Replicas: replicas, TemplateOf: WorkloadRef{"apps", "Deployment", "web"},
		}}
	}
	tests := map[string]struct {
		replicas    *int32
		autoscalers []Autoscaler
		users       []*Workload
		want        replicaRange
	}{
		"absent is one":            {want: replicaRange{1, 1}},
		"one is one":               {replicas: number(1), want: replicaRange{1, 1}},
		"what is written is meant": {replicas: number(5), want: replicaRange{5, 5}},
		"zero is not for ever":     {replicas: number(0), want: replicaRange{0, 2}},
		"an autoscaler says both": {
			replicas:    number(1),
			autoscalers: scales(3, 9),
			want:        replicaRange{3, 9},
		},
		"an autoscaler may say less than is written": {
			replicas:    number(5),
			autoscalers: scales(1, 1),
			want:        replicaRange{1, 1},
		},
		"zero may be an autoscaler's own": {
			replicas:    number(0),
			autoscalers: scales(1, 9),
			want:        replicaRange{1, 9},
		},
		"zero may be the least": {
			replicas:    number(3),
			autoscalers: scales(0, 9),
			want:        replicaRange{0, 9},
		},
		"zero is no more than one, if so it is scaled": {
			replicas:    number(0),
			autoscalers: scales(0, 1),
			want:        replicaRange{0, 1},
		},
		"another workload's autoscaler says nothing": {
			autoscalers: []Autoscaler{scaler("edge", "Deployment", "api", 1, 9)},
			want:        replicaRange{1, 1},
		},
		"another namespace's autoscaler says nothing": {
			autoscalers: []Autoscaler{scaler("mail", "Deployment", "web", 1, 9)},
			want:        replicaRange{1, 1},
		},
		"another kind's autoscaler says nothing": {
			autoscalers: []Autoscaler{scaler("edge", "StatefulSet", "web", 1, 9)},
			want:        replicaRange{1, 1},
		},
		"of several autoscalers the most generous says": {
			autoscalers: append(scales(2, 3), scales(1, 4)...),
			want:        replicaRange{1, 4},
		},
		"who uses the template makes the pods": {
			replicas: number(0),
			users:    rollout(number(5)),
			want:     replicaRange{5, 5},
		},
		"a user's one is one": {
			replicas: number(0),
			users:    rollout(number(1)),
			want:     replicaRange{1, 1},
		},
		"a user that is scaled to zero, too": {
			replicas: number(0),
			users:    rollout(number(0)),
			want:     replicaRange{0, 2},
		},
		"a user that says nothing makes one": {replicas: number(1), users: rollout(nil), want: replicaRange{1, 1}},
		"a user may be scaled in its place": {
			replicas: number(
				1,
			), users: rollout(number(2)), autoscalers: []Autoscaler{scaler("edge", "Rollout", "canary", 2, 7)}, want: replicaRange{2, 7},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := replicasOf(
				&Workload{Ref: web, Replicas: test.replicas},
				Related{Autoscalers: test.autoscalers, Users: test.users},
			)
			if got != test.want {
				t.Errorf("replicasOf() = %+v, want %+v", got, test.want)
			}
		})
	}
	if got := replicasOf(&Workload{Ref: Ref{Kind: "DaemonSet"}}, Related{}); got != (replicaRange{}) {
		t.Errorf("replicasOf() of a DaemonSet = %+v, want none", got)
	}
}

// TestOverload has the figures of small placements worked out by hand: the share of the busiest pod,
// 1/(nodes with pods × pods on its node), over the fair share 1/pods.
func TestOverload(t *testing.T) {
	for _, test := range []struct {
		pods, nodes   int
		worst, spread float64
	}{
		{2, 2, 1, 1},              // 1/1
		{3, 3, 1.5, 1},            // worst 2/1: half of the traffic on one of three
		{4, 3, 2, 4.0 / 3},        // spread 2/1/1: a third of the traffic on one of four
		{5, 3, 2.5, 5.0 / 3},      // spread 2/2/1
		{6, 3, 3, 1},              // spread 2/2/2
		{10, 3, 5, 10.0 / 9},      // spread 4/3/3
		{2, 5, 1, 1},              // fewer pods than nodes
		{7, 1, 3.5, 1},            // all on the one node that there is
		{101, 100, 50.5, 1.01},    // one node has two
		{199, 100, 99.5, 1.99},    // one node has one, all others two
		{200, 100, 100, 1},        // two each
		{1000, 300, 500, 10. / 9}, // 3 or 4 each
	} {
		if got := worstOverload(test.pods); got != test.worst {
			t.Errorf("worstOverload(%d) = %v, want %v", test.pods, got, test.worst)
		}
		if got := spreadOverload(test.pods, test.nodes); cmp.Diff(test.spread, got, approximately) != "" {
			t.Errorf("spreadOverload(%d, %d) = %v, want %v", test.pods, test.nodes, got, test.spread)
		}
	}
}

var approximately = cmp.Comparer(func(a, b float64) bool { return a-b < 1e-9 && b-a < 1e-9 })
