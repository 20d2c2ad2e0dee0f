# METADATA
# title: Source IP annotations
# description: |
#   Reads from a Service's annotations, and from what a policy says of its load balancer, what becomes of
#   the client's address.
# related_resources:
#   - ref: https://kubernetes.io/docs/tutorials/services/source-ip/
#     description: How the traffic policy decides what the pod sees.
# custom:
#   severity: warning
#   kinds: [Service]
package sourceward.rules.source_ip_annotation

import data.sourceward.lib.rows

# METADATA
# description: One reason for each annotation that works only with Local.
require_local contains reason if {
	some match in _matches
	strength := match.row.require_local
	reason := object.union(_annotation(match), {
		"strength": strength,
		"message": _message(match),
	})
}

# METADATA
# description: One reason for each thing that keeps the source IP without Local, or makes Local or spreading pointless.
keeps_source_ip contains reason if {
	some match in _matches
	verdict := match.row.keeps_source_ip
	reason := object.union(_annotation(match), {
		"verdict": verdict,
		"message": _message(match),
	})
}

_matches := rows.matching(_annotations, input.facts.provider)

default _annotations := {}

_annotations := annotations if {
	annotations := input.object.metadata.annotations
	is_object(annotations)
}

_annotation(match) := {
	"annotation": match.subject.annotation,
	"value": match.subject.value,
} if match.subject.annotation

_annotation(match) := {} if match.subject.provider

_message(match) := sprintf("annotation %s=%s %s", [
	match.subject.annotation,
	_shown(match),
	match.row.message,
])

_message(match) := sprintf("load balancer %s %s", [match.subject.provider, match.row.message])

# Of a list of attributes, the one that matters.
_shown(match) := concat("=", [attribute.name, attribute.setting]) if {
	attribute := match.row.value.attribute
}

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
