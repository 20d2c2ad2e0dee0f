package sourceward.rules.legacy_annotation_test

import data.sourceward.rules.legacy_annotation as rule

test_an_annotation_that_became_a_field_is_removed if {
	rule.warn == {{
		"path": "/metadata/annotations/service.beta.kubernetes.io~1external-traffic",
		"message": "annotation service.beta.kubernetes.io/external-traffic=OnlyLocal stopped working in Kubernetes 1.7",
		"fix": "remove it, and set externalTrafficPolicy: Local",
		"unwanted": true,
	}} with input as _service({"service.beta.kubernetes.io/external-traffic": "OnlyLocal"})
}

test_the_fix_names_no_field_if_the_service_is_not_reachable_from_outside if {
	{finding.fix | some finding in rule.warn} == {"remove it"} with input as object.union(
		_service({"service.beta.kubernetes.io/external-traffic": "OnlyLocal"}),
		{"object": {"spec": {"type": "ClusterIP"}}, "facts": {"externally_accessible": false}},
	)
}

test_the_fix_names_no_field_if_the_default_is_what_the_annotation_asked_for if {
	fixes := {finding.fix | some finding in rule.warn} with input as _service({
		"service.alpha.kubernetes.io/external-traffic": "Global",
		"service.beta.kubernetes.io/external-traffic": "Global",
	})
	fixes == {"remove it"}
}

test_alpha_and_beta_annotations_are_removed if {
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
		"the value is not a string": {"service.beta.kubernetes.io/healthcheck-nodeport": 30000},
		"the name is longer": {"service.beta.kubernetes.io/healthcheck-nodeports": "30000"},
	}
	rule.warn == set() with input as _service(annotations)
}

_service(annotations) := {
	"object": {"kind": "Service", "metadata": {"annotations": annotations}, "spec": {"type": "NodePort"}},
	"facts": {"local": false, "provider": "", "externally_accessible": true},
}
