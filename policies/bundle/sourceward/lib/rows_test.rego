package sourceward.lib.rows_test

import data.sourceward.lib.rows

test_a_matcher_accepts_and_rejects[matcher] if {
	some matcher, values in {
		{"one_of": ["a", "b"]}: {"accepts": {"a", "b"}, "rejects": {"A", "ab", " a", ""}},
		{"one_of": [""]}: {"accepts": {""}, "rejects": {"a", " "}},
		{"one_of_any_case": ["nlb"]}: {"accepts": {"nlb", "NLB", "Nlb"}, "rejects": {"lb", "nlb-ip", " nlb", ""}},
		{"none_of": ["a", ""]}: {"accepts": {"b", "A", " "}, "rejects": {"a", ""}},
		{"anything": true}: {"accepts": {"a", ""}, "rejects": {1, true, ["a"], {"a": "b"}, null}},
		{"item": "a"}: {"accepts": {"a", "b,a", " a , b", "a,a"}, "rejects": {"ab", "b", "A", "a b", ""}},
		{"attribute": {"name": "a.enabled", "one_of": ["true", "1"]}}: {
			"accepts": {"a.enabled=true", "b=c,a.enabled=1", " a.enabled = true , b=c", "b,a.enabled=true"},
			"rejects": {"a.enabled=false", "a.enabled", "a.enabled=true=true", "ba.enabled=true", "a.enabled=True", ""},
		},
		{"json": {"key": "a", "one_of": [true, "yes"]}}: {
			"accepts": {`{"a": true}`, `{"b": 1, "a": "yes"}`},
			"rejects": {`{"a": false}`, `{"a": "true"}`, `{"b": true}`, `{"a": true`, `["a"]`, `"a"`, "null", "a", ""},
		},
		{"json": {"key": "a"}}: {"accepts": {`{"a": {}}`, `{"a": false}`, `{"a": null}`}, "rejects": {"{}", `["a"]`, "a", ""}},
	}
	accepted := {value |
		some value in (values.accepts | values.rejects)
		_ids([{"id": "one", "value": matcher}], {"a": value}) == {"one"}
	}
	accepted == values.accepts
}

test_a_match_names_its_subject if {
	row := {"id": "one", "provider": "p", "value": {"anything": true}}
	rows.holding == {{"row": row, "subject": {"annotation": "a", "value": "x"}}} with input as _service({"a": "x"})
		with data.sourceward.providers as _table([row])
}

test_with_and_unless_must_both_hold[sentence] if {
	row := {
		"id": "one",
		"value": {"anything": true},
		"with": [{"annotations": {"b": {"one_of": ["yes"]}}}, {"annotations": {"c": {"one_of": ["yes"]}}}],
		"unless": [{"annotations": {"d": {"one_of": ["yes"]}}}, {"annotations": {"e": {"one_of": ["yes"]}}}],
	}
	some sentence, case in {
		"all of with": {"annotations": {"a": "x", "b": "yes", "c": "yes"}, "ids": {"one"}},
		"unless has another value": {"annotations": {"a": "x", "b": "yes", "c": "yes", "d": "no"}, "ids": {"one"}},
		"one of with is absent": {"annotations": {"a": "x", "b": "yes"}, "ids": set()},
		"one of with has another value": {"annotations": {"a": "x", "b": "yes", "c": "no"}, "ids": set()},
		"one of unless": {"annotations": {"a": "x", "b": "yes", "c": "yes", "e": "yes"}, "ids": set()},
	}
	_ids([row], case.annotations) == case.ids
}

