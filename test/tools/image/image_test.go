package main

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"net/http/httptest"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/cmd/crane/cmd"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

// asCommand is the variable that makes the test binary the command, for what only a process can show.
const asCommand = "IMAGE_TEST_AS_COMMAND"

// shared is a build of the fake binaries, and its result. Tests only read what it wrote.
var (
	shared       build
	sharedResult built
)

func TestMain(m *testing.M) {
	if os.Getenv(asCommand) != "" {
		main()
		return
	}
	os.Exit(runTests(m)) //nolint:forbidigo // this is a main
}

func runTests(m *testing.M) int {
	dir, err := os.MkdirTemp("", "image-")
	if err == nil {
		defer os.RemoveAll(dir) //nolint:errcheck // it is temporary
		shared = fake(dir)
		sharedResult, err = shared.run(context.Background())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// fake returns a build of the fake binaries in testdata, which are compiled in a second, to the layout dir/image.
func fake(dir string) build {
	return build{
		source:    filepath.Join("testdata", "fake"),
		layout:    filepath.Join(dir, "image"),
		platforms: allPlatforms,
		version:   "v1.2.3",
		revision:  "0123456789abcdef0123456789abcdef01234567",
		created:   time.Date(2026, 12, 1, 9, 0, 0, 0, time.UTC),
	}
}

// mustRead returns the index of a layout and its images, by their platforms.
func mustRead(t *testing.T, layout string) (v1.ImageIndex, map[string]v1.Image) {
	t.Helper()
	index, err := readLayout(layout)
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	images := map[string]v1.Image{}
	for _, descriptor := range manifest.Manifests {
		image, err := index.Image(descriptor.Digest)
		if err != nil {
			t.Fatal(err)
		}
		images[descriptor.Platform.String()] = image
	}
	return index, images
}

// files returns the content of the files in a folder, by their paths in it.
func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	content := map[string]string{}
	err := fs.WalkDir(os.DirFS(dir), ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		text, err := os.ReadFile(filepath.Join(dir, path))
		content[path] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return content
}

func TestALayoutIsValidAndReportsWhatItHolds(t *testing.T) {
	t.Parallel()
	result := sharedResult
	index, images := mustRead(t, shared.layout)
	if err := validate.Index(index); err != nil {
		t.Error(err)
	}
	digest, err := index.Digest()
	if err != nil {
		t.Fatal(err)
	}
	if result.digest != digest {
		t.Errorf("the digest is %s, want that of the index, %s", result.digest, digest)
	}
	if len(images) != 2 || len(result.images) != 2 {
		t.Fatalf("the layout has %d images and the result %d, want 2", len(images), len(result.images))
	}
	for i, platform := range allPlatforms {
		got, image := result.images[i], images[platform]
		if image == nil {
			t.Fatalf("the layout has no image for %s", platform)
		}
		if digest, err := image.Digest(); err != nil || got.digest != digest {
			t.Errorf("%s: the digest is %s, want %s, %v", platform, got.digest, digest, err)
		}
		layers, err := image.Layers()
		if err != nil || len(layers) != 1 {
			t.Fatalf("%s: there are %d layers, want 1, %v", platform, len(layers), err)
		}
		size, err := layers[0].Size()
		if err != nil {
			t.Fatal(err)
		}
		config, err := image.RawConfigFile()
		if err != nil {
			t.Fatal(err)
		}
		if size += int64(len(config)); got.size != size {
			t.Errorf("%s: the size is %d, want %d", platform, got.size, size)
		}
	}
	entries, err := os.ReadDir(filepath.Dir(shared.layout))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	want := []string{"image", "image-linux-amd64.spdx.json", "image-linux-arm64.spdx.json"}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Errorf("what was written mismatch (-want +got):\n%s", diff)
	}
}

func TestBuildingAgainGivesTheSameFiles(t *testing.T) {
	t.Parallel()
	again := fake(t.TempDir())
	var err error
	if again.platforms, err = parsePlatforms("linux/arm64,linux/amd64,linux/arm64"); err != nil {
		t.Fatal(err)
	}
	result, err := again.run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if result.digest != sharedResult.digest {
		t.Errorf("the digests are %s and %s, want equal ones", sharedResult.digest, result.digest)
	}
	// Not cmp.Diff: the files are binary.
	if !cmp.Equal(files(t, filepath.Dir(shared.layout)), files(t, filepath.Dir(again.layout))) {
		t.Error("the files of the two layouts differ")
	}
}

// TestACommandReplacesTheBuildBefore runs the command as make image does, for one platform.
func TestACommandReplacesTheBuildBefore(t *testing.T) {
	t.Parallel()
	layout := filepath.Join(copied(t), "image")
	command := thisCommand(t, "build", "-platforms", "linux/amd64", "-o", layout, "-version", "v1.2.4")
	command.Dir = shared.source
	command.Env = append(command.Env, "SOURCE_DATE_EPOCH=1798761600")
	var out, errOut strings.Builder
	command.Stdout, command.Stderr = &out, &errOut
	if err := command.Run(); err != nil || errOut.Len() > 0 {
		t.Fatalf("%v; without a terminal it prints %q on stderr, want nothing", err, errOut.String())
	}

	index, images := mustRead(t, layout)
	if err := validate.Index(index); err != nil {
		t.Error(err)
	}
	image := images["linux/amd64"]
	if image == nil || len(images) != 1 {
		t.Fatalf("the layout has the images %v, want one for linux/amd64", images)
	}
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if got, want := config.Created.Format(time.RFC3339), "2027-01-01T00:00:00Z"; got != want {
		t.Errorf("the image is of %s, want %s", got, want)
	}
	labels := config.Config.Labels
	if revision, ok := labels["org.opencontainers.image.revision"]; ok {
		t.Errorf("the label of an unknown revision is %q, want none", revision)
	}
	if got := labels["org.opencontainers.image.version"]; got != "v1.2.4" {
		t.Errorf("the label of the version is %q, want v1.2.4", got)
	}
	if _, err := os.Stat(layout + "-" + sbomName("linux/arm64")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the SBOM of a platform that is no longer in the layout: %v", err)
	}

	ofIndex, indexErr := index.Digest()
	ofImage, imageErr := image.Digest()
	if err := errors.Join(indexErr, imageErr); err != nil {
		t.Fatal(err)
	}
	if ofIndex == sharedResult.digest {
		t.Error("another version has the same digest")
	}
	want := fmt.Sprintf(`^%s %s\n%s linux/amd64 1\.\d MB\n$`, ofIndex, regexp.QuoteMeta(layout), ofImage)
	if !regexp.MustCompile(want).MatchString(out.String()) {
		t.Errorf("the command prints %q, want %s", out.String(), want)
	}
}

// thisCommand returns the test binary as the command image.
func thisCommand(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	command := exec.CommandContext(t.Context(), self, args...)
	command.Env = append(os.Environ(), asCommand+"=1")
	return command
}

// copied returns a folder with a copy of what shared wrote.
func copied(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(filepath.Dir(shared.layout))); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestTheImageIsThatOfTheDockerfile compares what the last stage of the Dockerfile says with both images.
func TestTheImageIsThatOfTheDockerfile(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join("..", "..", "..", "Dockerfile"))
	if err != nil {
		t.Fatal(err)
	}
	_, stage, found := strings.Cut(string(text), "\nFROM $BASE\n")
	if !found {
		t.Fatal("the Dockerfile has no stage FROM $BASE")
	}
	wantModes := map[string]fs.FileMode{strings.TrimPrefix(sbomPath, "/"): 0o644} // which the Dockerfile does not make
	var wantUser string
	var wantEntrypoint []string
	for line := range strings.Lines(stage) {
		instruction, argument, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch instruction {
		case "#", "":
		case "COPY":
			words := strings.Fields(strings.TrimPrefix(argument, "--from=build "))
			sources, target := words[:len(words)-1], words[len(words)-1]
			for _, source := range sources {
				// make build writes the binaries with the modes that the go command gives them.
				wantModes[strings.TrimPrefix(target, "/")+filepath.Base(source)] = 0o755
			}
		case "USER":
			wantUser = argument
		case "ENTRYPOINT":
			if err := json.Unmarshal([]byte(argument), &wantEntrypoint); err != nil {
				t.Fatalf("ENTRYPOINT %s: %v", argument, err)
			}
		default:
			t.Errorf("the Dockerfile has %s, which the image has not: %s", instruction, line)
		}
	}

	_, images := mustRead(t, shared.layout)
	for platform, image := range images {
		config, err := image.ConfigFile()
		if err != nil {
			t.Fatal(err)
		}
		if got := config.OS + "/" + config.Architecture; got != platform {
			t.Errorf("the platform is %s, want %s", got, platform)
		}
		if config.Config.User != wantUser {
			t.Errorf("%s: the user is %q, want %q", platform, config.Config.User, wantUser)
		}
		if diff := cmp.Diff(wantEntrypoint, config.Config.Entrypoint); diff != "" {
			t.Errorf("%s: entrypoint mismatch (-want +got):\n%s", platform, diff)
		}
		modes := map[string]fs.FileMode{}
		for _, header := range headers(t, image) {
			if header.Uid != 0 || header.Gid != 0 || !header.ModTime.Equal(shared.created) {
				t.Errorf("%s: %s belongs to %d:%d and is of %s, want 0:0 and %s",
					platform, header.Name, header.Uid, header.Gid, header.ModTime, shared.created)
			}
			if header.Typeflag != tar.TypeDir {
				modes[header.Name] = header.FileInfo().Mode()
			} else if mode := header.FileInfo().Mode().Perm(); mode != 0o755 {
				t.Errorf("%s: the mode of folder %s is %o, want 755", platform, header.Name, mode)
			}
		}
		if diff := cmp.Diff(wantModes, modes); diff != "" {
			t.Errorf("%s: modes of the files mismatch (-want +got):\n%s", platform, diff)
		}
	}
}

