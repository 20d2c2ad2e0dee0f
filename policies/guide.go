package policies

import (
	"cmp"
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"

	"github.com/sourceward/sourceward/api/v1alpha1"
)

// Choice is what the decision guide says about the traffic policy of a Service.
type Choice string

// The choices. The zero value is that of a row which decides nothing.
const (
	// ChooseLocal and ChooseCluster are the traffic policy to set.
	ChooseLocal   Choice = "Local"
	ChooseCluster Choice = "Cluster"
	// ChooseEither means that the traffic policy makes no difference.
	ChooseEither Choice = "no difference"
)

// GuideRow is one row of the decision guide.
type GuideRow struct {
	// ID is kebab-case.
	ID string
	// When says in words which Services the row applies to, as the end of a sentence that begins with "If".
	When string
	// Says is what to choose, unless a row above it decides; empty if the row only says what speaks for or against Local.
	Says Choice
	// Reason says why, and Cost what the choice costs or, in a row that decides nothing, what Local costs; empty if it
	// costs nothing. Both are sentences.
	Reason string
	Cost   string
	// Change holds lines of YAML: those of the Service that make the choice or, in a row that decides nothing, those that
	// avoid the cost. It is empty if there are none.
	Change string

	// holds returns whether the row applies to a Service, and details such as an annotation or a number.
	holds func(*guideFacts) (detail string, applies bool)
	// fitted returns Change for the workloads behind a Service; nil if it is the same for all.
	fitted func(*guideFacts) string
}

// Answered is the decision guide, answered for one Service.
type Answered struct {
	// Says is the choice of the first row that decides.
	Says Choice
	// Rows holds the rows that apply, in the order of Guide. The first one with a Choice decides.
	Rows []AnsweredRow
	// Change holds the lines of YAML to change in the Service; empty if it has the policy that Says names, or if that
	// makes no difference.
	Change string
	// Local and Cluster are the ways of a packet with either traffic policy. They are zero if no traffic from outside the
	// cluster reaches the Service through kube-proxy or a load balancer.
	Local   Way
	Cluster Way
}

// AnsweredRow is a row of the guide that applies to a Service.
type AnsweredRow struct {
	GuideRow
	// Detail says what made the row apply, for example "annotation a=b asks for the source IP"; often empty.
	Detail string
}

// Advise answers the decision guide for the Service in in.Object. places says where its pods are, as PlacesOf returns
// it; nil if that is not known: then in.Related and in.Cluster say how many pods there may be, and on how many nodes.
// Advise reads what Decide reads.
//
// The error is non-nil if Rego could not be evaluated; it is then of type [Faults], and the answer is what follows from
// the rest.
func Advise(ctx context.Context, in Input, rules Rules, settings Settings, places []Place) (Answered, error) {
	r := newRun(ctx, in, rules, settings, nil)
	facts := newGuideFacts(r, places)
	answered := Answered{Local: facts.way(ChooseLocal), Cluster: facts.way(ChooseCluster)}
	for _, row := range Guide {
		detail, applies := row.holds(facts)
		if !applies {
			continue
		}
		if answered.Says == "" && row.Says != "" {
			answered.Says = row.Says
			if facts.policy() != row.Says {
				answered.Change = row.Change
			}
		}
		if row.fitted != nil {
			row.Change = row.fitted(facts)
		}
		answered.Rows = append(answered.Rows, AnsweredRow{GuideRow: row, Detail: detail})
	}
	return answered, r.faultsFound()
}

const (
	setLocal    = "spec:\n  externalTrafficPolicy: Local\n"
	setCluster  = "spec:\n  externalTrafficPolicy: Cluster\n"
	setReplicas = "spec:\n  replicas: 2\n"
)

