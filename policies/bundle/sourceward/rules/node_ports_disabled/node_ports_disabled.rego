# METADATA
# title: The load balancer needs node ports, and there are none
# description: |
#   A LoadBalancer Service sets allocateLoadBalancerNodePorts to false, has a port without a node port, and its
#   load balancer sends traffic to node ports.
# related_resources:
#   - ref: https://kubernetes.io/docs/concepts/services-networking/service/#load-balancer-nodeport-allocation
# custom:
#   severity: warning
#   mode: Warn
#   kinds: [Service]
#   why: |
#     Not every load balancer can address pods or the Service's own address. One that addresses nodes has no
#     port to send to, and its controller reports an error, or skips the port without a word.
#   remedy: "Remove allocateLoadBalancerNodePorts: false, or write the node ports; or use a load balancer that reaches pods."
#   exempt: When another controller than the annotations tell of is in charge.
#   since: All versions; the field is there from 1.20 on.
package sourceward.rules.node_ports_disabled

import data.sourceward.lib.rows

# METADATA
# description: A port has no node port, and something tells of a load balancer which sends traffic there.
warn contains {
	"path": "/spec/allocateLoadBalancerNodePorts",
	"message": sprintf("port %d has no node port, and %s", [min(_without_node_port), rows.one_of(_needs)]),
	"fix": "remove allocateLoadBalancerNodePorts: false, or write nodePort",
} if {
	input.object.spec.allocateLoadBalancerNodePorts == false
}

_needs contains rows.sentence(match) if {
	some match in rows.saying("needs_node_ports")
	rows.in_effect(match)
}

_without_node_port contains port.port if {
	some port in input.object.spec.ports
	object.get(port, "nodePort", 0) == 0
}