// headers returns what is in the root file system of an image. Every folder comes before what is in it.
func headers(t *testing.T, image v1.Image) []*tar.Header {
	t.Helper()
	archive := mutate.Extract(image)
	defer archive.Close() //nolint:errcheck // it was only read
	var all []*tar.Header
	seen := map[string]bool{".": true}
	for r := tar.NewReader(archive); ; {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		if name := path.Clean(header.Name); seen[path.Dir(name)] {
			seen[name] = true
		} else {
			t.Errorf("%s comes before its folder", name)
		}
		all = append(all, header)
	}
}

func TestLabelsAndAnnotations(t *testing.T) {
	t.Parallel()
	want := map[string]string{
		"org.opencontainers.image.title":       "Sourceward",
		"org.opencontainers.image.description": "Admission control for externalTrafficPolicy: Local on Kubernetes",
		"org.opencontainers.image.version":     "v1.2.3",
		"org.opencontainers.image.revision":    "0123456789abcdef0123456789abcdef01234567",
		"org.opencontainers.image.source":      "https://github.com/sourceward/sourceward",
		"org.opencontainers.image.licenses":    "Apache-2.0",
		"org.opencontainers.image.created":     "2026-12-01T09:00:00Z",
	}
	index, images := mustRead(t, shared.layout)
	check := func(what string, got map[string]string) {
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s mismatch (-want +got):\n%s", what, diff)
		}
	}
	top, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	check("annotations of the index", top.Annotations)
	for platform, image := range images {
		manifest, err := image.Manifest()
		if err != nil {
			t.Fatal(err)
		}
		check("annotations of "+platform, manifest.Annotations)
		config, err := image.ConfigFile()
		if err != nil {
			t.Fatal(err)
		}
		check("labels of "+platform, config.Config.Labels)
		if !config.Created.Equal(shared.created) {
			t.Errorf("%s: created is %s, want %s", platform, config.Created, shared.created)
		}
	}

	// They are constants, so the sources of their values are compared here.
	text, err := os.ReadFile(filepath.Join("..", "..", "..", "LICENSE"))
	if err != nil {
		t.Fatal(err)
	}
	if !regexp.MustCompile(`^\s+Apache License\s+Version 2\.0`).Match(text) {
		t.Errorf("LICENSE is not the %s that the label says", license)
	}
}