test_a_condition_checks_annotations_class_and_type[sentence] if {
	some sentence, case in {
		"absent, and it is": {"condition": _no_b, "object": {}, "holds": true},
		"absent, and it has a value": {"condition": _no_b, "object": {"metadata": {"annotations": {"b": "x"}}}, "holds": false},
		"absent, and it is empty": {"condition": _no_b, "object": {"metadata": {"annotations": {"b": ""}}}, "holds": false},
		"a value, and it is not a string": {
			"condition": {"annotations": {"b": {"none_of": ["x"]}}},
			"object": {"metadata": {"annotations": {"b": 1}}},
			"holds": false,
		},
		"a class, and it is": {"condition": {"class": "c"}, "object": {"spec": {"loadBalancerClass": "c"}}, "holds": true},
		"a class, and it is another": {"condition": {"class": "c"}, "object": {"spec": {"loadBalancerClass": "d"}}, "holds": false},
		"a class, and there is none": {"condition": {"class": "c"}, "object": {}, "holds": false},
		"no class, and there is none": {"condition": {"class": ""}, "object": {}, "holds": true},
		"no class, and it is null": {"condition": {"class": ""}, "object": {"spec": {"loadBalancerClass": null}}, "holds": true},
		"no class, and there is one": {"condition": {"class": ""}, "object": {"spec": {"loadBalancerClass": "c"}}, "holds": false},
		"a type, and it is": {"condition": {"type": "NodePort"}, "object": {"spec": {"type": "NodePort"}}, "holds": true},
		"a type, and it is another": {"condition": {"type": "NodePort"}, "object": {"spec": {"type": "LoadBalancer"}}, "holds": false},
		"a type, and there is none": {"condition": {"type": "NodePort"}, "object": {}, "holds": false},
		"a name, and its first alternative holds": {"condition": "named", "object": {"spec": {"loadBalancerClass": "c"}}, "holds": true},
		"a name, and its second alternative holds": {
			"condition": "named",
			"object": {"metadata": {"annotations": {"b": "x"}}, "spec": {"type": "NodePort"}},
			"holds": true,
		},
		"a name, and half of an alternative holds": {"condition": "named", "object": {"spec": {"type": "NodePort"}}, "holds": false},
		"a name that does not exist": {"condition": "other", "object": {"spec": {"loadBalancerClass": "c"}}, "holds": false},
	}
	named := {"named": [{"class": "c"}, {"type": "NodePort", "annotations": {"b": {"one_of": ["x"]}}}]}
	document := {"object": object.union({"metadata": {"annotations": {"a": "x"}}}, case.object)}
	types := ["ClusterIP", "LoadBalancer", "NodePort"]
	conditional := [
		{"id": "with", "value": {"anything": true}, "types": types, "with": [case.condition]},
		{"id": "unless", "value": {"anything": true}, "types": types, "unless": [case.condition]},
	]
	matches := rows.holding with input as document
		with data.sourceward.providers as object.union(_table(conditional), {"conditions": named})
	{match.row.id | some match in matches} == {id | id := {true: "with", false: "unless"}[case.holds]}
}

test_an_alias_counts_if_the_newer_annotation_is_absent[sentence] if {
	some sentence, case in {
		"the alias alone": {"annotations": {"old": "x"}, "subjects": {["old", "x"]}},
		"the newer alone": {"annotations": {"a": "x"}, "subjects": {["a", "x"]}},
		"both": {"annotations": {"old": "y", "a": "x"}, "subjects": {["a", "x"]}},
		"both, and the newer is empty": {"annotations": {"old": "y", "a": ""}, "subjects": {["a", ""]}},
		"neither": {"annotations": {"older": "x"}, "subjects": set()},
	}
	_subjects(case.annotations) == case.subjects
}

test_a_prefix_counts_in_addition_to_the_whole_name[sentence] if {
	some sentence, case in {
		"for one port": {"annotations": {"a.80": "x"}, "subjects": {["a.80", "x"]}},
		"for one port and for all": {"annotations": {"a.80": "x", "a": "y"}, "subjects": {["a.80", "x"], ["a", "y"]}},
		"the prefix itself": {"annotations": {"a.": "x"}, "subjects": {["a.", "x"]}},
		"another separator": {"annotations": {"a80": "x"}, "subjects": set()},
		"the prefix within": {"annotations": {"za.80": "x"}, "subjects": set()},
	}
	_subjects(case.annotations) == case.subjects
}

