package policies_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/sourceward/sourceward/policies"
)

// approximately compares numbers but for rounding errors.
var approximately = cmpopts.EquateApprox(0, 1e-9)

// on returns places with these numbers of ready pods: node-a, node-b and so on.
func on(counts ...int) []policies.Place {
	places := make([]policies.Place, len(counts))
	for i, count := range counts {
		places[i] = policies.Place{Node: fmt.Sprintf("node-%c", 'a'+i), Ready: count}
	}
	return places
}

// inZones sets the zones of places, one letter for each.
func inZones(zones string, places []policies.Place) []policies.Place {
	for i, zone := range zones {
		places[i].Zone = string(zone)
	}
	return places
}

// figures holds those figures of a Traffic that a case states.
type figures struct {
	// Nodes holds the share of each node, and Pods that of each pod on it.
	Nodes, Pods            []float64
	Overload, Usable, Lost float64
	IdleNodes, IdlePods    int
	Health                 []int
}

func figuresOf(flow policies.Flow) figures {
	f := figures{
		Overload: flow.Overload, Usable: flow.Usable, Lost: flow.Lost,
		IdleNodes: flow.IdleNodes, IdlePods: flow.IdlePods,
	}
	for _, node := range flow.Nodes {
		f.Nodes, f.Pods = append(f.Nodes, node.Share), append(f.Pods, node.PodShare)
		f.Health = append(f.Health, node.Health)
	}
	return f
}

const third, sixth = 1.0 / 3, 1.0 / 6

