# METADATA
# title: The load balancer's controller refuses Local
# description: |
#   A Service is Local and has an annotation that its load balancer's controller accepts only with Cluster, or
#   asks for one address together with another Service that selects other pods.
# related_resources:
#   - ref: https://metallb.universe.tf/usage/#ip-address-sharing
#   - ref: https://github.com/kube-vip/kube-vip/blob/018c5d9fcf026038b484d5d75e1475aa0399c9df/pkg/services/processor.go
# custom:
#   severity: error
#   mode: Deny
#   kinds: [Service]
#   related: true
#   why: |
#     Under Local a node answers for an address only if it has pods of the Service. Two Services with different
#     pods cannot agree on the nodes of one address, and the Services of one lease cannot either: the
#     controller leaves the Service without an address, or gives it another one.
#   remedy: |
#     Set externalTrafficPolicy: Cluster, on both Services where two share an address; or give both the same
#     policy and selector; or do not share.
#   exempt: When the Services may well have different addresses.
#   since: All versions.
package sourceward.rules.local_forbidden

import data.sourceward.lib.rows

# METADATA
# description: One finding for each annotation that goes with Cluster only.
deny contains finding if {
	input.facts.local
	some match in rows.judging({"forbidden"})
	rows.in_effect(match)
	not match.row.says.breaks_health_check
	finding := {
		"path": "/spec/externalTrafficPolicy",
		"message": rows.sentence(match),
		"fix": sprintf("set externalTrafficPolicy: Cluster, or remove annotation %s", [match.subject.annotation]),
	}
}

# METADATA
# description: One finding for each Service with which this one cannot share an address.
deny contains finding if {
	some match in rows.saying("shares_address")
	rows.in_effect(match)
	some other in input.related.services
	_meets(match.row.says.shares_address, other)
	not _apart(other)
	difference := _difference(other.spec)
	finding := {
		"path": "/spec/externalTrafficPolicy",
		"message": sprintf("%s with Service %s/%s, which %s; only Cluster Services, and Local ones with the same selector, can share", [
			rows.sentence(match),
			other.metadata.namespace,
			other.metadata.name,
			difference,
		]),
		"fix": "set externalTrafficPolicy: Cluster on both, or give both the same policy and selector",
		"because": [{
			"apiVersion": "v1",
			"kind": "Service",
			"namespace": other.metadata.namespace,
			"name": other.metadata.name,
		}],
	}
}

# How another Service is unlike this one, so that the two cannot share: under Cluster, any two can.
_difference(other) := "is Local" if {
	not _local(input.object.spec)
	_local(other)
}

_difference(other) := "is Cluster" if {
	_local(input.object.spec)
	not _local(other)
}

_difference(other) := "selects other pods" if {
	_local(input.object.spec)
	_local(other)
	object.get(input.object.spec, "selector", {}) != object.get(other, "selector", {})
}

_local(spec) if spec.externalTrafficPolicy == "Local"

# Whether the controller would give the other Service, which has the same annotation, the same address.
_meets("anywhere", _)

_meets("namespace", other) if other.metadata.namespace == input.object.metadata.namespace

_meets("namespace", other) if {
	_lets_in(input.object, other.metadata.namespace)
	_lets_in(other, input.object.metadata.namespace)
}

_meets("address", other) if count(_addresses(input.object) & _addresses(other)) > 0

# Cilium shares an address with other namespaces where both Services say so.
# https://docs.cilium.io/en/stable/network/lb-ipam/#sharing-keys
_lets_in(service, namespace) if {
	names := ["lbipam.cilium.io/sharing-cross-namespace", "io.cilium/lb-ipam-sharing-cross-namespace"]
	some allowed in _listed(service, names)
	allowed in {namespace, "*"}
}

# Whether the two have different addresses anyway.
_apart(other) if {
	object.get(input.object.spec, "loadBalancerClass", null) != object.get(other.spec, "loadBalancerClass", null)
}

_apart(other) if {
	count(_addresses(input.object)) > 0
	count(_addresses(other)) > 0
	count(_addresses(input.object) & _addresses(other)) == 0
}

# The addresses that a Service asks for by name.
_addresses(service) := _listed(service, [
	"metallb.io/loadBalancerIPs",
	"metallb.universe.tf/loadBalancerIPs",
	"lbipam.cilium.io/ips",
	"io.cilium/lb-ipam-ips",
]) | {address | address := service.spec.loadBalancerIP; address != ""}

# What stands in the lists of some annotations.
_listed(service, names) := {trim_space(item) |
	some name in names
	list := service.metadata.annotations[name]
	is_string(list)
	some item in split(list, ",")
}
