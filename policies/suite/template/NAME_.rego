# METADATA
# title: No NodePort where the environment forbids it
# description: Clients come in through load balancers there, and a port that is open on every node leads around them.
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
		"message": sprintf("type NodePort is not for environment %s", [environment]),
		"path": "/spec/type",
		"fix": "set type LoadBalancer",
	}
}
