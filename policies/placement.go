package policies

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

// PlacesOf returns where the pods of a Service run: a Place for each node, with or without pods, and for each node that
// its endpoints name although there is none. They are sorted by the name of the node, with endpoints that name no node
// at the end. endpoints and nodes may be in any order, and endpoints may hold those of other Services. version is that
// of the cluster.
//
// A load balancer sends no traffic to nodes that the service controller leaves out: those with the label
// node.kubernetes.io/exclude-from-external-load-balancers, those that are being deleted, and those that the cluster
// autoscaler is about to delete. Nodes that are cordoned or not ready stay in. Where no load balancer is, clients may
// use any node.
//
// Each pod counts once, however many ports and addresses it has: only addresses of the first IP family of the Service
// count. A pod that is published although it is not ready counts as ready, as it does for kube-proxy.
//
// Source: kubernetes v1.37.1, staging/src/k8s.io/cloud-provider/controllers/service/controller.go
// stableNodeSetPredicates, pkg/proxy/endpointslicecache.go and pkg/proxy/endpointschangetracker.go.
func PlacesOf(
	service *corev1.Service, endpoints []*discoveryv1.EndpointSlice, nodes []*corev1.Node, version Version,
) []Place {
	var places []Place
	at := map[string]int{} // the index of a node's place
	for _, node := range nodes {
		at[node.Name] = len(places)
		places = append(places, placeOf(service, node, version))
	}
	for _, found := range servingEndpoints(service, endpoints) {
		i, ok := at[found.node]
		if !ok {
			i = len(places)
			at[found.node] = i
			place := Place{Node: found.node, Zone: found.zone}
			if found.node != "" {
				place.Untargeted = noSuchNode
			}
			places = append(places, place)
		}
		if found.ready {
			places[i].Ready++
		} else {
			places[i].Draining++
		}
	}
	return sortedPlaces(places)
}

// PlacesOf returns what the function PlacesOf returns for the nodes that are known.
func (c Cluster) PlacesOf(service *corev1.Service, endpoints []*discoveryv1.EndpointSlice) []Place {
	var nodes []*corev1.Node
	if c.Known != nil {
		nodes = c.Known.nodes
	}
	return PlacesOf(service, endpoints, nodes, c.Version)
}

// Places returns the nodes on which pods of a Service may run, without pods: those that are known, else as many as the
// user gave, with the names node-1, node-2 and so on. It returns nil if the number of nodes is not known.
func (c Cluster) Places(service *corev1.Service) []Place {
	if c.Nodes > 0 || c.Known == nil {
		return numbered(c.Nodes)
	}
	var places []Place
	for _, node := range c.Known.nodes {
		places = append(places, placeOf(service, node, c.Version))
	}
	return places
}

func numbered(nodes int) []Place {
	var places []Place
	for i := range nodes {
		places = append(places, Place{Node: "node-" + strconv.Itoa(i+1)})
	}
	return places
}

const noSuchNode = "does not exist"

// toBeDeleted is the taint of a node that the cluster autoscaler is about to delete.
// Source: kubernetes v1.37.1, staging/src/k8s.io/cloud-provider/controllers/service/controller.go ToBeDeletedTaint.
const toBeDeleted = "ToBeDeletedByClusterAutoscaler"

// placeOf returns a node without pods.
func placeOf(service *corev1.Service, node *corev1.Node, version Version) Place {
	place := Place{
		Node: node.Name,
		Zone: cmp.Or(node.Labels[corev1.LabelTopologyZone], node.Labels[corev1.LabelFailureDomainBetaZone]),
	}
	isDoomed := func(t corev1.Taint) bool { return t.Key == toBeDeleted }
	switch {
	case service.Spec.Type != corev1.ServiceTypeLoadBalancer:
	case isExcluded(node, version):
		place.Untargeted = "has the label " + corev1.LabelNodeExcludeBalancers
	case !node.DeletionTimestamp.IsZero():
		place.Untargeted = "is being deleted"
	case slices.ContainsFunc(node.Spec.Taints, isDoomed):
		place.Untargeted = "has the taint " + toBeDeleted
	}
	return place
}

