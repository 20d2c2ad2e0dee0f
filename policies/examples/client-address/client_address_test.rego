package sourceward.custom.client_address_test

import data.sourceward.custom.client_address

test_needed_is_a_hard_reason if {
	some reason in client_address.require_local with input as _service("needed")
	reason.strength == "hard"
}

test_another_value_is_no_reason if count(client_address.require_local) == 0 with input as _service("optional")

_service(value) := {"object": {
	"kind": "Service",
	"metadata": {"annotations": {"example.com/client-address": value}},
}}
