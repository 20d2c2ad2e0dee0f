# METADATA
# title: No NodePort where the environment forbids it
# description: Clients must connect through load balancers. A NodePort is open on every node and bypasses them.
# custom:
#   severity: warning
#   kinds: [Service]
package sourceward.custom.NAME_

# METADATA
# description: Fires for a NodePort Service in a Namespace whose label environment is one of parameters.environments.
deny contains finding if {
	input.object.spec.type == "NodePort"
	environment := input.namespace.labels.environment
	environment in input.parameters.environments

	finding := {
		"message": sprintf("NodePort is forbidden in environment %s", [environment]),
		"path": "/spec/type",
		"fix": "set type LoadBalancer",
	}
}
