# METADATA
# title: Class example.com/weighing
# description: Load balancers of this class weight nodes by pod count, so pods on one node get as much traffic as others.
# custom:
#   kinds: [Service]
package sourceward.custom.weighing_class

# METADATA
# description: Applies to Services of the class. Their pods do not need to be spread.
keeps_source_ip contains reason if {
	input.object.spec.loadBalancerClass == "example.com/weighing"
	reason := {
		"verdict": "weighted",
		"message": "load balancer class example.com/weighing weights nodes by their number of pods",
	}
}
