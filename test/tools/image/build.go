package main

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"debug/buildinfo"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// The user and the entrypoint of the Dockerfile. A test compares them.
const (
	user       = "65532:65532"
	entrypoint = "/usr/local/bin/sourceward"
)

const repository = "https://github.com/sourceward/sourceward"

// sbomPath is the place of the SBOM in the image, where the digest of the image covers it, and where a scanner finds it
// by its ending, in any registry. It is also beside the layout, for those who have no image yet. Registries that attach
// an SBOM to an image as a referrer of it are not needed.
const sbomPath = "/usr/local/share/sourceward/sourceward.spdx.json"

var errInterrupted = errors.New("interrupted")

// allPlatforms are the platforms for which the image can be built.
var allPlatforms = []string{"linux/amd64", "linux/arm64"}

// parsePlatforms returns the platforms of a list that is separated by commas, sorted, so that their order in the list
// does not change the image.
func parsePlatforms(list string) ([]string, error) {
	platforms := strings.Split(list, ",")
	for _, platform := range platforms {
		if !slices.Contains(allPlatforms, platform) {
			return nil, fmt.Errorf("-platforms: %q is not a platform of the image; want some of %s",
				platform, strings.Join(allPlatforms, ","))
		}
	}
	slices.Sort(platforms)
	return slices.Compact(platforms), nil
}

// build says what to build.
type build struct {
	source    string   // the root of the repository
	layout    string   // the folder to write
	platforms []string // sorted
	version   string
	revision  string // empty if it is not known
	created   time.Time
	progress  func(text string) // shows what is being done; nil shows nothing
}

// built describes what was built.
type built struct {
	digest v1.Hash
	images []builtImage
}

type builtImage struct {
	platform string
	digest   v1.Hash
	size     int64 // of what is pulled, in bytes: the layer and the configuration
}

// run writes the layout, and the SBOM of each platform beside it. The files of a former run are replaced when all of
// the new ones exist. The error is non-nil when something could not be compiled or written, and when ctx was canceled.
func (b build) run(ctx context.Context) (built, error) {
	if err := replaceable(b.layout); err != nil {
		return built{}, err
	}
	parent := filepath.Dir(b.layout)
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return built{}, err
	}
	work, err := os.MkdirTemp(parent, ".image-*")
	if err != nil {
		return built{}, err
	}
	defer os.RemoveAll(work) //nolint:errcheck // what matters was renamed, or another error matters more
	defer b.show("")

	var result built
	index := v1.ImageIndex(empty.Index)
	for _, platform := range b.platforms {
		image, err := b.image(ctx, platform, work)
		if err != nil {
			return built{}, fmt.Errorf("%s: %w", platform, err)
		}
		digest, err := image.Digest()
		if err != nil {
			return built{}, err
		}
		manifest, err := image.Manifest()
		if err != nil {
			return built{}, err
		}
		result.images = append(result.images, builtImage{platform, digest, manifest.Layers[0].Size + manifest.Config.Size})
		goos, arch, _ := strings.Cut(platform, "/")
		index = mutate.AppendManifests(index, mutate.IndexAddendum{
			Add: image, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: goos, Architecture: arch}},
		})
	}
	index = mutate.Annotations(index, b.annotations()).(v1.ImageIndex)
	if result.digest, err = index.Digest(); err != nil {
		return built{}, err
	}
	b.show("writing " + b.layout)
	// The index is a blob with a descriptor in index.json, not index.json itself: so tools that expect one image in a
	// layout accept it, and none has to be told to push the index.
	written, err := layout.Write(filepath.Join(work, "layout"), empty.Index)
	if err != nil {
		return built{}, err
	}
	if err := written.AppendIndex(index); err != nil {
		return built{}, err
	}
	if ctx.Err() != nil {
		return built{}, errInterrupted
	}
	return result, b.replace(work)
}

func (b build) show(text string) {
	if b.progress != nil {
		b.progress(text)
	}
}

// replaceable returns an error if there is something at the path that is not an OCI layout.
func replaceable(path string) error {
	_, err := os.Stat(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(path, "oci-layout")); err != nil {
		return fmt.Errorf("%s exists and is not an OCI layout; remove it, or write to another folder", path)
	}
	return nil
}

// replace moves the layout and the SBOMs from the work folder to their places.
func (b build) replace(work string) error {
	for _, platform := range allPlatforms {
		if err := os.Remove(b.layout + "-" + sbomName(platform)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	for _, platform := range b.platforms {
		if err := os.Rename(filepath.Join(work, sbomName(platform)), b.layout+"-"+sbomName(platform)); err != nil {
			return err
		}
	}
	// A folder that is not empty cannot be replaced by a rename.
	if err := os.Rename(b.layout, filepath.Join(work, "former")); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return os.Rename(filepath.Join(work, "layout"), b.layout)
}

// sbomName returns the end of the name of an SBOM beside the layout, such as linux-amd64.spdx.json.
func sbomName(platform string) string {
	return strings.ReplaceAll(platform, "/", "-") + ".spdx.json"
}

// binary is a binary of the image.
type binary struct {
	path string // in the image
	file string // on disk
	info *buildinfo.BuildInfo
}

// compile compiles the binaries for a platform into the folder dir.
func (b build) compile(ctx context.Context, platform, dir string) ([]binary, error) {
	goos, arch, _ := strings.Cut(platform, "/")
	binaries := []struct{ pkg, name string }{{"sourceward", "sourceward"}, {"webhook", "sourceward-webhook"}}
	var compiled []binary
	for _, of := range binaries {
		b.show(fmt.Sprintf("compiling %s for %s", of.name, platform))
		file := filepath.Join(dir, of.name)
		output, err := filepath.Abs(file)
		if err != nil {
			return nil, err
		}
		cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false",
			"-ldflags", "-s -w -buildid= -X=main.version="+b.version, "-o", output, "./cmd/"+of.pkg)
		cmd.Dir = b.source
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off", "GOOS="+goos, "GOARCH="+arch,
			"GOAMD64=v1", "GOARM64=v8.0") // what every machine of the platform has
		// The go command stops its compilers when it is interrupted, but not when it is killed.
		cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
		if messages, err := cmd.CombinedOutput(); err != nil {
			if ctx.Err() != nil {
				return nil, errInterrupted
			}
			return nil, fmt.Errorf("compile cmd/%s: %w\n%s", of.pkg, err, strings.TrimSpace(string(messages)))
		}
		info, err := buildinfo.ReadFile(file)
		if err != nil {
			return nil, err
		}
		compiled = append(compiled, binary{path: "/usr/local/bin/" + of.name, file: file, info: info})
	}
	return compiled, nil
}

