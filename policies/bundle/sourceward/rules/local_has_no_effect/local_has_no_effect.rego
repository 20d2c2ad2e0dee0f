# METADATA
# title: Local has no effect on this load balancer
# description: |
#   A Service is Local behind a load balancer that sends traffic to pods past kube-proxy, or that keeps the
#   client's address whatever the policy.
# related_resources:
#   - ref: https://kubernetes-sigs.github.io/aws-load-balancer-controller/latest/guide/service/nlb/
#   - ref: https://docs.cilium.io/en/stable/network/kubernetes/kubeproxy-free/
# custom:
#   severity: warning
#   mode: Warn
#   kinds: [Service]
#   why: |
#     The traffic policy tells kube-proxy what to do at a node port. Traffic that goes straight to pods, or
#     comes with the client's address anyway, gains nothing by it; but what still reaches a node port without
#     pods is dropped.
#   remedy: "Set externalTrafficPolicy: Cluster, or leave it out."
#   exempt: When clients use the node ports too, and those are meant to be Local.
#   since: All versions.
package sourceward.rules.local_has_no_effect

import data.sourceward.lib.rows

# METADATA
# description: Something makes Local pointless, and nothing else works only with Local.
warn contains {
	"path": "/spec/externalTrafficPolicy",
	"message": sprintf("Local has no effect, but drops traffic at nodes without pods: %s", [rows.one_of(_pointless)]),
	"fix": "set externalTrafficPolicy: Cluster",
} if {
	input.facts.local
	count(_needs) == 0
}

_pointless contains rows.sentence(match) if {
	some match in rows.judging({"useless", "lost", "preserved"})
	rows.in_effect(match)
}

_needs contains match.row.id if {
	some match in rows.saying("require_local")
	rows.in_effect(match)
	match.row.says.require_local == "hard"
}
