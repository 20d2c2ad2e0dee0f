package main

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/match"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/partial"
)

// unpack writes the root file system of the image for this architecture into a folder, which must be empty or not
// exist. The files belong to the user who runs it.
func unpack(layout, folder string) error {
	index, err := readLayout(layout)
	if err != nil {
		return err
	}
	platform := v1.Platform{OS: "linux", Architecture: runtime.GOARCH}
	images, err := partial.FindImages(index, match.Platforms(platform))
	if err != nil {
		return err
	}
	if len(images) != 1 {
		return fmt.Errorf("%s has no image for %s; build it with -platforms %[2]s", layout, platform)
	}
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	entries, err := os.ReadDir(folder)
	if err != nil {
		return err
	}
	if len(entries) > 0 {
		return fmt.Errorf("%s is not empty; unpack into a new folder", folder)
	}
	// Every user can enter the root of a container.
	if err := os.Chmod(folder, 0o755); err != nil {
		return err
	}
	root, err := os.OpenRoot(folder)
	if err != nil {
		return err
	}
	defer root.Close() //nolint:errcheck // nothing is written by it
	archive := mutate.Extract(images[0])
	err = extract(archive, root)
	return errors.Join(err, archive.Close())
}

// readLayout returns the index that build wrote into a layout.
func readLayout(path string) (v1.ImageIndex, error) {
	top, err := layout.ImageIndexFromPath(path)
	if err != nil {
		return nil, fmt.Errorf("%s is not an OCI layout: %w", path, err)
	}
	manifest, err := top.IndexManifest()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if len(manifest.Manifests) != 1 || !manifest.Manifests[0].MediaType.IsIndex() {
		return nil, fmt.Errorf("%s was not written by this program: it does not hold one index", path)
	}
	return top.ImageIndex(manifest.Manifests[0].Digest)
}

// extract writes the folders and files of an archive into a folder.
func extract(archive io.Reader, root *os.Root) error {
	r := tar.NewReader(archive)
	for {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		switch header.Typeflag {
		case tar.TypeDir:
			err = root.Mkdir(header.Name, 0o700)
		case tar.TypeReg:
			err = extractFile(r, root, header.Name)
		default:
			err = fmt.Errorf("%s is neither a file nor a folder", header.Name)
		}
		if err != nil {
			return err
		}
		// Not the mode of the calls above, which the umask changes.
		if err := root.Chmod(header.Name, header.FileInfo().Mode().Perm()); err != nil {
			return err
		}
	}
}

func extractFile(r io.Reader, root *os.Root, name string) (err error) {
	file, err := root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	_, err = io.Copy(file, r)
	return err
}
