# METADATA
# title: Local has no effect on this load balancer
# description: |
#   A Service is Local behind a load balancer that sends traffic directly to pods, or whose traffic has the
#   same source address with either policy.
# related_resources:
#   - ref: https://kubernetes-sigs.github.io/aws-load-balancer-controller/latest/guide/service/nlb/
#   - ref: https://docs.cilium.io/en/stable/network/kubernetes/kubeproxy-free/
# custom:
#   severity: warning
#   mode: Warn
#   kinds: [Service]
#   why: |
#     The traffic policy tells kube-proxy how to route traffic that arrives at a node port. It makes no difference to
#     traffic that goes directly to pods, or whose source address does not depend on it. But traffic that still
#     arrives at the node port of a node without pods is dropped.
#   remedy: "Set externalTrafficPolicy: Cluster, or omit it."
#   exempt: When clients also use the node ports, and these are meant to be Local.
#   since: All versions.
package sourceward.rules.local_has_no_effect

import data.sourceward.lib.rows

# METADATA
# description: One finding if something makes Local pointless, and nothing else works only with Local.
warn contains {
	"path": "/spec/externalTrafficPolicy",
	"message": sprintf("Local has no effect: %s", [rows.one_of(_pointless)]),
	"fix": "set externalTrafficPolicy: Cluster",
} if {
	input.facts.local
	count(_needs) == 0
}

_pointless contains rows.sentence(match) if {
	some match in rows.judging({"useless", "lost", "preserved"})
}

_needs contains match.row.id if {
	some match in rows.saying("require_local")
	match.row.says.require_local == "hard"
}
