package policies

// worstOverload returns how many times its fair share of the traffic the busiest pod may get if nothing spreads the
// pods and the load balancer shares traffic evenly among nodes. In the worst case one pod is alone on its node and gets
// half of the traffic, while all others share another node. pods is at least 2.
func worstOverload(pods int) float64 { return float64(pods) / 2 }

// spreadOverload returns the same if the pods are spread over the nodes as evenly as possible. The busiest pod is then
// on a node with the fewest pods. pods and nodes are at least 1.
func spreadOverload(pods, nodes int) float64 {
	used := min(pods, nodes)
	return float64(pods) / float64(used*(pods/used))
}

// worstNumber returns the number of pods within a range for which spreadOverload is largest: one less than the next
// multiple of nodes, or pods.most if that is smaller. nodes is at least 1, and pods.most is larger than nodes.
func worstNumber(pods replicaRange, nodes int) int {
	rounds := max(pods.least, nodes) / nodes
	return min(pods.most, rounds*nodes+nodes-1)
}
