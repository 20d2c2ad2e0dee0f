package policies_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"sigs.k8s.io/yaml"

	"github.com/sourceward/sourceward/policies"
)

// readAll decodes YAML documents.
func readAll[T any](t testing.TB, texts ...string) []*T {
	t.Helper()
	var all []*T
	for _, text := range texts {
		var object T
		if err := yaml.UnmarshalStrict([]byte(text), &object); err != nil {
			t.Fatalf("%v:\n%s", err, text)
		}
		all = append(all, &object)
	}
	return all
}

// counts returns the number of ready pods in each place.
func counts(places []policies.Place) []int {
	var counts []int
	for _, place := range places {
		counts = append(counts, place.Ready)
	}
	return counts
}

func TestPlacesOf(t *testing.T) {
	t.Parallel()
	nodes := []string{
		"{metadata: {name: node-b, labels: {topology.kubernetes.io/zone: b}}, spec: {unschedulable: true}}",
		`{metadata: {name: node-a, labels: {topology.kubernetes.io/zone: a}},
			status: {conditions: [{type: Ready, status: "False"}]}}`,
		"{metadata: {name: node-c}}",
	}
	untargeted := []string{
		`{metadata: {name: control, labels: {node.kubernetes.io/exclude-from-external-load-balancers: ""}}}`,
		`{metadata: {name: included, labels: {node.kubernetes.io/exclude-from-external-load-balancers: "false"}}}`,
		`{metadata: {name: deleted, deletionTimestamp: "2026-12-01T00:00:00Z"}}`,
		"{metadata: {name: doomed}, spec: {taints: [{key: ToBeDeletedByClusterAutoscaler, effect: NoSchedule}]}}",
	}
	slice := func(fields, endpoints string) string {
		return "{metadata: {namespace: edge, name: web-1, labels: {kubernetes.io/service-name: web}}, addressType: IPv4, " +
			"ports: [{name: http, port: 80}, {name: https, port: 443}], " + fields + " endpoints: [" + endpoints + "]}"
	}
	const balanced = "type: LoadBalancer"
	at := func(a, b, c int, more ...policies.Place) []policies.Place {
		return append([]policies.Place{
			{Node: "node-a", Zone: "a", Ready: a}, {Node: "node-b", Zone: "b", Ready: b}, {Node: "node-c", Ready: c},
		}, more...)
	}
	tests := map[string]struct {
		spec   string
		nodes  []string
		slices []string
		want   []policies.Place
	}{
		"a node that is cordoned or not ready is a target, and a pod with two ports is one pod": {
			spec: balanced, nodes: nodes,
			slices: []string{slice("", `{addresses: [10.0.0.1], nodeName: node-a}, {addresses: [10.0.0.2], nodeName: node-b}`)},
			want:   at(1, 1, 0),
		},
		"a pod with an address of each family is one pod": {
			spec: balanced + ", ipFamilies: [IPv6, IPv4]", nodes: nodes,
			slices: []string{
				slice("", `{addresses: [10.0.0.1], nodeName: node-a}, {addresses: [10.0.0.2], nodeName: node-a}`),
				`{metadata: {namespace: edge, name: web-6, labels: {kubernetes.io/service-name: web}}, addressType: IPv6,
					ports: [{name: "", port: 80}], endpoints: [{addresses: ["fd00::1"], nodeName: node-a}]}`,
			},
			want: at(1, 0, 0),
		},
		"a pod whose ports are in two slices is one pod": {
			spec: balanced, nodes: nodes,
			slices: []string{
				slice("", `{addresses: [10.0.0.1], nodeName: node-c}`), slice("", `{addresses: [10.0.0.1], nodeName: node-c}`),
			},
			want: at(0, 0, 1),
		},
		"ready, draining, ending and starting pods": {
			spec: balanced, nodes: nodes,
			slices: []string{slice("", `
				{addresses: [10.0.0.1], nodeName: node-c, conditions: {ready: true, serving: true, terminating: false}},
				{addresses: [10.0.0.2], nodeName: node-c, conditions: {ready: false, serving: true, terminating: true}},
				{addresses: [10.0.0.3], nodeName: node-c, conditions: {ready: false, serving: false, terminating: true}},
				{addresses: [10.0.0.4], nodeName: node-c, conditions: {ready: false, serving: false, terminating: false}},
				{addresses: [10.0.0.5], nodeName: node-c, conditions: {}}`)},
			want: append(at(0, 0, 0)[:2], policies.Place{Node: "node-c", Ready: 2, Draining: 1}),
		},
		"a new pod has the address of one that drains": {
			spec: balanced, nodes: nodes,
			slices: []string{slice("", `
				{addresses: [10.0.0.1], nodeName: node-a, conditions: {ready: true}},
				{addresses: [10.0.0.1], nodeName: node-b, conditions: {ready: false, serving: true, terminating: true}}`)},
			want: at(1, 0, 0),
		},
		"publishNotReadyAddresses makes pods ready": {
			spec: balanced + ", publishNotReadyAddresses: true", nodes: nodes,
			slices: []string{slice("", `
				{addresses: [10.0.0.1], nodeName: node-a, conditions: {ready: true, serving: false, terminating: false}},
				{addresses: [10.0.0.2], nodeName: node-a, conditions: {ready: true, serving: false, terminating: true}}`)},
			want: at(2, 0, 0),
		},
		"other slices do not count": {
			spec: balanced, nodes: nodes,
			slices: []string{
				`{metadata: {namespace: edge, labels: {kubernetes.io/service-name: other}}, addressType: IPv4,
					ports: [{name: "", port: 80}], endpoints: [{addresses: [10.0.0.1], nodeName: node-a}]}`,
				`{metadata: {namespace: other, labels: {kubernetes.io/service-name: web}}, addressType: IPv4,
					ports: [{name: "", port: 80}], endpoints: [{addresses: [10.0.0.1], nodeName: node-a}]}`,
				`{metadata: {namespace: edge, labels: {kubernetes.io/service-name: web}}, addressType: FQDN,
					ports: [{name: "", port: 80}], endpoints: [{addresses: [example.com], nodeName: node-a}]}`,
				`{metadata: {namespace: edge, labels: {kubernetes.io/service-name: web}}, addressType: IPv4,
					endpoints: [{addresses: [10.0.0.1], nodeName: node-a}]}`,
			},
			want: at(0, 0, 0),
		},
		"endpoints without a node, and on a node that is gone": {
			spec: balanced, nodes: nodes[2:],
			slices: []string{slice("", `
				{addresses: [10.0.0.1]}, {addresses: [10.0.0.2], nodeName: gone, zone: z},
				{addresses: [10.0.0.3], nodeName: node-c}`)},
			want: []policies.Place{
				{Node: "gone", Zone: "z", Ready: 1, Untargeted: "does not exist"}, {Node: "node-c", Ready: 1}, {Ready: 1},
			},
		},
		"nodes that the service controller leaves out": {
			spec: balanced, nodes: untargeted,
			want: []policies.Place{
				{Node: "control", Untargeted: "has the label node.kubernetes.io/exclude-from-external-load-balancers"},
				{Node: "deleted", Untargeted: "is being deleted"},
				{Node: "doomed", Untargeted: "has the taint ToBeDeletedByClusterAutoscaler"},
				{Node: "included"},
			},
		},
		"no load balancer leaves out nodes of a NodePort Service": {
			spec: "type: NodePort", nodes: untargeted,
			want: []policies.Place{{Node: "control"}, {Node: "deleted"}, {Node: "doomed"}, {Node: "included"}},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			service := readAll[corev1.Service](t, "{metadata: {namespace: edge, name: web}, spec: {"+test.spec+"}}")[0]
			got := policies.PlacesOf(service, readAll[discoveryv1.EndpointSlice](t, test.slices...),
				readAll[corev1.Node](t, test.nodes...), policies.Version{})
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("PlacesOf() mismatch (-want +got):\n%s", diff)
			}
		})
	}
}

