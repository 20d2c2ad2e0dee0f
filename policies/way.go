package policies

import corev1 "k8s.io/api/core/v1"

// Way is the way of a packet from a client outside the cluster to a pod of a Service, with one traffic policy. The zero
// value means that there is none.
type Way struct {
	// Hops are what the packet passes, from the client to the pod.
	Hops []string
	// Sees says whose address the pod sees, and why, as a sentence. For example
	//
	//	The pod sees the client's address, since no node replaces it.
	Sees string
}

// way returns the way of a packet with a traffic policy.
//
// Source: kubernetes v1.37.1, pkg/proxy/iptables/proxier.go, which masquerades external traffic unless the policy is
// Local.
func (f *guideFacts) way(policy Choice) Way {
	if !f.isExternal() {
		return Way{}
	}
	isLocal := policy == ChooseLocal
	return Way{Hops: f.hops(isLocal), Sees: f.sees(isLocal)}
}

func (f *guideFacts) hops(isLocal bool) []string {
	hops := []string{"client"}
	hasBalancer := f.service.Spec.Type == corev1.ServiceTypeLoadBalancer
	isCertain := hasBalancer && !f.balancer.Unchecked // that Local finds a pod
	switch {
	case f.balancer.Sharing == SharePods:
		return append(hops, "load balancer", "any ready pod")
	case !hasBalancer:
		hops = append(hops, "the node that the client chose")
	case f.balancer.Sharing == ShareAnnouncer:
		hops = append(hops, "the node that announces the address")
	case isLocal && isCertain:
		hops = append(hops, "load balancer", "node with a ready pod")
	default:
		hops = append(hops, "load balancer", "any node")
	}
	switch {
	case isLocal && isCertain:
		return append(hops, "pod on that node")
	case isLocal:
		return append(hops, "pod on that node, else lost")
	}
	switch f.balancer.Distribution {
	case corev1.ServiceTrafficDistributionPreferSameNode:
		return append(hops, "pod, on the same node if it has one")
	case corev1.ServiceTrafficDistributionPreferClose, corev1.ServiceTrafficDistributionPreferSameZone:
		return append(hops, "pod, in the same zone if it has one")
	default:
		return append(hops, "pod on any node")
	}
}

func (f *guideFacts) sees(isLocal bool) string {
	_, isDirect := f.judged(VerdictUseless)
	_, isPreserved := f.judged(VerdictPreserved)
	_, isSent := f.judged(VerdictProxy) // or the load balancer replaces the address, or is told not to send it
	switch {
	case isDirect && isPreserved:
		return "The pod sees the client's address, which the load balancer keeps."
	case isDirect && isSent:
		return "The pod sees a connection from the load balancer."
	case isDirect:
		return "The pod sees the address that the load balancer sends: its own, unless it keeps the client's."
	case isPreserved:
		return "The pod sees the client's address, which nodes keep with either policy."
	case isSent && isLocal:
		return "The pod sees a connection from the load balancer, since no node replaces that address."
	case isLocal:
		return "The pod sees the client's address, since no node replaces it."
	case isSent:
		return "The pod sees a connection from a node, which replaces the load balancer's address."
	default:
		return "The pod sees the address of a node, which replaces the client's."
	}
}
