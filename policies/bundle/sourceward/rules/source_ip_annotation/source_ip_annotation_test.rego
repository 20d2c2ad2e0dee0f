package sourceward.rules.source_ip_annotation_test

import data.sourceward.rules.source_ip_annotation as rule

test_our_own_annotation_is_a_soft_reason if {
	rule.require_local == {_preserve} with input as _service({"sourceward.dev/source-ip": "preserve"})
	rule.keeps_source_ip == set() with input as _service({"sourceward.dev/source-ip": "preserve"})
}

test_a_row_may_give_a_reason_and_a_verdict if {
	weighted := {
		"annotation": "networking.gke.io/weighted-load-balancing",
		"value": "pods-per-node",
		"message": concat(" ", [
			"annotation networking.gke.io/weighted-load-balancing=pods-per-node",
			"works only with Local",
		]),
	}
	service := _service({"networking.gke.io/weighted-load-balancing": "pods-per-node"})
	rule.require_local == {object.union(weighted, {"strength": "hard"})} with input as service
	rule.keeps_source_ip == {object.union(weighted, {"verdict": "weighted"})} with input as service
}

test_each_annotation_gives_its_own_reason if {
	service := _service({
		"sourceward.dev/source-ip": "preserve",
		"kube-vip.io/egress": "true",
		"service.cilium.io/forwarding-mode": "dsr",
		"team": "edge",
	})
	rule.require_local == {_preserve, {
		"annotation": "kube-vip.io/egress",
		"value": "true",
		"strength": "hard",
		"message": "annotation kube-vip.io/egress=true requires Local",
	}} with input as service
	rule.keeps_source_ip == {{
		"annotation": "service.cilium.io/forwarding-mode",
		"value": "dsr",
		"verdict": "preserved",
		"message": "annotation service.cilium.io/forwarding-mode=dsr uses direct server return",
	}} with input as service
}

test_a_provider_gives_a_reason_without_annotation if {
	rule.require_local == set() with input as _behind("metallb-l2")
	rule.keeps_source_ip == {{
		"verdict": "single-announcer",
		"message": "load balancer metallb-l2 announces the address from one node: only pods on it get Local traffic",
	}} with input as _behind("metallb-l2")
}

test_the_message_shows_only_the_matching_attribute_of_a_list if {
	name := "service.beta.kubernetes.io/aws-load-balancer-target-group-attributes"
	value := "stickiness.enabled=true, preserve_client_ip.enabled=false"
	rule.keeps_source_ip == {{
		"annotation": name,
		"value": value,
		"verdict": "proxy",
		"message": sprintf("annotation %s=preserve_client_ip.enabled=false does not ask for the source IP", [name]),
	}} with input as _service({name: value})
}

test_a_long_value_is_shortened_in_the_message_only[length] if {
	name := "oci-network-load-balancer.oraclecloud.com/is-preserve-source"
	some length, shown in {
		24: "012345678901234567890123",
		25: "01234567890...5678901234",
	}
	value := substring("0123456789012345678901234", 0, length)
	rule.require_local == {{
		"annotation": name,
		"value": value,
		"strength": "hard",
		"message": sprintf("annotation %s=%s is rejected by OCI without Local", [name, shown]),
	}} with input as _service({name: value, "oci.oraclecloud.com/load-balancer-type": "nlb"})
}

test_other_services_give_no_reasons[sentence] if {
	some sentence, document in {
		"no annotations": _service({}),
		"other annotations": _service({"team": "edge"}),
		"an annotation without a value": _service({"sourceward.dev/source-ip": null}),
		"an annotation with a value that is not a string": _service({"kube-vip.io/egress": true}),
		"annotations that are null": _service(null),
		"annotations that are a list": _service([]),
		"no metadata": {"object": {"kind": "Service"}, "facts": {"provider": ""}},
		"an unknown provider": _behind("metallb"),
	}
	rule.require_local == set() with input as document
	rule.keeps_source_ip == set() with input as document
}

_preserve := {
	"annotation": "sourceward.dev/source-ip",
	"value": "preserve",
	"strength": "soft",
	"message": "annotation sourceward.dev/source-ip=preserve asks for Local",
}

_service(annotations) := {
	"object": {"kind": "Service", "metadata": {"annotations": annotations}, "spec": {"type": "LoadBalancer"}},
	"facts": {"provider": ""},
}

