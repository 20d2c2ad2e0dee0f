# METADATA
# title: Corporate rule
# description: What the corporation wants.
package sourceward.custom.corp

# METADATA
# description: Fires when it must.
spread(workload) := {"message": workload.kind}
