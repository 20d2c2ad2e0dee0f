package policies

import (
	"slices"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// selecting returns a label selector for one label.
func selecting(key, value string) *metav1.LabelSelector {
	return &metav1.LabelSelector{MatchLabels: map[string]string{key: value}}
}

// TestSpreadingOf has cases for each clause of what counts as spread: one that just counts, and some that just do not.
// The pods have the label app: web. Their Namespace edge has the label team: a.
func TestSpreadingOf(t *testing.T) {
	constraint := func(tweak func(*corev1.TopologySpreadConstraint)) func(*corev1.PodSpec) {
		c := corev1.TopologySpreadConstraint{
			MaxSkew: 1, TopologyKey: corev1.LabelHostname, WhenUnsatisfiable: corev1.ScheduleAnyway,
			LabelSelector: selecting("app", "web"),
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
	affinity := func(tweak func(*corev1.PodAffinityTerm)) func(*corev1.PodSpec) {
		return func(pod *corev1.PodSpec) {
			pod.Affinity = &corev1.Affinity{PodAffinity: &corev1.PodAffinity{
				RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{term(tweak)},
			}}
		}
	}
	inValues := func(key string, values ...string) corev1.NodeSelectorTerm {
		return corev1.NodeSelectorTerm{MatchExpressions: []corev1.NodeSelectorRequirement{
			{Key: key, Operator: corev1.NodeSelectorOpIn, Values: values},
		}}
	}
	nodeAffinity := func(terms ...corev1.NodeSelectorTerm) func(*corev1.PodSpec) {
		return func(pod *corev1.PodSpec) {
			pod.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{
				RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{NodeSelectorTerms: terms},
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
		anti        = "/spec/template/spec/affinity/podAntiAffinity"
		required0   = anti + "/requiredDuringSchedulingIgnoredDuringExecution/0"
		preferred0  = anti + "/preferredDuringSchedulingIgnoredDuringExecution/0/podAffinityTerm"
	)
	tests := map[string]struct {
		pod func(*corev1.PodSpec)
		// want is kept, unspread, or the path of the ineffective constraint or term.
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
		"a constraint on the labels of other pods does not count these pods": {
			constraint(func(c *corev1.TopologySpreadConstraint) { c.LabelSelector = selecting("app", "api") }), constraint0},
		"matchExpressions that select the pods count": {
			constraint(func(c *corev1.TopologySpreadConstraint) {
				c.LabelSelector = &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{
					{Key: "app", Operator: metav1.LabelSelectorOpIn, Values: []string{"api", "web"}},
				}}
			}), kept},
		"matchExpressions that exclude the pods do not count them": {
			constraint(func(c *corev1.TopologySpreadConstraint) {
				c.LabelSelector = &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{
					{Key: "app", Operator: metav1.LabelSelectorOpNotIn, Values: []string{"web"}},
				}}
			}), constraint0},
		"an invalid labelSelector counts no pod": {
			constraint(func(c *corev1.TopologySpreadConstraint) {
				c.LabelSelector = &metav1.LabelSelector{
					MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "app", Operator: "Like"}},
				}
			}), constraint0},
		"a constraint on zones leaves pods on one node": {
			constraint(func(c *corev1.TopologySpreadConstraint) { c.TopologyKey = corev1.LabelTopologyZone }), constraint0},
		"a key that only looks like the one for hostnames does not count": {
			constraint(func(c *corev1.TopologySpreadConstraint) { c.TopologyKey = "topology.kubernetes.io/hostname" }),
			constraint0},
		"one good constraint in addition to a bad one is enough": {
			func(pod *corev1.PodSpec) {
				constraint(func(c *corev1.TopologySpreadConstraint) { c.LabelSelector = nil })(pod)
				constraint(func(c *corev1.TopologySpreadConstraint) { c.WhenUnsatisfiable = corev1.DoNotSchedule })(pod)
			}, kept},
		"an ineffective hostname constraint is reported instead of a zone constraint": {
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
		"an anti-affinity term on the labels of other pods does not count": {
			preferred(func(t *corev1.PodAffinityTerm) { t.LabelSelector = selecting("app", "api") }), preferred0},
		"an anti-affinity term that names its own namespace counts": {
			required(func(t *corev1.PodAffinityTerm) { t.Namespaces = []string{"edge", "mail"} }), kept},
		"an anti-affinity term that names another namespace does not count": {
			required(func(t *corev1.PodAffinityTerm) { t.Namespaces = []string{"mail"} }), required0},
		"an empty namespaceSelector selects all namespaces": {
			required(func(t *corev1.PodAffinityTerm) { t.NamespaceSelector = &metav1.LabelSelector{} }), kept},
		"a namespaceSelector that selects its own namespace counts": {
			required(func(t *corev1.PodAffinityTerm) { t.NamespaceSelector = selecting("team", "a") }), kept},
		"a namespaceSelector that selects another namespace does not count": {
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
		"required anti-affinity by zone allows one pod in a zone, so one on a node": {
			required(func(t *corev1.PodAffinityTerm) { t.TopologyKey = corev1.LabelTopologyZone }), kept},
		"preferred anti-affinity by zone does not count": {
			preferred(func(t *corev1.PodAffinityTerm) { t.TopologyKey = corev1.LabelTopologyZone }), preferred0},
		"required anti-affinity by zone on the labels of other pods does not count": {
			required(func(t *corev1.PodAffinityTerm) {
				t.TopologyKey, t.LabelSelector = corev1.LabelTopologyZone, selecting("app", "api")
			}), required0},

		"a host port allows one pod on a node": {
			func(pod *corev1.PodSpec) {
				pod.Containers = port(corev1.ContainerPort{ContainerPort: 80, HostPort: 80})
			}, kept},
		"a container port alone does not": {
			func(pod *corev1.PodSpec) { pod.Containers = port(corev1.ContainerPort{ContainerPort: 80}) }, unspread},
		"a container port in the host network allows one pod on a node": {
			func(pod *corev1.PodSpec) {
				pod.HostNetwork, pod.Containers = true, port(corev1.ContainerPort{ContainerPort: 80})
			}, kept},
		"the host network without ports allows many": {
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
		"a node affinity to one hostname pins the pods": {
			nodeAffinity(inValues(corev1.LabelHostname, "n1"), inValues(corev1.LabelHostname, "n1")), kept},
		"a node affinity to two hostnames does not": {
			nodeAffinity(inValues(corev1.LabelHostname, "n1"), inValues(corev1.LabelHostname, "n2")), unspread},
		"a node affinity that also allows other nodes does not": {
			nodeAffinity(inValues(corev1.LabelHostname, "n1"), inValues("disk", "ssd")), unspread},
		"a node affinity to a list of two hostnames does not": {
			nodeAffinity(inValues(corev1.LabelHostname, "n1", "n2")), unspread},
		"a required affinity to each other pins the pods": {affinity(asIs), kept},
		"a required affinity to other pods does not": {
			affinity(func(t *corev1.PodAffinityTerm) { t.LabelSelector = selecting("app", "api") }), unspread},
		"a required affinity to each other by zone does not": {
			affinity(func(t *corev1.PodAffinityTerm) { t.TopologyKey = corev1.LabelTopologyZone }), unspread},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := &Workload{
				Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "web"}}},
			}
			test.pod(&w.Template.Spec)
			s := spreadingOf(w, Namespace{Name: "edge", Labels: map[string]string{"team": "a"}}, Cluster{})
			got := unspread
			switch {
			case s.kept():
				got = kept
			case s.ineffective != nil:
				got = s.ineffective.path
				if problem := s.ineffective.problem; len(problem) > 36 {
					t.Errorf("problem %q has %d bytes, want at most 36: it is part of a warning", problem, len(problem))
				}
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("spreadingOf() mismatch (-want +got):\n%s", diff)
			}
		})
	}
}

