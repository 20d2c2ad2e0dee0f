package sourceward.rules.local_forbidden_test

import data.sourceward.rules.local_forbidden as rule

test_the_controller_accepts_only_cluster if {
	rule.deny == {{
		"path": "/spec/externalTrafficPolicy",
		"message": "annotation kube-vip.io/leaseName=edge is rejected by kube-vip unless the policy is Cluster",
		"fix": "set externalTrafficPolicy: Cluster, or remove annotation kube-vip.io/leaseName",
	}} with input as _document(_service("web", {"kube-vip.io/leaseName": "edge"}, {"externalTrafficPolicy": "Local"}), [])
}

test_annotations_with_a_rule_of_their_own_are_left_to_it if {
	rule.deny == set() with input as _document(
		_service(
			"web", {"service.beta.kubernetes.io/aws-load-balancer-proxy-protocol": "*"},
			{"externalTrafficPolicy": "Local", "loadBalancerClass": "service.k8s.aws/nlb"},
		),
		[],
	)
}

test_local_and_cluster_cannot_share if {
	rule.deny == {{
		"path": "/spec/externalTrafficPolicy",
		"message": "cannot share an IP with Service edge/dns, which is Cluster",
		"fix": concat(" ", [
			"set externalTrafficPolicy: Cluster on both, give both the same policy and selector,",
			"or remove annotation metallb.io/allow-shared-ip=edge",
		]),
		"because": [{"apiVersion": "v1", "kind": "Service", "namespace": "edge", "name": "dns"}],
	}} with input as _document(_shared("web", {"externalTrafficPolicy": "Local"}), [_shared("dns", {})])
}

test_the_message_names_the_difference[difference] if {
	web := {"selector": {"app": "web"}}
	some difference, specs in {
		"is Cluster": [object.union(web, _local), object.union(web, {"externalTrafficPolicy": "Cluster"})],
		"is Local": [web, object.union(web, _local)],
		"selects other pods": [object.union(web, _local), object.union({"selector": {"app": "dns"}}, _local)],
	}
	message := sprintf("cannot share an IP with Service edge/dns, which %s", [difference])
	{finding.message | some finding in rule.deny} == {message} with input as _document(_shared("web", specs[0]), [_shared("dns", specs[1])])
}

test_each_other_service_is_a_finding if {
	names := {because.name | some finding in rule.deny; some because in finding.because} with input as _document(
		_shared("web", object.union(_local, {"selector": {"app": "web"}})),
		[
			_shared("dns", {}),
			_shared("web-udp", object.union(_local, {"selector": {"app": "web"}})),
			_shared("mail", object.union(_local, {"selector": {"app": "mail"}})),
		],
	)
	names == {"dns", "mail"}
}

test_services_that_do_not_conflict[sentence] if {
	some sentence, case in {
		"no other Service": {"one": _shared("web", _local), "others": []},
		"both are Cluster": {"one": _shared("web", {"selector": {"app": "web"}}), "others": [_shared("dns", {"selector": {"app": "dns"}})]},
		"both are Local with one selector": {"one": _shared("web", _local), "others": [_shared("dns", _local)]},
		"the Services request different addresses": {
			"one": _shared("web", object.union(_local, {"loadBalancerIP": "192.0.2.1"})),
			"others": [_shared("dns", {"loadBalancerIP": "192.0.2.2"})],
		},
		"the Services request different addresses by field and annotation": {
			"one": _shared("web", object.union(_local, {"loadBalancerIP": "192.0.2.1"})),
			"others": [object.union(_shared("dns", {}), {"metadata": {"annotations": {"metallb.io/loadBalancerIPs": "192.0.2.2, 2001:db8::2"}}})],
		},
		"their controllers are different": {"one": _shared("web", object.union(_local, {"loadBalancerClass": "c"})), "others": [_shared("dns", {})]},
		"the annotation is not a string": {"one": _service("web", {"metallb.io/allow-shared-ip": true}, _local), "others": [_shared("dns", {})]},
		"no annotation": {"one": _service("web", {}, _local), "others": [_shared("dns", {})]},
		"the Service has no load balancer": {"one": _shared("web", object.union(_local, {"type": "NodePort"})), "others": [_shared("dns", {})]},
		"Cilium's keys in two namespaces": {
			"one": _service("web", {"lbipam.cilium.io/sharing-key": "edge"}, _local),
			"others": [_in("dns", _service("dns", {"lbipam.cilium.io/sharing-key": "edge"}, {}))],
		},
		"one of Cilium's keys does not admit the other namespace": {
			"one": _service("web", {"lbipam.cilium.io/sharing-key": "edge", "lbipam.cilium.io/sharing-cross-namespace": "*"}, _local),
			"others": [_in("dns", _service(
				"dns",
				{"lbipam.cilium.io/sharing-key": "edge", "lbipam.cilium.io/sharing-cross-namespace": "web"},
				{},
			))],
		},
		"Antrea gives each Service its own address": {
			"one": _service("web", {"service.antrea.io/allow-shared-load-balancer-ip": "true"}, _local),
			"others": [_service("dns", {"service.antrea.io/allow-shared-load-balancer-ip": "true"}, {})],
		},
	}
	rule.deny == set() with input as _document(case.one, case.others)
}

