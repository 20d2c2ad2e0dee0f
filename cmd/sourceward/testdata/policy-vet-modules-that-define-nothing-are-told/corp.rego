# METADATA
# title: Corporate rule
# description: What the corporation wants.
package sourceward.custom.corp

_kind := input.object.kind

_service if _kind == "Service"