// TestSpreadingOfPodsWithLabelsOfControllers has labels that controllers add to the template's, and constraints that
// weaken each other.
func TestSpreadingOfPodsWithLabelsOfControllers(t *testing.T) {
	hostname := corev1.TopologySpreadConstraint{
		MaxSkew: 1, TopologyKey: corev1.LabelHostname, WhenUnsatisfiable: corev1.ScheduleAnyway,
		LabelSelector: selecting("app", "web"),
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
		"matchLabelKeys add a label to an empty selector": {
			"Deployment",
			constraint(func(c *corev1.TopologySpreadConstraint) {
				c.LabelSelector, c.MatchLabelKeys = &metav1.LabelSelector{}, []string{hash}
			}),
			SpreadStrong,
		},
		"matchLabelKeys add a label of the template to an empty selector": {
			"ReplicaSet",
			constraint(func(c *corev1.TopologySpreadConstraint) {
				c.LabelSelector, c.MatchLabelKeys = &metav1.LabelSelector{}, []string{"app"}
			}),
			SpreadStrong,
		},
		"matchLabelKeys that the pods lack add nothing": {"StatefulSet", constraint(func(c *corev1.TopologySpreadConstraint) {
			c.LabelSelector, c.MatchLabelKeys = &metav1.LabelSelector{}, []string{hash}
		}), SpreadIneffective},
		"matchLabelKeys with a different value on each pod count each pod alone": {
			"StatefulSet",
			constraint(func(c *corev1.TopologySpreadConstraint) {
				c.MatchLabelKeys = []string{podName}
			}),
			SpreadIneffective,
		},
		"pods of a Deployment lack the labels of a StatefulSet": {
			"Deployment",
			constraint(func(c *corev1.TopologySpreadConstraint) {
				c.MatchLabelKeys = []string{podName}
			}),
			SpreadStrong,
		},
		"a selector on a label of the controller": {"Deployment", constraint(func(c *corev1.TopologySpreadConstraint) {
			c.LabelSelector = asking(hash, metav1.LabelSelectorOpExists)
		}), SpreadStrong},
		"a selector on a label of another controller": {"StatefulSet", constraint(func(c *corev1.TopologySpreadConstraint) {
			c.LabelSelector = asking(hash, metav1.LabelSelectorOpExists)
		}), SpreadIneffective},
		"a selector that excludes a label of the controller": {
			"StatefulSet",
			constraint(func(c *corev1.TopologySpreadConstraint) {
				c.LabelSelector = asking(revision, metav1.LabelSelectorOpDoesNotExist)
			}),
			SpreadIneffective,
		},
		"a selector on one revision, which the next rollout replaces": {
			"Deployment",
			constraint(func(c *corev1.TopologySpreadConstraint) {
				c.LabelSelector = asking(hash, metav1.LabelSelectorOpIn, "5d4f8c7b9")
			}),
			SpreadIneffective,
		},

		"a term on other revisions lets pods of one revision share a node": {
			"Deployment",
			term(func(t *corev1.PodAffinityTerm) {
				t.MismatchLabelKeys = []string{hash}
			}),
			SpreadIneffective,
		},
		"a term that excludes the pod itself matches all others": {"StatefulSet", term(func(t *corev1.PodAffinityTerm) {
			t.MismatchLabelKeys = []string{podName}
		}), SpreadStrong},
		"a term that matches only the pod itself": {"StatefulSet", term(func(t *corev1.PodAffinityTerm) {
			t.MatchLabelKeys = []string{podName}
		}), SpreadIneffective},
		"a term within a revision": {"Deployment", term(func(t *corev1.PodAffinityTerm) {
			t.MatchLabelKeys = []string{hash}
		}), SpreadStrong},
		"a term on racks allows one pod in a rack, so one on a node": {"Deployment", term(func(t *corev1.PodAffinityTerm) {
			t.TopologyKey = "example.com/rack"
		}), SpreadStrong},
		"a term on racks for other pods does not count": {"Deployment", term(func(t *corev1.PodAffinityTerm) {
			t.TopologyKey, t.LabelSelector = "example.com/rack", selecting("app", "api")
		}), SpreadNone},

		"two soft constraints ignore nodes that lack one of the labels": {"Deployment", constraints(
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
			if got := spreadingOf(w, Namespace{Name: "edge"}, Cluster{}).Spreading; got != test.want {
				t.Errorf("spreadingOf() = %s, want %s", got, test.want)
			}
		})
	}
}

