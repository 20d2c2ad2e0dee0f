package policies

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/sourceward/sourceward/api/v1alpha1"
)

// unspreadBehindLocal finds workloads behind a Local Service whose pods may share a node.
//
// Fields: of the Services, spec.selector and what makes them Local; of the workload, spec.replicas,
// spec.selector and spec.template. What counts as spread is spreadingOf's to say.
// It is reported once, on the workload. Only where a Service becomes Local, or selects others, in a
// cluster, is it reported on the Service: its workloads are not under review then.
var unspreadBehindLocal = Rule{
	ID:            "unspread-behind-local",
	Title:         "Pods behind a Local Service may share a node",
	Severity:      SeverityWarning,
	DefaultMode:   Warn,
	Kinds:         append([]string{kindService}, SpreadKinds...),
	NeedsRelated:  true,
	NeedsReplicas: true,
	Fixable:       true,
	Mutable:       true,
	What: "A Local Service selects the pods of a workload with two replicas or more, and nothing keeps them on different nodes: " +
		"no spread constraint on kubernetes.io/hostname that counts them, no such anti-affinity, no host port.",
	Why: "The load balancer shares traffic evenly among nodes, and each node hands its share to its own pods only. Three pods on one " +
		"node and one on another get 17 % each and 50 %. The scheduler's default tolerates such a placement.",
	Remedy: "Add a topology spread constraint on kubernetes.io/hostname with maxSkew 1, the workload's own labels, and " +
		"the matchLabelKeys of its kind, so that it holds through rollouts (pod-template-hash for a Deployment or a CloneSet, " +
		"rollouts-pod-template-hash for a Rollout, none for a StatefulSet); or pod anti-affinity. A first constraint " +
		"switches off the scheduler's own soft spread over zones: where nodes carry zone labels, add one on " +
		"topology.kubernetes.io/zone as well.",
	Exempt: "When the load balancer weighs nodes by their pods or sends traffic to pods past the nodes, or one node receives all traffic anyway. " +
		"Better: say so once, in spec.loadBalancers of a SourceIPPolicy.",
	Since: "All versions; matchLabelKeys from 1.27 on.",
	Sources: []string{
		"https://kubernetes.io/docs/concepts/scheduling-eviction/topology-spread-constraints/",
		"https://github.com/kubernetes/kubernetes/issues/97147",
		"https://github.com/kubernetes/kubernetes/issues/98215",
	},
	check: checkUnspreadBehindLocal,
}

func checkUnspreadBehindLocal(r *review) []result {
	if r.Object.Service != nil {
		return checkUnspreadService(r)
	}
	found := r.unspread()
	if found == nil || found.ineffective != nil {
		return nil
	}
	path, fix := constraintsPath, "add a spread constraint on kubernetes.io/hostname that selects the pods' own labels"
	if found.strategy == v1alpha1.StrategyPodAntiAffinity {
		path, fix = affinityPath, "add pod anti-affinity on kubernetes.io/hostname that selects the pods' own labels"
	}
	message := fmt.Sprintf("pods behind Local %s are not spread by hostname: %s", serviceNames(found.services), r.load())
	return []result{found.result(r, path, message, fix)}
}

// checkUnspreadService is the form on the Service. The workloads' repairs are not its to carry.
func checkUnspreadService(r *review) []result {
	if r.Related.View != ViewCluster || !r.needsSpread() {
		return nil
	}
	var unspread []Ref
	for _, workload := range r.behind {
		if !workload.Controlled && replicasOf(workload, r.Related).most > 1 && !spreadingOf(workload, r.Namespace).kept() {
			unspread = append(unspread, workload.Ref)
		}
	}
	if len(unspread) == 0 {
		return nil
	}
	who, verb := firstOf(len(unspread), func(i int) string { return unspread[i].String() }), "is"
	if len(unspread) > 1 {
		verb = "are"
	}
	return []result{{Finding: Finding{
		Path:    "/spec/externalTrafficPolicy",
		Message: fmt.Sprintf("%s behind this Local Service %s not spread by hostname", who, verb),
		Fix:     "add a spread constraint on kubernetes.io/hostname to each of them",
		Because: unspread,
	}}}
}

// needsSpread tells whether the request is what makes the pods behind a Service want to be spread.
func (r *review) needsSpread() bool {
	_, spreadNever := verdict(r.answers, VerdictUseless, VerdictWeighted, VerdictSingleAnnouncer)
	return r.becameLocal() && !spreadNever && r.Cluster.Nodes != 1
}