// TestShareTraffic compares with shares that were worked out by hand.
func TestShareTraffic(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		places  []policies.Place
		routing policies.Routing
		local   figures
		cluster figures
	}{
		"three pods on one node and one on another": {
			places: on(3, 1, 0),
			local: figures{
				Nodes: []float64{.5, .5, 0}, Pods: []float64{sixth, .5, 0}, Overload: 2, Usable: .5,
				IdleNodes: 1, Health: []int{200, 200, 503},
			},
			cluster: figures{
				Nodes: []float64{third, third, third}, Pods: []float64{.25, .25, 0}, Overload: 1, Usable: 1,
				Health: []int{0, 0, 0},
			},
		},
		"the same without a health check": {
			places:  on(3, 1, 0),
			routing: policies.Routing{Unchecked: true},
			local: figures{
				Nodes: []float64{third, third, third}, Pods: []float64{1. / 9, third, 0}, Overload: 4. / 3, Usable: .5,
				Lost: third, Health: []int{0, 0, 0},
			},
			cluster: figures{
				Nodes: []float64{third, third, third}, Pods: []float64{.25, .25, 0}, Overload: 1, Usable: 1,
				Health: []int{0, 0, 0},
			},
		},
		"two pods on two of three nodes": {
			places: on(1, 1, 0),
			local: figures{
				Nodes: []float64{.5, .5, 0}, Pods: []float64{.5, .5, 0}, Overload: 1, Usable: 1, IdleNodes: 1,
				Health: []int{200, 200, 503},
			},
			cluster: figures{
				Nodes: []float64{third, third, third}, Pods: []float64{.5, .5, 0}, Overload: 1, Usable: 1,
				Health: []int{0, 0, 0},
			},
		},
		"two pods on each node": {
			places: on(2, 2, 2),
			local: figures{
				Nodes: []float64{third, third, third}, Pods: []float64{sixth, sixth, sixth}, Overload: 1, Usable: 1,
				Health: []int{200, 200, 200},
			},
			cluster: figures{
				Nodes: []float64{third, third, third}, Pods: []float64{sixth, sixth, sixth}, Overload: 1, Usable: 1,
				Health: []int{0, 0, 0},
			},
		},
		"four pods on three nodes, spread as well as possible": {
			places: on(2, 1, 1),
			local: figures{
				Nodes: []float64{third, third, third}, Pods: []float64{sixth, third, third}, Overload: 4. / 3, Usable: .75,
				Health: []int{200, 200, 200},
			},
			cluster: figures{
				Nodes: []float64{third, third, third}, Pods: []float64{.25, .25, .25}, Overload: 1, Usable: 1,
				Health: []int{0, 0, 0},
			},
		},
		"weights": {
			places:  on(3, 1, 0),
			routing: policies.Routing{Sharing: policies.ShareWeighted},
			local: figures{
				Nodes: []float64{.75, .25, 0}, Pods: []float64{.25, .25, 0}, Overload: 1, Usable: 1, IdleNodes: 1,
				Health: []int{200, 200, 503},
			},
			cluster: figures{
				Nodes: []float64{third, third, third}, Pods: []float64{.25, .25, 0}, Overload: 1, Usable: 1,
				Health: []int{0, 0, 0},
			},
		},
		"zones": { // Zone a has two nodes with pods, zone b one, and zone c a node without pods.
			places:  inZones("aabc", on(1, 1, 2, 0)),
			routing: policies.Routing{Zonal: true},
			local: figures{
				Nodes: []float64{.25, .25, .5, 0}, Pods: []float64{.25, .25, .25, 0}, Overload: 1, Usable: 1, IdleNodes: 1,
				Health: []int{200, 200, 200, 503},
			},
			cluster: figures{
				Nodes: []float64{sixth, sixth, third, third}, Pods: []float64{.25, .25, .25, 0}, Overload: 1, Usable: 1,
				Health: []int{0, 0, 0, 0},
			},
		},
		"zones with one node each are no worse than nodes, and two in one zone are": {
			places:  inZones("aab", on(1, 1, 1)),
			routing: policies.Routing{Zonal: true},
			local: figures{
				Nodes: []float64{.25, .25, .5}, Pods: []float64{.25, .25, .5}, Overload: 1.5, Usable: 2. / 3,
				Health: []int{200, 200, 200},
			},
			cluster: figures{
				Nodes: []float64{.25, .25, .5}, Pods: []float64{third, third, third}, Overload: 1, Usable: 1,
				Health: []int{0, 0, 0},
			},
		},
		"one announcer, of which it is not known which": {
			places:  on(2, 1, 1, 0),
			routing: policies.Routing{Sharing: policies.ShareAnnouncer},
			local: figures{
				Nodes: []float64{0, 1, 0, 0}, Pods: []float64{0, 1, 0, 0}, Overload: 4, Usable: .25, IdleNodes: 3, IdlePods: 3,
				Health: []int{200, 200, 200, 503},
			},
			cluster: figures{
				Nodes: []float64{0, 1, 0, 0}, Pods: []float64{.25, .25, .25, 0}, Overload: 1, Usable: 1, IdleNodes: 3,
				Health: []int{0, 0, 0, 0},
			},
		},
		"a known announcer": {
			places:  on(2, 1, 1),
			routing: policies.Routing{Sharing: policies.ShareAnnouncer, Announcer: "node-a"},
			local: figures{
				Nodes: []float64{1, 0, 0}, Pods: []float64{.5, 0, 0}, Overload: 2, Usable: .5, IdleNodes: 2, IdlePods: 2,
				Health: []int{200, 200, 200},
			},
			cluster: figures{
				Nodes: []float64{1, 0, 0}, Pods: []float64{.25, .25, .25}, Overload: 1, Usable: 1, IdleNodes: 2,
				Health: []int{0, 0, 0},
			},
		},
		"an announcer that is elected without regard to pods": {
			places:  on(2, 0),
			routing: policies.Routing{Sharing: policies.ShareAnnouncer, Unchecked: true},
			local: figures{
				Nodes: []float64{0, 1}, Pods: []float64{0, 0}, Lost: 1, IdleNodes: 1, IdlePods: 2, Health: []int{0, 0},
			},
			cluster: figures{
				Nodes: []float64{0, 1}, Pods: []float64{.5, 0}, Overload: 1, Usable: 1, IdleNodes: 1, Health: []int{0, 0},
			},
		},
		"straight to pods": {
			places:  on(3, 1, 0),
			routing: policies.Routing{Sharing: policies.SharePods},
			local: figures{
				Nodes: []float64{.75, .25, 0}, Pods: []float64{.25, .25, 0}, Overload: 1, Usable: 1, IdleNodes: 1,
				Health: []int{0, 0, 0},
			},
			cluster: figures{
				Nodes: []float64{.75, .25, 0}, Pods: []float64{.25, .25, 0}, Overload: 1, Usable: 1, IdleNodes: 1,
				Health: []int{0, 0, 0},
			},
		},
		"straight to pods, zone by zone": {
			places:  inZones("ab", on(3, 1)),
			routing: policies.Routing{Sharing: policies.SharePods, Zonal: true},
			local: figures{
				Nodes: []float64{.5, .5}, Pods: []float64{sixth, .5}, Overload: 2, Usable: .5, Health: []int{0, 0},
			},
			cluster: figures{
				Nodes: []float64{.5, .5}, Pods: []float64{sixth, .5}, Overload: 2, Usable: .5, Health: []int{0, 0},
			},
		},
		"a pod on a node that the load balancer leaves out": {
			places: []policies.Place{
				{Node: "control", Ready: 1, Untargeted: "has the label"}, {Node: "node-a", Ready: 1}, {Node: "node-b"},
			},
			local: figures{
				Nodes: []float64{0, 1, 0}, Pods: []float64{0, 1, 0}, Overload: 2, Usable: .5, IdleNodes: 1, IdlePods: 1,
				Health: []int{0, 200, 503},
			},
			cluster: figures{
				Nodes: []float64{0, .5, .5}, Pods: []float64{.5, .5, 0}, Overload: 1, Usable: 1, Health: []int{0, 0, 0},
			},
		},
		"endpoints without a node": {
			places: []policies.Place{{Node: "node-a"}, {Ready: 2}},
			local: figures{
				Nodes: []float64{0, 0}, Pods: []float64{0, 0}, Lost: 1, IdleNodes: 1, IdlePods: 2, Health: []int{503, 0},
			},
			cluster: figures{
				Nodes: []float64{1, 0}, Pods: []float64{0, .5}, Overload: 1, Usable: 1, Health: []int{0, 0},
			},
		},
		"a node whose last pod drains fails the health check": {
			places: []policies.Place{{Node: "node-a", Ready: 1}, {Node: "node-b", Draining: 2}},
			local: figures{
				Nodes: []float64{1, 0}, Pods: []float64{1, 0}, Overload: 1, Usable: 1, IdleNodes: 1, Health: []int{200, 503},
			},
			cluster: figures{
				Nodes: []float64{.5, .5}, Pods: []float64{1, 0}, Overload: 1, Usable: 1, Health: []int{0, 0},
			},
		},
		"and still serves what it gets": {
			places:  []policies.Place{{Node: "node-a", Ready: 1}, {Node: "node-b", Draining: 2}},
			routing: policies.Routing{Unchecked: true},
			local: figures{
				Nodes: []float64{.5, .5}, Pods: []float64{.5, .25}, Overload: .5, Usable: 1, Health: []int{0, 0},
			},
			cluster: figures{
				Nodes: []float64{.5, .5}, Pods: []float64{1, 0}, Overload: 1, Usable: 1, Health: []int{0, 0},
			},
		},
		"all pods drain": {
			places: []policies.Place{{Node: "node-a", Draining: 1}, {Node: "node-b", Draining: 1}},
			local: figures{
				Nodes: []float64{0, 0}, Pods: []float64{0, 0}, Lost: 1, IdleNodes: 2, IdlePods: 2, Health: []int{503, 503},
			},
			cluster: figures{
				Nodes: []float64{.5, .5}, Pods: []float64{.5, .5}, Overload: 1, Usable: 1, Health: []int{0, 0},
			},
		},
		"no pods": {
			places: on(0, 0),
			local: figures{
				Nodes: []float64{0, 0}, Pods: []float64{0, 0}, Lost: 1, IdleNodes: 2, Health: []int{503, 503},
			},
			cluster: figures{Nodes: []float64{.5, .5}, Pods: []float64{0, 0}, Lost: 1, Health: []int{0, 0}},
		},
		"no nodes": {local: figures{Lost: 1}, cluster: figures{Lost: 1}},
		"Cluster that prefers pods on the same node": {
			places:  on(3, 1, 0),
			routing: policies.Routing{Distribution: "PreferSameNode"},
			local: figures{
				Nodes: []float64{.5, .5, 0}, Pods: []float64{sixth, .5, 0}, Overload: 2, Usable: .5,
				IdleNodes: 1, Health: []int{200, 200, 503},
			},
			cluster: figures{ // A third of the traffic each for the pods of a and b, and the last third for all four.
				Nodes: []float64{third, third, third}, Pods: []float64{1./9 + 1./12, third + 1./12, 0}, Overload: 5. / 3,
				Usable: .6, Health: []int{0, 0, 0},
			},
		},
		"Cluster that prefers pods in the same zone": {
			places:  inZones("abc", on(3, 1, 0)),
			routing: policies.Routing{Distribution: "PreferClose"},
			local: figures{
				Nodes: []float64{.5, .5, 0}, Pods: []float64{sixth, .5, 0}, Overload: 2, Usable: .5,
				IdleNodes: 1, Health: []int{200, 200, 503},
			},
			cluster: figures{
				Nodes: []float64{third, third, third}, Pods: []float64{1./9 + 1./12, third + 1./12, 0}, Overload: 5. / 3,
				Usable: .6, Health: []int{0, 0, 0},
			},
		},
		"a pod without a zone switches the preference off": {
			places:  inZones("a", on(3, 1)),
			routing: policies.Routing{Distribution: "PreferSameZone"},
			local: figures{
				Nodes: []float64{.5, .5}, Pods: []float64{sixth, .5}, Overload: 2, Usable: .5, Health: []int{200, 200},
			},
			cluster: figures{
				Nodes: []float64{.5, .5}, Pods: []float64{.25, .25}, Overload: 1, Usable: 1, Health: []int{0, 0},
			},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			before := slices.Clone(test.places)
			got := policies.ShareTraffic(test.places, test.routing)
			if diff := cmp.Diff(test.local, figuresOf(got.Local), approximately); diff != "" {
				t.Errorf("Local mismatch (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(test.cluster, figuresOf(got.Cluster), approximately); diff != "" {
				t.Errorf("Cluster mismatch (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(before, test.places); diff != "" {
				t.Errorf("ShareTraffic() changed the places (-before +after):\n%s", diff)
			}
		})
	}
}

