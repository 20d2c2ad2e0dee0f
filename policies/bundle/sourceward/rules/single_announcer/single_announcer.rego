# METADATA
# title: One node receives all traffic
# description: |
#   A Service is Local behind a load balancer that announces its address from one node at a time, as a policy
#   says in spec.loadBalancers.
# related_resources:
#   - ref: https://metallb.universe.tf/usage/#local-traffic-policy
#   - ref: https://kube-vip.io/docs/usage/kubernetes-services/
# custom:
#   severity: info
#   mode: Audit
#   kinds: [Service]
#   why: |
#     All clients reach the announcing node, and under Local only the pods on that node serve them. More pods on
#     other nodes take over when it fails, and share no load.
#   remedy: "Set externalTrafficPolicy: Cluster to use all pods, or announce by BGP to use all nodes; else size one node's pods for all traffic."
#   exempt: When one node's pods are meant to serve all clients.
#   since: All versions.
package sourceward.rules.single_announcer

import data.sourceward.lib.rows

# METADATA
# description: One finding for the load balancer that the policy names.
warn contains finding if {
	input.facts.local
	some match in rows.judging({"single-announcer"})
	rows.in_effect(match)
	finding := {
		"path": "/spec/externalTrafficPolicy",
		"message": rows.sentence(match),
		"fix": "announce by BGP, or set externalTrafficPolicy: Cluster, for pods on other nodes to share the load",
	}
}
