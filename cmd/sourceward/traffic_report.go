package main

import (
	"cmp"
	"io"
	"slices"
	"strings"

	"github.com/sourceward/sourceward/policies"
)

// trafficReport is the result of traffic, and the format of -o json. The format is stable: within an apiVersion, fields
// are only added. No list is null, and only what is optional (omitempty) can be missing. All shares are fractions of
// the external traffic of a Service, from 0 to 1.
type trafficReport struct {
	// APIVersion is always report.sourceward.dev/v1, and Kind is always Traffic.
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	// Services holds the Services that traffic reaches from outside the cluster, the worst first: by the share that is
	// lost with the traffic policy that they have, then by the overload of the busiest pod, and then by the idle nodes, in
	// the worst of their placements.
	Services []serviceTraffic `json:"services"`
	// Omitted is the number of Services that --top leaves out. It is missing if it is 0.
	Omitted int `json:"omitted,omitempty"`
	// Errors lists everything that could not be read or shown. If it is not empty, the exit code is 2.
	Errors []reportError `json:"errors"`
	// Skipped lists the Services of which nothing can be shown, and the objects and files that were not read although
	// they may hold some, with the reasons.
	Skipped []skipped `json:"skipped"`
	// Notes lists what to know about what was read. It does not affect the exit code.
	Notes []note `json:"notes"`
}

// serviceTraffic is where the external traffic of one Service goes.
type serviceTraffic struct {
	// Service is the Service, and File and Line are its place; empty and 0 for a Service in a cluster.
	Service policies.Ref `json:"service"`
	File    string       `json:"file"`
	Line    int          `json:"line"`
	// Environment is the environment of the configuration file, if it has any.
	Environment string `json:"environment,omitempty"`
	// Type is spec.type of the Service, and TrafficPolicy its spec.externalTrafficPolicy: Local or Cluster.
	Type          string `json:"type"`
	TrafficPolicy string `json:"trafficPolicy"`
	// LoadBalancer says how traffic is taken to find the nodes.
	LoadBalancer loadBalancer `json:"loadBalancer"`
	// Placements holds the places of the pods for which shares are given. For files, these are the best one and the worst
	// one that the templates allow, for the fewest pods and for the most if an autoscaler sets their number, and those of
	// --placement. For a cluster, it is the current one.
	Placements []placement `json:"placements"`
}

// loadBalancer says how the external traffic of a Service is taken to find nodes and pods.
type loadBalancer struct {
	policies.LoadBalancer
	// Says is the same in one sentence, without a period.
	Says string `json:"says"`
}

// placement is a number of pods in their places, and the shares of the traffic there.
type placement struct {
	// Name is best, worst, given or current. It is even instead of best if it may not be the best: if one node gets all
	// traffic, or if the Service has the policy Cluster and trafficDistribution.
	Name string `json:"name"`
	// NoneIsWorse is true if the best placement is as bad as any that the templates allow, so that it is the only one. It
	// is missing if it is false.
	NoneIsWorse bool `json:"noneIsWorse,omitempty"`
	// Pods is the number of pods that could serve, and Nodes the number of nodes to which traffic may be sent.
	Pods  int `json:"pods"`
	Nodes int `json:"nodes"`
	// Local and Cluster are the traffic with either traffic policy, whichever the Service has.
	Local   flow `json:"local"`
	Cluster flow `json:"cluster"`
	// EvenSpread is what Local would give if the same pods were spread as evenly as they can be.
	EvenSpread evenSpread `json:"evenSpread"`
	// Groups holds the nodes. Those with equal rows are in one group.
	Groups []nodeGroup `json:"groups"`
}

