# METADATA
# title: Weighted load balancing without Local
# description: |
#   An annotation asks the load balancer to weigh nodes by their pods, and the Service is not Local, or another
#   annotation that it needs is missing, or its value is not one that the controller knows. That the Service is not
#   Local is for source-ip-needs-local to say, unless that rule has nothing to say or is off.
# related_resources:
#   - ref: https://cloud.google.com/kubernetes-engine/docs/concepts/service-load-balancer
#   - ref: https://cloud.tencent.com/document/product/457/51258
# custom:
#   severity: warning
#   mode: Warn
#   kinds: [Service]
#   repairs: true
#   yields_to: source-ip-needs-local
#   why: |
#     With Cluster every node passes traffic on to all pods, so there is nothing to weigh: the annotation has no
#     effect, and nobody says so.
#   remedy: "Set externalTrafficPolicy: Local and what else the finding names; or remove the annotation."
#   exempt: Never needed; remove the annotation.
#   since: All versions.
package sourceward.rules.weighted_needs_local

import data.sourceward.lib.rows

# METADATA
# description: The Service is not Local.
warn contains object.union(finding, _repair) if {
	not input.facts.local
	not rows.ignored
	some match in rows.judging({"weighted"})
	rows.in_effect(match)
	match.subject.annotation
	finding := {
		"path": "/spec/externalTrafficPolicy",
		"message": sprintf("%s, so it has no effect", [rows.sentence(match)]),
		"fix": sprintf("set externalTrafficPolicy: Local, or remove annotation %s", [match.subject.annotation]),
	}
}

# METADATA
# description: Another annotation is missing, or has another value.
warn contains finding if {
	some match in rows.saying("needs")
	rows.in_effect(match)
	needed := match.row.says.needs
	finding := {
		"path": rows.pointer(needed.annotation),
		"message": sprintf("%s, so it has no effect", [rows.sentence(match)]),
		"fix": sprintf("add annotation %s: %q", [needed.annotation, needed.value]),
		"want": needed.value,
	}
}

# METADATA
# description: The value is not one that the controller knows, but another is meant.
warn contains finding if {
	some match in rows.saying("unknown_value")
	rows.in_effect(match)
	wanted := match.row.says.unknown_value.instead
	finding := {
		"path": rows.pointer(match.subject.annotation),
		"message": sprintf("%s, so it has no effect", [rows.sentence(match)]),
		"fix": sprintf("write %s, or remove the annotation", [wanted]),
		"want": wanted,
	}
}

# METADATA
# description: The value is not one that the controller knows, and none is meant.
warn contains finding if {
	some match in rows.saying("unknown_value")
	rows.in_effect(match)
	match.row.says.unknown_value == {}
	finding := {
		"path": rows.pointer(match.subject.annotation),
		"message": sprintf("%s, so it has no effect", [rows.sentence(match)]),
		"fix": "remove the annotation",
		"unwanted": true,
	}
}

# A policy that somebody wrote is theirs to change.
_repair := {"want": "Local"} if input.facts.explicit != "written"

_repair := {} if input.facts.explicit == "written"
