package sourceward.custom.dsr_test

import data.sourceward.custom.dsr

test_a_load_balancer_keeps_the_address if {
	some reason in dsr.keeps_source_ip with input as _service("LoadBalancer")
	reason.verdict == "preserved"
}

test_a_node_port_does_not if count(dsr.keeps_source_ip) == 0 with input as _service("NodePort")

_service(type) := {"object": {"kind": "Service", "spec": {"type": type}}}