// Guide is the decision guide: when a Service should be Local. The rows that decide come first, and of those that
// apply, the first one does. The last of them applies to every Service. It must not be changed.
var Guide = []GuideRow{
	{
		ID: "not-external", When: "clients outside the cluster cannot reach the Service",
		Says:   ChooseEither,
		Reason: "The API server accepts externalTrafficPolicy only on types LoadBalancer and NodePort, and with externalIPs.",
		holds: func(f *guideFacts) (string, bool) {
			detail := "type " + serviceType(f.service)
			if f.service.Spec.ClusterIP == corev1.ClusterIPNone {
				detail = "clusterIP: None" // kube-proxy does nothing for it, even if it has externalIPs.
			}
			return detail, !f.isExternal()
		},
	},
	{
		ID: "forbidden", When: "the load balancer does not work with Local", Says: ChooseCluster,
		Reason: "Its controller rejects Local, or Local makes it lose traffic.",
		Cost:   "Pods see the address of a node.", Change: setCluster,
		holds: func(f *guideFacts) (string, bool) { return f.judged(VerdictForbidden) },
	},
	{
		ID: "ignored", When: "the annotation sourceward.dev/source-ip: ignore is set", Says: ChooseCluster,
		Reason: "The Service does not need the client's address.",
		Cost:   "Pods see the address of a node.", Change: setCluster,
		holds: func(f *guideFacts) (string, bool) {
			return "", f.service.Annotations[v1alpha1.AnnotationSourceIP] == v1alpha1.SourceIPIgnore
		},
	},
	{
		ID: "required", When: "an annotation or a policy requires Local", Says: ChooseLocal,
		Reason: "What it asks for does not work without Local.", Change: setLocal,
		holds: func(f *guideFacts) (string, bool) { return f.asked(StrengthHard) },
	},
	{
		ID: "useless", When: "traffic goes to the pods directly", Says: ChooseEither,
		Reason: "The traffic bypasses kube-proxy, the only part that obeys the traffic policy.",
		holds:  func(f *guideFacts) (string, bool) { return f.judged(VerdictUseless) },
	},
	{
		ID: "preserved", When: "pods see the client's address with Cluster, too", Says: ChooseCluster,
		Reason: "Nodes reply to clients directly, or do not replace their addresses, so Local has nothing to add.",
		Change: setCluster,
		holds:  func(f *guideFacts) (string, bool) { return f.judged(VerdictPreserved) },
	},
	{
		ID: "lost", When: "pods see the load balancer's address with Local, too", Says: ChooseCluster,
		Reason: "The load balancer replaces the client's address, and Local cannot bring it back.",
		Cost:   "Pods do not see the client's address. Choose another mode of the load balancer if they need it.",
		Change: setCluster,
		holds:  func(f *guideFacts) (string, bool) { return f.lost() },
	},
	{
		ID: "hidden", When: "the load balancer terminates connections, and sends the client's address nowhere",
		Says:   ChooseCluster,
		Reason: "Packets come from the load balancer, so that Local keeps the wrong address.",
		Cost:   "Pods see the client's address only after the PROXY protocol is enabled, which they must understand.",
		Change: setCluster,
		holds: func(f *guideFacts) (string, bool) {
			found, ok := f.foundWithLocal("local-hides-source-ip")
			return found.Message + "; " + found.Fix, ok
		},
	},
	{
		ID: "proxy", When: "the load balancer sends the client's address in a header, or is told not to keep it",
		Says:   ChooseCluster,
		Reason: "Whether pods learn the address does not depend on the traffic policy, but on the header.",
		Cost:   "Pods must read the header, if there is one, and accept it from the load balancer only.", Change: setCluster,
		holds: func(f *guideFacts) (string, bool) { return f.judged(VerdictProxy) },
	},
	{
		ID:   "asked",
		When: "an annotation or a policy asks for the client's address, for logging, rate limits, geo-routing or a WAF",
		Says: ChooseLocal,
		Reason: "With Cluster, the node that gets a packet replaces the client's address with its own. With Local, it does " +
			"not.",
		Cost:   "Pods may get unequal shares, depending on where they run.",
		Change: setLocal,
		holds:  func(f *guideFacts) (string, bool) { return f.asked(StrengthSoft) },
	},
	{
		ID: "not-asked", When: "nothing asks for the client's address", Says: ChooseCluster,
		Reason: "Any node can reach any pod, so none drops traffic, and pods share it evenly unless trafficDistribution " +
			"is set.",
		Cost:   "Pods see the address of a node, and packets take an extra hop to pods on other nodes.",
		Change: setCluster,
		holds:  func(*guideFacts) (string, bool) { return "", true },
	},
	{
		ID: "source-ranges", When: "loadBalancerSourceRanges is set",
		Reason: "Source ranges do not need Local: the load balancer, or kube-proxy on the first node, applies them " +
			"before a node replaces the client's address.",
		holds: func(f *guideFacts) (string, bool) {
			return "", len(f.service.Spec.LoadBalancerSourceRanges) > 0 ||
				f.service.Annotations[corev1.AnnotationLoadBalancerSourceRangesKey] != ""
		},
	},
	{
		ID: "weighted", When: "the load balancer weights nodes by their pods",
		Reason: "With Local, each pod gets the same share, wherever it runs.",
		holds: func(f *guideFacts) (string, bool) {
			return f.why(SharingWeighted), f.balancer.Sharing == ShareWeighted
		},
	},
	{
		ID: "single-announcer", When: "one node announces the address",
		Reason: "All traffic arrives at that node.",
		Cost:   "With Local, only the pods on that node serve. If the pods are spread, one pod serves everything.",
		holds: func(f *guideFacts) (string, bool) {
			return f.why(SharingAnnouncer), f.balancer.Sharing == ShareAnnouncer
		},
	},
	{
		ID: "zonal", When: "zones share the traffic first",
		Reason: "The load balancer does not send traffic from one zone to another.",
		Cost:   "With Local, pods in a zone with fewer nodes or pods get more traffic.",
		holds:  func(f *guideFacts) (string, bool) { return f.why(SharingZones), f.balancer.Zonal },
	},
	{
		ID: "distribution", When: "trafficDistribution is set",
		Reason: "With Cluster, nodes send traffic to pods near them first, so that these may get more than their share. " +
			"Local ignores it.",
		holds: func(f *guideFacts) (string, bool) {
			if !isMore(f.worstCluster.Overload) {
				return "", f.isExternal() && f.balancer.Distribution != ""
			}
			return Times(f.worstCluster.Overload) + " at worst with Cluster", f.isExternal() && f.balancer.Distribution != ""
		},
	},
	{
		ID: "session-affinity", When: "sessionAffinity is ClientIP",
		Reason: "Each node sends a client to the same pod again, so the share of a pod depends on the clients it has.",
		Cost:   "With Local, a client keeps its pod only while the load balancer sends it to the same node.",
		holds: func(f *guideFacts) (string, bool) {
			return "", f.isExternal() && f.service.Spec.SessionAffinity == corev1.ServiceAffinityClientIP &&
				f.balancer.Sharing != SharePods
		},
	},
	{
		ID: "no-health-check", When: "the type is NodePort, or ClusterIP with externalIPs",
		Reason: "Only type LoadBalancer has a health check that tells nodes with pods from nodes without.",
		Cost:   "With Local, traffic to nodes without a ready pod is lost.",
		Change: "spec:\n  type: LoadBalancer\n",
		holds: func(f *guideFacts) (string, bool) {
			return "type " + serviceType(f.service), f.isExternal() &&
				f.service.Spec.Type != corev1.ServiceTypeLoadBalancer
		},
	},
	{
		ID: "unchecked", When: "the load balancer does not obey Local's health check",
		Reason: "It checks something else, or nothing.",
		Cost:   "With Local, traffic to nodes without a ready pod may be lost.",
		holds: func(f *guideFacts) (string, bool) {
			return f.why(SharingUnchecked), f.balancer.Unchecked && f.service.Spec.Type == corev1.ServiceTypeLoadBalancer
		},
	},
	{
		ID: "not-ready", When: "publishNotReadyAddresses is set",
		Reason: "Nodes pass the health check while their pods are not ready.",
		Cost:   "With Local, all traffic to a node fails while none of its pods is ready.",
		Change: "spec:\n  publishNotReadyAddresses: false\n",
		holds: func(f *guideFacts) (string, bool) {
			return "", f.isExternal() && f.service.Spec.PublishNotReadyAddresses
		},
	},
	{
		ID: "no-selector", When: "the Service has no selector",
		Reason: "Its endpoints belong to a node only if their nodeName says so.",
		Cost:   "With Local, endpoints without a nodeName get no traffic.",
		holds: func(f *guideFacts) (string, bool) {
			return "", f.isExternal() && len(f.service.Spec.Selector) == 0
		},
	},
	{
		ID: "single-replica", When: "there is only one pod",
		Reason: "One node serves everything.",
		Cost:   "With Local, moving the pod causes an outage until the load balancer's checks have noticed.",
		Change: setReplicas,
		fitted: (*guideFacts).moreReplicas,
		holds:  func(f *guideFacts) (string, bool) { return "", f.pods == 1 },
	},
	{
		ID: "few-pods", When: "there are fewer pods than nodes",
		Reason: "Nodes without a pod serve nothing with Local.",
		Cost:   "With Local, the nodes with pods get all traffic. If one fails, its share is lost until a check notices.",
		holds: func(f *guideFacts) (string, bool) {
			return fmt.Sprintf("%s on %s", plural(f.pods, "pod"), plural(f.nodes, "node")), f.pods > 1 && f.pods < f.nodes
		},
	},
	{
		ID: "uneven", When: "pods get unequal shares even if spread evenly",
		Reason: "The number of pods is not a multiple of the number of nodes, zones have different numbers of nodes, or " +
			"some pods may not run on all nodes.",
		Cost: "With Local, the busiest pod gets more than its share, however well the pods are spread.",
		holds: func(f *guideFacts) (string, bool) {
			return fmt.Sprintf("%s at best with %s", Times(f.best.Overload), plural(f.pods, "pod")),
				f.sharesNodes() && f.nodes > 0 && isMore(f.best.Overload)
		},
	},
	{
		ID: "unspread", When: "nothing keeps the pods on different nodes",
		Reason: "The scheduler may place all pods but one on one node.",
		Cost:   "With Local, the busiest pod may get many times its share.",
		holds: func(f *guideFacts) (string, bool) {
			return f.atWorst(), f.sharesNodes() && f.spread == spreadOfNone
		},
	},
	{
		ID: "spread-preferred", When: "the pods are spread if possible, which is no guarantee",
		Reason: "A soft constraint is one score among others, and after a failure pods stay where they are.",
		Cost:   "With Local, the busiest pod may get many times its share. A hard constraint may leave pods Pending.",
		holds: func(f *guideFacts) (string, bool) {
			return f.atWorst(), f.sharesNodes() && f.spread == spreadOfSome
		},
	},
	{
		ID: "spread-bounded", When: "the scheduler only bounds how unevenly the pods are spread",
		Reason: "The maxSkew of a hard constraint is more than 1.",
		Cost:   "With Local, the busiest pod may get more than its share; maxSkew: 1 makes that less.",
		holds: func(f *guideFacts) (string, bool) {
			return f.atWorst(), f.sharesNodes() && f.spread == spreadOfBounded
		},
	},
	{
		ID: "spread-guaranteed", When: "the scheduler guarantees that the pods are spread",
		Reason: "The numbers of pods on two nodes differ by one at most.",
		holds: func(f *guideFacts) (string, bool) {
			return f.atWorst(), f.sharesNodes() && f.spread == spreadOfAll
		},
	},
	{
		ID: "overloaded", When: "pods are placed unevenly now",
		Reason: "The load balancer gives nodes the same share, and pods on the same node share it.",
		Cost:   "With Local, the busiest pod gets more than its share.",
		holds: func(f *guideFacts) (string, bool) {
			return Times(f.now.Overload) + " now", isMore(f.now.Overload)
		},
	},
}

