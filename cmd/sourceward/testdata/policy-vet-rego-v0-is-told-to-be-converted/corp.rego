package sourceward.custom.corp

deny[reason] {
	input.object.kind == "Service"
	reason := {"message": "no"}
}