// TestPlacesOfOldControllers checks that a cloud controller before 1.34 leaves out a node with any value of the label.
func TestPlacesOfOldControllers(t *testing.T) {
	t.Parallel()
	service := &corev1.Service{Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer}}
	nodes := readAll[corev1.Node](t,
		`{metadata: {name: node-a, labels: {node.kubernetes.io/exclude-from-external-load-balancers: "false"}}}`)
	for minor, want := range map[uint]bool{33: true, 34: false} {
		got := policies.PlacesOf(service, nil, nodes, policies.Version{Major: 1, Minor: minor})[0].Untargeted != ""
		if got != want {
			t.Errorf("1.%d leaves out the node: %t, want %t", minor, got, want)
		}
	}
}

func TestBestPlacement(t *testing.T) {
	t.Parallel()
	excluded := func(places []policies.Place, i int) []policies.Place {
		places[i].Untargeted = "has the label"
		return places
	}
	only := func(names ...string) map[string]bool {
		set := map[string]bool{}
		for _, name := range names {
			set[name] = true
		}
		return set
	}
	even, zonal := policies.Routing{}, policies.Routing{Zonal: true}
	tests := map[string]struct {
		places  []policies.Place
		pods    []policies.Pods
		want    []int
		routing policies.Routing
	}{
		"four pods on three nodes":     {on(0, 0, 0), []policies.Pods{{Count: 4}}, []int{2, 1, 1}, even},
		"two pods on three nodes":      {on(0, 0, 0), []policies.Pods{{Count: 2}}, []int{1, 1, 0}, even},
		"pods that are there are gone": {on(3, 1, 0), []policies.Pods{{Count: 4}}, []int{2, 1, 1}, even},
		"zones alternate": {
			inZones("aabb", on(0, 0, 0, 0)), []policies.Pods{{Count: 2}}, []int{1, 0, 1, 0}, even,
		},
		"two workloads, the second where the first is not": {
			on(0, 0, 0), []policies.Pods{{Count: 4}, {Count: 2}}, []int{2, 2, 2}, even,
		},
		"no pod where it would get no traffic": {
			excluded(on(0, 0, 0), 0), []policies.Pods{{Count: 4}}, []int{0, 2, 2}, even,
		},
		"unless it can run nowhere else": {
			excluded(on(0, 0), 0), []policies.Pods{{Count: 2, Nodes: only("node-a")}}, []int{2, 0}, even,
		},
		"a pod on each node": {excluded(on(0, 0), 0), []policies.Pods{{Count: 9, Alone: true}}, []int{1, 1}, even},
		"fewer pods than nodes, one each": {
			excluded(on(0, 0, 0), 0), []policies.Pods{{Count: 2, Alone: true}}, []int{0, 1, 1}, even,
		},
		"all pods on one node": {on(0, 0), []policies.Pods{{Count: 3, Pinned: true}}, []int{3, 0}, even},
		"nodes on which the pods may run": {
			on(0, 0, 0), []policies.Pods{{Count: 3, Nodes: only("node-b")}}, []int{0, 3, 0}, even,
		},
		"no node on which the pods may run": {on(0, 0), []policies.Pods{{Count: 3, Nodes: only("other")}}, []int{0, 0}, even},
		"no place for endpoints without a node": {
			[]policies.Place{{Node: "node-a"}, {Ready: 3}, {Node: "gone", Untargeted: "does not exist"}},
			[]policies.Pods{{Count: 3}}, []int{3, 0, 0}, even,
		},
		"no places": {nil, []policies.Pods{{Count: 3}}, nil, even},
		"zones share the traffic first": {
			inZones("aaab", on(0, 0, 0, 0)), []policies.Pods{{Count: 4}}, []int{1, 1, 0, 2}, zonal,
		},
		"one pod more in the zone where pods have the largest share": {
			inZones("aaab", on(0, 0, 0, 0)), []policies.Pods{{Count: 5}}, []int{1, 1, 1, 2}, zonal,
		},
		"a constraint forbids that nodes have so different numbers of pods": {
			inZones("aaab", on(0, 0, 0, 0)), []policies.Pods{{Count: 4, MaxSkew: 1}}, []int{1, 1, 1, 1}, zonal,
		},
		"a constraint forbids that a node stays empty": {
			excluded(on(0, 0, 0), 0), []policies.Pods{{Count: 4, MaxSkew: 1}}, []int{1, 2, 1}, even,
		},
		"a constraint allows that a node stays empty": {
			excluded(on(0, 0, 0), 0), []policies.Pods{{Count: 4, MaxSkew: 2}}, []int{0, 2, 2}, even,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(test.want, counts(policies.BestPlacement(test.places, test.routing, test.pods...))); diff != "" {
				t.Errorf("BestPlacement() mismatch (-want +got):\n%s", diff)
			}
		})
	}
}

