# METADATA
# title: The health check of a Local Service is replaced
# description: |
#   A Service is Local, and an annotation gives its load balancer no health check, or one that does not distinguish
#   nodes with pods from nodes without.
# related_resources:
#   - ref: https://kubernetes-sigs.github.io/aws-load-balancer-controller/latest/guide/service/annotations/#healthcheck-protocol
#   - ref: https://github.com/kubernetes/cloud-provider-openstack/blob/master/docs/openstack-cloud-controller-manager/expose-applications-using-loadbalancer-type-service.md
# custom:
#   severity: warning
#   mode: Warn
#   kinds: [Service]
#   repairs: true
#   why: |
#     With Local, kube-proxy reports on the health check node port whether a node has ready pods. A load balancer
#     that checks something else may keep sending traffic to nodes without pods, which drop it.
#   remedy: Remove the annotation, or enable the check that the finding names.
#   exempt: When the other check also knows which nodes have pods.
#   since: All versions.
package sourceward.rules.health_check_overridden

import data.sourceward.lib.rows

# METADATA
# description: One finding for each replaced check, even if several annotations replace it.
warn contains object.union(finding, _repair(check)) if {
	some [path, check], sentences in _checks
	finding := {
		"path": path,
		"message": min(sentences),
		"fix": check.fix,
	}
}

# The sentences about each check other than Local's, by the annotation that is wrong or missing.
_checks[[path, check]] contains rows.sentence(match) if {
	input.facts.local
	some match in rows.replacing_check
	check := match.row.says.health_check
	path := rows.pointer(object.get(check, "annotation", object.get(match.subject, "annotation", "")))
}

_repair(check) := {"want": check.value} if check.value

_repair(check) := {} if not check.value
