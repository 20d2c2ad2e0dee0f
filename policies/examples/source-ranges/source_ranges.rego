# METADATA
# title: Source ranges that are not ours
# description: spec.loadBalancerSourceRanges admits clients outside of parameters.ranges.
# custom:
#   kinds: [Service]
package sourceward.custom.source_ranges

# METADATA
# description: Fires for each range that lies in none of parameters.ranges.
deny contains finding if {
	some i, range in input.object.spec.loadBalancerSourceRanges
	not _ours(range)

	finding := {
		"message": sprintf("%s is in none of the ranges %s", [range, concat(", ", input.parameters.ranges)]),
		"path": sprintf("/spec/loadBalancerSourceRanges/%d", [i]),
		"fix": "narrow it, or ask for the range in the policy",
	}
}

_ours(range) if {
	net.cidr_is_valid(range) # what is not would be a fault below
	some ours in input.parameters.ranges
	net.cidr_contains(ours, range)
}