// TestAPushedImageIsPulledWithTheSameDigest runs the command line of make push.
func TestAPushedImageIsPulledWithTheSameDigest(t *testing.T) {
	t.Parallel()
	want := sharedResult.digest.String()
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	defer server.Close()
	image := strings.TrimPrefix(server.URL, "http://") + "/sourceward:dev"
	crane := func(args ...string) string {
		t.Helper()
		var out bytes.Buffer
		root := cmd.New("crane", "", nil)
		root.SetArgs(args)
		root.SetOut(&out)
		if err := root.ExecuteContext(t.Context()); err != nil {
			t.Fatalf("crane %s: %v", args, err)
		}
		return strings.TrimSpace(out.String())
	}
	if got, want := crane("push", shared.layout, image), strings.TrimSuffix(image, ":dev")+"@"+want; got != want {
		t.Errorf("crane push prints %s, want %s", got, want)
	}
	pulled := filepath.Join(t.TempDir(), "pulled")
	crane("pull", "--format=oci", image, pulled)
	index, _ := mustRead(t, pulled)
	if got, err := index.Digest(); err != nil || got.String() != want {
		t.Errorf("the digest of what was pulled is %s, want %s, %v", got, want, err)
	}
	if err := validate.Index(index); err != nil {
		t.Error(err)
	}
}

