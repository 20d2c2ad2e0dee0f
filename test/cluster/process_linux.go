package cluster

import (
	"os/exec"
	"syscall"
)

// endWithParent makes the kernel kill the process when its parent ends for any reason: a test binary that panics or
// times out does not run its cleanup.
func endWithParent(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