// spreadOf says how the pods of all workloads behind a Service are kept apart.
type spreadOf int

const (
	spreadOfUnknown spreadOf = iota // no workload, or none with several pods
	spreadOfNone                    // the pods of one workload may share a node
	spreadOfSome                    // all are spread if possible
	spreadOfBounded                 // a single workload is, and it is guaranteed how unevenly at most
	spreadOfAll                     // a single workload is, and it is guaranteed
)

// guideFacts is what the decision guide reads.
type guideFacts struct {
	*run
	service  *corev1.Service
	balancer LoadBalancer
	// local is the run over the Service with Local; nil if the Service cannot be Local.
	local *run
	// pods and nodes are the numbers of pods and of nodes to which the load balancer may send traffic; 0 for unknown.
	pods, nodes int
	// now is the flow with Local for the pods that run; best and worst are those for the placements of the same pods that
	// their templates allow. Each is zero if it is not known.
	now, best, worst Flow
	// worstCluster is the worst flow with Cluster.
	worstCluster Flow
	spread       spreadOf
}

func newGuideFacts(r *run, places []Place) *guideFacts {
	f := &guideFacts{run: r, service: r.Object.Service, balancer: r.loadBalancer()}
	if f.isExternal() {
		f.local = r.trial([]PatchOperation{{Op: "add", Path: trafficPolicyPath, Value: local}})
	}
	if places != nil {
		traffic := ShareTraffic(places, f.balancer.Routing)
		f.now, f.pods = traffic.Local, traffic.Pods
	} else {
		places = r.Cluster.Places(f.service)
	}
	for _, place := range places {
		if place.isTarget() {
			f.nodes++
		}
	}
	if places == nil {
		places = numbered(assumedNodes)
	}
	var pods []Pods
	several := 0
	for _, w := range r.behind {
		count := r.scaling.replicasOf(w).most
		if f.pods > 0 && len(r.behind) == 1 {
			count = f.pods
		}
		of := r.Cluster.PodsOf(w, count, r.Namespace)
		pods = append(pods, of)
		if count < 2 || of.Pinned {
			continue
		}
		several++
		isGuaranteed := of.Alone || of.MaxSkew == 1
		switch {
		case !r.spreading(w).kept():
			f.spread = spreadOfNone
		case f.spread == spreadOfNone:
		case isGuaranteed && several == 1:
			f.spread = spreadOfAll
		case of.MaxSkew > 1 && several == 1:
			f.spread = spreadOfBounded
		default:
			f.spread = spreadOfSome
		}
	}
	if len(pods) > 0 {
		routing := f.balancer.Routing
		best := ShareTraffic(BestPlacement(places, routing, pods...), routing)
		f.best, f.pods = best.Local, cmp.Or(f.pods, best.Pods)
		f.worst = ShareTraffic(
			WorstPlacement(places, routing, corev1.ServiceExternalTrafficPolicyLocal, pods...), routing).Local
		f.worstCluster = ShareTraffic(
			WorstPlacement(places, routing, corev1.ServiceExternalTrafficPolicyCluster, pods...), routing).Cluster
	}
	return f
}