func sortedPlaces(places []Place) []Place {
	slices.SortFunc(places, func(a, b Place) int {
		if a.Node == "" || b.Node == "" {
			return strings.Compare(b.Node, a.Node)
		}
		return strings.Compare(a.Node, b.Node)
	})
	return places
}

// endpoint is a pod that may get traffic, by the EndpointSlices of its Service.
type endpoint struct {
	node, zone string
	ready      bool // else it terminates and still serves
}

// servingEndpoints returns the endpoints of a Service that may get traffic, in the order of their addresses.
func servingEndpoints(service *corev1.Service, all []*discoveryv1.EndpointSlice) []endpoint {
	families := []discoveryv1.AddressType{discoveryv1.AddressTypeIPv4, discoveryv1.AddressTypeIPv6}
	if len(service.Spec.IPFamilies) > 0 && service.Spec.IPFamilies[0] == corev1.IPv6Protocol {
		slices.Reverse(families)
	}
	for _, family := range families {
		byAddress := map[string]endpoint{}
		for _, slice := range all {
			isOf := slice.Namespace == service.Namespace && slice.Labels[discoveryv1.LabelServiceName] == service.Name
			if !isOf || slice.AddressType != family || !slices.ContainsFunc(slice.Ports, isUsable) {
				continue
			}
			for _, e := range slice.Endpoints {
				found := endpoint{node: value(e.NodeName), zone: value(e.Zone), ready: isTrue(e.Conditions.Ready, true)}
				drains := isTrue(e.Conditions.Serving, true) && isTrue(e.Conditions.Terminating, false)
				if len(e.Addresses) == 0 || !found.ready && !drains {
					continue
				}
				// A new pod may have the address of one that terminates.
				if former, ok := byAddress[e.Addresses[0]]; !ok || !former.ready {
					byAddress[e.Addresses[0]] = found
				}
			}
		}
		if len(byAddress) == 0 {
			continue
		}
		var found []endpoint
		for _, address := range slices.Sorted(maps.Keys(byAddress)) {
			found = append(found, byAddress[address])
		}
		return found
	}
	return nil
}

// isUsable reports whether kube-proxy uses a port of an EndpointSlice.
func isUsable(port discoveryv1.EndpointPort) bool { return port.Name != nil && value(port.Port) != 0 }

// value returns what a pointer points to; the zero value if it is nil.
func value[T any](p *T) T {
	if p == nil {
		return *new(T)
	}
	return *p
}

func isTrue(condition *bool, byDefault bool) bool {
	if condition == nil {
		return byDefault
	}
	return *condition
}

// Pods is a number of pods of one workload that are to be placed on nodes, and what their template guarantees about
// where they may run.
type Pods struct {
	// Count is the number of pods. Those that Alone leaves no node for are not placed.
	Count int
	// MaxSkew is the largest difference between the numbers of pods on two nodes that the scheduler accepts; 0 for no
	// such bound. A constraint with ScheduleAnyway is none.
	MaxSkew int
	// Most is the largest number of pods on one node; 0 for no such bound. It takes the place of MaxSkew if the scheduler
	// counts nodes as empty on which the pods may not run.
	Most int
	// Alone is true if no two pods may share a node. Pinned is true if all pods run on one node.
	Alone, Pinned bool
	// Nodes holds the names of the nodes on which the pods may run; nil for all.
	Nodes map[string]bool
}

// PodsOf returns a number of pods of a workload. namespace is the Namespace of the workload. A DaemonSet has as many
// pods as there are nodes on which they may run, whatever count is, and one pod if all must run on the same node.
func (c Cluster) PodsOf(w *Workload, count int, namespace Namespace) Pods {
	pods := Pods{Count: count}
	var countsTainted bool
	pods.Pinned, pods.Alone, pods.MaxSkew, countsTainted = c.guarantees(w, namespace)
	switch {
	case w.Kind != daemonSetKind:
	case pods.Pinned:
		pods.Count = 1 // The others stay Pending, each on its node.
	default:
		pods.Count = math.MaxInt
	}
	if c.Nodes == 0 && c.Known != nil {
		pods.Nodes = map[string]bool{}
		for _, node := range c.Known.accepting(w.scheduledPod(), pods.MaxSkew > 0) {
			pods.Nodes[node.Name] = true
		}
		if countsTainted && c.Known.domains(w.scheduledPod()) > len(pods.Nodes) {
			pods.Most = pods.MaxSkew
			pods.Count = min(pods.Count, pods.Most*len(pods.Nodes)) // The others stay Pending.
		}
	}
	return pods
}

