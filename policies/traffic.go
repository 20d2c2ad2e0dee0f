package policies

import (
	"cmp"
	"math"
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"
)

// Place is a node as the external traffic of one Service sees it, and the pods of the Service that run there.
type Place struct {
	// Node is the name of the node. It is empty for endpoints that name no node: they are local to none.
	Node string
	// Zone is the zone of the node; empty if it is not known.
	Zone string
	// Ready is the number of ready pods, which is what kube-proxy calls localEndpoints. Draining is the number of pods
	// that terminate and still serve.
	Ready    int
	Draining int
	// Untargeted says why the load balancer never sends traffic to the node; empty if it may. For example
	//
	//	has label node.kubernetes.io/exclude-from-external-load-balancers
	Untargeted string
}

// Sharing says among what a load balancer shares traffic.
type Sharing string

// The values of Sharing. The zero value, ShareNodes, is what most load balancers do.
const (
	// ShareNodes means that each node gets the same share.
	ShareNodes Sharing = ""
	// ShareWeighted means that each node gets a share in proportion to its ready pods. Without Local, the load balancer
	// shares among nodes.
	ShareWeighted Sharing = "weighted"
	// ShareAnnouncer means that one node gets all traffic, because it announces the address.
	ShareAnnouncer Sharing = "announcer"
	// SharePods means that each pod gets the same share, without passing through kube-proxy.
	SharePods Sharing = "pods"
)

// Routing says how the external traffic of a Service finds its nodes and pods. The zero value is a load balancer that
// gives the same share to each node that passes the health check.
type Routing struct {
	// Sharing says among what the load balancer shares traffic: nodes, if it is empty.
	Sharing Sharing `json:"sharing,omitempty"`
	// Zonal is true if each zone gets the same share first, which its nodes or pods then share: there is no cross-zone
	// load balancing. A zone counts if the load balancer would send traffic to one of its nodes or pods.
	Zonal bool `json:"zonal,omitempty"`
	// Unchecked is true if no health check keeps traffic away from nodes without ready pods.
	Unchecked bool `json:"unchecked,omitempty"`
	// Announcer is the node that gets all traffic with ShareAnnouncer. If it is empty, it is not known which node that
	// is: then it is the worst one with Local, which is the node with the fewest pods of those that may announce.
	Announcer string `json:"announcer,omitempty"`
	// Distribution is spec.trafficDistribution of the Service, which kube-proxy obeys with Cluster only.
	Distribution string `json:"distribution,omitempty"`
}

// Traffic is where the external traffic of a Service goes with either traffic policy. All shares are fractions of the
// traffic of the Service, from 0 to 1.
type Traffic struct {
	// Pods is the number of pods that could serve: those that are ready or, if none is, those that drain. A fair share
	// is one of so many.
	Pods    int
	Local   Flow
	Cluster Flow
}

// Flow is where the external traffic of a Service goes with one traffic policy.
type Flow struct {
	// Nodes holds a row for each Place, in their order.
	Nodes []NodeTraffic
	// Overload is the share of the busiest pod, as a multiple of the fair share; 0 if no pod gets traffic.
	Overload float64
	// Usable is the part of the capacity of all pods that is in use when the busiest pod has no more; 0 if no pod gets
	// traffic.
	Usable float64
	// Lost is the share that no pod gets. It is 1 if the load balancer has no node to send traffic to.
	Lost float64
	// IdleNodes is the number of nodes to which the load balancer may send traffic, and does not. IdlePods is the number
	// of Traffic.Pods that get no traffic.
	IdleNodes int
	IdlePods  int
	// Announcer is the node that gets all traffic with ShareAnnouncer, or the one that was assumed; else empty.
	Announcer string
}

// NodeTraffic is the traffic of one node.
type NodeTraffic struct {
	Place
	// Share is the share that the load balancer sends to the node or, with SharePods, to the pods on it.
	Share float64
	// Serving is the number of pods on the node that may get traffic: the ready ones or, if there are none where
	// kube-proxy looks for them, those that drain.
	Serving int
	// PodShare is the share of each of these pods, by whatever way it gets there.
	PodShare float64
	// Lost is the share that the node drops, since it has no pod to send it to.
	Lost float64
	// Health is the HTTP status with which the health check node port answers, 200 or 503. It is 0 if no load balancer
	// asks the node: with Cluster, without a health check, and where traffic goes to pods.
	Health int
}

// What kube-proxy answers to a health check.
const (
	healthy   = 200
	unhealthy = 503
)