// flow is the traffic of a Service with one traffic policy.
type flow struct {
	// Overload is the share of the busiest pod, as a multiple of the fair share, which is 1 divided by the number of
	// pods; 0 if no pod gets traffic.
	Overload float64 `json:"overload"`
	// Usable is the part of the capacity of all pods that is in use when the busiest pod has no more.
	Usable float64 `json:"usable"`
	// Lost is the share that no pod gets.
	Lost float64 `json:"lost"`
	// IdleNodes is the number of nodes to which traffic may be sent, and is not. IdlePods is the number of pods that get
	// no traffic.
	IdleNodes int `json:"idleNodes"`
	IdlePods  int `json:"idlePods"`
	// Announcer is the node that gets all traffic because it announces the address. It is missing if there is none.
	Announcer string `json:"announcer,omitempty"`
	// Says is the same in one sentence, without a period.
	Says string `json:"says"`
}

// evenSpread is what a perfect spread of the pods would give. Its fields are those of flow.
type evenSpread struct {
	// Overload is the share of the busiest pod, as a multiple of the fair share.
	Overload float64 `json:"overload"`
	// Usable is the part of the capacity of all pods that can be used.
	Usable float64 `json:"usable"`
	// Lost is the share that no pod gets.
	Lost float64 `json:"lost"`
}

// nodeGroup is a number of nodes with equal rows.
type nodeGroup struct {
	// Nodes holds the names of the nodes, sorted. It is empty for pods of which no node is known.
	Nodes []string `json:"nodes"`
	// Zone is the zone of the nodes. It is missing unless the load balancer shares traffic by zones.
	Zone string `json:"zone,omitempty"`
	// Ready is the number of ready pods on each node, and Draining the number of those that terminate and still serve.
	Ready    int `json:"ready"`
	Draining int `json:"draining,omitempty"`
	// Untargeted says why no traffic is sent to the nodes. It is missing if some may be.
	Untargeted string `json:"untargeted,omitempty"`
	// Local and Cluster are the shares of each node with either traffic policy.
	Local   nodeShare `json:"local"`
	Cluster nodeShare `json:"cluster"`
}

// nodeShare is the share of one node with one traffic policy.
type nodeShare struct {
	// Share is the share that is sent to the node or, if the load balancer sends traffic to pods, to the pods on it.
	Share float64 `json:"share"`
	// Serving is the number of pods on the node that may get traffic, and PodShare the share of each, by whatever way it
	// gets there.
	Serving  int     `json:"serving"`
	PodShare float64 `json:"podShare"`
	// Lost is the share that the node drops, since it has no pod to send it to.
	Lost float64 `json:"lost"`
	// Health is what the health check answers, 200 or 503; 0 if no load balancer asks the node.
	Health int `json:"health"`
}

// currentPlacement is the name of the placement in a cluster.
const currentPlacement = "current"

// flow returns the traffic with Local, or with Cluster.
func (p placement) flow(isLocal bool) flow {
	if isLocal {
		return p.Local
	}
	return p.Cluster
}

// share returns the share with Local, or with Cluster.
func (g nodeGroup) share(isLocal bool) nodeShare {
	if isLocal {
		return g.Local
	}
	return g.Cluster
}

func (s *serviceTraffic) isLocal() bool { return s.TrafficPolicy == localPolicy }

// The traffic policies, as texts.
const (
	localPolicy   = "Local"
	clusterPolicy = "Cluster"
)

// worst returns the worst flow among the placements.
func (s *serviceTraffic) worst() flow {
	worst := s.Placements[0].flow(s.isLocal())
	for _, p := range s.Placements[1:] {
		if other := p.flow(s.isLocal()); compareFlows(other, worst) < 0 {
			worst = other
		}
	}
	return worst
}

// compareFlows returns a negative number if a is worse than b.
func compareFlows(a, b flow) int {
	return cmp.Or(
		cmp.Compare(b.Lost, a.Lost), cmp.Compare(b.Overload, a.Overload), cmp.Compare(b.IdleNodes, a.IdleNodes),
	)
}

// sort puts the worst Services first, and leaves out those after the first top of them, unless top is 0.
func (r *trafficReport) sort(top int) {
	slices.SortStableFunc(r.Services, func(a, b serviceTraffic) int {
		return cmp.Or(
			compareFlows(a.worst(), b.worst()),
			strings.Compare(a.Service.Namespace, b.Service.Namespace), strings.Compare(a.Service.Name, b.Service.Name),
			strings.Compare(a.Environment, b.Environment), strings.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line),
		)
	})
	if top > 0 && len(r.Services) > top {
		r.Omitted = len(r.Services) - top
		r.Services = r.Services[:top]
	}
}

