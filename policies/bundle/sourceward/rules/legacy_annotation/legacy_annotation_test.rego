package sourceward.rules.legacy_annotation_test

import data.sourceward.rules.legacy_annotation as rule

test_what_became_a_field_is_unwanted if {
	rule.warn == {{
		"path": "/metadata/annotations/service.beta.kubernetes.io~1external-traffic",
		"message": "annotation service.beta.kubernetes.io/external-traffic=OnlyLocal has had no effect since Kubernetes 1.7 and meant Local",
		"fix": "remove it; it is now written as externalTrafficPolicy: Local",
		"unwanted": true,
	}} with input as _service({"service.beta.kubernetes.io/external-traffic": "OnlyLocal"})
}

test_the_field_is_not_for_services_that_nobody_outside_reaches if {
	{finding.fix | some finding in rule.warn} == {"remove it"} with input as object.union(
		_service({"service.beta.kubernetes.io/external-traffic": "OnlyLocal"}),
		{"object": {"spec": {"type": "ClusterIP"}}, "facts": {"externally_accessible": false}},
	)
}

test_each_twin_is_unwanted if {
	{finding.path | some finding in rule.warn} == {
		"/metadata/annotations/service.alpha.kubernetes.io~1external-traffic",
		"/metadata/annotations/service.beta.kubernetes.io~1external-traffic",
		"/metadata/annotations/service.alpha.kubernetes.io~1healthcheck-nodeport",
		"/metadata/annotations/service.beta.kubernetes.io~1healthcheck-nodeport",
	} with input as _service({
		"service.alpha.kubernetes.io/external-traffic": "Global",
		"service.beta.kubernetes.io/external-traffic": "OnlyLocal",
		"service.alpha.kubernetes.io/healthcheck-nodeport": "30000",
		"service.beta.kubernetes.io/healthcheck-nodeport": "",
	})
}

test_nothing_is_found_otherwise[sentence] if {
	some sentence, annotations in {
		"no annotation": {},
		"annotations that are null": null,
		"the value is another": {"service.beta.kubernetes.io/external-traffic": "Local"},
		"the value is in lower case": {"service.alpha.kubernetes.io/external-traffic": "onlylocal"},
		"the value is no text": {"service.beta.kubernetes.io/healthcheck-nodeport": 30000},
		"the name goes on": {"service.beta.kubernetes.io/healthcheck-nodeports": "30000"},
	}
	rule.warn == set() with input as _service(annotations)
}

_service(annotations) := {
	"object": {"kind": "Service", "metadata": {"annotations": annotations}, "spec": {"type": "NodePort"}},
	"facts": {"local": false, "provider": "", "externally_accessible": true},
}