// simulatedPod is a pod of a simulation.
type simulatedPod struct {
	node  int // -1 for none
	ready bool
	hits  int
}

// simulation sends connections one by one: a load balancer chooses a node, whose proxy chooses a pod.
type simulation struct {
	random  *rand.Rand
	places  []policies.Place
	routing policies.Routing
	pods    []*simulatedPod
	// arrived counts the connections of each node, and lost those that no pod gets.
	arrived []int
	lost    int
}

func newSimulation(random *rand.Rand, places []policies.Place, routing policies.Routing) *simulation {
	s := &simulation{random: random, places: places, routing: routing, arrived: make([]int, len(places))}
	for i, place := range places {
		node := i
		if place.Node == "" {
			node = -1
		}
		for range place.Ready {
			s.pods = append(s.pods, &simulatedPod{node: node, ready: true})
		}
		for range place.Draining {
			s.pods = append(s.pods, &simulatedPod{node: node})
		}
	}
	return s
}

// endpoints returns the pods for which holds is true: those that are ready, or else those that drain.
func (s *simulation) endpoints(holds func(*simulatedPod) bool) []*simulatedPod {
	for _, ready := range []bool{true, false} {
		found := slices.DeleteFunc(slices.Clone(s.pods), func(p *simulatedPod) bool { return p.ready != ready || !holds(p) })
		if len(found) > 0 {
			return found
		}
	}
	return nil
}

