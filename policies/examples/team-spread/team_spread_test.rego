package sourceward.custom.team_spread_test

import data.sourceward.custom.team_spread

test_a_team_has_its_wish if {
	some wish in team_spread.spread with input as _deployment("payments")
	wish.whenUnsatisfiable == "DoNotSchedule"
}

test_another_team_has_none if count(team_spread.spread) == 0 with input as _deployment("mail")

_deployment(team) := {
	"object": {"kind": "Deployment"},
	"namespace": {"labels": {"team": team}},
}
