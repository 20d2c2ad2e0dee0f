# METADATA
# title: Spreading by team
# description: The label team of the Namespace decides how strictly the pods behind a Local Service are spread.
# custom:
#   kinds: [Deployment]
package sourceward.custom.team_spread

# METADATA
# description: One spread for each Deployment in a Namespace of a listed team.
spread contains object.union(_spreads[team], {"message": sprintf("team %s has chosen this spread", [team])}) if {
	team := input.namespace.labels.team
}

_spreads := {
	# Rather leave a pod pending than run two on one node.
	"payments": {"whenUnsatisfiable": "DoNotSchedule"},
	"search": {"whenUnsatisfiable": "ScheduleAnyway", "maxSkew": 2},
}
