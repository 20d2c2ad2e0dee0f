package sourceward.lib.rows_test

import data.sourceward.lib.rows

test_a_condition_accepts_and_refuses[condition] if {
	some condition, values in {
		{"one_of": ["a", "b"]}: {"accepts": {"a", "b"}, "refuses": {"A", "ab", " a", "", null}},
		{"one_of_any_case": ["nlb"]}: {"accepts": {"nlb", "NLB", "Nlb"}, "refuses": {"lb", "nlb-ip", "", null}},
		{"boolean": true}: {
			"accepts": {"1", "t", "T", "true", "TRUE", "True"},
			"refuses": {"0", "false", "yes", "tRUE", " true", "", null, true},
		},
		{"not_boolean": true}: {
			"accepts": {"0", "false", "yes", "tRUE", " true", "", null},
			"refuses": {"1", "t", "T", "true", "TRUE", "True", true},
		},
		{"anything": true}: {"accepts": {"a", "", null}, "refuses": {1, true, ["a"], {"a": "b"}}},
		{"attribute": {"name": "a.enabled", "setting": "true"}}: {
			"accepts": {"a.enabled=true", "b=c,a.enabled=true", " a.enabled = true , b=c", "b,a.enabled=true"},
			"refuses": {"a.enabled=false", "a.enabled", "a.enabled=true=true", "ba.enabled=true", "a.enabled=True", "", null},
		},
	}
	accepted := {value |
		some value in (values.accepts | values.refuses)
		_matching({"value": condition}, {"a": value}) != set()
	}
	accepted == values.accepts
}

test_with_and_unless_are_both_kept[sentence] if {
	row := {
		"value": {"anything": true},
		"with": [{"annotation": "b", "value": {"one_of": ["yes"]}}, {"annotation": "c", "value": {"one_of": ["yes"]}}],
		"unless": [{"annotation": "d", "value": {"one_of": ["yes"]}}, {"annotation": "e", "value": {"one_of": ["yes"]}}],
	}
	some sentence, case in {
		"all of with": {"annotations": {"a": "x", "b": "yes", "c": "yes"}, "holds": true},
		"unless has another value": {"annotations": {"a": "x", "b": "yes", "c": "yes", "d": "no"}, "holds": true},
		"one of with is absent": {"annotations": {"a": "x", "b": "yes"}, "holds": false},
		"one of with has another value": {"annotations": {"a": "x", "b": "yes", "c": "no"}, "holds": false},
		"one of unless": {"annotations": {"a": "x", "b": "yes", "c": "yes", "e": "yes"}, "holds": false},
	}
	matches := {match | match := {"row": row, "subject": {"annotation": "a", "value": "x"}}; case.holds}
	_matching(row, case.annotations) == matches
}

test_an_annotation_for_one_port_is_that_annotation[annotation] if {
	row := {"value": {"anything": true}}
	some annotation, holds in {
		"a": true, "a.80": true, "a.http": true,
		"a80": false, "aa.80": false,
		"z": true, "z.80": false,
	}
	matches := {match | match := {"row": row, "subject": {"annotation": annotation, "value": "x"}}; holds}
	_matching(row, {annotation: "x"}) == matches
}

test_a_provider_has_its_rows if {
	matches := rows.matching({}, "here") with data.sourceward.providers as {
		"annotations": {},
		"per_port": [],
		"names": {"here": {"rows": [{"id": "one"}]}, "there": {"rows": [{"id": "two"}]}},
	}
	matches == {{"row": {"id": "one"}, "subject": {"provider": "here"}}}
}

test_no_annotations_have_no_rows if rows.matching({}, "") == set()

# The matches of a table with one row, for the annotations a and z; a may be for one port.
_matching(row, annotations) := matches if {
	matches := rows.matching(annotations, "") with data.sourceward.providers as {
		"annotations": {"a": {"rows": [row]}, "z": {"rows": [row]}},
		"per_port": ["a"],
		"names": {},
	}
}
