# METADATA
# title: Corporate rule
# description: What the corporation wants.
package sourceward.custom.corp

# METADATA
# description: Fires when it must.
denies contains {"message": "no"} if input.object.kind == "Service"
