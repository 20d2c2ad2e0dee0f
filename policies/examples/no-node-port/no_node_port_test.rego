package sourceward.custom.no_node_port_test

import data.sourceward.custom.no_node_port

test_a_node_port_is_denied if count(no_node_port.deny) == 1 with input as _service("NodePort")

test_a_load_balancer_is_not_denied if count(no_node_port.deny) == 0 with input as _service("LoadBalancer")

_service(type) := {"object": {"kind": "Service", "spec": {"type": type}}}