// send sends a number of connections. isLocal says with which traffic policy.
func (s *simulation) send(connections int, isLocal bool) {
	everywhere := s.endpoints(func(*simulatedPod) bool { return true })
	if s.routing.Sharing == policies.SharePods {
		for range connections {
			if len(everywhere) == 0 {
				s.lost++
				continue
			}
			everywhere[s.random.IntN(len(everywhere))].hits++
		}
		return
	}
	proxies := make([][]*simulatedPod, len(s.places)) // what each node chooses from
	tickets := map[string][]int{}                     // the nodes from which the load balancer draws, by zone
	var zones []string
	for i, place := range s.places {
		isHere := func(p *simulatedPod) bool { return p.node == i }
		if proxies[i] = everywhere; isLocal {
			proxies[i] = s.endpoints(isHere)
		}
		ready := 0
		for _, pod := range s.pods {
			if isHere(pod) && pod.ready {
				ready++
			}
		}
		count := 1
		switch {
		case place.Node == "" || place.Untargeted != "":
			count = 0
		case isLocal && s.routing.Sharing == policies.ShareWeighted:
			count = ready
		case isLocal && !s.routing.Unchecked && ready == 0: // the health check
			count = 0
		}
		zone := ""
		if s.routing.Zonal {
			zone = place.Zone
		}
		if count > 0 && !slices.Contains(zones, zone) {
			zones = append(zones, zone)
		}
		tickets[zone] = append(tickets[zone], slices.Repeat([]int{i}, count)...)
	}
	for range connections {
		if len(zones) == 0 {
			s.lost++
			continue
		}
		of := tickets[zones[s.random.IntN(len(zones))]]
		node := of[s.random.IntN(len(of))]
		s.arrived[node]++
		if len(proxies[node]) == 0 {
			s.lost++
			continue
		}
		proxies[node][s.random.IntN(len(proxies[node]))].hits++
	}
}

