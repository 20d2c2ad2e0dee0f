package child

import (
	"errors"
	"runtime/debug"
	"syscall"

	"golang.org/x/sys/unix"
)

// maxStack bounds the stack of a goroutine in a child, in bytes. It is less than that of the parent (1 GB), which
// therefore survives what the child has survived.
const maxStack = 64 << 20

// setLimits limits what this process can use: its data to memory bytes. It can open nothing from then on: no file and
// no connection.
func setLimits(memory uint64) error {
	debug.SetMaxStack(maxStack)
	limit := func(resource int, most uint64) error {
		var present unix.Rlimit
		if err := unix.Getrlimit(resource, &present); err != nil {
			return err
		}
		most = min(most, present.Max) // Only root may raise it.
		return unix.Setrlimit(resource, &unix.Rlimit{Cur: most, Max: most})
	}
	return errors.Join(
		limit(unix.RLIMIT_DATA, memory), // not RLIMIT_AS: Go maps more than 1 GiB at its start
		limit(unix.RLIMIT_NOFILE, 0),
		limit(unix.RLIMIT_CORE, 0),
	)
}

// executable returns the path of this program. The link works also when the file was replaced or removed.
func executable() (string, error) { return "/proc/self/exe", nil }

// attributes makes a child end with its parent, and not by a Ctrl-C that is meant for the parent.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
