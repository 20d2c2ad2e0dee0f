package sourceward.rules.node_ports_disabled_test

import data.sourceward.rules.node_ports_disabled as rule

test_a_port_has_no_node_port if {
	rule.warn == {{
		"path": "/spec/allocateLoadBalancerNodePorts",
		"message": concat(" ", [
			"port 80 has no node port, but annotation service.beta.kubernetes.io/aws-load-balancer-type=nlb",
			"uses node ports",
		]),
		"fix": "remove allocateLoadBalancerNodePorts: false, or set nodePort",
	}} with input as _service({"allocateLoadBalancerNodePorts": false, "ports": [{"port": 443}, {"port": 80}]})
}

test_several_reasons_are_one_finding if {
	{finding.message | some finding in rule.warn} == {concat(" ", [
		"port 443 has no node port, but annotation service.beta.kubernetes.io/aws-load-balancer-type=nlb",
		"uses node ports (and 1 more)",
	])} with input as object.union(
		_service({"allocateLoadBalancerNodePorts": false, "ports": [{"port": 443}]}),
		{"facts": {"provider": "aws-nlb-instance"}},
	)
}

test_a_node_port_of_zero_is_missing if {
	count(rule.warn) == 1 with input as _service({
		"allocateLoadBalancerNodePorts": false,
		"ports": [{"port": 443, "nodePort": 30443}, {"port": 80, "nodePort": 0}],
	})
}

test_nothing_is_found_otherwise[sentence] if {
	ports := [{"port": 443}]
	some sentence, document in {
		"the field is absent": _service({"ports": ports}),
		"node ports are allocated": _service({"allocateLoadBalancerNodePorts": true, "ports": ports}),
		"the field is null": _service({"allocateLoadBalancerNodePorts": null, "ports": ports}),
		"the field is not a boolean": _service({"allocateLoadBalancerNodePorts": "false", "ports": ports}),
		"all node ports are set": _service({"allocateLoadBalancerNodePorts": false, "ports": [{"port": 443, "nodePort": 30443}]}),
		"there are no ports": _service({"allocateLoadBalancerNodePorts": false}),
		"the ports are not a list": _service({"allocateLoadBalancerNodePorts": false, "ports": 443}),
		"the type is not LoadBalancer": _service({"type": "NodePort", "allocateLoadBalancerNodePorts": false, "ports": ports}),
		"another controller manages the Service": _service({
			"loadBalancerClass": "example.com/lb",
			"allocateLoadBalancerNodePorts": false,
			"ports": ports,
		}),
		"nothing identifies the load balancer": {
			"object": {"spec": {"type": "LoadBalancer", "allocateLoadBalancerNodePorts": false, "ports": ports}},
			"facts": {"provider": ""},
		},
	}
	rule.warn == set() with input as document
}

_service(spec) := {
	"object": {
		"kind": "Service",
		"metadata": {"annotations": {"service.beta.kubernetes.io/aws-load-balancer-type": "nlb"}},
		"spec": object.union({"type": "LoadBalancer"}, spec),
	},
	"facts": {"local": false, "provider": ""},
}