// guarantees returns what the scheduler guarantees about the pods of a workload: that all run on one node, that no two
// share a node, and how much the numbers of pods on two nodes may differ; 0 if there is no bound. countsTainted is true
// if tainted nodes are among these, too.
func (c Cluster) guarantees(w *Workload, namespace Namespace) (pinned, alone bool, maxSkew int, countsTainted bool) {
	pod, own, nodes := w.Template.Spec, podLabelsOf(w), c.topologyOf(w)
	pinned = isPinned(pod, own, namespace)
	alone = w.Kind == daemonSetKind || usesHostPorts(pod) ||
		slices.ContainsFunc(antiAffinityTerms(pod.Affinity), func(term antiAffinityTerm) bool {
			return term.required && nodes.carrying(term.TopologyKey) == allNodes &&
				termProblem(term.PodAffinityTerm, own, namespace) == ""
		})
	for _, constraint := range pod.TopologySpreadConstraints {
		if constraint.WhenUnsatisfiable == corev1.DoNotSchedule && constraint.TopologyKey == corev1.LabelHostname &&
			constraintProblem(constraint.LabelSelector, constraint.MatchLabelKeys, own) == "" {
			maxSkew = max(1, int(constraint.MaxSkew)) // The API server accepts only one such constraint.
			countsTainted = value(constraint.NodeTaintsPolicy) != corev1.NodeInclusionPolicyHonor
		}
	}
	return pinned, alone, maxSkew, countsTainted
}

// OtherTopology returns the topology key, such as topology.kubernetes.io/zone, of a hard constraint or anti-affinity
// term that keeps the pods of a workload apart by something else than nodes; empty if there is none. Placements do not
// consider it. namespace is the Namespace of the workload.
func OtherTopology(w *Workload, namespace Namespace) string {
	pod, own := w.Template.Spec, podLabelsOf(w)
	for _, constraint := range pod.TopologySpreadConstraints {
		if constraint.WhenUnsatisfiable == corev1.DoNotSchedule && constraint.TopologyKey != corev1.LabelHostname &&
			constraintProblem(constraint.LabelSelector, constraint.MatchLabelKeys, own) == "" {
			return constraint.TopologyKey
		}
	}
	for _, term := range antiAffinityTerms(pod.Affinity) {
		if term.required && term.TopologyKey != corev1.LabelHostname &&
			termProblem(term.PodAffinityTerm, own, namespace) == "" {
			return term.TopologyKey
		}
	}
	return ""
}

// SpreadingOf returns how well the template of a workload keeps its pods on different nodes. namespace is the Namespace
// of the workload.
func (c Cluster) SpreadingOf(w *Workload, namespace Namespace) Spreading {
	return spreadingOf(w, namespace, c).Spreading
}

// ReplicasOf returns the smallest and the largest number of pods that a workload may have: the bounds of its
// autoscalers in r or, if there are none, spec.replicas. Both are 0 for a DaemonSet.
func (r Related) ReplicasOf(w *Workload) (least, most int) {
	replicas := r.scaling().replicasOf(w)
	return replicas.least, replicas.most
}

// BestPlacement returns the places with pods that are spread over them as evenly as their templates allow: over the
// nodes and then over the zones or, if that is better where zones share the traffic first, over the zones and then over
// the nodes of each. It places no pod where it would get no traffic, unless the pods can run nowhere else. Pods that
// are in the places already do not count.
func BestPlacement(places []Place, routing Routing, pods ...Pods) []Place {
	places = routing.reached(places)
	placed := spread(places, pods, Pods.overNodes)
	if !routing.Zonal {
		return placed
	}
	byZone := spread(places, pods, Pods.overZones)
	if ShareTraffic(placed, routing).Local.isWorse(ShareTraffic(byZone, routing).Local) {
		return byZone
	}
	return placed
}