// TestShareTrafficAgainstSimulation compares the shares for random placements with the connections that a simulation
// counts.
//
// The number of connections that a node or pod with share p gets is binomial. By Bernstein's inequality, its mean over
// n connections is further from p than sqrt(2p(1-p)L/n) + 2L/(3n) with a probability of at most 2·exp(-L). The test
// compares fewer than a million numbers, so that with L = ln(2·10^6·10^9) fewer than one of 10^9 seeds fails by chance.
func TestShareTrafficAgainstSimulation(t *testing.T) {
	t.Parallel()
	const seed, placements, connections = 1, 1000, 10_000
	l := math.Log(2e15)
	random := rand.New(rand.NewPCG(seed, 0))
	compared, lost := 0, 0
	for n := range placements {
		var places []policies.Place
		for i := range 1 + random.IntN(6) {
			place := policies.Place{
				Node: fmt.Sprint("node-", i), Zone: string(rune('a' + random.IntN(3))), Ready: max(0, random.IntN(6)-2),
			}
			switch random.IntN(12) {
			case 0:
				place.Untargeted = "has the label"
			case 1, 2:
				place.Draining = 1 + random.IntN(2)
			}
			places = append(places, place)
		}
		if random.IntN(10) == 0 {
			places = append(places, policies.Place{Ready: 1})
		}
		routing := policies.Routing{
			Sharing: []policies.Sharing{
				policies.ShareNodes, policies.ShareNodes, policies.ShareWeighted, policies.SharePods,
			}[random.IntN(4)],
			Unchecked: random.IntN(3) == 0,
		}
		routing.Zonal = routing.Sharing != policies.SharePods && random.IntN(3) == 0
		traffic := policies.ShareTraffic(places, routing)
		for _, isLocal := range []bool{true, false} {
			flow := traffic.Cluster
			if isLocal {
				flow = traffic.Local
			}
			s := newSimulation(random, places, routing)
			s.send(connections, isLocal)
			check := func(what string, share float64, count int) {
				compared++
				bound := math.Sqrt(2*share*(1-share)*l/connections) + 2*l/(3*connections)
				if got := float64(count) / connections; math.Abs(got-share) > bound {
					t.Errorf("seed %d, placement %d (%+v, %+v), Local %t: %s has share %.4f, and %.4f in the simulation",
						seed, n, places, routing, isLocal, what, share, got)
				}
			}
			check("what is lost", flow.Lost, s.lost)
			if flow.Lost > 0 {
				lost++
			}
			busiest, all := 0, 0
			for _, pod := range s.pods {
				busiest = max(busiest, pod.hits)
				if pod.ready {
					all++
				}
				place := len(places) - 1 // that of pods without a node
				if pod.node >= 0 {
					place = pod.node
				}
				share := flow.Nodes[place].PodShare
				if !pod.ready && places[place].Ready > 0 {
					share = 0 // The ready pods on its node come first.
				}
				check(fmt.Sprintf("a pod on %q", places[place].Node), share, pod.hits)
			}
			for i, count := range s.arrived {
				if routing.Sharing != policies.SharePods {
					check(places[i].Node, flow.Nodes[i].Share, count)
				}
			}
			if all > 0 {
				check("the busiest pod", flow.Overload/float64(all), busiest)
			}
		}
	}
	t.Logf("seed %d: %d placements, %d shares, some traffic is lost in %d cases", seed, placements, compared, lost)
	if lost == 0 || compared > 1_000_000 {
		t.Errorf("%d of the cases lose traffic, and %d shares were compared; want some, and fewer than a million",
			lost, compared)
	}
}

func TestTimes(t *testing.T) {
	t.Parallel()
	for factor, want := range map[float64]string{
		1: "1x", 1.001: "1x", 4. / 3: "1.33x", 2: "2x", 12.345: "12.35x", 1 << 30: "1073741824x",
	} {
		if got := policies.Times(factor); got != want {
			t.Errorf("Times(%v) = %s, want %s", factor, got, want)
		}
	}
}
