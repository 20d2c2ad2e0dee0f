package sourceward.rules.single_announcer_test

import data.sourceward.rules.single_announcer as rule

test_one_node_receives_all_traffic if {
	rule.warn == {{
		"path": "/spec/externalTrafficPolicy",
		"message": "load balancer metallb-l2 announces the address from one node: only pods on it get Local traffic",
		"fix": "announce by BGP, or set externalTrafficPolicy: Cluster, so that pods on other nodes share the load",
	}} with input as _service(true, "metallb-l2")
}

test_the_fix_keeps_local_if_an_annotation_asks_for_it if {
	service := object.union(
		_service(true, "metallb-l2"),
		{"object": {"metadata": {"annotations": {"sourceward.dev/source-ip": "preserve"}}}},
	)
	fixes := {finding.fix | some finding in rule.warn} with input as service
	fixes == {"announce by BGP, so that pods on other nodes share the load"}
}

test_nothing_is_found_otherwise[sentence] if {
	some sentence, document in {
		"the Service is not Local": _service(false, "metallb-l2"),
		"all nodes announce": _service(true, "metallb-bgp"),
		"no name": _service(true, ""),
		"an unknown name": _service(true, "metallb"),
		"a name that is not a string": _service(true, ["metallb-l2"]),
		"no facts": {"object": {"kind": "Service", "spec": {"type": "LoadBalancer"}}},
	}
	rule.warn == set() with input as document
}

_service(local, provider) := {
	"object": {"kind": "Service", "metadata": {}, "spec": {"type": "LoadBalancer"}},
	"facts": {"local": local, "provider": provider},
}