// spread returns the places with pods where choose places those of a workload. It is given the indexes of the places on
// which they may run, of different zones in turn, and adds the pods to these places.
//
// Those that may run on the fewest nodes come first, so that the others can go elsewhere.
func spread(places []Place, pods []Pods, choose func(p Pods, placed []Place, on []int)) []Place {
	placed := emptied(places)
	order := slices.Clone(pods)
	room := func(p Pods) int { return len(p.fits(placed, indexesOf(placed))) }
	slices.SortStableFunc(order, func(a, b Pods) int {
		return cmp.Or(-compareBools(a.Pinned, b.Pinned), cmp.Compare(room(a), room(b)))
	})
	for _, p := range order {
		on := p.fits(placed, alternating(placed))
		targets := slices.DeleteFunc(slices.Clone(on), func(i int) bool { return !placed[i].isTarget() })
		if !p.Alone && len(targets) > 0 && p.mayLeave(len(on)-len(targets), len(targets)) {
			if len(targets) < len(on) {
				p.Most = cmp.Or(p.Most, p.MaxSkew) // The others stay empty.
			}
			on = targets
		}
		choose(p, placed, on)
	}
	return placed
}

// mayLeave reports whether the pods may leave some nodes empty while they are spread evenly over the others.
func (p Pods) mayLeave(empty, others int) bool {
	most := cmp.Or(p.Most, p.MaxSkew)
	return p.Pinned || most == 0 || empty == 0 || p.Count <= most*others
}

// overNodes places the pods evenly over nodes, first over those that get traffic and have the fewest pods.
func (p Pods) overNodes(placed []Place, on []int) {
	slices.SortStableFunc(on, func(a, b int) int {
		return cmp.Or(-compareBools(placed[a].isTarget(), placed[b].isTarget()),
			cmp.Compare(placed[a].Ready, placed[b].Ready))
	})
	if p.Pinned || p.Alone || p.MaxSkew > 0 {
		place(placed, on, p.even(len(on)))
		return
	}
	held := make([]int, len(on)) // by other workloads
	for i, at := range on {
		held[i] = placed[at].Ready
	}
	place(placed, on, levelled(held, p.Count))
}

// levelled returns how many of the pods run on each node so that, with those that each holds, the numbers are as equal
// as possible. held is sorted.
func levelled(held []int, pods int) []int {
	counts := make([]int, len(held))
	all := pods // with those on the lowest nodes
	for i := range held {
		all += held[i]
		lowest := i + 1
		if lowest < len(held) && held[lowest]*lowest < all {
			continue // The next node is not higher than these become.
		}
		for j := range lowest {
			counts[j] = all/lowest - held[j]
			if j < all%lowest {
				counts[j]++
			}
		}
		break
	}
	return counts
}

// overZones places the pods evenly over zones, and over the nodes of each. Of the zones, those get one pod more where
// each pod has the largest share otherwise. If their template does not allow that, it places the pods evenly over
// nodes, and those in zones with few nodes get one pod more.
func (p Pods) overZones(placed []Place, on []int) {
	nodes := map[string][]int{} // by zone
	for _, i := range on {
		nodes[placed[i].Zone] = append(nodes[placed[i].Zone], i)
	}
	if p.Alone || p.Pinned || len(nodes) == 0 {
		p.overNodes(placed, on)
		return
	}
	zones := slices.Sorted(maps.Keys(nodes))
	inZone := Pods{Count: p.Count / len(zones)}
	served := func(zone string) int { // how many pods like the busiest one would serve the zone
		n := len(nodes[zone])
		return min(n, inZone.Count) * max(1, inZone.Count/n)
	}
	slices.SortStableFunc(zones, func(a, b string) int { return cmp.Compare(served(a), served(b)) })
	tried := slices.Clone(placed)
	for i, zone := range zones {
		more := Pods{Count: inZone.Count}
		if i < p.Count%len(zones) {
			more.Count++
		}
		more.overNodes(tried, nodes[zone])
	}
	added := make([]int, 0, len(on))
	for _, i := range on {
		added = append(added, tried[i].Ready-placed[i].Ready)
	}
	least := 0
	if p.Most == 0 {
		least = slices.Min(added)
	}
	if p.MaxSkew > 0 && slices.Max(added)-least > p.MaxSkew {
		slices.SortStableFunc(on, func(a, b int) int {
			return cmp.Compare(len(nodes[placed[a].Zone]), len(nodes[placed[b].Zone]))
		})
		p.overNodes(placed, on)
		return
	}
	place(placed, on, added)
}

