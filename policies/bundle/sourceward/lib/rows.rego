# METADATA
# title: Rows of the provider table
# description: Finds the rows of data.sourceward.providers that hold for the Service under review.
# custom:
#   kinds: [Service]
package sourceward.lib.rows

import data.sourceward.providers

# METADATA
# description: |
#   The rows that hold for the Service, each as {row, subject}: subject names what made it hold,
#   {annotation, value}, {class} or {provider}.
holding := (_by_annotation | _by_class) | _by_provider

# METADATA
# description: |
#   Those of holding that tell how traffic comes to the Service. What is written for a load balancer tells
#   nothing of a Service that has none.
in_effect contains match if {
	some match in holding
	_reaches(match.row)
}

_reaches(_) if input.object.spec.type == "LoadBalancer"

_reaches(row) if row.provider in providers.any_type

# METADATA
# description: A match as the beginning of a message, for example annotation a=b asks for the client's address.
sentence(match) := concat(" ", [_subject(match), match.row.message])

# METADATA
# description: One of several sentences that come to the same, and how many more there are.
one_of(sentences) := concat("", [min(sentences), _more(count(sentences) - 1)])

_more(0) := ""

_more(n) := sprintf(" (and %d more)", [n]) if n > 0

# METADATA
# description: The JSON Pointer of an annotation.
pointer(annotation) := concat("/", ["/metadata/annotations", replace(replace(annotation, "~", "~0"), "/", "~1")])

_by_annotation contains match if {
	some annotation, written in _annotations
	value := _text(written)
	some name in _names(annotation)
	some row in providers.annotations[name].rows
	_accepts(row.value, value)
	_applies(row)
	match := {"row": row, "subject": {"annotation": annotation, "value": value}}
}

_by_class contains match if {
	class := input.object.spec.loadBalancerClass
	some row in providers.classes[class].rows
	_applies(row)
	match := {"row": row, "subject": {"class": class}}
}

_by_provider contains match if {
	provider := input.facts.provider
	some row in providers.names[provider].rows
	_applies(row)
	match := {"row": row, "subject": {"provider": provider}}
}

default _annotations := {}

_annotations := annotations if {
	annotations := input.object.metadata.annotations
	is_object(annotations)
}

# The names under which an annotation is in the table: its own, the one that has replaced it, unless
# that is there too and so comes first, and those of what it begins with.
_names(annotation) := ({annotation} | {name |
	name := providers.aliases[annotation]
	not name in object.keys(_annotations)
}) | {name |
	some prefix, name in providers.prefixes
	startswith(annotation, prefix)
}

# The API server takes null for the empty text, and takes nothing else that is no text.
_text(written) := written if is_string(written)

_text(null) := ""

# What else must, and must not, be on the Service.
_applies(row) if {
	not _left_to_others(row)
	every condition in object.get(row, "with", []) {
		_holds(condition)
	}
	every condition in object.get(row, "unless", []) {
		not _holds(condition)
	}
}

_left_to_others(row) if {
	_class != ""
	row.provider in providers.without_class
}

_holds(condition) if {
	is_string(condition)
	some alternative in providers.conditions[condition]
	every part in alternative {
		_is(part)
	}
}

_holds(condition) if _is(condition)

_is(condition) if _accepts(condition.value, _text(_annotations[condition.annotation]))

_is(condition) if {
	condition.absent
	not condition.annotation in object.keys(_annotations)
}

_is(condition) if condition.class == _class

_is(condition) if condition.type == input.object.spec.type

default _class := ""

_class := class if {
	class := input.object.spec.loadBalancerClass
	is_string(class)
}

_accepts(matcher, value) if value in matcher.one_of

_accepts(matcher, value) if lower(value) in matcher.one_of_any_case

_accepts(matcher, value) if {
	matcher.none_of
	not value in matcher.none_of
}

_accepts(matcher, _) if matcher.anything

_accepts(matcher, value) if {
	some item in split(value, ",")
	trim_space(item) == matcher.item
}

_accepts(matcher, value) if {
	some attribute in split(value, ",")
	[name, setting] := split(attribute, "=")
	trim_space(name) == matcher.attribute.name
	trim_space(setting) in matcher.attribute.one_of
}

_accepts(matcher, value) if {
	member := _member(matcher.json.key, value)
	some wanted in object.get(matcher.json, "one_of", [member])
	member == wanted
}

_member(key, value) := json.unmarshal(value)[key] if json.is_valid(value)

_subject(match) := sprintf("annotation %s=%s", [match.subject.annotation, _shown(match)])

_subject(match) := sprintf("load balancer class %s", [match.subject.class])

_subject(match) := sprintf("load balancer %s", [match.subject.provider])

# Of a list of attributes, the one that matters.
_shown(match) := concat("=", [attribute.name, attribute.one_of[0]]) if attribute := match.row.value.attribute

_shown(match) := value if {
	not match.row.value.attribute
	value := match.subject.value
	count(value) <= 40
}

_shown(match) := concat("", [substring(value, 0, 40), "..."]) if {
	not match.row.value.attribute
	value := match.subject.value
	count(value) > 40
}