// placements yields all ways to place pods of one workload on n nodes that its bounds allow.
func placements(p policies.Pods, n int, yield func([]int)) {
	if p.Alone {
		p.Count = min(p.Count, n)
	}
	var place func(counts []int, left int)
	place = func(counts []int, left int) {
		if len(counts) < n {
			for count := range left + 1 {
				place(append(counts, count), left-count)
			}
			return
		}
		most := p.Count
		switch {
		case p.Alone:
			most = 1
		case p.Most > 0:
			most = p.Most
		case p.MaxSkew > 0:
			most = slices.Min(counts) + p.MaxSkew
		}
		if left > 0 || slices.Max(counts) > most || p.Pinned && slices.Max(counts) < p.Count {
			return
		}
		yield(counts)
	}
	place(nil, p.Count)
}

// TestWorstPlacement compares with the worst of all placements, for every small number of nodes and pods.
func TestWorstPlacement(t *testing.T) {
	t.Parallel()
	routings := []policies.Routing{
		{}, {Unchecked: true}, {Zonal: true}, {Zonal: true, Unchecked: true}, {Sharing: policies.ShareWeighted},
		{Sharing: policies.ShareAnnouncer}, {Sharing: policies.SharePods}, {Sharing: policies.SharePods, Zonal: true},
		{Distribution: corev1.ServiceTrafficDistributionPreferSameNode},
		{Distribution: corev1.ServiceTrafficDistributionPreferSameZone},
		{Distribution: corev1.ServiceTrafficDistributionPreferSameZone, Zonal: true},
	}
	// Only with Cluster does the distribution matter.
	policyOf := func(routing policies.Routing) corev1.ServiceExternalTrafficPolicy {
		if routing.Distribution != "" {
			return corev1.ServiceExternalTrafficPolicyCluster
		}
		return corev1.ServiceExternalTrafficPolicyLocal
	}
	badness := func(places []policies.Place, routing policies.Routing) [3]float64 {
		flow := policies.ShareTraffic(places, routing).Local
		if routing.Distribution != "" {
			flow = policies.ShareTraffic(places, routing).Cluster
		}
		return [3]float64{flow.Lost, flow.Overload, float64(flow.IdleNodes)}
	}
	compared := 0
	for _, zones := range []string{"a", "ab", "aa", "abc", "aab", "aaa", "aabb", "aaab", "abcd", "aaaa", "aabbc"} {
		for _, excluded := range []bool{false, true} {
			for count := 1; count <= 7; count++ {
				for _, p := range []policies.Pods{
					{Count: count}, {Count: count, MaxSkew: 1}, {Count: count, MaxSkew: 2}, {Count: count, MaxSkew: 3},
					{Count: count, Alone: true}, {Count: count, Pinned: true},
					{Count: min(count, 2*len(zones)), MaxSkew: 2, Most: 2},
				} {
					empty := inZones(zones, on(make([]int, len(zones))...))
					if excluded {
						empty[0].Untargeted = "has the label"
					}
					for _, routing := range routings {
						var want [3]float64
						var worst []int
						placements(p, len(empty), func(counts []int) {
							placed := slices.Clone(empty)
							for i, count := range counts {
								placed[i].Ready = count
							}
							if found := badness(placed, routing); slices.Compare(found[:], want[:]) > 0 {
								want, worst = found, slices.Clone(counts)
							}
						})
						compared++
						placed := policies.WorstPlacement(empty, routing, policyOf(routing), p)
						if got := badness(placed, routing); cmp.Diff(want, got, approximately) != "" {
							t.Errorf("%+v in zones %s (first excluded: %t), %+v: %v is as bad as %v, but %v is %v",
								p, zones, excluded, routing, counts(placed), got, worst, want)
						}
					}
				}
			}
		}
	}
	t.Logf("%d cases", compared)
}

