# METADATA
# title: External IPs redirect traffic
# description: |
#   Anyone who can write a Service can redirect the traffic for any IP address with spec.externalIPs. This rule warns,
#   so that reviewers notice it.
# related_resources:
#   - ref: https://github.com/kubernetes/kubernetes/issues/97076
# custom:
#   severity: info
#   kinds: [Service]
package sourceward.custom.external_ips

# METADATA
# description: Fires for each external IP that the Service did not have before.
warn contains finding if {
	some i, address in input.object.spec.externalIPs
	not address in _before

	finding := {
		"message": sprintf("external IP %s makes the cluster send all traffic for this address to this Service", [address]),
		"path": sprintf("/spec/externalIPs/%d", [i]),
		"fix": "use type LoadBalancer, which allocates an address",
	}
}

default _before := []

_before := input.old.spec.externalIPs
