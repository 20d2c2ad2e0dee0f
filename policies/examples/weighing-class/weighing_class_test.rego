package sourceward.custom.weighing_class_test

import data.sourceward.custom.weighing_class

test_the_class_is_weighted if {
	some reason in weighing_class.keeps_source_ip with input as _service("example.com/weighing")
	reason.verdict == "weighted"
}

test_another_class_is_not_weighted if count(weighing_class.keeps_source_ip) == 0 with input as _service("example.com/plain")

_service(class) := {"object": {"kind": "Service", "spec": {"loadBalancerClass": class}}}
