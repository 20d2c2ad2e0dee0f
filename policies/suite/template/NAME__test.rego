package sourceward.custom.NAME__test

import data.sourceward.custom.NAME_

test_a_node_port_in_production_is_denied if {
	some finding in NAME_.deny with input as _service("NodePort", "production")
	finding.path == "/spec/type"
}

test_a_load_balancer_in_production_is_not if {
	count(NAME_.deny) == 0 with input as _service("LoadBalancer", "production")
}

test_a_node_port_elsewhere_is_not if {
	count(NAME_.deny) == 0 with input as _service("NodePort", "sandbox")
}

_service(type, environment) := {
	"object": {"kind": "Service", "spec": {"type": type}},
	"namespace": {"labels": {"environment": environment}},
	"parameters": {"environments": ["production"]},
}
