# METADATA
# title: PROXY protocol breaks the health check of a Local Service
# description: |
#   A Service is Local, its load balancer checks nodes at the health check node port, and sends the PROXY
#   protocol's header there too.
# related_resources:
#   - ref: https://kubernetes-sigs.github.io/aws-load-balancer-controller/latest/guide/service/nlb/
#   - ref: https://github.com/kubernetes/ingress-nginx/issues/6263
# custom:
#   severity: error
#   mode: Deny
#   kinds: [Service]
#   why: |
#     With Local, the load balancer asks kube-proxy on each node whether it has pods. kube-proxy's answer is
#     HTTP and knows no PROXY header, so every node fails the check and none gets traffic.
#   remedy: |
#     Send traffic to pods, by ip targets, or set externalTrafficPolicy: Cluster; either way the PROXY protocol
#     still tells the client's address.
#   exempt: When the load balancer checks another port, by annotation.
#   since: All versions.
package sourceward.rules.proxy_protocol_breaks_health_check

import data.sourceward.lib.rows

# METADATA
# description: An annotation puts the PROXY header into the health check.
deny contains {
	"path": "/spec/externalTrafficPolicy",
	"message": rows.one_of(_breaking),
	"fix": "use ip targets, or set externalTrafficPolicy: Cluster",
} if {
	input.facts.local
}

_breaking contains rows.sentence(match) if {
	some match in rows.saying("breaks_health_check")
	rows.in_effect(match)
}
