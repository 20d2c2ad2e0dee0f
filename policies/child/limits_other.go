//go:build !linux

package child

import (
	"os"
	"runtime/debug"
	"syscall"
)

const maxStack = 64 << 20

// setLimits limits what this process can use: its data to memory bytes. Memory is only limited softly where the system is not Linux, on which the
// webhook runs.
func setLimits(memory uint64) error {
	debug.SetMaxStack(maxStack)
	debug.SetMemoryLimit(int64(memory))
	return nil
}

func executable() (string, error) { return os.Executable() }

func attributes() *syscall.SysProcAttr { return nil }
