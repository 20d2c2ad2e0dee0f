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
import data.sourceward.lib.sharing

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
	some other in sharing.sharers(match.row.says.shares_address)
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
