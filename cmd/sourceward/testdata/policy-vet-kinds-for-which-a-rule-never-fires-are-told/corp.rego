# METADATA
# title: Corporate rule
# description: What the corporation wants.
# custom:
#   kinds: [Service]
package sourceward.custom.corp

# METADATA
# description: Fires when it must.
spread contains {"message": "wide"} if input.object.kind == "Service"
