# METADATA
# title: Corporate rule
# description: What the corporation wants.
# custom:
#   kinds: [Service]
package sourceward.custom.corp

# METADATA
# description: Fires when it must.
deny contains {"message": message, "path": "/spec/type"} if {
	input.object.spec.type == "NodePort"
	print("type", input.object.spec.type)
	message := _message
}

default _message := "no NodePort"

_message := input.parameters.message
