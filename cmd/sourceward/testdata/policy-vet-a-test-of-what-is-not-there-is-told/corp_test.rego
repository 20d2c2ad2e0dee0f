package sourceward.custom.corp_test

import data.sourceward.custom.corp

test_it if {
	count(corp.deny) == 1 with input as _service
	not corp.dney with input as _service
}

tst_another if {
	count(corp.deny) == 0
}

_service := {"object": {"kind": "Service"}}
