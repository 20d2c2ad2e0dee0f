# METADATA
# title: One node receives all traffic
# description: |
#   A Service is Local behind a load balancer that announces its address from one node at a time, according to its
#   class or to spec.loadBalancers of a policy.
# related_resources:
#   - ref: https://metallb.universe.tf/usage/#local-traffic-policy
#   - ref: https://kube-vip.io/docs/usage/kubernetes-services/
# custom:
#   severity: info
#   mode: Audit
#   kinds: [Service]
#   why: |
#     All clients reach the announcing node, and with Local only the pods on that node serve them. Pods on other
#     nodes take over if it fails, but share no load.
#   remedy: |
#     Set externalTrafficPolicy: Cluster to use all pods, or announce by BGP to use all nodes. Otherwise size the pods
#     of one node for all traffic.
#   exempt: When one node's pods are meant to serve all clients.
#   since: All versions.
package sourceward.rules.single_announcer

import data.sourceward.lib.rows

# METADATA
# description: One finding for the load balancer.
warn contains finding if {
	input.facts.local
	some match in rows.judging({"single-announcer"})
	finding := {
		"path": "/spec/externalTrafficPolicy",
		"message": rows.sentence(match),
		"fix": sprintf("announce by BGP%s, so that pods on other nodes share the load", [_or_cluster]),
	}
}

# Something that asks for Local does not work with Cluster.
_or_cluster := "" if {
	count(rows.saying("require_local")) > 0
} else := ", or set externalTrafficPolicy: Cluster"
