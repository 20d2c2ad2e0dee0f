package sourceward.rules.single_announcer_test

import data.sourceward.rules.single_announcer as rule

test_one_node_receives_all if {
	rule.warn == {{
		"path": "/spec/externalTrafficPolicy",
		"message": "load balancer metallb-l2 announces the address from one node, whose pods alone get traffic under Local",
		"fix": "announce by BGP, or set externalTrafficPolicy: Cluster, for pods on other nodes to share the load",
	}} with input as _service(true, "metallb-l2")
}

test_nothing_is_found_otherwise[sentence] if {
	some sentence, document in {
		"it is not Local": _service(false, "metallb-l2"),
		"all nodes announce": _service(true, "metallb-bgp"),
		"no name": _service(true, ""),
		"a name that is none": _service(true, "metallb"),
		"a name that is no text": _service(true, ["metallb-l2"]),
		"no facts": {"object": {"kind": "Service", "spec": {"type": "LoadBalancer"}}},
	}
	rule.warn == set() with input as document
}

_service(local, provider) := {
	"object": {"kind": "Service", "metadata": {}, "spec": {"type": "LoadBalancer"}},
	"facts": {"local": local, "provider": provider},
}
