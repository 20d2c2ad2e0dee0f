# METADATA
# title: Weighted load balancing without Local
# description: |
#   An annotation asks the load balancer to weight nodes by their number of pods. But the Service is not Local, or
#   another annotation that it requires is missing, or the controller does not know the value. If the Service is not
#   Local, source-ip-needs-local reports that instead, unless that rule is off or finds nothing.
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
#     With Cluster, every node forwards traffic to all pods, so weights would make no difference. The annotation has no
#     effect, and the controller does not report that.
#   remedy: |
#     Set externalTrafficPolicy: Local, or the annotation or value that the finding names. Or remove the annotation.
#   exempt: Never needed; remove the annotation.
#   since: All versions.
package sourceward.rules.weighted_needs_local

import data.sourceward.lib.rows

# METADATA
# description: One finding for each annotation without effect because the Service is not Local.
warn contains object.union(finding, _repair) if {
	not input.facts.local
	not rows.ignored
	some match in rows.judging({"weighted"})
	match.subject.annotation
	finding := {
		"path": "/spec/externalTrafficPolicy",
		"message": sprintf("%s has no effect without Local", [rows.subject(match)]),
		"fix": sprintf("set externalTrafficPolicy: Local, or remove annotation %s", [match.subject.annotation]),
	}
}

# METADATA
# description: One finding for each annotation without effect because another one is missing, or has another value.
warn contains finding if {
	some match in rows.saying("needs")
	needed := match.row.says.needs
	finding := {
		"path": rows.pointer(needed.annotation),
		"message": rows.sentence(match),
		"fix": sprintf("add annotation %s: %q", [needed.annotation, needed.value]),
		"want": needed.value,
	}
}

# METADATA
# description: One finding for each value that the controller does not know, if another value is meant.
warn contains finding if {
	some match in rows.saying("unknown_value")
	wanted := match.row.says.unknown_value.instead
	finding := {
		"path": rows.pointer(match.subject.annotation),
		"message": rows.sentence(match),
		"fix": sprintf("set it to %s, or remove the annotation", [wanted]),
		"want": wanted,
	}
}

# METADATA
# description: One finding for each value that the controller does not know, if no weights are meant.
warn contains finding if {
	some match in rows.saying("unknown_value")
	match.row.says.unknown_value == {}
	finding := {
		"path": rows.pointer(match.subject.annotation),
		"message": rows.sentence(match),
		"fix": "remove the annotation",
		"unwanted": true,
	}
}

# Never change a traffic policy that the owner of the Service has written.
_repair := {"want": "Local"} if input.facts.explicit != "written"

_repair := {} if input.facts.explicit == "written"
