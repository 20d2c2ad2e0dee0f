// Command sourceward is a fake: small, so that tests build an image of it in a second.
package main

import "github.com/inconshreveable/mousetrap"

// version is set by the linker.
var version = "devel"

func main() {
	if !mousetrap.StartedByExplorer() {
		println("fake sourceward", version)
	}
}