// TestBestPlacementOfZones compares with all placements that use as many zones as possible, and spread the pods of each
// zone over its nodes, for every small number of nodes and pods. A larger MaxSkew than 1 may allow a better one.
func TestBestPlacementOfZones(t *testing.T) {
	t.Parallel()
	compared := 0
	for _, zones := range []string{"ab", "aab", "aaab", "aaabb", "aaaab", "abc", "aabc", "aabbc", "aaabc"} {
		for count := 1; count <= 8; count++ {
			for _, sharing := range []policies.Sharing{policies.ShareNodes, policies.ShareWeighted, policies.SharePods} {
				for _, p := range []policies.Pods{
					{Count: count}, {Count: count, MaxSkew: 1}, {Count: count, Alone: true},
				} {
					routing, empty := policies.Routing{Sharing: sharing, Zonal: true}, inZones(zones, on(make([]int, len(zones))...))
					got := policies.BestPlacement(empty, routing, p)
					best := policies.ShareTraffic(got, routing).Local
					placements(p, len(empty), func(counts []int) {
						placed := slices.Clone(empty)
						byZone := map[string][]int{}
						used := map[string]bool{}
						for i, count := range counts {
							placed[i].Ready = count
							byZone[placed[i].Zone] = append(byZone[placed[i].Zone], count)
							if count > 0 {
								used[placed[i].Zone] = true
							}
						}
						for _, nodes := range byZone {
							if len(used) < min(count, len(byZone)) || slices.Max(nodes)-slices.Min(nodes) > 1 {
								return
							}
						}
						compared++
						if other := policies.ShareTraffic(placed, routing).Local; other.Overload < best.Overload-1e-9 {
							t.Errorf("%+v in zones %s, %q: %v has the overload %v, but %v has %v",
								p, zones, sharing, got, best.Overload, slices.Clone(counts), other.Overload)
						}
					})
				}
			}
		}
	}
	t.Logf("%d placements", compared)
}