_behind(provider) := {
	"object": {"kind": "Service", "metadata": {}, "spec": {"type": "LoadBalancer"}},
	"facts": {"provider": provider},
}

test_an_annotation_gives_no_reason_on_a_type_without_effect[sentence] if {
	some sentence, case in {
		"weights, left behind on a node port": {
			"type": "NodePort",
			"annotations": {"networking.gke.io/weighted-load-balancing": "pods-per-node"},
			"asked": set(),
			"kept": set(),
		},
		"our own annotation, beside one that was left behind": {
			"type": "NodePort",
			"annotations": {
				"sourceward.dev/source-ip": "preserve",
				"service.beta.kubernetes.io/backend-type": "eni",
			},
			"asked": {"sourceward.dev/source-ip"},
			"kept": set(),
		},
		"an annotation of the proxy on the nodes": {
			"type": "NodePort",
			"annotations": {"service.cilium.io/forwarding-mode": "dsr", "kube-vip.io/egress": "true"},
			"asked": set(),
			"kept": {"service.cilium.io/forwarding-mode"},
		},
		"node ports without direct server return": {
			"type": "NodePort",
			"annotations": {"kube-router.io/service.dsr": "tunnel", "service.antrea.io/load-balancer-mode": "dsr"},
			"asked": set(),
			"kept": set(),
		},
		"external IPs with direct server return": {
			"type": "ClusterIP",
			"annotations": {"kube-router.io/service.dsr": "tunnel", "service.antrea.io/load-balancer-mode": "dsr"},
			"asked": set(),
			"kept": {"kube-router.io/service.dsr", "service.antrea.io/load-balancer-mode"},
		},
		"a network load balancer of AWS for a node port": {
			"type": "NodePort",
			"annotations": {
				"service.beta.kubernetes.io/aws-load-balancer-type": "external",
				"service.beta.kubernetes.io/aws-load-balancer-nlb-target-type": "ip",
			},
			"asked": set(),
			"kept": {"service.beta.kubernetes.io/aws-load-balancer-nlb-target-type"},
		},
		"no load balancer of AWS for a node port": {
			"type": "NodePort",
			"annotations": {
				"service.beta.kubernetes.io/aws-load-balancer-nlb-target-type": "ip",
				"service.beta.kubernetes.io/aws-load-balancer-proxy-protocol": "*",
			},
			"asked": set(),
			"kept": set(),
		},
	}
	document := object.union(_service(case.annotations), {"object": {"spec": {"type": case.type}}})
	asked := {reason.annotation | some reason in rule.require_local} with input as document
	kept := {reason.annotation | some reason in rule.keeps_source_ip} with input as document
	[asked, kept] == [case.asked, case.kept]
}

test_a_shared_address_forbids_local[sentence] if {
	some sentence, case in {
		"other pods under Cluster": {"spec": {"selector": {"app": "b"}}, "forbidden": true},
		"the same pods under Cluster": {"spec": {"selector": {"app": "a"}}, "forbidden": true},
		"other pods under Local": {"spec": {"externalTrafficPolicy": "Local", "selector": {"app": "b"}}, "forbidden": true},
		"the same pods under Local": {"spec": {"externalTrafficPolicy": "Local", "selector": {"app": "a"}}, "forbidden": false},
		"another address": {"spec": {"selector": {"app": "b"}, "loadBalancerIP": "192.0.2.2"}, "forbidden": false},
	}
	other := {"metadata": {"namespace": "edge", "name": "b", "annotations": {_sharing: "k"}}, "spec": case.spec}
	service := {
		"object": {
			"metadata": {"namespace": "edge", "name": "a", "annotations": {_sharing: "k"}},
			"spec": {"type": "LoadBalancer", "selector": {"app": "a"}, "loadBalancerIP": "192.0.2.1"},
		},
		"related": {"services": [other]},
		"facts": {"provider": ""},
	}
	reasons := rule.keeps_source_ip with input as service
	reasons == {reason |
		case.forbidden
		reason := {
			"annotation": _sharing,
			"value": "k",
			"verdict": "forbidden",
			"message": concat(" ", [
				"annotation metallb.io/allow-shared-ip=k asks to share an address",
				"with Service edge/b, which is impossible with Local",
			]),
		}
	}
}

_sharing := "metallb.io/allow-shared-ip"
