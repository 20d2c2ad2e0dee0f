# METADATA
# title: The load balancer needs node ports that the Service does not have
# description: |
#   A LoadBalancer Service sets allocateLoadBalancerNodePorts: false and has a port without a node port, but its load
#   balancer sends traffic to node ports.
# related_resources:
#   - ref: https://kubernetes.io/docs/concepts/services-networking/service/#load-balancer-nodeport-allocation
# custom:
#   severity: warning
#   mode: Warn
#   kinds: [Service]
#   why: |
#     Not every load balancer can send traffic to pods, or to the Service's own address. One that sends it to nodes has
#     no port to send it to. Its controller reports an error, or silently skips the port.
#   remedy: |
#     Remove allocateLoadBalancerNodePorts: false, or set the node ports, or use a load balancer that reaches pods
#     directly.
#   exempt: When a different controller from the one that the annotations suggest manages the load balancer.
#   since: All versions; the field exists since 1.20.
package sourceward.rules.node_ports_disabled

import data.sourceward.lib.rows

# METADATA
# description: One finding if a port has no node port, and the load balancer sends traffic to node ports.
warn contains {
	"path": "/spec/allocateLoadBalancerNodePorts",
	"message": sprintf("port %d has no node port, but %s", [min(_without_node_port), rows.one_of(_needs)]),
	"fix": "remove allocateLoadBalancerNodePorts: false, or set nodePort",
} if {
	input.object.spec.type == "LoadBalancer"
	input.object.spec.allocateLoadBalancerNodePorts == false
}

_needs contains rows.sentence(match) if {
	some match in rows.saying("needs_node_ports")
}

_without_node_port contains port.port if {
	some port in input.object.spec.ports
	object.get(port, "nodePort", 0) == 0
}
