package sourceward.custom.external_ips_test

import data.sourceward.custom.external_ips

test_each_address_has_its_path if {
	paths := {finding.path | some finding in external_ips.warn} with input as {"object": _service(["192.0.2.1", "192.0.2.2"])}
	paths == {"/spec/externalIPs/0", "/spec/externalIPs/1"}
}

test_an_existing_address_is_not_reported_again if {
	found := external_ips.warn with input as {
		"object": _service(["192.0.2.1", "192.0.2.2"]),
		"old": _service(["192.0.2.1"]),
	}
	{finding.path | some finding in found} == {"/spec/externalIPs/1"}
}

_service(addresses) := {"kind": "Service", "spec": {"externalIPs": addresses}}
