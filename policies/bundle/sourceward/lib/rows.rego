# METADATA
# title: Rows of the provider table
# description: Finds the rows of data.sourceward.providers that say something of a Service.
package sourceward.lib.rows

# METADATA
# description: |
#   The rows that hold for a Service, each as {row, subject}: subject names what on the Service made
#   it hold, {annotation, value} or {provider}.
matching(service, provider) := _by_annotation(service) | _by_provider(service, provider)

_by_annotation(service) := {match |
	some annotation, written in object.get(service, ["metadata", "annotations"], {})
	value := _text(written)
	some name in _names(annotation)
	some row in data.sourceward.providers.annotations[name].rows
	_accepts(row.value, value)
	_applies(row, service)
	match := {"row": row, "subject": {"annotation": annotation, "value": value}}
}

_by_provider(service, provider) := {match |
	some row in data.sourceward.providers.names[provider].rows
	_applies(row, service)
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
_applies(row, service) if {
	every condition in object.get(row, "with", []) {
		_holds(condition, service)
	}
	every condition in object.get(row, "unless", []) {
		not _holds(condition, service)
	}
}

_holds(condition, service) if {
	_accepts(condition.value, _text(service.metadata.annotations[condition.annotation]))
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
