package sourceward.rules.local_has_no_effect_test

import data.sourceward.rules.local_has_no_effect as rule

test_local_has_no_effect_on_traffic_that_bypasses_kube_proxy if {
	rule.warn == {{
		"path": "/spec/externalTrafficPolicy",
		"message": concat(" ", [
			"Local has no effect:",
			"annotation service.beta.kubernetes.io/backend-type=eni sends traffic directly to pods",
		]),
		"fix": "set externalTrafficPolicy: Cluster",
	}} with input as _service(true, "LoadBalancer", {"service.beta.kubernetes.io/backend-type": "eni"})
}

test_several_reasons_are_one_finding if {
	{finding.message | some finding in rule.warn} == {concat(" ", [
		"Local has no effect:",
		"annotation service.cilium.io/forwarding-mode=dsr uses direct server return (and 1 more)",
	])} with input as object.union(
		_service(true, "LoadBalancer", {"service.cilium.io/forwarding-mode": "dsr"}),
		{"facts": {"provider": "aws-nlb-ip"}},
	)
}

test_nothing_is_found_otherwise[sentence] if {
	some sentence, document in {
		"the Service is not Local": _service(false, "LoadBalancer", {"service.beta.kubernetes.io/backend-type": "eni"}),
		"the value is another": _service(true, "LoadBalancer", {"service.beta.kubernetes.io/backend-type": "ecs"}),
		"the value is not a string": _service(true, "LoadBalancer", {"service.beta.kubernetes.io/backend-type": ["eni"]}),
		"no annotation": _service(true, "LoadBalancer", {}),
		"annotations that are null": _service(true, "LoadBalancer", null),
		"there is no load balancer": _service(true, "NodePort", {"service.beta.kubernetes.io/backend-type": "eni"}),
		"something else needs Local": _service(true, "LoadBalancer", {
			"service.beta.kubernetes.io/backend-type": "eni",
			"kube-vip.io/egress": "true",
		}),
	}
	rule.warn == set() with input as document
}

test_an_annotation_that_needs_local_must_be_in_effect if {
	count(rule.warn) == 1 with input as _service(true, "NodePort", {
		"service.cilium.io/forwarding-mode": "dsr",
		"kube-vip.io/egress": "true",
	})
}

_service(local, type, annotations) := {
	"object": {"kind": "Service", "metadata": {"annotations": annotations}, "spec": {"type": type}},
	"facts": {"local": local, "provider": ""},
}
