package sourceward.custom.corp

deny contains {"message": "no"} if input.object.kind == "Service"
