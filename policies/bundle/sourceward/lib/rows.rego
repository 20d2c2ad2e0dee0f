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
	annotations := object.get(service, ["metadata", "annotations"], {})
	some annotation, value in annotations
	some entry in _entries(annotation)
	some row in entry.rows
	_accepts(row.value, value)
	_applies(row, service)
	match := {"row": row, "subject": {"annotation": annotation, "value": value}}
}

_by_provider(service, provider) := {match |
	some row in data.sourceward.providers.names[provider].rows
	_applies(row, service)
	match := {"row": row, "subject": {"provider": provider}}
}

# The entries of the table for an annotation, which may be one that is written for a single port.
_entries(annotation) := {entry | entry := data.sourceward.providers.annotations[annotation]} |
	{entry |
		some name in data.sourceward.providers.per_port
		startswith(annotation, concat("", [name, "."]))
		entry := data.sourceward.providers.annotations[name]
	}

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
	_accepts(condition.value, service.metadata.annotations[condition.annotation])
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
