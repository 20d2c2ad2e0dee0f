package sourceward.custom.corp_test

import data.sourceward.custom.corp

test_it if {
	count(corp.deny) == 1 with input.object.kind as "Service"
}
