//go:build !linux

package cluster

import "os/exec"

// endWithParent does nothing: only Linux can. Where it cannot, a test binary that panics leaves its processes.
func endWithParent(*exec.Cmd) {}
