//go:build !windows

package main

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"

	"github.com/google/renameio/v2"
	"golang.org/x/sys/unix"
)

// newPendingFile returns an empty file that can replace the one at path, and has its permissions, owner and group. The
// error is non-nil if the user may not write the file.
func newPendingFile(path string) (_ *renameio.PendingFile, err error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if err := unix.Access(path, unix.W_OK); err != nil { // to replace it needs only the right to write its folder
		return nil, err
	}
	pending, err := renameio.NewPendingFile(path,
		renameio.WithTempDir(filepath.Dir(path)), renameio.WithStaticPermissions(info.Mode().Perm()))
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, pending.Cleanup())
		}
	}()
	if of, ok := info.Sys().(*syscall.Stat_t); ok && (int(of.Uid) != os.Geteuid() || int(of.Gid) != os.Getegid()) {
		if err := pending.Chown(int(of.Uid), int(of.Gid)); err != nil {
			return nil, err
		}
	}
	if err := pending.Chmod(info.Mode()); err != nil { // a change of the owner resets some bits
		return nil, err
	}
	return pending, nil
}
