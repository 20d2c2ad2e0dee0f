//go:build !linux

package cluster

import "os/exec"

// endWithParent does nothing: only Linux supports it. On other systems, a test binary that panics leaves its processes
// running.
func endWithParent(*exec.Cmd) {}
