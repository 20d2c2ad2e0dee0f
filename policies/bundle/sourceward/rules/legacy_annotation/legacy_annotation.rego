# METADATA
# title: An annotation that Kubernetes has ignored since 1.7
# description: A Service has an annotation that became a field in Kubernetes 1.7, and has been ignored since.
# related_resources:
#   - ref: https://github.com/kubernetes/kubernetes/blob/v1.6.13/pkg/api/service/annotations.go
#   - ref: https://github.com/kubernetes/kubernetes/issues/50977
# custom:
#   severity: warning
#   mode: Warn
#   kinds: [Service]
#   repairs: true
#   why: |
#     Until 1.6, a Service asked for the client's address with these annotations. The API server still stores them, but
#     no component reads them, so a Service that relies on them silently loses the source IP.
#   remedy: Remove the annotation, and set the field that the finding names.
#   exempt: Never needed; the annotation has no effect.
#   since: 1.7.
package sourceward.rules.legacy_annotation

import data.sourceward.lib.rows

# METADATA
# description: One finding for each such annotation.
warn contains finding if {
	some match in rows.saying("legacy")
	finding := {
		"path": rows.pointer(match.subject.annotation),
		"message": sprintf("%s stopped working in Kubernetes 1.7", [rows.subject(match)]),
		"fix": _fix(match.row.says.legacy),
		"unwanted": true,
	}
}

# The API server rejects the fields on a Service that is not reachable from outside the cluster.
_fix(legacy) := sprintf("remove it, and set %s", [legacy.instead]) if {
	input.facts.externally_accessible
} else := "remove it"