// TestSpreadingOfKeysThatNodesLack has constraints and terms on keys that all, some or none of three nodes carry, and
// on keys of which only the name is known. Each template has one soft, hard, preferred or required one, or several.
func TestSpreadingOfKeysThatNodesLack(t *testing.T) {
	t.Parallel()
	const (
		host      = corev1.LabelHostname
		zone      = corev1.LabelTopologyZone
		rack      = "example.com/rack"
		lookAlike = "topology.kubernetes.io/hostname"
	)
	type add = func(*corev1.PodSpec)
	nodes := func(carriers int) *Nodes {
		var known []*corev1.Node
		for i := range 3 {
			labels := map[string]string{host: strconv.Itoa(i)}
			if i < carriers {
				labels[zone], labels[rack], labels[lookAlike] = "a", "a", "a"
			}
			known = append(known, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: strconv.Itoa(i), Labels: labels}})
		}
		known = append(known, &corev1.Node{ // which the pods do not tolerate
			ObjectMeta: metav1.ObjectMeta{Name: "tainted"},
			Spec:       corev1.NodeSpec{Taints: []corev1.Taint{{Key: "a", Effect: corev1.TaintEffectNoSchedule}}},
		})
		return NewNodes(known)
	}
	constraint := func(key string, when corev1.UnsatisfiableConstraintAction) func(*corev1.PodSpec) {
		return func(pod *corev1.PodSpec) {
			pod.TopologySpreadConstraints = append(pod.TopologySpreadConstraints, corev1.TopologySpreadConstraint{
				MaxSkew: 1, TopologyKey: key, WhenUnsatisfiable: when, LabelSelector: selecting("app", "web"),
			})
		}
	}
	soft := func(key string) func(*corev1.PodSpec) { return constraint(key, corev1.ScheduleAnyway) }
	hard := func(key string) func(*corev1.PodSpec) { return constraint(key, corev1.DoNotSchedule) }
	term := func(key string) corev1.PodAffinityTerm {
		return corev1.PodAffinityTerm{TopologyKey: key, LabelSelector: selecting("app", "web")}
	}
	anti := func(pod *corev1.PodSpec) *corev1.PodAntiAffinity {
		if pod.Affinity == nil {
			pod.Affinity = &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{}}
		}
		return pod.Affinity.PodAntiAffinity
	}
	required := func(key string) func(*corev1.PodSpec) {
		return func(pod *corev1.PodSpec) {
			list := &anti(pod).RequiredDuringSchedulingIgnoredDuringExecution
			*list = append(*list, term(key))
		}
	}
	preferred := func(key string) func(*corev1.PodSpec) {
		return func(pod *corev1.PodSpec) {
			list := &anti(pod).PreferredDuringSchedulingIgnoredDuringExecution
			*list = append(*list, corev1.WeightedPodAffinityTerm{Weight: 1, PodAffinityTerm: term(key)})
		}
	}
	const (
		strong   = "strong"
		weak     = "weak"
		none     = "none"
		lacks    = "anti-affinity uses a key nodes lack"
		antiZone = "anti-affinity is by zone only"
		zoneOnly = "constraint #0 spreads by zone only"
		lacks0   = "constraint #0 uses a key nodes lack"
		disables = "constraint #1 disables constraint #0"
		pending0 = "constraint #0 keeps all pods Pending"
		pending1 = "constraint #1 keeps all pods Pending"
	)
	tests := map[string]struct {
		pod []add
		// all, some, no and unknown are the spreading or the problem where three nodes, two, none or an unknown number
		// carry the key.
		all, some, no, unknown string
	}{
		"required by zone":                      {[]add{required(zone)}, strong, lacks, lacks, strong},
		"required by rack":                      {[]add{required(rack)}, strong, lacks, lacks, strong},
		"required by a look-alike":              {[]add{required(lookAlike)}, strong, lacks, lacks, lacks},
		"preferred by zone":                     {[]add{preferred(zone)}, antiZone, antiZone, lacks, antiZone},
		"preferred by a look-alike":             {[]add{preferred(lookAlike)}, none, none, lacks, lacks},
		"soft by zone":                          {[]add{soft(zone)}, zoneOnly, zoneOnly, lacks0, zoneOnly},
		"hard by zone":                          {[]add{hard(zone)}, zoneOnly, zoneOnly, pending0, zoneOnly},
		"hard by a look-alike":                  {[]add{hard(lookAlike)}, none, none, pending0, lacks0},
		"soft by zone and hostname":             {[]add{soft(zone), soft(host)}, weak, weak, lacks0, weak},
		"soft by hostname and rack":             {[]add{soft(host), soft(rack)}, weak, weak, disables, weak},
		"soft by hostname and a look-alike":     {[]add{soft(host), soft(lookAlike)}, weak, weak, disables, disables},
		"soft by hostname, hard by zone":        {[]add{soft(host), hard(zone)}, strong, strong, pending1, strong},
		"hard by hostname, soft by zone":        {[]add{hard(host), soft(zone)}, strong, strong, strong, strong},
		"required by rack, soft by hostname":    {[]add{required(rack), soft(host)}, strong, weak, strong, strong},
		"required by rack, hard by hostname":    {[]add{required(rack), hard(host)}, strong, strong, strong, strong},
		"required by a look-alike and hostname": {[]add{required(lookAlike), required(host)}, strong, strong, strong, strong},
		"required by hostname":                  {[]add{required(host)}, strong, strong, strong, strong},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := &Workload{
				Ref:      Ref{APIVersion: "apps/v1", Kind: "Deployment"},
				Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "web"}}},
			}
			for _, add := range test.pod {
				add(&w.Template.Spec)
			}
			said := func(cluster Cluster) string {
				s := spreadingOf(w, Namespace{Name: "edge"}, cluster)
				if s.ineffective != nil {
					if len(s.ineffective.problem) > 36 {
						t.Errorf("problem %q has more than 36 bytes: it is part of a warning", s.ineffective.problem)
					}
					return s.ineffective.problem
				}
				return string(s.Spreading)
			}
			got := []string{
				said(Cluster{Known: nodes(3)}), said(Cluster{Known: nodes(2)}), said(Cluster{Known: nodes(0)}),
				said(Cluster{Nodes: 3}),
			}
			if diff := cmp.Diff([]string{test.all, test.some, test.no, test.unknown}, got); diff != "" {
				t.Errorf("spreadingOf() with three, two, no and unknown carriers mismatch (-want +got):\n%s", diff)
			}
		})
	}
}

