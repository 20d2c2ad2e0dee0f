package sourceward.rules.local_hides_source_ip_test

import data.sourceward.rules.local_hides_source_ip as rule

test_a_load_balancer_that_terminates_connections_hides_the_client if {
	rule.warn == {{
		"path": "/spec/externalTrafficPolicy",
		"message": concat(" ", [
			"pods do not see the source IP:",
			"annotation service.beta.kubernetes.io/do-loadbalancer-type=REGIONAL terminates connections",
		]),
		"fix": concat(" ", [
			"enable the PROXY protocol with annotation service.beta.kubernetes.io/do-loadbalancer-enable-proxy-protocol",
			"and in the pods, or set externalTrafficPolicy: Cluster",
		]),
	}} with input as _service(true, "", {"service.beta.kubernetes.io/do-loadbalancer-type": "REGIONAL"})
}

test_a_name_is_enough if {
	{finding.message | some finding in rule.warn} == {concat(" ", [
		"pods do not see the source IP:",
		"load balancer hetzner terminates connections",
	])} with input as _service(true, "hetzner", {})
}

test_nothing_is_found_otherwise[sentence] if {
	type := "service.beta.kubernetes.io/do-loadbalancer-type"
	some sentence, document in {
		"the Service is not Local": _service(false, "hetzner", {}),
		"the value is another": _service(true, "", {type: "REGIONAL_NETWORK"}),
		"the value is in lower case": _service(true, "", {type: "regional"}),
		"the value is not a string": _service(true, "", {type: true}),
		"no annotation, and no name": _service(true, "", {}),
		"a header sends the address": _service(true, "hetzner", {"load-balancer.hetzner.cloud/uses-proxyprotocol": "true"}),
		"another annotation makes a header send the address": _service(true, "", {type: "REGIONAL", "service.beta.kubernetes.io/do-loadbalancer-enable-proxy-protocol": "1"}),
		"another controller manages the Service": object.union(_service(true, "hetzner", {}), {"object": {"spec": {"loadBalancerClass": "example.com/lb"}}}),
		"there is no load balancer": object.union(_service(true, "", {type: "REGIONAL"}), {"object": {"spec": {"type": "NodePort"}}}),
	}
	rule.warn == set() with input as document
}

test_several_reasons_with_one_fix_are_one_finding if {
	{finding.message | some finding in rule.warn} == {concat(" ", [
		"pods do not see the source IP:",
		"annotation load-balancer.hetzner.cloud/uses-proxyprotocol=false",
		"leaves PROXY protocol off (and 1 more)",
	])} with input as _service(true, "hetzner", {"load-balancer.hetzner.cloud/uses-proxyprotocol": "false"})
}

test_each_fix_is_a_finding if {
	count(rule.warn) == 2 with input as _service(true, "linode", {"load-balancer.hetzner.cloud/uses-proxyprotocol": "false"})
}

_service(local, provider, annotations) := {
	"object": {"kind": "Service", "metadata": {"annotations": annotations}, "spec": {"type": "LoadBalancer"}},
	"facts": {"local": local, "provider": provider},
}