// newPlacement returns the shares of pods in their places. even holds the same pods, spread as evenly as they can be.
func newPlacement(name string, places, even []policies.Place, routing policies.Routing) placement {
	traffic, best := policies.ShareTraffic(places, routing), policies.ShareTraffic(even, routing).Local
	p := placement{
		Name: name, Pods: traffic.Pods,
		EvenSpread: evenSpread{best.Overload, best.Usable, best.Lost},
		Groups:     groupsOf(traffic, routing.Zonal),
	}
	for _, node := range traffic.Local.Nodes {
		if node.Node != "" && node.Untargeted == "" {
			p.Nodes++
		}
	}
	p.Local, p.Cluster = newFlow(traffic.Local), newFlow(traffic.Cluster)
	p.Local.Says = p.says(true, routing) + p.saysEven()
	p.Cluster.Says = p.says(false, routing)
	return p
}

func newFlow(f policies.Flow) flow {
	return flow{
		Overload: f.Overload, Usable: f.Usable, Lost: f.Lost, IdleNodes: f.IdleNodes, IdlePods: f.IdlePods,
		Announcer: f.Announcer,
	}
}

// groupsOf returns the nodes of both flows in groups, in the order of the first node of each.
func groupsOf(traffic policies.Traffic, zonal bool) []nodeGroup {
	type row struct {
		hasNode        bool
		local, cluster policies.NodeTraffic
	}
	groups := []nodeGroup{}
	at := map[row]int{}
	for i, local := range traffic.Local.Nodes {
		cluster := traffic.Cluster.Nodes[i]
		name := local.Node
		local.Node, cluster.Node = "", ""
		if !zonal {
			local.Zone, cluster.Zone = "", ""
		}
		key := row{name != "", local, cluster}
		group, ok := at[key]
		if !ok {
			group = len(groups)
			at[key] = group
			groups = append(groups, nodeGroup{
				Nodes: []string{}, Zone: local.Zone, Ready: local.Ready, Draining: local.Draining,
				Untargeted: local.Untargeted, Local: newNodeShare(local), Cluster: newNodeShare(cluster),
			})
		}
		if name != "" {
			groups[group].Nodes = append(groups[group].Nodes, name)
		}
	}
	return groups
}

func newNodeShare(n policies.NodeTraffic) nodeShare {
	return nodeShare{Share: n.Share, Serving: n.Serving, PodShare: n.PodShare, Lost: n.Lost, Health: n.Health}
}

// size returns the number of nodes for which the group stands in a drawing and in sums: one if none is known.
func (g nodeGroup) size() int { return max(1, len(g.Nodes)) }

// trafficFormat is a format of the output of traffic.
type trafficFormat struct {
	// name is that of --output.
	name string
	// write writes the report in the format. The error is that of w.
	write func(r *trafficReport, w io.Writer, options trafficOptions) error
}

// trafficOptions configures the text.
type trafficOptions struct {
	// quiet leaves out the notes and what was skipped. color is the value of --color.
	quiet bool
	color string
}

// trafficFormats lists the formats in the order in which the help names them.
var trafficFormats = []trafficFormat{
	{"text", (*trafficReport).writeText},
	{"json", (*trafficReport).writeJSON},
	{"svg", (*trafficReport).writeSVG},
	{"html", (*trafficReport).writeHTML},
}

func trafficFormatNames() []string {
	names := make([]string, len(trafficFormats))
	for i, format := range trafficFormats {
		names[i] = format.name
	}
	return names
}

// write writes the report in a format. The error is that of w.
func (r *trafficReport) write(w io.Writer, format string, options trafficOptions) error {
	i := slices.IndexFunc(trafficFormats, func(f trafficFormat) bool { return f.name == format })
	return trafficFormats[i].write(r, w, options)
}

func (r *trafficReport) writeJSON(w io.Writer, _ trafficOptions) error { return encodeJSON(w, r) }
