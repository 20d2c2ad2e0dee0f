# METADATA
# title: Corporate rule
package sourceward.custom.corp

# METADATA
# description: Fires when it must.
deny contains {"message": "no"} if {
	input.objcet.kind == "Service"
}

warn contains {"message": "no"} if time.now_ns() > 0

_unused := 1
