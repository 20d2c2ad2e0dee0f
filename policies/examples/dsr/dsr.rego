# METADATA
# title: Direct server return
# description: |
#   The load balancers of this cluster pass packets on as they come, and nodes answer the client themselves. Pods see
#   the client's address under Cluster too.
# custom:
#   kinds: [Service]
package sourceward.custom.dsr

# METADATA
# description: Holds for every Service of type LoadBalancer.
keeps_source_ip contains reason if {
	input.object.spec.type == "LoadBalancer"
	reason := {
		"verdict": "preserved",
		"message": "the load balancers of this cluster answer by direct server return",
	}
}
