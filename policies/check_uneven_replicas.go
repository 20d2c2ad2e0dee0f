package policies

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// unevenOverload is the least share of the busiest pod, as a multiple of its fair share, that is told: for less than a quarter more
// nobody changes a number.
const unevenOverload = 1.25

// unevenReplicas finds numbers of pods that no spread makes even.
//
// Fields: of the Services, what makes them Local; of the workload, spec.replicas or the range of what scales it; the number of nodes
// over which its pods may be spread. It is silent where nothing spreads the pods, of which unspreadBehindLocal tells, where the pods of other workloads count too
// (sharedSelector tells of them), and where no second pod fits on a node, so that more than the nodes never run.
var unevenReplicas = Rule{
	ID:            "uneven-replicas",
	Title:         "Number of pods that no spread makes even",
	Severity:      SeverityInfo,
	DefaultMode:   Audit,
	Kinds:         SpreadKinds,
	NeedsRelated:  true,
	NeedsReplicas: true,
	What: "A workload behind a Local Service has more pods than there are nodes, and not a multiple of them, so that the busiest pod gets " +
		"1.25 times its fair share or more however well they are spread. Where an autoscaler sets the number, the worst in its range " +
		"counts. The nodes come from the cluster, from --context, or from --nodes; where they are not known, nothing is said.",
	Why: "The load balancer shares traffic evenly among nodes. Four pods over three nodes are 2, 1 and 1 at best: two of them get a third of " +
		"the traffic each, and two a sixth. An autoscaler looks at the average, and does not see the two.",
	Remedy: "Run one pod on each node, or two: by a multiple of the nodes, or by a DaemonSet. Of a number that an autoscaler sets, leave " +
		"room for the busiest pod: a target utilisation of its fair share over what it gets, 60 % for 1.67 times.",
	Exempt: "When pods have room for the share of the busiest, or the number of nodes changes all day.",
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
	alone := slices.DeleteFunc(slices.Clone(r.evenServices()), func(s *corev1.Service) bool {
		return len(behind([]*corev1.Service{s}, r.behind, r.Object)) > 0
	})
	if len(alone) == 0 {
		return nil
	}
	number := strconv.Itoa(pods)
	fix := fmt.Sprintf("run %d or %d replicas", pods/nodes*nodes, (pods/nodes+1)*nodes)
	if r.replicas.least < r.replicas.most {
		number += fmt.Sprintf(" of %d to %d", r.replicas.least, r.replicas.most)
		fix = fmt.Sprintf("let the autoscaler aim at %.0f %% of what a pod can take, or less", 100/overload)
	}
	return []result{{Finding: Finding{
		Path: "/spec/replicas",
		Message: fmt.Sprintf("with %s replicas over %d nodes even a perfect spread gives %s: hottest pod %.3gx fair share",
			number, nodes, evenest(pods, nodes), overload),
		Fix:     fix,
		Because: serviceRefs(alone),
	}}}
}

// leavesNoChoice tells whether where the pods run is not a question of spread: all on one node, or no two on any.
func (r *run) leavesNoChoice() bool {
	workload := r.Object.Workload
	return spreadingOf(workload, r.Namespace).Spreading == SpreadPinned || usesHostPorts(workload.Template.Spec) ||
		slices.ContainsFunc(antiAffinityTerms(workload.Template.Spec.Affinity), func(term antiAffinityTerm) bool {
			return term.required && (term.TopologyKey == corev1.LabelHostname || slices.Contains(zoneKeys, term.TopologyKey)) &&
				termProblem(term.PodAffinityTerm, podLabelsOf(workload), r.Namespace) == ""
		})
}

// evenest is how pods lie on nodes at best: 2/1/1, or, for many nodes, 2 on 4 and 1 on 6 of them.
func evenest(pods, nodes int) string {
	each, more := pods/nodes, pods%nodes
	if nodes > 5 {
		return fmt.Sprintf("%d on %d and %d on %d of them", each+1, more, each, nodes-more)
	}
	counts := slices.Concat(slices.Repeat([]string{strconv.Itoa(each + 1)}, more), slices.Repeat([]string{strconv.Itoa(each)}, nodes-more))
	return strings.Join(counts, "/")
}
