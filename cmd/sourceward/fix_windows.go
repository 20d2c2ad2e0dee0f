package main

import (
	"errors"
	"os"
	"path/filepath"
)

// pendingFile is the part of renameio.PendingFile that fix needs. renameio has none for Windows, which does not
// guarantee that a rename is atomic: https://github.com/golang/go/issues/22397#issuecomment-498856679.
type pendingFile struct {
	*os.File
	path string
	done bool
}

// newPendingFile returns an empty file that can replace the one at path. Its permissions are those of new files in the
// folder. The error is non-nil if the user may not write the file.
func newPendingFile(path string) (*pendingFile, error) {
	path, err := filepath.EvalSymlinks(path) // to replace what a link leads to, and not the link
	if err != nil {
		return nil, err
	}
	file, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return nil, err
	}
	if err := file.Close(); err != nil {
		return nil, err
	}
	file, err = os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return nil, err
	}
	return &pendingFile{File: file, path: path}, nil
}

// CloseAtomicallyReplace closes the file and moves it to the path of the one that it replaces.
func (p *pendingFile) CloseAtomicallyReplace() error {
	if err := p.Sync(); err != nil {
		return err
	}
	if err := p.Close(); err != nil { // Windows does not rename open files
		return err
	}
	if err := os.Rename(p.Name(), p.path); err != nil {
		return err
	}
	p.done = true
	return nil
}

// Cleanup removes the file, unless it has replaced the other.
func (p *pendingFile) Cleanup() error {
	if p.done {
		return nil
	}
	err := p.Close()
	if errors.Is(err, os.ErrClosed) {
		err = nil
	}
	return errors.Join(err, os.Remove(p.Name()))
}
