# METADATA
# title: Source IP annotations
# description: |
#   Determines whether the client's address reaches the pods, from a Service's annotations, from its load balancer class,
#   and from spec.loadBalancers of a policy.
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
# description: |
#   One reason for each annotation, class or load balancer that keeps the source IP without Local, or makes Local or
#   spreading pointless.
keeps_source_ip contains reason if {
	some match in rows.judging(object.keys(_verdicts))
	reason := object.union(_annotation(match), {
		"verdict": _verdicts[match.row.says.verdict],
		"message": rows.sentence(match),
	})
}

# METADATA
# description: One reason for each Service that could no longer share its address with this one if this one were Local.
keeps_source_ip contains reason if {
	some match in rows.saying("shares_address")
	some other in sharing.sharers(match.row.says.shares_address)
	not _could_share(other.spec)
	reason := object.union(_annotation(match), {
		"verdict": "forbidden",
		"message": sprintf("%s with Service %s/%s, which is impossible with Local", [
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

# The verdict of keeps_source_ip for each verdict of a row that prevents forcing Local or spreading pods. The pods of a
# Service that opts out of the client's address see the load balancer's.
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
