package sourceward.custom.client_address_test

import data.sourceward.custom.client_address

test_needed_is_hard if {
	some reason in client_address.require_local with input as _service("needed")
	reason.strength == "hard"
}

test_welcome_is_not if count(client_address.require_local) == 0 with input as _service("welcome")

_service(value) := {"object": {
	"kind": "Service",
	"metadata": {"annotations": {"example.com/client-address": value}},
}}
