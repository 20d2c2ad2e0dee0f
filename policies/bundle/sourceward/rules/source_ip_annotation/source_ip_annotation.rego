# METADATA
# title: Source IP annotations
# description: |
#   Reads from a Service's annotations, from its load balancer class, and from what a policy says of its
#   load balancer, what becomes of the client's address.
# related_resources:
#   - ref: https://kubernetes.io/docs/tutorials/services/source-ip/
#     description: How the traffic policy decides what the pod sees.
# custom:
#   severity: warning
#   kinds: [Service]
package sourceward.rules.source_ip_annotation

import data.sourceward.lib.rows
import data.sourceward.lib.sharing

# METADATA
# description: One reason for each annotation that works only with Local.
require_local contains reason if {
	some match in rows.saying("require_local")
	reason := object.union(_annotation(match), {
		"strength": match.row.says.require_local,
		"message": rows.sentence(match),
	})
}

# METADATA
# description: One reason for each thing that keeps the source IP without Local, or makes Local or spreading pointless.
keeps_source_ip contains reason if {
	some match in rows.judging(object.keys(_verdicts))
	reason := object.union(_annotation(match), {
		"verdict": _verdicts[match.row.says.verdict],
		"message": rows.sentence(match),
	})
}

# METADATA
# description: One reason for each Service that could no longer share the address of this one, were it Local.
keeps_source_ip contains reason if {
	some match in rows.saying("shares_address")
	rows.in_effect(match)
	some other in sharing.sharers(match.row.says.shares_address)
	not _could_share(other.spec)
	reason := object.union(_annotation(match), {
		"verdict": "forbidden",
		"message": sprintf("%s with Service %s/%s, which it could not with Local", [
			rows.sentence(match),
			other.metadata.namespace,
			other.metadata.name,
		]),
	})
}

_could_share(other) if {
	other.externalTrafficPolicy == "Local"
	object.get(other, "selector", {}) == object.get(input.object.spec, "selector", {})
}

# The verdicts of rows that keep Local from being forced, or pods from being spread. Who declines the
# client's address is shown the load balancer's.
_verdicts := {
	"preserved": "preserved",
	"proxy": "proxy",
	"useless": "useless",
	"lost": "proxy",
	"opt-out": "proxy",
	"forbidden": "forbidden",
	"weighted": "weighted",
	"single-announcer": "single-announcer",
}

_annotation(match) := {
	"annotation": match.subject.annotation,
	"value": match.subject.value,
} if match.subject.annotation

_annotation(match) := {} if not match.subject.annotation
