package sourceward.custom.corp_test

import data.sourceward.custom.corps

test_a_cluster_ip_is_not if {
	count(corp.deny) == 0 with input.object as {"kind": "Service", "spec": {"type": "ClusterIP"}}
}
