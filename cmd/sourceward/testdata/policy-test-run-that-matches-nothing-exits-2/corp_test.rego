package sourceward.custom.corp_test

import data.sourceward.custom.corp

test_a_node_port_is_denied if {
	print("before", count(corp.deny))
	some finding in corp.deny with input.object as {"kind": "Service", "spec": {"type": "NodePort"}}
	finding.message == "no NodePorts"
}

test_a_cluster_ip_is_not if {
	count(corp.deny) == 0 with input.object as {"kind": "Service", "spec": {"type": "ClusterIP"}}
}

test_types[type] if {
	some type, want in {"NodePort": 1, "LoadBalancer": 1}
	count(corp.deny) == want with input.object as {"kind": "Service", "spec": {"type": type}}
}

test_a_fault if {
	to_number("x") == 1
}

todo_test_an_external_name if false
