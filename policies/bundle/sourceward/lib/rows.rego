# METADATA
# title: Rows of the provider table
# description: Finds the rows of data.sourceward.providers that match the Service under review.
# custom:
#   kinds: [Service]
package sourceward.lib.rows

# METADATA
# description: |
#   The matches for the Service, each as {row, subject}. The subject is what the row matches: {annotation, value},
#   {label}, {class} or {provider}.
holding := {match |
	some match in _matching
	not _ruled_out(match.row)
}

# METADATA
# description: The matches whose row has a key in says, such as require_local.
saying(key) := {match |
	some match in _sayings[key]
	not _ruled_out(match.row)
}

# METADATA
# description: The matches whose row has one of these verdicts.
judging(verdicts) := {match |
	some match in _sayings.verdict
	match.row.says.verdict in verdicts
	not _ruled_out(match.row)
}

# A complete rule, so that OPA builds and sorts the sets only once.
_sayings := _saying

_saying[key] contains match if {
	some match in _matching
	some key, _ in match.row.says
}

# METADATA
# description: |
#   The matches whose row replaces Local's health check, unless they name the Service's own health check node port.
replacing_check := {match |
	some match in saying("health_check")
	not _is_ours(match)
}

_is_ours(match) if match.subject.value == format_int(input.object.spec.healthCheckNodePort, 10)

# METADATA
# description: True if the Service opts out of keeping the client's address.
ignored if input.object.metadata.annotations["sourceward.dev/source-ip"] == "ignore"

# METADATA
# description: A match as a clause of a message, such as annotation a=b asks for the client's address.
sentence(match) := concat(" ", [subject(match), match.row.message])

# METADATA
# description: The first of several sentences with the same consequence, and how many more there are.
one_of(sentences) := concat("", [min(sentences), _more(count(sentences) - 1)])

_more(0) := ""

_more(n) := sprintf(" (and %d more)", [n]) if n > 0

# METADATA
# description: The JSON Pointer of an annotation.
pointer(annotation) := concat("/", ["/metadata/annotations", replace(replace(annotation, "~", "~0"), "/", "~1")])

# The provider table as one value. Looking up a key in it costs less than in the store.
_table := data.sourceward.providers

# The rows whose annotation has a matching value, or whose label, class or name is that of the Service, before with and
# unless.
_matching := ((_by_annotation | _by_label) | _by_class) | _by_provider

_by_annotation contains match if {
	some annotation, value in _annotations
	some row in _table.annotations[annotation].rows
	_accepted(row, value)
	match := {"row": row, "subject": {"annotation": annotation, "value": value}}
}

_by_annotation contains match if {
	some [annotation, name] in _other_names
	value := _annotations[annotation]
	some row in _table.annotations[name].rows
	_accepted(row, value)
	match := {"row": row, "subject": {"annotation": annotation, "value": value}}
}

_accepted(row, value) if {
	is_string(value)
	some matcher, wanted in row.value
	_accepts(matcher, wanted, value)
}

# The annotations that have the rows of another name of the table, as [annotation, name]. An annotation that another one
# has replaced has the rows of the newer one. If the Service has both, only the newer one counts.
_other_names contains [annotation, name] if {
	some annotation in (object.keys(_annotations) & object.keys(_table.aliases))
	name := _table.aliases[annotation]
	not _annotations[name]
}

# An annotation that begins with a prefix of the table has the rows of that prefix.
_other_names contains [annotation, name] if {
	# Most Services have no such annotation, and then this call is all that it costs.
	strings.any_prefix_match(object.keys(_annotations), object.keys(_table.prefixes))
	some annotation, _ in _annotations
	some prefix, name in _table.prefixes
	startswith(annotation, prefix)
}

_by_label contains match if {
	labels := input.object.metadata.labels
	some label, entry in _table.labels
	labels[label]
	some row in entry.rows
	match := {"row": row, "subject": {"label": label}}
}

_by_class contains match if {
	class := input.object.spec.loadBalancerClass
	some row in _table.classes[class].rows
	match := {"row": row, "subject": {"class": class}}
}

_by_provider contains match if {
	provider := input.facts.provider
	some row in _table.names[provider].rows
	match := {"row": row, "subject": {"provider": provider}}
}

default _annotations := {}

_annotations := annotations if {
	annotations := input.object.metadata.annotations
	is_object(annotations)
}

# Rows that do not apply because of the type of the Service, its class or another annotation.
_ruled_out(row) if not _type in object.get(row, "types", ["LoadBalancer"])

_ruled_out(row) if {
	some condition in row["with"]
	not _holds(condition)
}

_ruled_out(row) if {
	some condition in row.unless
	_holds(condition)
}

_ruled_out(row) if row.provider in _left_to_others

# The providers whose controllers ignore a Service with a class.
_left_to_others := {provider | some provider in _table.without_class} if _class != ""

_holds(condition) if {
	some alternative in _table.conditions[condition]
	not _unlike(alternative)
}

_holds(condition) if {
	is_object(condition)
	not _unlike(condition)
}

_unlike(alternative) if alternative.class != _class

_unlike(alternative) if alternative.type != _type

_unlike(alternative) if {
	some annotation, wanted in alternative.annotations
	not _is(annotation, wanted)
}

_is(annotation, wanted) if {
	value := _annotations[annotation]
	is_string(value)
	some matcher, argument in wanted
	_accepts(matcher, argument, value)
}

_is(annotation, wanted) if {
	wanted.absent
	not _annotations[annotation]
}

default _type := "ClusterIP"

_type := input.object.spec.type if input.object.spec.type != ""

default _class := ""

_class := class if {
	class := input.object.spec.loadBalancerClass
	is_string(class)
}

_accepts("one_of", wanted, value) if value in wanted

_accepts("one_of_any_case", wanted, value) if lower(value) in wanted

_accepts("none_of", unwanted, value) if not value in unwanted

_accepts("anything", true, _)

_accepts("item", wanted, value) if {
	some item in split(value, ",")
	trim_space(item) == wanted
}

_accepts("attribute", wanted, value) if _attributes(value)[wanted.name] in wanted.one_of

# The attributes of a list name=setting,... by name. If a name occurs twice, the last one counts.
_attributes(value) := object.union_n([{trim_space(name): trim_space(setting)} |
	some attribute in split(value, ",")
	[name, setting] := split(attribute, "=")
])

_accepts("json", wanted, value) if {
	member := _member(wanted.key, value)
	some accepted in object.get(wanted, "one_of", [member])
	member == accepted
}

_member(key, value) := json.unmarshal(value)[key] if json.is_valid(value)

# METADATA
# description: The subject of a match as a message names it, such as annotation a=b or load balancer class c.
subject(match) := sprintf("annotation %s=%s", [match.subject.annotation, _shown(match)]) if {
	match.subject.annotation
} else := sprintf("label %s", [match.subject.label]) if {
	match.subject.label
} else := sprintf("load balancer class %s", [match.subject.class]) if {
	match.subject.class
} else := sprintf("load balancer %s", [match.subject.provider])

# The value of an annotation as a message shows it: of a list of attributes, the one that matches. A long value is
# shortened in the middle.
_shown(match) := concat("=", [name, _attributes(match.subject.value)[name]]) if {
	name := match.row.value.attribute.name
} else := match.subject.value if {
	count(match.subject.value) <= 24
} else := concat("...", [
	substring(match.subject.value, 0, 11),
	substring(match.subject.value, count(match.subject.value) - 10, -1),
])