// WorstPlacement returns the places with pods that are placed so that the Service is served worst with a traffic
// policy, among the placements that the templates of the pods allow: most traffic is lost or, if equally much is, the
// busiest pod has the largest share or, if it is the same, most nodes get no traffic. Of those that are equally bad
// with Cluster, it returns the one that is worst with Local. Pods that are in the places already do not count.
//
// It tries the best placement, and those that crowd the pods of one workload on few nodes but leave one node with few
// of them, while the pods of other workloads are crowded. TestWorstPlacement finds that no placement of one workload is
// worse.
func WorstPlacement(
	places []Place, routing Routing, policy corev1.ServiceExternalTrafficPolicy, pods ...Pods,
) []Place {
	places = routing.reached(places)
	worst := BestPlacement(places, routing, pods...)
	traffic := ShareTraffic(worst, routing)
	orders := crowdings(places, pods)
	if routing.Distribution != "" && policy != corev1.ServiceExternalTrafficPolicyLocal {
		orders = append(orders, zonalCrowdings(places, pods)...)
	}
	for _, order := range orders {
		for special := range pods {
			for _, crowd := range []func(Pods, int) []int{Pods.crowded, Pods.crowdedButOne, Pods.crowdedOnAll} {
				placed, isPossible := emptied(places), true
				for i, p := range pods {
					on := p.fits(placed, order)
					counts := p.crowded(len(on))
					if i == special {
						counts = crowd(p, len(on))
						isPossible = counts != nil
					}
					place(placed, on, counts)
				}
				if found := ShareTraffic(placed, routing); isPossible && found.isWorse(traffic, policy) {
					worst, traffic = placed, found
				}
			}
		}
	}
	return worst
}

// isWorse reports whether a Service with a traffic policy is served worse by t than by another traffic.
func (t Traffic) isWorse(other Traffic, policy corev1.ServiceExternalTrafficPolicy) bool {
	if policy == corev1.ServiceExternalTrafficPolicyLocal || t.Cluster.compare(other.Cluster) == 0 {
		return t.Local.isWorse(other.Local)
	}
	return t.Cluster.isWorse(other.Cluster)
}

// isWorse reports whether a Service is served worse by f than by another flow.
func (f Flow) isWorse(other Flow) bool { return f.compare(other) > 0 }

// compare returns a positive number if a Service is served worse by f than by another flow, and 0 if equally well.
func (f Flow) compare(other Flow) int {
	return cmp.Or(cmp.Compare(f.Lost, other.Lost), cmp.Compare(f.Overload, other.Overload),
		cmp.Compare(f.IdleNodes, other.IdleNodes))
}

// emptied returns the places without pods.
func emptied(places []Place) []Place {
	empty := slices.Clone(places)
	for i := range empty {
		empty[i].Ready, empty[i].Draining = 0, 0
	}
	return empty
}

// place adds counts of pods to the places at these indexes.
func place(places []Place, at, counts []int) {
	for i, count := range counts {
		places[at[i]].Ready += count
	}
}

// fits returns those of the indexes of places at which the pods may run.
func (p Pods) fits(places []Place, indexes []int) []int {
	return slices.DeleteFunc(slices.Clone(indexes), func(i int) bool {
		node := places[i].Node
		return node == "" || places[i].Untargeted == noSuchNode || p.Nodes != nil && !p.Nodes[node]
	})
}

