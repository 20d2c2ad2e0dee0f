package sourceward.rules.weighted_needs_local_test

import data.sourceward.rules.weighted_needs_local as rule

test_weights_have_no_effect_without_local if {
	rule.warn == {object.union(_not_local, {"want": "Local"})} with input as _service(false, "defaulted", {_gke: "pods-per-node"})
	rule.warn == {object.union(_not_local, {"want": "Local"})} with input as _service(false, "unknown", {_gke: "pods-per-node"})
}

test_a_written_policy_is_not_repaired if {
	rule.warn == {_not_local} with input as _service(false, "written", {_gke: "pods-per-node"})
}

test_an_unknown_value_is_replaced_if_weights_are_meant if {
	rule.warn == {{
		"path": "/metadata/annotations/networking.gke.io~1weighted-load-balancing",
		"message": "annotation networking.gke.io/weighted-load-balancing=true has no effect: GKE ignores the value",
		"fix": "set it to pods-per-node, or remove the annotation",
		"want": "pods-per-node",
	}} with input as _service(true, "written", {_gke: "true"})
}

test_an_unknown_value_is_removed_if_no_weights_are_meant[value] if {
	some value, shown in {"false": "false", "disabled": "disabled", "": ""}
	rule.warn == {{
		"path": "/metadata/annotations/networking.gke.io~1weighted-load-balancing",
		"message": sprintf("annotation networking.gke.io/weighted-load-balancing=%s has no effect: GKE ignores the value", [shown]),
		"fix": "remove the annotation",
		"unwanted": true,
	}} with input as _service(false, "defaulted", {_gke: value})
}

test_tencent_needs_two_annotations if {
	rule.warn == {{
		"path": "/metadata/annotations/service.kubernetes.io~1local-svc-only-bind-node-with-pod",
		"message": "annotation service.cloud.tencent.com/local-svc-weighted-balance=true has no effect on its own",
		"fix": `add annotation service.kubernetes.io/local-svc-only-bind-node-with-pod: "true"`,
		"want": "true",
	}} with input as _service(true, "written", {_tencent: "true", "service.kubernetes.io/local-svc-only-bind-node-with-pod": "false"})
}

test_nothing_is_found_otherwise[sentence] if {
	some sentence, document in {
		"the Service is Local": _service(true, "written", {_gke: "pods-per-node"}),
		"the Service ignores the source IP": _service(false, "written", {_gke: "pods-per-node", "sourceward.dev/source-ip": "ignore"}),
		"both of Tencent's annotations": _service(true, "written", {
			_tencent: "true",
			"service.kubernetes.io/local-svc-only-bind-node-with-pod": "true",
		}),
		"Tencent's annotation is off": _service(false, "defaulted", {_tencent: "false"}),
		"the value is not a string": _service(false, "defaulted", {_gke: true, _tencent: true}),
		"no annotation": _service(false, "defaulted", {}),
		"a load balancer by name, without an annotation": object.union(_service(false, "defaulted", {}), {"facts": {"provider": "alibaba-clb"}}),
		"there is no load balancer": object.union(
			_service(false, "defaulted", {_gke: "true", _tencent: "true"}),
			{"object": {"spec": {"type": "NodePort"}}},
		),
	}
	rule.warn == set() with input as document
}

_gke := "networking.gke.io/weighted-load-balancing"

_tencent := "service.cloud.tencent.com/local-svc-weighted-balance"

_not_local := {
	"path": "/spec/externalTrafficPolicy",
	"message": "annotation networking.gke.io/weighted-load-balancing=pods-per-node has no effect without Local",
	"fix": "set externalTrafficPolicy: Local, or remove annotation networking.gke.io/weighted-load-balancing",
}

_service(local, explicit, annotations) := {
	"object": {"kind": "Service", "metadata": {"annotations": annotations}, "spec": {"type": "LoadBalancer"}},
	"facts": {"local": local, "explicit": explicit, "provider": ""},
}