// assumedNodes is the number of nodes that the guide assumes if it is not known. It says nothing then that depends on
// the number: the worst placement needs two nodes, or one for each pod that may not share one.
const assumedNodes = 100

// isExternal reports whether the Service has traffic to which the traffic policy applies.
func (f *guideFacts) isExternal() bool {
	return ExternallyAccessible(f.service, f.Cluster.Version) && f.service.Spec.ClusterIP != corev1.ClusterIPNone
}

// sharesNodes reports whether nodes share the traffic with Local, so that it matters where pods run.
func (f *guideFacts) sharesNodes() bool {
	return f.isExternal() && f.balancer.Sharing == ShareNodes && f.pods > 1
}

// policy returns the traffic policy of the Service, which is Cluster by default.
func (f *guideFacts) policy() Choice {
	if isLocal(f.service, f.Cluster.Version) {
		return ChooseLocal
	}
	return ChooseCluster
}

// judged returns the message of the first answer with a verdict, and whether there is one.
func (f *guideFacts) judged(of Verdict) (string, bool) {
	keeps, ok := verdict(f.answers, of)
	return keeps.Message, ok
}

// asked returns the reasons for Local, if the first one has a strength.
func (f *guideFacts) asked(strength Strength) (string, bool) {
	reasons := f.reasonsForLocal()
	if len(reasons) == 0 || reasons[0].Strength != strength {
		return "", false
	}
	return reasonMessage(reasons), true
}

