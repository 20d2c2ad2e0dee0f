# METADATA
# title: Corporate rule
# description: What the corporation wants.
# custom:
#   kinds: [ConfigMap]
package sourceward.custom.corp

# METADATA
# description: Fires when it must.
deny contains {"message": "no"} if input.object.kind == "Service"
