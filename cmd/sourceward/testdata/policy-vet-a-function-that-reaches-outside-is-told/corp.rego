# METADATA
# title: Corporate rule
# description: What the corporation wants.
package sourceward.custom.corp

# METADATA
# description: Fires when it must.
deny contains {"message": message} if {
	message := http.send({"method": "GET", "url": "https://example.com"}).body
}
