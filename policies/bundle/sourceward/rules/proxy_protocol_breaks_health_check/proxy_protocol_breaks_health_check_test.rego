package sourceward.rules.proxy_protocol_breaks_health_check_test

import data.sourceward.rules.proxy_protocol_breaks_health_check as rule

test_the_header_goes_to_instance_targets if {
	rule.deny == {{
		"path": "/spec/externalTrafficPolicy",
		"message": concat(" ", [
			"annotation service.beta.kubernetes.io/aws-load-balancer-target-group-attributes=proxy_protocol_v2.enabled=true",
			"makes every node fail the health check",
		]),
		"fix": "use IP targets, or set externalTrafficPolicy: Cluster",
	}} with input as _service(true, "service.k8s.aws/nlb", {_attributes: "proxy_protocol_v2.enabled=true"})
}

test_several_annotations_are_one_finding if {
	{finding.message | some finding in rule.deny} == {concat(" ", [
		"annotation service.beta.kubernetes.io/aws-load-balancer-proxy-protocol-per-target-group=80, 443",
		"makes every node fail the health check (and 2 more)",
	])} with input as _service(true, "service.k8s.aws/nlb", {
		_attributes: "proxy_protocol_v2.enabled=true",
		"service.beta.kubernetes.io/aws-load-balancer-proxy-protocol": "*",
		"service.beta.kubernetes.io/aws-load-balancer-proxy-protocol-per-target-group": "80, 443",
	})
}

test_nothing_is_found_otherwise[sentence] if {
	some sentence, document in {
		"the Service is not Local": _service(false, "service.k8s.aws/nlb", {_attributes: "proxy_protocol_v2.enabled=true"}),
		"the header is off": _service(true, "service.k8s.aws/nlb", {_attributes: "proxy_protocol_v2.enabled=false"}),
		"the value is not a string": _service(true, "service.k8s.aws/nlb", {_attributes: {"proxy_protocol_v2.enabled": true}}),
		"no annotation": _service(true, "service.k8s.aws/nlb", {}),
		"ip targets": _service(true, "service.k8s.aws/nlb", {_attributes: "proxy_protocol_v2.enabled=true", _targets: "ip"}),
		"the check uses another port": _service(true, "service.k8s.aws/nlb", {
			_attributes: "proxy_protocol_v2.enabled=true",
			"service.beta.kubernetes.io/aws-load-balancer-healthcheck-port": "traffic-port",
		}),
		"a classic load balancer": _service(true, "", {"service.beta.kubernetes.io/aws-load-balancer-proxy-protocol": "*"}),
		"there is no load balancer": {
			"object": {"metadata": {"annotations": {_attributes: "proxy_protocol_v2.enabled=true"}}, "spec": {"type": "NodePort"}},
			"facts": {"local": true},
		},
	}
	rule.deny == set() with input as document
}

_attributes := "service.beta.kubernetes.io/aws-load-balancer-target-group-attributes"

_targets := "service.beta.kubernetes.io/aws-load-balancer-nlb-target-type"

_service(local, class, annotations) := {
	"object": {
		"kind": "Service",
		"metadata": {"annotations": annotations},
		"spec": {"type": "LoadBalancer", "loadBalancerClass": class},
	},
	"facts": {"local": local, "provider": ""},
}