// ShareTraffic returns where the external traffic of a Service goes, if its pods run in these places. It assumes that
// kube-proxy is healthy on all nodes, and that a load balancer has had the time to find out which nodes have pods.
//
// Source: kubernetes v1.37.1, pkg/proxy/topology.go CategorizeEndpoints and pkg/proxy/healthcheck/service_health.go.
func ShareTraffic(places []Place, routing Routing) Traffic {
	places = routing.reached(places)
	pods := serving(places)
	local := routing.local(places, pods)
	if routing.Announcer == "" {
		routing.Announcer = local.Announcer
	}
	return Traffic{Pods: pods.all, Local: local, Cluster: routing.cluster(places, pods)}
}

// podCount is the number of pods that may get traffic, in each place and in all together.
type podCount struct {
	on  []int
	all int
}

// serving returns the number of ready pods or, if no pod is ready anywhere, of those that drain.
func serving(places []Place) podCount {
	ready, draining := podCount{on: make([]int, len(places))}, podCount{on: make([]int, len(places))}
	for i, place := range places {
		ready.on[i], draining.on[i] = place.Ready, place.Draining
		ready.all += place.Ready
		draining.all += place.Draining
	}
	if ready.all > 0 {
		return ready
	}
	return draining
}

// local returns the flow with Local: a node sends what it gets to its own pods only.
func (r Routing) local(places []Place, pods podCount) Flow {
	if r.Sharing == SharePods {
		return r.direct(places, pods)
	}
	flow := newFlow(places)
	weights := make([]int, len(places)) // of the nodes, for the load balancer
	for i := range flow.Nodes {
		node := &flow.Nodes[i]
		if node.Node != "" { // Pods without a node are local to none.
			node.Serving = cmp.Or(node.Ready, node.Draining)
		}
		if !node.isTarget() {
			continue
		}
		isHealthy := node.Ready > 0
		switch {
		case r.Unchecked:
		case isHealthy:
			node.Health = healthy
		default:
			node.Health = unhealthy
		}
		switch {
		case r.Sharing == ShareWeighted:
			weights[i] = node.Ready
		case isHealthy || r.Unchecked:
			weights[i] = 1
		}
	}
	if r.Sharing == ShareAnnouncer {
		flow.Announcer = r.announce(flow.Nodes, weights)
	}
	for i, share := range r.shares(places, weights) {
		node := &flow.Nodes[i]
		node.receive(share)
		flow.Overload = max(flow.Overload, node.overload(share, pods))
	}
	return flow.summed(pods)
}

// cluster returns the flow with Cluster: a node sends what it gets to all pods, or to those that
// spec.trafficDistribution prefers. All nodes pass the health check.
func (r Routing) cluster(places []Place, pods podCount) Flow {
	if r.Sharing == SharePods {
		return r.direct(places, pods)
	}
	flow := newFlow(places)
	weights := make([]int, len(places))
	for i := range flow.Nodes {
		flow.Nodes[i].Serving = pods.on[i]
		if flow.Nodes[i].isTarget() {
			weights[i] = 1
		}
	}
	if r.Sharing == ShareAnnouncer {
		flow.Announcer = r.announce(flow.Nodes, weights)
	}
	// The shares of the nodes that prefer the same pods, and the number of these pods.
	sent, preferred := map[preference]float64{}, map[preference]int{}
	for i, share := range r.shares(places, weights) {
		flow.Nodes[i].Share = share.float()
		sent[r.prefers(i, places)] += flow.Nodes[i].Share
		for _, p := range preferences(i, places[i]) {
			preferred[p] += pods.on[i]
		}
	}
	if pods.all == 0 {
		for i := range flow.Nodes {
			flow.Nodes[i].Lost = flow.Nodes[i].Share
		}
		return flow.summed(pods)
	}
	if r.Distribution == "" && sent[preference{}] > 0 {
		sent[preference{}] = 1 // without the rounding errors of a sum
	}
	for i := range flow.Nodes {
		for _, p := range preferences(i, places[i]) {
			if pods.on[i] > 0 {
				flow.Nodes[i].PodShare += sent[p] / float64(preferred[p])
			}
		}
		flow.Overload = max(flow.Overload, flow.Nodes[i].PodShare*float64(pods.all))
	}
	return flow.summed(pods)
}

// preference is the set of pods that kube-proxy on a node prefers: those of one node, or of one zone, or all.
type preference struct {
	node int // its index, from 1
	zone string
}

// preferences returns the sets to which the pods in the place at an index belong.
func preferences(i int, place Place) []preference {
	if place.Zone == "" {
		return []preference{{}, {node: i + 1}}
	}
	return []preference{{}, {zone: place.Zone}, {node: i + 1}}
}

