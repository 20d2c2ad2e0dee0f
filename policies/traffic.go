package policies

// worstOverload is how many times its fair share of the traffic the busiest of n pods may get when
// nothing spreads them and the load balancer shares evenly among nodes: n-1 pods on one node and one
// on another, which alone gets half of it. n is at least 2.
func worstOverload(pods int) float64 { return float64(pods) / 2 }

// spreadOverload is the same when n pods are spread over m nodes as evenly as can be: the busiest
// pod is on a node with the fewest. n and m are at least 1.
func spreadOverload(pods, nodes int) float64 {
	used := min(pods, nodes)
	return float64(pods) / float64(used*(pods/used))
}

// worstNumber is the number of pods, of those in a range, for which spreadOverload is the most: one fewer than the next multiple of
// the nodes. nodes is at least 1, and the most pods are more.
func worstNumber(pods replicaRange, nodes int) int {
	rounds := max(pods.least, nodes) / nodes
	return min(pods.most, rounds*nodes+nodes-1)
}