test_services_that_conflict[sentence] if {
	some sentence, case in {
		"only one Service requests an address": {"one": _shared("web", object.union(_local, {"loadBalancerIP": "192.0.2.1"})), "others": [_shared("dns", {})]},
		"the Services request the same address, by list and field": {
			"one": object.union(_shared("web", _local), {"metadata": {"annotations": {"metallb.io/loadBalancerIPs": "2001:db8::1, 192.0.2.1"}}}),
			"others": [_shared("dns", {"loadBalancerIP": "192.0.2.1"})],
		},
		"MetalLB's keys in two namespaces": {"one": _shared("web", _local), "others": [_in("dns", _shared("dns", {}))]},
		"Cilium's keys in one namespace": {
			"one": _service("web", {"lbipam.cilium.io/sharing-key": "edge"}, _local),
			"others": [_service("dns", {"lbipam.cilium.io/sharing-key": "edge"}, {})],
		},
		"Cilium's keys admit each other's namespace": {
			"one": _service("web", {"lbipam.cilium.io/sharing-key": "edge", "lbipam.cilium.io/sharing-cross-namespace": "*"}, _local),
			"others": [_in("dns", _service(
				"dns",
				{"lbipam.cilium.io/sharing-key": "edge", "io.cilium/lb-ipam-sharing-cross-namespace": "web, edge"},
				{},
			))],
		},
		"Antrea is asked for the same address": {
			"one": _service(
				"web", {"service.antrea.io/allow-shared-load-balancer-ip": "true"},
				object.union(_local, {"loadBalancerIP": "192.0.2.1"}),
			),
			"others": [_service("dns", {"service.antrea.io/allow-shared-load-balancer-ip": "true"}, {"loadBalancerIP": "192.0.2.1"})],
		},
	}
	count(rule.deny) == 1 with input as _document(case.one, case.others)
}

test_a_load_balancer_that_may_announce_from_a_node_without_pods_is_warned_about if {
	document := object.union(_document(_service("web", {}, _local), []), {"facts": {"provider": "cilium-l2"}})
	rule.deny == set() with input as document
	rule.warn == {{
		"path": "/spec/externalTrafficPolicy",
		"message": "load balancer cilium-l2 may announce the address from a node without pods",
		"fix": "use Cilium 1.20.2 or later, or set externalTrafficPolicy: Cluster",
	}} with input as document
	rule.warn == set() with input as object.union(document, {"facts": {"local": false}})
}

_local := {"externalTrafficPolicy": "Local"}

_shared(name, spec) := _service(name, {"metallb.io/allow-shared-ip": "edge"}, spec)

_service(name, annotations, spec) := {
	"kind": "Service",
	"metadata": {"namespace": "edge", "name": name, "annotations": annotations},
	"spec": object.union({"type": "LoadBalancer"}, spec),
}

_in(namespace, service) := object.union(service, {"metadata": {"namespace": namespace}})

_document(service, others) := {
	"object": service,
	"facts": {"local": object.get(service.spec, "externalTrafficPolicy", "") == "Local", "provider": ""},
	"related": {"services": others},
}
