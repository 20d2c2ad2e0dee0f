package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/sourceward/sourceward/policies"
)

// givenPlacement is one value of --placement.
type givenPlacement struct {
	// namespace is empty if the value names none.
	namespace, workload string
	nodes               []nodePods
	// found are the workloads with that name, and isUsed is true if traffic was shown for one of them.
	found  []policies.Ref
	isUsed bool
}

// nodePods is a number of pods on a node.
type nodePods struct {
	node string
	pods int
}

// String returns the flag up to the name of the workload.
func (g *givenPlacement) String() string {
	if g.namespace == "" {
		return "--placement " + g.workload
	}
	return "--placement " + g.namespace + "/" + g.workload
}

// maxPods bounds the pods of one entry of --placement: more than a cluster has, and less than what overflows.
const maxPods = 1_000_000

// parsePlacements parses the values of --placement, such as edge/web=node-a:3,node-b:1.
func parsePlacements(values []string) ([]*givenPlacement, error) {
	var placements []*givenPlacement
	for _, value := range values {
		placement, problem := parsePlacement(value)
		if problem == "" && slices.ContainsFunc(placements, func(other *givenPlacement) bool {
			return other.namespace == placement.namespace && other.workload == placement.workload
		}) {
			problem = "gives a second placement of the same workload; remove one"
		}
		if problem != "" {
			return nil, fmt.Errorf("--placement %q %s", value, problem)
		}
		placements = append(placements, placement)
	}
	return placements, nil
}

// parsePlacement returns what is wrong with the value, or an empty text.
func parsePlacement(value string) (placement *givenPlacement, problem string) {
	const want = "; want WORKLOAD=NODE:PODS,..., such as web=node-a:3,node-b:1"
	of, list, isPair := strings.Cut(value, "=")
	namespace, name, isQualified := strings.Cut(of, "/")
	if !isQualified {
		namespace, name = "", of
	}
	switch {
	case !isPair || list == "":
		return nil, "has no places" + want
	case name == "" || isQualified && namespace == "" || strings.Contains(name, "/"):
		return nil, "does not name a workload" + want
	}
	placement = &givenPlacement{namespace: namespace, workload: name}
	all := 0
	for entry := range strings.SplitSeq(list, ",") {
		node, number, _ := strings.Cut(entry, ":")
		pods, err := strconv.Atoi(number)
		switch {
		case node == "" || err != nil || pods < 0 || pods > maxPods:
			return nil, fmt.Sprintf("has the place %q%s", entry, want)
		case slices.ContainsFunc(placement.nodes, func(n nodePods) bool { return n.node == node }):
			return nil, fmt.Sprintf("names the node %s twice; add up its pods", node)
		}
		placement.nodes = append(placement.nodes, nodePods{node, pods})
		all += pods
	}
	if all == 0 {
		return nil, "places no pod; give at least one node a pod"
	}
	return placement, ""
}

// matches reports whether the placement is for a workload.
func (g *givenPlacement) matches(ref policies.Ref) bool {
	return g.workload == ref.Name && (g.namespace == "" || g.namespace == ref.Namespace)
}
