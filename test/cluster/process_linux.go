package cluster

import (
	"os/exec"
	"syscall"
)

// endWithParent has the kernel kill the process when the one that starts it ends, whatever the reason: a test binary
// that panics or times out runs no cleanup.
func endWithParent(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