test_a_class_and_a_name_have_rows[sentence] if {
	some sentence, case in {
		"a class": {"spec": {"loadBalancerClass": "c"}, "provider": "", "subjects": {{"class": "c"}}},
		"a name": {"spec": {}, "provider": "n", "subjects": {{"provider": "n"}}},
		"both": {"spec": {"loadBalancerClass": "c"}, "provider": "n", "subjects": {{"class": "c"}, {"provider": "n"}}},
		"neither": {"spec": {}, "provider": "", "subjects": set()},
		"others": {"spec": {"loadBalancerClass": "n"}, "provider": "c", "subjects": set()},
		"a class that is not a string": {"spec": {"loadBalancerClass": ["c"]}, "provider": "", "subjects": set()},
	}
	spec := object.union({"type": "LoadBalancer"}, case.spec)
	matches := rows.holding with input as {"object": {"spec": spec}, "facts": {"provider": case.provider}}
		with data.sourceward.providers as object.union(_table([]), {
			"classes": {"c": {"rows": [{"id": "of the class"}]}},
			"names": {"n": {"rows": [{"id": "of the name"}]}},
		})
	{match.subject | some match in matches} == case.subjects
}

test_some_providers_ignore_a_service_with_a_class[sentence] if {
	some sentence, case in {
		"no class": {"spec": {}, "ids": {"leaves", "stays"}},
		"a class": {"spec": {"loadBalancerClass": "c"}, "ids": {"stays"}},
		"an empty class": {"spec": {"loadBalancerClass": ""}, "ids": {"leaves", "stays"}},
		"a class that is null": {"spec": {"loadBalancerClass": null}, "ids": {"leaves", "stays"}},
	}
	document := object.union(_service({"a": "x"}), {"object": {"spec": case.spec}})
	matches := rows.holding with input as document
		with data.sourceward.providers as object.union(_of_two_providers, {"without_class": ["one"]})
	{match.row.id | some match in matches} == case.ids
}

test_a_row_applies_to_some_types_of_services[sentence] if {
	some sentence, case in {
		"a load balancer": {"spec": {"type": "LoadBalancer"}, "ids": {"default", "exposed", "every"}},
		"a node port": {"spec": {"type": "NodePort"}, "ids": {"exposed", "every"}},
		"a cluster IP": {"spec": {"type": "ClusterIP", "externalIPs": ["203.0.113.7"]}, "ids": {"every"}},
		"an external name": {"spec": {"type": "ExternalName"}, "ids": set()},
		"an unknown type": {"spec": {"type": "loadbalancer"}, "ids": set()},
		"no type, which is a cluster IP": {"spec": {"externalIPs": ["203.0.113.7"]}, "ids": {"every"}},
		"an empty type, which is a cluster IP": {"spec": {"type": ""}, "ids": {"every"}},
		"a type that is not a string": {"spec": {"type": ["LoadBalancer"]}, "ids": set()},
		"a type that is null": {"spec": {"type": null}, "ids": set()},
		"no spec, which is a cluster IP": {"spec": null, "ids": {"every"}},
	}
	document := {"object": {"metadata": {"annotations": {"a": "x"}}, "spec": case.spec}}
	matches := rows.holding with input as document
		with data.sourceward.providers as _table([
			{"id": "default", "value": {"anything": true}},
			{"id": "exposed", "value": {"anything": true}, "types": ["LoadBalancer", "NodePort"]},
			{"id": "every", "value": {"anything": true}, "types": ["ClusterIP", "LoadBalancer", "NodePort"]},
		])
	{match.row.id | some match in matches} == case.ids
}

test_a_row_that_does_not_apply_says_nothing if {
	list := [{"id": "one", "value": {"anything": true}, "says": {"require_local": "hard", "verdict": "weighted"}}]
	document := object.union(_service({"a": "x"}), {"object": {"spec": {"type": "NodePort"}}})
	rows.saying("require_local") == set() with input as document with data.sourceward.providers as _table(list)
	rows.judging({"weighted"}) == set() with input as document with data.sourceward.providers as _table(list)
}