// TestBestIsNotWorseThanWorst places two workloads, of which some may not run on all nodes. Whatever is excluded or
// shared, neither placement may break what the templates guarantee.
func TestBestIsNotWorseThanWorst(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	routings := []policies.Routing{
		{}, {Unchecked: true}, {Zonal: true}, {Sharing: policies.ShareWeighted}, {Sharing: policies.SharePods, Zonal: true},
		{Sharing: policies.SharePods},
	}
	for i := range 20_000 {
		empty := inZones([]string{"aab", "aaab", "abc", "aabb", "aabbc"}[i%5], on(make([]int, []int{3, 4, 3, 4, 5}[i%5])...))
		if random.IntN(3) == 0 {
			empty[random.IntN(len(empty))].Untargeted = "has the label"
		}
		var pods []policies.Pods
		for range 2 {
			p := policies.Pods{Count: 1 + random.IntN(6), MaxSkew: random.IntN(3), Alone: random.IntN(5) == 0}
			if random.IntN(2) == 0 {
				p.Nodes = map[string]bool{}
				for _, place := range empty[:1+random.IntN(len(empty))] {
					p.Nodes[place.Node] = true
				}
			}
			pods = append(pods, p)
		}
		routing := routings[random.IntN(len(routings))]
		best := policies.BestPlacement(empty, routing, pods...)
		worst := policies.WorstPlacement(empty, routing, corev1.ServiceExternalTrafficPolicyLocal, pods...)
		a, b := policies.ShareTraffic(best, routing).Local, policies.ShareTraffic(worst, routing).Local
		if a.Lost > b.Lost+1e-9 || a.Lost == b.Lost && a.Overload > b.Overload+1e-9 {
			t.Errorf("%+v, %+v: the best placement is %v (%v, %v), the worst %v (%v, %v)",
				pods, routing, counts(best), a.Lost, a.Overload, counts(worst), b.Lost, b.Overload)
		}
	}
}

// TestTheMostRestrictedPodsAreFirst has a workload that may run on one node only, and that is not the first.
func TestTheMostRestrictedPodsAreFirst(t *testing.T) {
	t.Parallel()
	pods := []policies.Pods{{Count: 3}, {Count: 2, Nodes: map[string]bool{"node-a": true}}}
	best := counts(policies.BestPlacement(on(0, 0), policies.Routing{}, pods...))
	if want := []int{2, 3}; !slices.Equal(best, want) {
		t.Errorf("BestPlacement() = %v, want %v", best, want)
	}
	worst := counts(policies.WorstPlacement(
		on(0, 0), policies.Routing{}, corev1.ServiceExternalTrafficPolicyLocal, pods...))
	if want := []int{4, 1}; !slices.Equal(worst, want) {
		t.Errorf("WorstPlacement() = %v, want %v", worst, want)
	}
}

// TestManyZonesAreNotTriedInVain places pods on nodes with a zone each: they are alike, and only a few are tried.
func TestManyZonesAreNotTriedInVain(t *testing.T) {
	t.Parallel()
	var places []policies.Place
	for i := range 2000 {
		places = append(places, policies.Place{Node: fmt.Sprint("node-", i), Zone: fmt.Sprint("zone-", i)})
	}
	routing := policies.Routing{Distribution: corev1.ServiceTrafficDistributionPreferSameZone}
	worst := policies.WorstPlacement(places, routing, corev1.ServiceExternalTrafficPolicyCluster, policies.Pods{Count: 3})
	if got := policies.ShareTraffic(worst, routing).Cluster.Overload; got < 1 {
		t.Errorf("the busiest pod gets %v times its share", got)
	}
}