// alternating returns the indexes of places so that each run of them has about as many of one zone as of another.
func alternating(places []Place) []int {
	seen := map[string]int{} // the number of places of a zone, until now
	round := make([]int, len(places))
	for i, place := range places {
		round[i] = seen[place.Zone]
		seen[place.Zone]++
	}
	indexes := indexesOf(places)
	slices.SortStableFunc(indexes, func(a, b int) int {
		return cmp.Or(cmp.Compare(round[a], round[b]), strings.Compare(places[a].Zone, places[b].Zone))
	})
	return indexes
}

// reached returns the places as the load balancer uses them: one that sends traffic to pods leaves out no node.
func (r Routing) reached(places []Place) []Place {
	if r.Sharing != SharePods {
		return places
	}
	all := slices.Clone(places)
	for i := range all {
		if all[i].Untargeted != noSuchNode {
			all[i].Untargeted = ""
		}
	}
	return all
}

// crowdings returns orders in which to crowd places: those that get no traffic first, and last one that gets some, of
// each zone in turn, after all others of its zone. Of the nodes of a zone on which the same pods may run, it tries one
// as the last, and of zones with the same numbers of nodes, one or two.
func crowdings(places []Place, pods []Pods) [][]int {
	var orders [][]int
	tried := map[string]int{}
	shapes := zoneShapes(places, pods)
	for last, lonely := range places {
		like := shapes[lonely.Zone] + " " + kindOf(lonely, pods)
		zone := lonely.Zone + " " + like
		if !lonely.isTarget() || tried[zone] > 0 || tried[like] > 1 {
			continue
		}
		tried[zone]++
		tried[like]++
		order := indexesOf(places)
		slices.SortStableFunc(order, func(a, b int) int {
			return cmp.Or(
				compareBools(places[a].isTarget(), places[b].isTarget()),
				compareBools(a == last, b == last),
				compareBools(places[a].Zone == lonely.Zone, places[b].Zone == lonely.Zone),
				strings.Compare(places[a].Zone, places[b].Zone))
		})
		orders = append(orders, order)
	}
	if orders == nil {
		return [][]int{indexesOf(places)}
	}
	return orders
}

// kindOf returns which of the pods may run in a place, and whether it gets traffic.
func kindOf(place Place, pods []Pods) string {
	kind := []byte{'-'}
	if place.isTarget() {
		kind[0] = '+'
	}
	for _, p := range pods {
		if len(p.fits([]Place{place}, []int{0})) > 0 {
			kind = append(kind, '1')
		} else {
			kind = append(kind, '0')
		}
	}
	return string(kind)
}

// zoneShapes returns how many places of each kind each zone has, as a text that zones of the same shape share.
func zoneShapes(places []Place, pods []Pods) map[string]string {
	kinds := map[string][]string{}
	for _, place := range places {
		kinds[place.Zone] = append(kinds[place.Zone], kindOf(place, pods))
	}
	shapes := map[string]string{}
	for zone, of := range kinds {
		slices.Sort(of)
		shapes[zone] = strings.Join(of, ",")
	}
	return shapes
}

// zonalCrowdings returns orders in which to crowd places where nodes send traffic to their own zone: first a zone, and
// last a node of another that gets traffic. Of zones with the same shape, it tries one or two.
func zonalCrowdings(places []Place, pods []Pods) [][]int {
	shapes := zoneShapes(places, pods)
	tried := map[string]int{}
	var firsts []string
	for _, zone := range slices.Sorted(maps.Keys(shapes)) {
		if tried[shapes[zone]]++; tried[shapes[zone]] <= 2 {
			firsts = append(firsts, zone)
		}
	}
	var orders [][]int
	for _, order := range crowdings(places, pods) {
		last := order[len(order)-1]
		for _, first := range firsts {
			crowded := slices.Clone(order)
			slices.SortStableFunc(crowded, func(a, b int) int {
				return cmp.Or(
					compareBools(a == last, b == last),
					-compareBools(places[a].Zone == first, places[b].Zone == first),
					compareBools(places[a].Zone == places[last].Zone, places[b].Zone == places[last].Zone))
			})
			orders = append(orders, crowded)
		}
	}
	return orders
}

