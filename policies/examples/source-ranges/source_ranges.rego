# METADATA
# title: Source ranges that are not allowed
# description: spec.loadBalancerSourceRanges admits clients outside of parameters.ranges.
# custom:
#   kinds: [Service]
package sourceward.custom.source_ranges

# METADATA
# description: Fires for each range that is not within one of parameters.ranges.
deny contains finding if {
	some i, range in input.object.spec.loadBalancerSourceRanges
	not _allowed(range)

	finding := {
		"message": sprintf("source range %s is not within the allowed ranges %s", [range, concat(", ", input.parameters.ranges)]),
		"path": sprintf("/spec/loadBalancerSourceRanges/%d", [i]),
		"fix": "narrow the range, or have it added to the policy",
	}
}

_allowed(range) if {
	net.cidr_is_valid(range) # cidr_contains would fail for an invalid range
	some allowed in input.parameters.ranges
	net.cidr_contains(allowed, range)
}