test_invalid_annotations_have_no_rows[sentence] if {
	some sentence, document in {
		"no annotations": _service({}),
		"annotations that are null": _service(null),
		"annotations that are a list": _service(["a"]),
		"no metadata": {"object": {}},
		"metadata of the wrong type": {"object": {"metadata": "a"}},
		"no object": {},
	}
	rows.holding == set() with input as document with data.sourceward.providers as _table([{"id": "one", "value": {"anything": true}}])
}

test_a_sentence_begins_with_the_subject_of_the_match[sentence] if {
	longest := "012345678901234567890123"
	some sentence, subject in {
		"annotation a=x does it": {"annotation": "a", "value": "x"},
		"annotation a= does it": {"annotation": "a", "value": ""},
		sprintf("annotation a=%s does it", [longest]): {"annotation": "a", "value": longest},
		"annotation a=01234567890...5678901234 does it": {"annotation": "a", "value": concat("", [longest, "4"])},
		"load balancer class c does it": {"class": "c"},
		"load balancer n does it": {"provider": "n"},
	}
	rows.sentence({"row": {"message": "does it"}, "subject": subject}) == sentence
}

test_a_sentence_shows_one_attribute_of_a_list if {
	match := {
		"row": {"message": "does it", "value": {"attribute": {"name": "b", "one_of": ["true", "1"]}}},
		"subject": {"annotation": "a", "value": "c=d, b=1"},
	}
	rows.sentence(match) == "annotation a=b=1 does it"
}

test_of_several_sentences_the_first_is_shown[sentence] if {
	some sentence, sentences in {
		"a": {"a"},
		"a (and 1 more)": {"b", "a"},
		"a (and 2 more)": {"b", "a", "c"},
	}
	rows.one_of(sentences) == sentence
}

test_a_pointer_is_escaped if rows.pointer("a.b/c~d") == "/metadata/annotations/a.b~1c~0d"

_no_b := {"annotations": {"b": {"absent": true}}}

_of_two_providers := _table([
	{"id": "leaves", "provider": "one", "value": {"anything": true}},
	{"id": "stays", "provider": "two", "value": {"anything": true}},
])

_service(annotations) := {"object": {"metadata": {"annotations": annotations}, "spec": {"type": "LoadBalancer"}}}

# A table with rows for the annotation a, which has the alias old and the prefix "a.".
_table(list) := {
	"annotations": {"a": {"rows": list}},
	"aliases": {"old": "a"},
	"prefixes": {"a.": "a"},
	"labels": {},
	"classes": {},
	"names": {},
	"conditions": {},
	"without_class": [],
}

# The ids of the rows that match annotations.
_ids(list, annotations) := {match.row.id | some match in matches} if {
	matches := rows.holding with input as _service(annotations) with data.sourceward.providers as _table(list)
}

# The annotations, with their values, that a row for any value matches.
_subjects(annotations) := {[match.subject.annotation, match.subject.value] | some match in matches} if {
	list := [{"id": "one", "value": {"anything": true}}]
	matches := rows.holding with input as _service(annotations) with data.sourceward.providers as _table(list)
}

test_a_service_may_ignore_the_source_ip if {
	rows.ignored with input as _service({"sourceward.dev/source-ip": "ignore"})
	not rows.ignored with input as _service({"sourceward.dev/source-ip": "preserve"})
	not rows.ignored with input as _service({})
}

test_a_label_is_named_without_its_value if {
	document := {"object": {"metadata": {"labels": {"cilium.io/ingress": "true"}}, "spec": {"type": "LoadBalancer"}}}
	sentences := {rows.sentence(match) | some match in rows.holding} with input as document
	sentences == {"label cilium.io/ingress uses Cilium's proxy, which runs on every node"}
	{match | some match in rows.holding} == set() with input as {"object": {"metadata": {"labels": ["cilium.io/ingress"]}}}
}
