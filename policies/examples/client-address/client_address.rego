# METADATA
# title: Annotation example.com/client-address
# description: The annotation of our charts for what must see the client's address.
# custom:
#   kinds: [Service]
package sourceward.custom.client_address

# METADATA
# description: Fires where the annotation is needed. The reason is hard, so the webhook sets Local, or refuses.
require_local contains reason if {
	value := input.object.metadata.annotations[_annotation]
	value == "needed"
	reason := {
		"strength": "hard",
		"annotation": _annotation,
		"value": value,
		"message": sprintf("annotation %s=%s needs the client's address", [_annotation, value]),
	}
}

_annotation := "example.com/client-address"
