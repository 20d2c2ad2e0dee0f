package policies

import (
	"fmt"

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

func checkUnspreadBehindLocal(r *run) []result {
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
func checkUnspreadService(r *run) []result {
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
func (r *run) needsSpread() bool {
	_, spreadNever := verdict(r.answers, VerdictUseless, VerdictWeighted, VerdictSingleAnnouncer)
	return r.becameLocal() && !spreadNever && r.Cluster.Nodes != 1
}

// load says what may become of the traffic.
func (r *run) load() string {
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