func TestWorstPlacementOfSeveralWorkloads(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		pods []policies.Pods
		want []int
	}{
		{[]policies.Pods{{Count: 3}, {Count: 3}}, []int{1, 5, 0}},
		{[]policies.Pods{{Count: 3, MaxSkew: 1}, {Count: 3}}, []int{1, 4, 1}},
		{[]policies.Pods{{Count: 3, Alone: true}, {Count: 3}}, []int{1, 4, 1}},
	} {
		got := counts(policies.WorstPlacement(
			on(0, 0, 0), policies.Routing{}, corev1.ServiceExternalTrafficPolicyLocal, test.pods...))
		if !slices.Equal(got, test.want) {
			t.Errorf("WorstPlacement(%+v) = %v, want %v", test.pods, got, test.want)
		}
	}
}

// TestPodsOf reads what pod templates guarantee.
func TestPodsOf(t *testing.T) {
	t.Parallel()
	spread := func(fields string) string {
		return "topologySpreadConstraints: [{topologyKey: kubernetes.io/hostname, maxSkew: 1, " +
			"labelSelector: {matchLabels: {app: web}}, " + fields + "}]"
	}
	tests := map[string]struct {
		pod  string
		want policies.Pods
	}{
		"nothing":                       {"", policies.Pods{Count: 4}},
		"a hard constraint":             {spread("whenUnsatisfiable: DoNotSchedule"), policies.Pods{Count: 4, MaxSkew: 1}},
		"a soft one guarantees nothing": {spread("whenUnsatisfiable: ScheduleAnyway"), policies.Pods{Count: 4}},
		"a constraint that counts other pods": {
			"topologySpreadConstraints: [{topologyKey: kubernetes.io/hostname, maxSkew: 1, " +
				"labelSelector: {matchLabels: {app: other}}, whenUnsatisfiable: DoNotSchedule}]", policies.Pods{Count: 4},
		},
		"a constraint on zones": {
			"topologySpreadConstraints: [{topologyKey: topology.kubernetes.io/zone, maxSkew: 1, " +
				"labelSelector: {matchLabels: {app: web}}, whenUnsatisfiable: DoNotSchedule}]", policies.Pods{Count: 4},
		},
		"required anti-affinity": {
			"affinity: {podAntiAffinity: {requiredDuringSchedulingIgnoredDuringExecution: " +
				"[{topologyKey: kubernetes.io/hostname, labelSelector: {matchLabels: {app: web}}}]}}",
			policies.Pods{Count: 4, Alone: true},
		},
		"preferred anti-affinity": {
			"affinity: {podAntiAffinity: {preferredDuringSchedulingIgnoredDuringExecution: [{weight: 100, " +
				"podAffinityTerm: {topologyKey: kubernetes.io/hostname, labelSelector: {matchLabels: {app: web}}}}]}}",
			policies.Pods{Count: 4},
		},
		"one node": {"nodeSelector: {kubernetes.io/hostname: node-a}", policies.Pods{Count: 4, Pinned: true}},
	}
	pinned := deploymentOf(t, 4, tests["one node"].pod)
	pinned.Kind = "DaemonSet"
	want := policies.Pods{Count: 1, Pinned: true}
	got := policies.Cluster{}.PodsOf(pinned, 4, policies.Namespace{Name: "edge"})
	got.Alone = false // It does not matter for one pod.
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("PodsOf() of a DaemonSet for one node mismatch (-want +got):\n%s", diff)
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := deploymentOf(t, 4, test.pod)
			if diff := cmp.Diff(test.want, policies.Cluster{}.PodsOf(w, 4, policies.Namespace{Name: "edge"})); diff != "" {
				t.Errorf("PodsOf() mismatch (-want +got):\n%s", diff)
			}
		})
	}
}

