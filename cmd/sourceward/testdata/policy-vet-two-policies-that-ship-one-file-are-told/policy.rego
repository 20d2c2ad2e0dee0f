# METADATA
# title: T
# description: D.
package sourceward.custom.one

# METADATA
# description: D.
deny contains {"message": "one"} if input.object.spec.type == "NodePort"
