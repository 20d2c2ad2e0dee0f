package suite

import (
	"errors"
	"os"
	"path/filepath"
)

// errIrregular is the error of a path that is a folder, a pipe or a device.
var errIrregular = errors.New("not a file")

// readFile returns the content of a file. The error is non-nil as well if the path is a symlink out of its folder, so
// that a policy does not show or change what is not a part of it, or if it is not a regular file, such as a pipe, from
// which nothing may ever come.
func readFile(path string) ([]byte, error) {
	folder, err := os.OpenRoot(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	defer folder.Close() //nolint:errcheck // nothing was written
	name := filepath.Base(path)
	info, err := folder.Stat(name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, &os.PathError{Op: "read", Path: path, Err: errIrregular}
	}
	return folder.ReadFile(name)
}

// writeFile writes a file. The error is non-nil as well if the path is a symlink out of its folder.
func writeFile(path string, data []byte) error {
	folder, err := os.OpenRoot(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(folder.WriteFile(filepath.Base(path), data, newFile), folder.Close())
}