func TestMeantLabel(t *testing.T) {
	t.Parallel()
	for label, want := range map[string]string{
		"kubernetes.io/hostname": "", "topology.kubernetes.io/zone": "", "topology.kubernetes.io/region": "",
		"kubernetes.io/arch": "", "example.com/rack": "", "rack": "",
		"node-restriction.kubernetes.io/rack": "", "topology.ebs.csi.aws.com/zone": "",
		"failure-domain.beta.kubernetes.io/zone": "", "example.com/hostnames": "",
		"topology.kubernetes.io/hostname": corev1.LabelHostname, "hostname": corev1.LabelHostname,
		"kubernetes.io/Hostname": corev1.LabelHostname, "example.com/node": "", "topology.topolvm.io/node": "",
		"openebs.io/nodename": "", "node-restriction.kubernetes.io/node": "", "beta.kubernetes.io/host": corev1.LabelHostname,
		"kubernetes.io/nodeName": corev1.LabelHostname,
		"kubernetes.io/zone":     corev1.LabelTopologyZone, "topology.kubernetes.io/zones": corev1.LabelTopologyZone,
		"node.kubernetes.io/region": corev1.LabelTopologyRegion,
	} {
		if got := meantLabel(label); got != want {
			t.Errorf("meantLabel(%q) = %q, want %q", label, got, want)
		}
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
		"absent is one":           {want: replicaRange{1, 1}},
		"one is one":              {replicas: number(1), want: replicaRange{1, 1}},
		"a written number counts": {replicas: number(5), want: replicaRange{5, 5}},
		"zero is not forever":     {replicas: number(0), want: replicaRange{0, 2}},
		"an autoscaler sets both bounds": {
			replicas:    number(1),
			autoscalers: scales(3, 9),
			want:        replicaRange{3, 9},
		},
		"an autoscaler may have a smaller maximum than the written number": {
			replicas:    number(5),
			autoscalers: scales(1, 1),
			want:        replicaRange{1, 1},
		},
		"an autoscaler may have scaled to zero": {
			replicas:    number(0),
			autoscalers: scales(1, 9),
			want:        replicaRange{1, 9},
		},
		"an autoscaler may have the minimum zero": {
			replicas:    number(3),
			autoscalers: scales(0, 9),
			want:        replicaRange{0, 9},
		},
		"zero with an autoscaler to one is at most one": {
			replicas:    number(0),
			autoscalers: scales(0, 1),
			want:        replicaRange{0, 1},
		},
		"an autoscaler of another workload is ignored": {
			autoscalers: []Autoscaler{scaler("edge", "Deployment", "api", 1, 9)},
			want:        replicaRange{1, 1},
		},
		"an autoscaler in another namespace is ignored": {
			autoscalers: []Autoscaler{scaler("mail", "Deployment", "web", 1, 9)},
			want:        replicaRange{1, 1},
		},
		"an autoscaler of another kind is ignored": {
			autoscalers: []Autoscaler{scaler("edge", "StatefulSet", "web", 1, 9)},
			want:        replicaRange{1, 1},
		},
		"several autoscalers give the widest range": {
			autoscalers: append(scales(2, 3), scales(1, 4)...),
			want:        replicaRange{1, 4},
		},
		"a user of the template creates the pods": {
			replicas: number(0),
			users:    rollout(number(5)),
			want:     replicaRange{5, 5},
		},
		"a user may have one replica": {
			replicas: number(0),
			users:    rollout(number(1)),
			want:     replicaRange{1, 1},
		},
		"a user may be scaled to zero as well": {
			replicas: number(0),
			users:    rollout(number(0)),
			want:     replicaRange{0, 2},
		},
		"a user without replicas has one": {replicas: number(1), users: rollout(nil), want: replicaRange{1, 1}},
		"a user may have an autoscaler": {
			replicas:    number(1),
			users:       rollout(number(2)),
			autoscalers: []Autoscaler{scaler("edge", "Rollout", "canary", 2, 7)},
			want:        replicaRange{2, 7},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			related := Related{Autoscalers: test.autoscalers, Users: test.users}
			got := related.scaling().replicasOf(&Workload{Ref: web, Replicas: test.replicas})
			if got != test.want {
				t.Errorf("replicasOf() = %+v, want %+v", got, test.want)
			}
		})
	}
	if got := (Related{}).scaling().replicasOf(&Workload{Ref: Ref{Kind: "DaemonSet"}}); got != (replicaRange{}) {
		t.Errorf("replicasOf() of a DaemonSet = %+v, want none", got)
	}
}

// TestOverload compares with numbers that were worked out by hand for small placements: the share of the busiest pod,
// 1/(nodes with pods × pods on its node), divided by the fair share 1/pods.
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
		{7, 1, 3.5, 1},            // all on the only node
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
