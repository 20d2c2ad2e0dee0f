//go:build !linux

package child

import (
	"os"
	"runtime/debug"
	"syscall"
)

const (
	maxMemory = 256 << 20
	maxStack  = 64 << 20
)

// setLimits limits what this process can use. Memory is only limited softly where the system is not Linux, on which the
// webhook runs.
func setLimits() error {
	debug.SetMaxStack(maxStack)
	debug.SetMemoryLimit(maxMemory)
	return nil
}

func executable() (string, error) { return os.Executable() }

func attributes() *syscall.SysProcAttr { return nil }
