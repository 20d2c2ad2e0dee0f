# METADATA
# title: No NodePort in production
# description: A node port bypasses the load balancer, and is open on every node.
# custom:
#   kinds: [Service]
package sourceward.custom.no_node_port

# METADATA
# description: Fires for a Service of type NodePort.
deny contains finding if {
	input.object.spec.type == "NodePort"

	finding := {
		"message": "type NodePort is not allowed in production",
		"path": "/spec/type",
		"fix": "set type LoadBalancer",
	}
}
