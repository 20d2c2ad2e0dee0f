package sourceward.custom.helpers
