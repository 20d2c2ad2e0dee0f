package sourceward.custom.team_spread_test

import data.sourceward.custom.team_spread

test_a_listed_team_has_a_spread if {
	some spread in team_spread.spread with input as _deployment("payments")
	spread.whenUnsatisfiable == "DoNotSchedule"
}

test_another_team_has_none if count(team_spread.spread) == 0 with input as _deployment("mail")

_deployment(team) := {
	"object": {"kind": "Deployment"},
	"namespace": {"labels": {"team": team}},
}
