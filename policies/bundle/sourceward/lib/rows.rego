# METADATA
# title: Rows of the provider table
# description: Finds the rows of data.sourceward.providers that say something of a Service.
package sourceward.lib.rows

# METADATA
# description: |
#   The rows that hold for a Service with these annotations, behind a load balancer that a policy
#   names, each as {row, subject}: subject names what made it hold, {annotation, value} or {provider}.
matching(annotations, provider) := _by_annotation(annotations) | _by_provider(annotations, provider)

_by_annotation(annotations) := {match |
	some annotation, written in annotations
	value := _text(written)
	some name in _names(annotation)
	some row in data.sourceward.providers.annotations[name].rows
	_accepts(row.value, value)
	_applies(row, annotations)
	match := {"row": row, "subject": {"annotation": annotation, "value": value}}
}

_by_provider(annotations, provider) := {match |
	some row in data.sourceward.providers.names[provider].rows
	_applies(row, annotations)
	match := {"row": row, "subject": {"provider": provider}}
}

# The names of an annotation in the table: its own and, if it is written for a single port, that of all.
_names(annotation) := {annotation} | {name |
	some name in data.sourceward.providers.per_port
	startswith(annotation, concat("", [name, "."]))
}

# The API server takes null for the empty text, and takes nothing else that is no text.
_text(written) := written if is_string(written)

_text(null) := ""

# What else must, and must not, be on the Service.
_applies(row, annotations) if {
	every condition in object.get(row, "with", []) {
		_holds(condition, annotations)
	}
	every condition in object.get(row, "unless", []) {
		not _holds(condition, annotations)
	}
}

_holds(condition, annotations) if {
	_accepts(condition.value, _text(annotations[condition.annotation]))
}

# An annotation holds a list of attributes, or the one it may not be without, as text.
_accepts(condition, value) if value in condition.one_of

_accepts(condition, value) if lower(value) in condition.one_of_any_case

# The forms of true that Go's strconv.ParseBool accepts, which is how the controllers read them.
_accepts(condition, value) if {
	condition.boolean
	value in {"1", "t", "T", "true", "TRUE", "True"}
}

_accepts(condition, value) if {
	condition.not_boolean
	not value in {"1", "t", "T", "true", "TRUE", "True"}
}

_accepts(condition, _) if condition.anything

_accepts(condition, value) if {
	some attribute in split(value, ",")
	[name, setting] := split(attribute, "=")
	trim_space(name) == condition.attribute.name
	trim_space(setting) == condition.attribute.setting
}
