# METADATA
# title: Class example.com/weighing
# description: The load balancers of this class weigh nodes by their pods, so pods that share a node share no less.
# custom:
#   kinds: [Service]
package sourceward.custom.weighing_class

# METADATA
# description: Holds for the Services of the class. Their pods need not be spread.
keeps_source_ip contains reason if {
	input.object.spec.loadBalancerClass == "example.com/weighing"
	reason := {
		"verdict": "weighted",
		"message": "load balancer class example.com/weighing weighs nodes by their pods",
	}
}
