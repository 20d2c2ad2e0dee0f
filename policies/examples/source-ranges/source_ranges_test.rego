package sourceward.custom.source_ranges_test

import data.sourceward.custom.source_ranges

test_a_range_outside_is_denied_with_its_path if {
	some finding in source_ranges.deny with input as _service(["198.51.100.8/29", "203.0.113.0/24"])
	finding.path == "/spec/loadBalancerSourceRanges/1"
}

test_ranges_inside_are_not_denied if count(source_ranges.deny) == 0 with input as _service(["198.51.100.0/24", "2001:db8:1::/48"])

test_an_invalid_range_is_denied if count(source_ranges.deny) == 1 with input as _service(["198.51.100.0"])

_service(ranges) := {
	"object": {"kind": "Service", "spec": {"loadBalancerSourceRanges": ranges}},
	"parameters": {"ranges": ["198.51.100.0/24", "2001:db8::/32"]},
}
