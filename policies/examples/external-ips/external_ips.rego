# METADATA
# title: Address that anybody may take
# description: |
#   Whoever may write a Service may take traffic for any address by spec.externalIPs. This warns, so that reviewers see
#   it.
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
		"message": sprintf("the cluster takes all traffic for %s to this Service", [address]),
		"path": sprintf("/spec/externalIPs/%d", [i]),
		"fix": "use type LoadBalancer, which asks for an address that is yours",
	}
}

default _before := []

_before := input.old.spec.externalIPs
