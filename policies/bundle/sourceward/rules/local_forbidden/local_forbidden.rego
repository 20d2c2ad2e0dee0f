# METADATA
# title: The load balancer's controller rejects Local
# description: |
#   A Service is Local and has an annotation that its load balancer's controller accepts only with Cluster. Or it
#   asks to share an address with another Service, and the two differ in traffic policy or, if both are Local, in
#   selector. Or, as a warning, one node announces its address, and may be one without pods.
# related_resources:
#   - ref: https://metallb.universe.tf/usage/#ip-address-sharing
#   - ref: https://github.com/kube-vip/kube-vip/blob/018c5d9fcf026038b484d5d75e1475aa0399c9df/pkg/services/processor.go
# custom:
#   severity: error
#   mode: Deny
#   kinds: [Service]
#   related: true
#   why: |
#     With Local, only nodes with pods of the Service answer for its address. Two Services with different pods need
#     different nodes, so they cannot share an address, and they cannot share a kube-vip lease either. The controller
#     leaves the Service without an address, or gives it another one. If the node that announces an address is elected
#     without regard to the pods, it drops all traffic while it has none.
#   remedy: |
#     Set externalTrafficPolicy: Cluster. If two Services share an address, set it on both, or give both the same
#     policy and selector, or do not share the address. Where one node announces the address, use the version or setting
#     that the finding names.
#   exempt: When it does not matter that the Services get different addresses, or the setting is in use.
#   since: All versions.
package sourceward.rules.local_forbidden

import data.sourceward.lib.rows
import data.sourceward.lib.sharing

# METADATA
# description: One finding for each annotation that works only with Cluster.
deny contains finding if {
	input.facts.local
	some match in rows.judging({"forbidden"})
	not match.row.says.breaks_health_check
	not match.row.says.works_with
	finding := {
		"path": "/spec/externalTrafficPolicy",
		"message": rows.sentence(match),
		"fix": sprintf("set externalTrafficPolicy: Cluster, or remove annotation %s", [match.subject.annotation]),
	}
}

# METADATA
# description: One finding for each load balancer that may announce the address from a node without pods.
warn contains finding if {
	input.facts.local
	count(rows.judging({"useless"})) == 0
	some match in rows.saying("works_with")
	finding := {
		"path": "/spec/externalTrafficPolicy",
		"message": rows.sentence(match),
		"fix": sprintf("use %s, or set externalTrafficPolicy: Cluster", [match.row.says.works_with]),
	}
}

# METADATA
# description: One finding for each Service that this one asks to share an address with, but cannot.
deny contains finding if {
	some match in rows.saying("shares_address")
	some other in sharing.sharers(match.row.says.shares_address)
	difference := _difference(other.spec)
	finding := {
		"path": "/spec/externalTrafficPolicy",
		"message": sprintf("cannot share an IP with Service %s/%s, which %s", [
			other.metadata.namespace,
			other.metadata.name,
			difference,
		]),
		"fix": sprintf("set externalTrafficPolicy: Cluster on both, give both the same policy and selector, or remove %s", [
			rows.subject(match),
		]),
		"because": [{
			"apiVersion": "v1",
			"kind": "Service",
			"namespace": other.metadata.namespace,
			"name": other.metadata.name,
		}],
	}
}

# The difference because of which two Services cannot share an address. Two Cluster Services always can.
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
