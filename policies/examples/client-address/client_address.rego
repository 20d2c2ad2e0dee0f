# METADATA
# title: Annotation example.com/client-address
# description: Our charts set this annotation on Services that need the client's address.
# custom:
#   kinds: [Service]
package sourceward.custom.client_address

# METADATA
# description: Fires if the value is needed. The reason is hard, so the webhook sets Local, or rejects the Service.
require_local contains reason if {
	value := input.object.metadata.annotations[_annotation]
	value == "needed"
	reason := {
		"strength": "hard",
		"annotation": _annotation,
		"value": value,
		"message": sprintf("annotation %s=%s asks for the client's address", [_annotation, value]),
	}
}

_annotation := "example.com/client-address"
