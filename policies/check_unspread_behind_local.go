package policies

import (
	"fmt"

	"github.com/sourceward/sourceward/api/v1alpha1"
)

// unspreadBehindLocal finds workloads behind a Local Service whose pods may share a node.
//
// Fields: of the Services, spec.selector and what makes them Local; of the workload, spec.replicas, spec.selector and
// spec.template. spreadingOf decides what counts as spread. A finding is reported once, on the workload. In a cluster
// it is reported on the Service if the request makes the Service Local or changes its selector, since its workloads are
// not under review then.
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
	What: "A Local Service selects the pods of a workload with two or more replicas, and nothing keeps them on " +
		"different nodes: no spread constraint on kubernetes.io/hostname that counts them, no such anti-affinity, and no " +
		"host port.",
	Why: "The load balancer sends each node the same share of the traffic, and each node sends its share to its own " +
		"pods only. If three pods are on one node and one is on another, each of the three gets 17 % and the one gets 50 " +
		"%, twice its fair share: \"2x load\". The default scheduler allows such a placement.",
	Remedy: "Add a topology spread constraint on kubernetes.io/hostname with maxSkew 1, a labelSelector for the " +
		"workload's own pods, and the matchLabelKeys of its kind, so that the spread survives rollouts (pod-template-hash " +
		"for a Deployment or a CloneSet, rollouts-pod-template-hash for a Rollout, none for a StatefulSet); or add pod " +
		"anti-affinity. The first constraint switches off the scheduler's default soft spread over zones: if your nodes " +
		"have zone labels, add one on topology.kubernetes.io/zone as well.",
	Exempt: "When the load balancer weights nodes by their pods, or sends traffic to pods directly, or sends all " +
		"traffic to one node anyway. It is better to say so once, in spec.loadBalancers of a SourceIPPolicy.",
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
	if found == nil {
		return r.unseenSpread()
	}
	if found.ineffective != nil {
		return nil
	}
	path, fix := constraintsPath, "add a spread constraint on kubernetes.io/hostname for the pods' own labels"
	if found.strategy == v1alpha1.StrategyPodAntiAffinity {
		path, fix = affinityPath, "add pod anti-affinity on kubernetes.io/hostname for the pods' own labels"
	}
	message := fmt.Sprintf("pods of %s may share a node", serviceNames(found.services))
	if pods := r.replicas.most; pods > 2 { // Two pods get the same share on one node as on two.
		worst := worstOverload(pods)
		message += ": " + Times(worst) + " load"
		if nodes := r.Cluster.eligible(r.Object.Workload); nodes > 0 {
			if best := spreadOverload(pods, nodes); best > 1 && best < worst {
				fix += fmt.Sprintf(" (%s over %d nodes)", Times(best), nodes)
			}
		}
	}
	return []result{found.finding(r, path, message, fix)}
}

// checkUnspreadService reports on the Service. Such a finding has no repair: the workloads are not under review.
func checkUnspreadService(r *run) []result {
	if r.Related.View != ViewCluster || !r.needsSpread() {
		return r.unseenSpread()
	}
	var unspread []Ref
	for _, workload := range r.behind {
		if !workload.IsChild() && r.scaling.replicasOf(workload).most > 1 && !r.spreading(workload).kept() {
			unspread = append(unspread, workload.Ref)
		}
	}
	if len(unspread) == 0 {
		return nil
	}
	return []result{{Finding: Finding{
		Path: trafficPolicyPath,
		Message: fmt.Sprintf("pods of %s behind this Service may share a node",
			firstOf(len(unspread), func(i int) string { return unspread[i].String() })),
		Fix: "add a spread constraint on kubernetes.io/hostname to " +
			form(len(unspread), "its pod template", "each of their pod templates"),
		Because: unspread,
	}}}
}
