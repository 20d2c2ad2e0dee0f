# METADATA
# title: Each team's way to spread
# description: The label team of the Namespace says how hard the pods behind a Local Service are to be spread.
# custom:
#   kinds: [Deployment]
package sourceward.custom.team_spread

# METADATA
# description: One wish for a Deployment in a Namespace of a team that has one.
spread contains object.union(_wishes[team], {"message": sprintf("team %s wants it so", [team])}) if {
	team := input.namespace.labels.team
}

_wishes := {
	# Rather a pod that waits than two on a node.
	"payments": {"whenUnsatisfiable": "DoNotSchedule"},
	"search": {"whenUnsatisfiable": "ScheduleAnyway", "maxSkew": 2},
}