func TestUnpackedBinariesRun(t *testing.T) {
	t.Parallel()
	// Its own mode does not matter, as os.MkdirTemp makes folders that only their owner can enter.
	root := filepath.Join(t.TempDir(), "root")
	if err := os.Mkdir(root, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := run(t.Context(), []string{"unpack", shared.layout, root}, io.Discard); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(root); err != nil || info.Mode().Perm() != 0o755 {
		t.Errorf("the mode of the root is %s, want 755, %v", info.Mode(), err)
	}
	for _, name := range []string{"sourceward", "sourceward-webhook"} {
		output, err := exec.CommandContext(t.Context(), filepath.Join(root, "usr", "local", "bin", name)).CombinedOutput()
		if want := "fake " + name + " v1.2.3"; err != nil || !strings.HasPrefix(string(output), want) {
			t.Errorf("%s prints %q, want %q, %v", name, output, want, err)
		}
	}
	wantError(t, run(t.Context(), []string{"unpack", shared.layout, root}, io.Discard),
		root+" is not empty; unpack into a new folder")
}

func TestBadInput(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	kept := filepath.Join(folder, "kept")
	if err := os.WriteFile(kept, []byte("kept"), 0o644); err != nil {
		t.Fatal(err)
	}
	other := fake(t.TempDir())
	other.platforms = slices.DeleteFunc(slices.Clone(allPlatforms), func(platform string) bool {
		return platform == "linux/"+runtime.GOARCH
	})
	if _, err := other.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	const want = "-platforms: %q is not a platform of the image; want some of linux/amd64,linux/arm64"
	tests := map[string]struct {
		args []string
		want string
	}{
		"no command":       {nil, "want the command build or unpack"},
		"unknown command":  {[]string{"push"}, `"push" is not a command; want build or unpack`},
		"unknown platform": {[]string{"build", "-platforms", "linux/mips"}, fmt.Sprintf(want, "linux/mips")},
		"no platform":      {[]string{"build", "-platforms", ""}, fmt.Sprintf(want, "")},
		"an argument":      {[]string{"build", "dist"}, `build: want no arguments, got ["dist"]`},
		"no such program":  {[]string{"build", "-o", filepath.Join(folder, "new")}, "linux/amd64: compile cmd/sourceward: "},
		"unwritable":       {[]string{"build", "-o", filepath.Join(kept, "new")}, "not a directory"},
		"a file":           {[]string{"build", "-o", kept}, "kept exists and is not an OCI layout; remove it, or write to"},
		"another folder":   {[]string{"build", "-o", folder}, "exists and is not an OCI layout; remove it, or write to"},
		"unpack nothing":   {[]string{"unpack", folder}, "unpack: want two arguments, the layout and the folder"},
		"no layout":        {[]string{"unpack", folder, kept}, folder + " is not an OCI layout: "},
		"other platform": {[]string{"unpack", other.layout, filepath.Join(folder, "new")},
			other.layout + " has no image for linux/" + runtime.GOARCH + "; build it with -platforms linux/" + runtime.GOARCH},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			wantError(t, run(t.Context(), test.args, io.Discard), test.want)
		})
	}
	t.Cleanup(func() {
		if diff := cmp.Diff(map[string]string{"kept": "kept"}, files(t, folder)); diff != "" {
			t.Errorf("files after the errors mismatch (-want +got):\n%s", diff)
		}
	})
}

func TestTheDateMustBeANumber(t *testing.T) {
	t.Setenv("SOURCE_DATE_EPOCH", "yesterday")
	wantError(t, run(t.Context(), []string{"build"}, io.Discard),
		`SOURCE_DATE_EPOCH is "yesterday"; want the seconds since 1970`)
}

// wantError checks that an error contains a text.
func wantError(t *testing.T, err error, want string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("the error is %v, want one that contains %q", err, want)
	}
}

// TestAnInterruptedBuildLeavesWhatWasThere interrupts the command while it compiles, as Ctrl-C does.
func TestAnInterruptedBuildLeavesWhatWasThere(t *testing.T) {
	t.Parallel()
	dir := copied(t)
	before := files(t, dir)

	// A go command that reports its start, and then reads until it is interrupted.
	bin := t.TempDir()
	script := "#!/bin/sh\necho started >&3\nexec cat <&4\n"
	if err := os.WriteFile(filepath.Join(bin, "go"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	started, reports := pipe(t)
	forever, _ := pipe(t)
	command := thisCommand(t, "build", "-o", filepath.Join(dir, "image"))
	command.Env = append(command.Env, "PATH="+bin+":"+os.Getenv("PATH"))
	command.ExtraFiles = []*os.File{reports, forever} // 3 and 4
	var output bytes.Buffer
	command.Stdout, command.Stderr = &output, &output
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	if err := reports.Close(); err != nil { // so that the command has the only copy, and its end would end the read
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(started).ReadString('\n'); err != nil {
		t.Errorf("the go command was not started: it reports %q, %v", line, err)
	}
	if err := command.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := command.Wait(); command.ProcessState.ExitCode() != 1 {
		t.Errorf("the command ended with %v, want exit code 1", err)
	}
	if got, want := output.String(), "image: linux/amd64: interrupted\n"; got != want {
		t.Errorf("the command prints %q, want %q", got, want)
	}
	if !cmp.Equal(before, files(t, dir)) {
		t.Error("the files are not those of the build before")
	}
}

// pipe returns the two ends of a pipe, which are closed when the test ends.
func pipe(t *testing.T) (r, w *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, end := range []*os.File{r, w} {
			if err := end.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
				t.Error(err)
			}
		}
	})
	return r, w
}
