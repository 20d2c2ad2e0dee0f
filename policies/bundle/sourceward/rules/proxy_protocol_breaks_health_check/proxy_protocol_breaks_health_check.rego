# METADATA
# title: PROXY protocol breaks the health check of a Local Service
# description: |
#   A Service is Local, and its load balancer checks nodes at the health check node port, but sends the header of the
#   PROXY protocol there as well.
# related_resources:
#   - ref: https://kubernetes-sigs.github.io/aws-load-balancer-controller/latest/guide/service/nlb/
#   - ref: https://github.com/kubernetes/ingress-nginx/issues/6263
# custom:
#   severity: error
#   mode: Deny
#   kinds: [Service]
#   why: |
#     With Local, the load balancer asks kube-proxy on each node over HTTP whether the node has pods. kube-proxy does
#     not understand the PROXY header, so every node fails the check, and no node gets traffic.
#   remedy: |
#     Use IP targets, which send traffic directly to pods, or set externalTrafficPolicy: Cluster. The PROXY protocol
#     passes the client's address in both cases.
#   exempt: When an annotation makes the load balancer check another port.
#   since: All versions.
package sourceward.rules.proxy_protocol_breaks_health_check

import data.sourceward.lib.rows

# METADATA
# description: One finding if an annotation adds the PROXY header to the health check.
deny contains {
	"path": "/spec/externalTrafficPolicy",
	"message": rows.one_of(_breaking),
	"fix": "use IP targets, or set externalTrafficPolicy: Cluster",
} if {
	input.facts.local
}

_breaking contains rows.sentence(match) if {
	some match in rows.saying("breaks_health_check")
}