// unspread is a workload behind Local Services whose pods may share a node.
type unspread struct {
	// services are the Local Services that suffer from it, by name.
	services []*corev1.Service
	// ineffective is what looks as if it spread them.
	ineffective *ineffective
	// repair mends it; problem says why there is none.
	repair  []PatchOperation
	problem string
	// strategy is the means of the repair.
	strategy Strategy
}

// unspread returns nil for a workload that is not behind a Local Service, or that is spread.
func (r *review) unspread() *unspread {
	if !r.unspreadKnown {
		r.unspreadKnown = true
		r.unspreadFound = r.findUnspread()
	}
	return r.unspreadFound
}

func (r *review) findUnspread() *unspread {
	spreading, could := r.couldBeUnspread()
	if !could {
		return nil
	}
	services := r.evenServices()
	if len(services) == 0 {
		return nil
	}
	found := &unspread{services: services, ineffective: spreading.ineffective}
	spread := r.settings.with(r.spreadWishes())
	found.strategy = spread.Strategy
	found.repair, found.problem = r.spreadRepair(spread, services)
	return found
}

// LacksLocalService tells whether one more Local Service in in.Related could ask for the pods of a workload to be spread: they
// may share a node, and no Service that is known to select them is Local. What else a Service could ask for can wait for the next
// audit, since no webhook repairs it. It reads Object, Namespace, Related and Cluster.
func LacksLocalService(in Input) bool {
	r := &review{Input: in}
	if in.Object.Workload == nil || len(in.Object.Workload.Template.Labels) == 0 {
		return false // No Service selects it.
	}
	r.replicas = replicasOf(in.Object.Workload, in.Related)
	if _, could := r.couldBeUnspread(); !could {
		return false
	}
	return !slices.ContainsFunc(in.Related.Services, func(s *corev1.Service) bool {
		return Selects(s, in.Object.Workload) && isLocal(s, in.Cluster.Version)
	})
}

// couldBeUnspread tells, without a look at the neighbours, whether the object is a workload whose
// pods may share a node. One node, where somebody told so, leaves nothing to spread over; of those that are there now, some may be
// cordoned or yet to come, and a template is not repaired again.
func (r *review) couldBeUnspread() (spreading, bool) {
	if r.Object.Workload == nil || r.replicas.most < 2 || r.Cluster.Nodes == 1 {
		return spreading{}, false
	}
	s := spreadingOf(r.Object.Workload, r.Namespace)
	return s, !s.kept()
}

func (r *review) spreadWishes() []SpreadWish {
	var wishes []SpreadWish
	for _, answer := range r.answers {
		wishes = append(wishes, answer.Spread...)
	}
	return wishes
}

// result is the finding, whichever of the two rules makes it.
func (u *unspread) result(r *review, path, message, fix string) result {
	if u.problem != "" {
		fix += "; not repaired, since " + u.problem
	}
	because := serviceRefs(u.services)
	if maker := r.maker(); maker != r.Object.Workload {
		because = append(because, maker.Ref) // whose revisions the repair tells apart
	}
	return result{
		Finding: Finding{Path: path, Message: message, Fix: fix, Because: because},
		repair:  u.repair,
		// A change of the template rolls the workload out, which an unrelated request must not do.
		unpatchable: !r.templateChanged(),
	}
}

// load says what may become of the traffic.
func (r *review) load() string {
	if r.replicas.most == 2 {
		return "they may all share one node"
	}
	worst := worstOverload(r.replicas.most)
	load := fmt.Sprintf("up to %.3gx load on one pod", worst)
	if nodes := r.Cluster.eligible(r.Object.Workload); nodes > 0 {
		if spread := spreadOverload(r.replicas.most, nodes); spread > 1 && spread < worst {
			load += fmt.Sprintf(" (%.3gx if spread over %d nodes)", spread, nodes)
		}
	}
	return load
}

// serviceNames is "Service edge/a" or "Services edge/a and 3 more".
func serviceNames(services []*corev1.Service) string {
	noun := "Service "
	if len(services) > 1 {
		noun = "Services "
	}
	return noun + firstOf(len(services), func(i int) string {
		return services[i].Namespace + "/" + nameOf(services[i].ObjectMeta)
	})
}

// firstOf names the first of n things, and tells how many more there are: messages stay short.
func firstOf(n int, name func(int) string) string {
	if n == 1 {
		return name(0)
	}
	return fmt.Sprintf("%s and %d more", name(0), n-1)
}
