// Command webhook is a fake, like the one beside it. The version of its module ends with +incompatible.
package main

import docker "github.com/docker/cli/cli/version"

// version is set by the linker.
var version = "devel"

func main() { println("fake sourceward-webhook", version, docker.Version) }
