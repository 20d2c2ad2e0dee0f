# METADATA
# title: Services that share an address
# description: Finds the Services that would share an address with the Service under review.
# custom:
#   kinds: [Service]
package sourceward.lib.sharing

# METADATA
# description: |
#   The related Services with the same sharing annotation that the controller would give the same address; how is the
#   value of shares_address in the row.
sharers(how) := {other |
	some other in input.related.services
	_meets(how, other)
	not _apart(other)
}

# True if the controller would give the other Service, which has the same annotation, the same address.
_meets("anywhere", _)

_meets("namespace", other) if other.metadata.namespace == input.object.metadata.namespace

_meets("namespace", other) if {
	_admits(input.object, other.metadata.namespace)
	_admits(other, input.object.metadata.namespace)
}

_meets("address", other) if count(_addresses(input.object) & _addresses(other)) > 0

# Cilium shares an address across namespaces if both Services allow it.
# https://docs.cilium.io/en/stable/network/lb-ipam/#sharing-keys
_admits(service, namespace) if {
	names := ["lbipam.cilium.io/sharing-cross-namespace", "io.cilium/lb-ipam-sharing-cross-namespace"]
	some allowed in _listed(service, names)
	allowed in {namespace, "*"}
}

# True if the two Services have different addresses in any case.
_apart(other) if {
	object.get(input.object.spec, "loadBalancerClass", null) != object.get(other.spec, "loadBalancerClass", null)
}

_apart(other) if {
	count(_addresses(input.object)) > 0
	count(_addresses(other)) > 0
	count(_addresses(input.object) & _addresses(other)) == 0
}

# The addresses that a Service requests explicitly.
_addresses(service) := _listed(service, [
	"metallb.io/loadBalancerIPs",
	"metallb.universe.tf/loadBalancerIPs",
	"lbipam.cilium.io/ips",
	"io.cilium/lb-ipam-ips",
]) | {address | address := service.spec.loadBalancerIP; address != ""}

# The items of the comma-separated lists in some annotations.
_listed(service, names) := {trim_space(item) |
	some name in names
	list := service.metadata.annotations[name]
	is_string(list)
	some item in split(list, ",")
}