// image builds the image of a platform. It writes its files into the folder work.
func (b build) image(ctx context.Context, platform, work string) (v1.Image, error) {
	dir := filepath.Join(work, filepath.FromSlash(platform))
	binaries, err := b.compile(ctx, platform, dir)
	if err != nil {
		return nil, err
	}
	sbom := filepath.Join(work, sbomName(platform))
	if err := b.writeSBOM(sbom, platform, binaries); err != nil {
		return nil, err
	}
	files := map[string]file{sbomPath: {sbom, 0o644}}
	for _, binary := range binaries {
		files[binary.path] = file{binary.file, 0o755}
	}
	b.show("packing " + platform)
	archive := filepath.Join(dir, "layer.tar")
	if err := writeArchive(archive, files, b.created); err != nil {
		return nil, err
	}
	// The default level takes four seconds more than the library's own, and saves an eighth of what every node pulls.
	// Without the caching each digest compresses again.
	layer, err := tarball.LayerFromFile(archive, tarball.WithMediaType(types.OCILayer),
		tarball.WithCompressionLevel(gzip.DefaultCompression), tarball.WithCompressedCaching)
	if err != nil {
		return nil, err
	}
	goos, arch, _ := strings.Cut(platform, "/")
	created := v1.Time{Time: b.created}
	base := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	image, err := mutate.ConfigFile(base, &v1.ConfigFile{
		OS: goos, Architecture: arch, Created: created, RootFS: v1.RootFS{Type: "layers"},
		Config: v1.Config{User: user, Entrypoint: []string{entrypoint}, Labels: b.annotations()},
	})
	if err != nil {
		return nil, err
	}
	image, err = mutate.Append(image, mutate.Addendum{
		Layer: layer, History: v1.History{Created: created, CreatedBy: "make image"},
	})
	if err != nil {
		return nil, err
	}
	return mutate.Annotations(image, b.annotations()).(v1.Image), nil
}

// annotations are the labels of each image, and the annotations of its manifest and of the index
// (https://specs.opencontainers.org/image-spec/annotations/).
func (b build) annotations() map[string]string {
	annotations := map[string]string{
		"org.opencontainers.image.title":       "Sourceward",
		"org.opencontainers.image.description": "Admission control for externalTrafficPolicy: Local on Kubernetes",
		"org.opencontainers.image.version":     b.version,
		"org.opencontainers.image.source":      repository,
		"org.opencontainers.image.licenses":    license,
		"org.opencontainers.image.created":     b.created.Format(time.RFC3339),
	}
	if b.revision != "" {
		annotations["org.opencontainers.image.revision"] = b.revision
	}
	return annotations
}

// file is a file to pack.
type file struct {
	name string // on disk
	mode int64
}

// writeArchive packs files, by their paths in the image, and the folders that hold them. They belong to root.
func writeArchive(name string, files map[string]file, modified time.Time) (err error) {
	archive, err := os.Create(name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, archive.Close()) }()
	w := tar.NewWriter(archive)
	folders := map[string]bool{"/": true}
	for _, target := range slices.Sorted(maps.Keys(files)) {
		if err := writeFolders(w, path.Dir(target), folders, modified); err != nil {
			return err
		}
		if err := writeFile(w, target, files[target], modified); err != nil {
			return err
		}
	}
	return w.Close()
}

// writeFolders writes the folders on the way to a folder that were not written yet.
func writeFolders(w *tar.Writer, folder string, written map[string]bool, modified time.Time) error {
	if written[folder] {
		return nil
	}
	if err := writeFolders(w, path.Dir(folder), written, modified); err != nil {
		return err
	}
	written[folder] = true
	return w.WriteHeader(&tar.Header{
		Typeflag: tar.TypeDir, Name: strings.TrimPrefix(folder, "/") + "/", Mode: 0o755, ModTime: modified,
	})
}

func writeFile(w *tar.Writer, target string, from file, modified time.Time) error {
	f, err := os.Open(from.name)
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // it was only read
	info, err := f.Stat()
	if err != nil {
		return err
	}
	header := tar.Header{
		Typeflag: tar.TypeReg, Name: strings.TrimPrefix(target, "/"), Mode: from.mode, Size: info.Size(), ModTime: modified,
	}
	if err := w.WriteHeader(&header); err != nil {
		return err
	}
	_, err = io.Copy(w, f)
	return err
}
