package policies

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// unevenOverload is the smallest share of the busiest pod, as a multiple of its fair share, that is reported: an
// overload of less than a quarter is no reason to change a number.
const unevenOverload = 1.25

// unevenReplicas finds numbers of pods that cannot be spread evenly over the nodes.
//
// Fields: of the Services, what makes them Local; of the workload, spec.replicas or the range of its autoscaler; the
// number of nodes that its pods may be spread over. Nothing is found if the pods are not spread, which
// unspread-behind-local reports; if the pods of other workloads count too, which shared-selector reports; or if two
// pods never share a node, so that no more pods run than there are nodes.
var unevenReplicas = Rule{
	ID:            "uneven-replicas",
	Title:         "Number of pods that cannot be spread evenly",
	Severity:      SeverityInfo,
	DefaultMode:   Audit,
	Kinds:         SpreadKinds,
	NeedsRelated:  true,
	NeedsReplicas: true,
	What: "A workload behind a Local Service has more pods than there are nodes, and not a multiple of the nodes, so " +
		"that the busiest pod gets 1.25 times its fair share or more however well they are spread. If an autoscaler sets " +
		"the number, the worst number in its range counts. The nodes come from the cluster, from --context, or from " +
		"--nodes; if they are not known, nothing is reported.",
	Why: "The load balancer sends each node the same share of the traffic. Four pods over three nodes are placed 2, 1 " +
		"and 1 at best: two of them get a third of the traffic each, and two get a sixth. An autoscaler looks at the " +
		"average and does not notice.",
	Remedy: "Run one or two pods on each node: set replicas to a multiple of the number of nodes, or use a DaemonSet. " +
		"If an autoscaler sets the number, leave room for the busiest pod: set a target utilization of its fair share " +
		"divided by its actual share, for example 60 % for 1.67 times.",
	Exempt: "When the pods have room for the share of the busiest, or the number of nodes changes all the time.",
	Since:  "All versions.",
	Sources: []string{
		"https://github.com/kubernetes/kubernetes/issues/97147",
		"https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/#algorithm-details",
	},
	check: checkUnevenReplicas,
}

func checkUnevenReplicas(r *run) []result {
	if r.Object.Workload == nil {
		return nil
	}
	nodes := r.Cluster.eligible(r.Object.Workload)
	if nodes == 0 || r.replicas.most <= nodes {
		return nil
	}
	pods := worstNumber(r.replicas, nodes)
	overload := spreadOverload(pods, nodes)
	if overload < unevenOverload || r.leavesNoChoice() || r.unspread() != nil {
		return nil
	}
	alone := r.aloneBehind(r.evenServices())
	if len(alone) == 0 {
		return r.noLocalService()
	}
	number := strconv.Itoa(pods)
	fix := fmt.Sprintf("run %d or %d replicas", pods/nodes*nodes, (pods/nodes+1)*nodes)
	if r.replicas.least < r.replicas.most {
		number += fmt.Sprintf(" (of %d to %d)", r.replicas.least, r.replicas.most)
		fix = fmt.Sprintf("set the autoscaler's target utilization to %.0f %% or less", 100/overload)
	}
	return []result{{Finding: Finding{
		Path: "/spec/replicas",
		Message: fmt.Sprintf("%s replicas on %d nodes: %s at best, so the busiest pod gets %s its share",
			number, nodes, evenest(pods, nodes), Times(overload)),
		Fix:     fix,
		Because: serviceRefs(alone),
	}}}
}

// leavesNoChoice reports whether no spread decides where the pods run: they all run on one node, or no two share one.
func (r *run) leavesNoChoice() bool {
	pinned, alone, _, _ := r.Cluster.guarantees(r.Object.Workload, r.Namespace)
	return pinned || alone
}

// evenest returns how pods are placed on nodes at best: "2/1/1" or, for many nodes, "2 on 4, 1 on 6".
func evenest(pods, nodes int) string {
	each, more := pods/nodes, pods%nodes
	if nodes > 5 {
		return fmt.Sprintf("%d on %d, %d on %d", each+1, more, each, nodes-more)
	}
	counts := slices.Concat(
		slices.Repeat([]string{strconv.Itoa(each + 1)}, more), slices.Repeat([]string{strconv.Itoa(each)}, nodes-more))
	return strings.Join(counts, "/")
}