// foundWithLocal returns what a built-in rule in Rego finds if the Service is Local.
func (f *guideFacts) foundWithLocal(rule string) (HouseFinding, bool) {
	if f.local == nil {
		return HouseFinding{}, false
	}
	for _, answer := range f.local.answers {
		for _, found := range answer.Warn {
			if answer.Policy == "" && found.Rule == rule {
				return found, true
			}
		}
	}
	return HouseFinding{}, false
}

// lost reports whether the load balancer replaces the client's address with either traffic policy. Its verdict is the
// same as that of a load balancer that sends the address in a header.
func (f *guideFacts) lost() (string, bool) {
	if _, other := verdict(f.answers, VerdictUseless, VerdictPreserved); other {
		return "", false
	}
	found, ok := f.foundWithLocal("local-has-no-effect")
	return found.Message, ok
}

// why returns the first reason for a way of sharing traffic; empty if there is none.
func (f *guideFacts) why(way SharingWay) string {
	for _, answer := range f.answers {
		for _, reason := range answer.SharesTraffic {
			if reason.How == way {
				return reason.Message
			}
		}
		for _, keeps := range answer.KeepsSourceIP {
			if sharingWays[keeps.Verdict] == way {
				return keeps.Message
			}
		}
	}
	return ""
}

// atWorst says how busy the busiest pod may be; empty if it never gets more than its share.
func (f *guideFacts) atWorst() string {
	if !isMore(f.worst.Overload) {
		return ""
	}
	return Times(f.worst.Overload) + " at worst"
}

// moreReplicas returns lines of YAML that add a second pod: those of the workload or of its autoscaler. It returns an
// empty string for a DaemonSet, which needs a second node.
func (f *guideFacts) moreReplicas() string {
	for _, w := range f.behind {
		switch {
		case w.Kind == daemonSetKind:
			return ""
		case len(f.scaling.autoscalers[w.scaled()]) > 0:
			return "spec:\n  minReplicas: 2\n"
		}
	}
	return setReplicas
}
