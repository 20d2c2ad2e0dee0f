package sourceward.custom.dsr_test

import data.sourceward.custom.dsr

test_every_service_keeps_the_address if {
	some type in ["LoadBalancer", "NodePort"]
	some reason in dsr.keeps_source_ip with input as {"object": {"kind": "Service", "spec": {"type": type}}}
	reason.verdict == "preserved"
}