func TestOtherTopology(t *testing.T) {
	t.Parallel()
	const selects = "labelSelector: {matchLabels: {app: web}}"
	for name, test := range map[string]struct{ pod, want string }{
		"nothing": {"", ""},
		"a hard constraint": {
			"topologySpreadConstraints: [{topologyKey: zone, maxSkew: 1, whenUnsatisfiable: DoNotSchedule, " + selects + "}]",
			"zone",
		},
		"a soft one": {
			"topologySpreadConstraints: [{topologyKey: zone, maxSkew: 1, whenUnsatisfiable: ScheduleAnyway, " + selects + "}]",
			"",
		},
		"one on nodes": {
			"topologySpreadConstraints: [{topologyKey: kubernetes.io/hostname, maxSkew: 1, whenUnsatisfiable: DoNotSchedule, " +
				selects + "}]", "",
		},
		"one for other pods": {
			"topologySpreadConstraints: [{topologyKey: zone, maxSkew: 1, whenUnsatisfiable: DoNotSchedule, " +
				"labelSelector: {matchLabels: {app: api}}}]", "",
		},
		"anti-affinity": {
			"affinity: {podAntiAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [{topologyKey: zone, " + selects +
				"}]}}", "zone",
		},
		"preferred anti-affinity": {
			"affinity: {podAntiAffinity: {preferredDuringSchedulingIgnoredDuringExecution: [{weight: 1, podAffinityTerm: " +
				"{topologyKey: zone, " + selects + "}}]}}", "",
		},
	} {
		if got := policies.OtherTopology(deploymentOf(t, 2, test.pod), policies.Namespace{Name: "edge"}); got != test.want {
			t.Errorf("%s: OtherTopology() = %q, want %q", name, got, test.want)
		}
	}
}

// TestPlacementsInACluster goes from nodes and templates to placements.
func TestPlacementsInACluster(t *testing.T) {
	t.Parallel()
	var nodes []*corev1.Node
	for _, node := range readAll[corev1.Node](t,
		"{metadata: {name: node-b, labels: {kubernetes.io/hostname: node-b, pool: web}}}",
		"{metadata: {name: node-a, labels: {kubernetes.io/hostname: node-a}}}",
		`{metadata: {name: control, labels: {kubernetes.io/hostname: control,
			node.kubernetes.io/exclude-from-external-load-balancers: ""}},
			spec: {taints: [{key: node-role.kubernetes.io/control-plane, effect: NoSchedule}]}}`,
	) {
		nodes = append(nodes, policies.ReducedNode(node))
	}
	cluster := policies.Cluster{Known: policies.NewNodes(nodes)}
	service := &corev1.Service{Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer}}
	for name, test := range map[string]struct {
		kind, pod string
		want      []int // on control, node-a, node-b
	}{
		"a Deployment":              {"Deployment", "", []int{0, 2, 1}},
		"one that chooses nodes":    {"Deployment", "nodeSelector: {pool: web}", []int{0, 0, 3}},
		"a DaemonSet":               {"DaemonSet", "", []int{0, 1, 1}},
		"one that tolerates taints": {"DaemonSet", "tolerations: [{operator: Exists}]", []int{1, 1, 1}},
	} {
		w := workloadFrom(t, fmt.Sprintf("{apiVersion: apps/v1, kind: %s, metadata: {namespace: edge, name: web}, "+
			"spec: {selector: {matchLabels: {app: web}}, template: {metadata: {labels: {app: web}}, spec: {%s}}}}",
			test.kind, test.pod))
		pods := cluster.PodsOf(w, 3, policies.Namespace{Name: "edge"})
		got := counts(policies.BestPlacement(cluster.Places(service), policies.Routing{}, pods))
		if !slices.Equal(got, test.want) {
			t.Errorf("%s: %v, want %v", name, got, test.want)
		}
	}
	if got := (policies.Cluster{}).Places(service); got != nil {
		t.Errorf("Places() without nodes = %v, want nil", got)
	}
	want := []policies.Place{{Node: "node-1"}, {Node: "node-2"}}
	if got := (policies.Cluster{Nodes: 2}).Places(service); !slices.Equal(got, want) {
		t.Errorf("Places() of two nodes = %v, want %v", got, want)
	}
}

func workloadFrom(t testing.TB, text string) *policies.Workload {
	t.Helper()
	var content map[string]any
	if err := yaml.Unmarshal([]byte(text), &content); err != nil {
		t.Fatal(err)
	}
	object, err := policies.NewObject(content)
	if err != nil {
		t.Fatal(err)
	}
	return object.Workload
}