// prefers returns the pods to which the node at an index sends traffic with Cluster, according to the hints that the
// EndpointSlice controller writes for spec.trafficDistribution. kube-proxy ignores hints if a ready endpoint has none,
// or if none of them is for its node or zone.
//
// Source: kubernetes v1.37.1, pkg/proxy/topology.go topologyModeFromHints, and endpointslice v0.37.1,
// trafficdist/trafficdist.go.
func (r Routing) prefers(i int, places []Place) preference {
	anyReady := func(holds func(Place) bool) bool {
		return slices.ContainsFunc(places, func(p Place) bool { return p.Ready > 0 && holds(p) })
	}
	zone := places[i].Zone
	switch r.Distribution {
	case corev1.ServiceTrafficDistributionPreferSameNode:
		if places[i].Ready > 0 && !anyReady(func(p Place) bool { return p.Node == "" }) {
			return preference{node: i + 1}
		}
	case corev1.ServiceTrafficDistributionPreferClose, corev1.ServiceTrafficDistributionPreferSameZone:
	default:
		return preference{}
	}
	if anyReady(func(p Place) bool { return p.Zone == "" }) || !anyReady(func(p Place) bool { return p.Zone == zone }) {
		return preference{}
	}
	return preference{zone: zone}
}

// direct returns the flow if traffic goes to pods and passes no node. The load balancer then checks the pods.
func (r Routing) direct(places []Place, pods podCount) Flow {
	flow := newFlow(places)
	for i, share := range r.shares(places, pods.on) {
		node := &flow.Nodes[i]
		node.Serving = pods.on[i]
		node.receive(share)
		flow.Overload = max(flow.Overload, node.overload(share, pods))
	}
	return flow.summed(pods)
}

// announce leaves only one node with a weight, and returns its name: the known announcer or, if it is not known, the
// one with the fewest pods; of several, the first one. It returns an empty string if no node may announce the address.
func (r Routing) announce(nodes []NodeTraffic, weights []int) string {
	chosen := -1
	for i, node := range nodes {
		switch {
		case weights[i] == 0:
		case r.Announcer != "" && node.Node == r.Announcer,
			r.Announcer == "" && (chosen < 0 || node.Serving < nodes[chosen].Serving):
			chosen = i
		}
	}
	for i := range weights {
		if i != chosen {
			weights[i] = 0
		}
	}
	if chosen < 0 {
		return ""
	}
	return nodes[chosen].Node
}

// fraction is a share of the traffic. It keeps numbers exact that rules compare.
type fraction struct{ of, whole int }

func (f fraction) float() float64 { return float64(f.of) / float64(f.whole) }

// shares returns the share of each place according to the weights or, if the routing is zonal, of its share of its
// zone's traffic.
func (r Routing) shares(places []Place, weights []int) []fraction {
	zone := func(place Place) string {
		if r.Zonal {
			return place.Zone
		}
		return ""
	}
	sums := map[string]int{} // of the weights, by zone
	for i, place := range places {
		if weights[i] > 0 {
			sums[zone(place)] += weights[i]
		}
	}
	shares := make([]fraction, len(places))
	for i, place := range places {
		shares[i] = fraction{weights[i], max(1, len(sums)*sums[zone(place)])}
	}
	return shares
}

// receive sets what becomes of the share that a node gets: its pods share it, or it is lost.
func (n *NodeTraffic) receive(share fraction) {
	n.Share = share.float()
	if n.Serving == 0 {
		n.Lost = n.Share
	} else {
		n.PodShare = n.Share / float64(n.Serving)
	}
}

// overload returns the share of one of the pods that share the share of a node, as a multiple of the fair share.
func (n *NodeTraffic) overload(share fraction, pods podCount) float64 {
	if n.Serving == 0 {
		return 0
	}
	return float64(share.of*pods.all) / float64(share.whole*n.Serving)
}

func (p Place) isTarget() bool { return p.Node != "" && p.Untargeted == "" }

func newFlow(places []Place) Flow {
	flow := Flow{Nodes: make([]NodeTraffic, len(places))}
	for i, place := range places {
		flow.Nodes[i].Place = place
	}
	return flow
}

// summed returns the flow with what follows from its nodes and its overload.
func (f Flow) summed(pods podCount) Flow {
	f.Lost, f.IdlePods = 1, pods.all
	if slices.ContainsFunc(f.Nodes, func(n NodeTraffic) bool { return n.Share > 0 }) {
		f.Lost = 0
	}
	for i, node := range f.Nodes {
		f.Lost += node.Lost
		if node.PodShare > 0 {
			f.IdlePods -= pods.on[i]
		}
		if node.isTarget() && node.Share == 0 {
			f.IdleNodes++
		}
	}
	if f.Overload > 0 {
		f.Usable = min(1, (1-f.Lost)/f.Overload) // Pods that drain do not count as capacity.
	}
	return f
}

// Times returns a factor with at most two digits after the point, such as 1.33x and 2x.
func Times(factor float64) string {
	return strconv.FormatFloat(math.Round(factor*100)/100, 'f', -1, 64) + "x"
}

// isMore reports whether an overload is more than the fair share, as Times shows both.
func isMore(overload float64) bool { return math.Round(overload*100) > 100 }