func indexesOf(places []Place) []int {
	indexes := make([]int, len(places))
	for i := range indexes {
		indexes[i] = i
	}
	return indexes
}

func compareBools(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	default:
		return 1
	}
}

// even returns how many pods run on each of n nodes if they are spread evenly.
func (p Pods) even(n int) []int {
	counts := make([]int, n)
	for i := range counts {
		switch {
		case p.Pinned:
			counts[0] = p.Count
			return counts
		case p.Alone && i < p.Count:
			counts[i] = 1
		case !p.Alone:
			counts[i] = p.Count / n
			if i < p.Count%n {
				counts[i]++
			}
		}
	}
	return counts
}

// crowded returns how many pods run on each of n nodes if the first ones have as many as possible.
func (p Pods) crowded(n int) []int {
	switch {
	case p.Alone || p.Pinned || n == 0:
		return p.even(n)
	case p.Most > 0:
		return filled(n, p.Count, p.Most)
	case p.MaxSkew == 0:
		return filled(n, p.Count, p.Count)
	case p.Count <= p.MaxSkew*(n-1): // The last node may have none.
		return filled(n, p.Count, p.MaxSkew)
	default:
		return p.crowdedOnAll(n)
	}
}

// crowdedButOne returns how many pods run on each of n nodes if the last one has a single one, and the first ones have
// as many as possible; nil if that is not possible.
func (p Pods) crowdedButOne(n int) []int {
	most := cmp.Or(p.Most, p.MaxSkew, p.Count)
	switch {
	case p.Pinned || n < 2 || p.Count < 2:
		return nil
	case p.Alone:
		most = 1
	case p.Most > 0 && p.Count-1 > p.Most*(n-1):
		return nil
	case p.Most == 0 && p.MaxSkew > 0 && p.Count-1 > p.MaxSkew*(n-2): // No node would be empty.
		return nil
	}
	counts := filled(n-1, p.Count-1, most)
	return append(counts, 1)
}

// crowdedOnAll returns how many pods run on each of n nodes if all have some, and the last ones as few as possible; nil
// if that is not possible, or if there is no bound.
func (p Pods) crowdedOnAll(n int) []int {
	if p.Alone || p.Pinned || p.Most > 0 || p.MaxSkew == 0 || p.Count < n || n == 0 {
		return nil
	}
	above := p.Count - p.MaxSkew*(n-1) // what the others cannot have more than the last one
	fewest := max(1, (above+n-1)/n)
	counts := filled(n, p.Count-fewest*n, p.MaxSkew)
	for i := range counts {
		counts[i] += fewest
	}
	return counts
}

// filled returns how many pods run on each of n nodes if each has most of them, as long as there are any left.
func filled(n, pods, most int) []int {
	counts := make([]int, n)
	for i := range counts {
		counts[i] = min(pods, most)
		pods -= counts[i]
	}
	return counts
}

// worstOverload returns how many times its fair share of the traffic the busiest pod may get if nothing spreads the
// pods and the load balancer shares traffic evenly among nodes. In the worst case one pod is alone on its node and gets
// half of the traffic, while all others share another node. pods is at least 2.
func worstOverload(pods int) float64 {
	worst := WorstPlacement(numbered(2), Routing{}, corev1.ServiceExternalTrafficPolicyLocal, Pods{Count: pods})
	return ShareTraffic(worst, Routing{}).Local.Overload
}

// spreadOverload returns the same if the pods are spread over the nodes as evenly as possible. The busiest pod is then
// on a node with the fewest pods. pods and nodes are at least 1.
func spreadOverload(pods, nodes int) float64 {
	best := BestPlacement(numbered(min(pods, nodes)), Routing{}, Pods{Count: pods})
	return ShareTraffic(best, Routing{}).Local.Overload
}

// worstNumber returns the number of pods within a range for which spreadOverload is largest: one less than the next
// multiple of nodes, or pods.most if that is smaller. nodes is at least 1, and pods.most is larger than nodes.
func worstNumber(pods replicaRange, nodes int) int {
	rounds := max(pods.least, nodes) / nodes
	return min(pods.most, rounds*nodes+nodes-1)
}
