package main

import (
	"bytes"
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	spdxjson "github.com/spdx/tools-golang/json"
	"github.com/spdx/tools-golang/spdx/v2/common"
	spdx "github.com/spdx/tools-golang/spdx/v2/v2_3"
)

func TestTheSBOMNamesEveryModule(t *testing.T) {
	t.Parallel()
	_, images := mustRead(t, shared.layout)
	for platform, image := range images {
		root := t.TempDir()
		archive := mutate.Extract(image)
		opened, err := os.OpenRoot(root)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(extract(archive, opened), archive.Close(), opened.Close()); err != nil {
			t.Fatal(err)
		}
		inside, err := os.ReadFile(filepath.Join(root, sbomPath))
		if err != nil {
			t.Fatal(err)
		}
		beside, err := os.ReadFile(shared.layout + "-" + sbomName(platform))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(inside, beside) {
			t.Errorf("%s: the SBOM beside the layout is not that of the image", platform)
		}
		document, err := spdxjson.Read(bytes.NewReader(inside))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(wantContent(t, root), gotContent(document), cmp.AllowUnexported(content{})); diff != "" {
			t.Errorf("%s: SBOM mismatch (-want +got):\n%s", platform, diff)
		}
	}
}

// content is what an SBOM says about a binary: its checksum, and the modules that it was linked from, as package URLs.
type content struct {
	checksum string
	modules  []string
}

// wantContent reads the binaries of an unpacked image.
func wantContent(t *testing.T, root string) map[string]content {
	t.Helper()
	want := map[string]content{}
	for _, path := range []string{"/usr/local/bin/sourceward", "/usr/local/bin/sourceward-webhook"} {
		file := filepath.Join(root, path)
		binary, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		info, err := buildinfo.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if len(info.Deps) == 0 {
			t.Fatalf("%s has no modules, so that the test shows nothing", path)
		}
		modules := []string{"pkg:golang/stdlib@" + strings.TrimPrefix(info.GoVersion, "go")}
		for _, dep := range info.Deps {
			modules = append(modules, "pkg:golang/"+dep.Path+"@"+strings.ReplaceAll(dep.Version, "+", "%2B"))
		}
		slices.Sort(modules)
		sum := sha256.Sum256(binary)
		want[path] = content{hex.EncodeToString(sum[:]), modules}
	}
	return want
}

// gotContent reads an SBOM.
func gotContent(document *spdx.Document) map[string]content {
	packages := map[common.ElementID]*spdx.Package{}
	for _, p := range document.Packages {
		packages[p.PackageSPDXIdentifier] = p
	}
	got := map[string]content{}
	for _, relationship := range document.Relationships {
		a, b := packages[relationship.RefA.ElementRefID], packages[relationship.RefB.ElementRefID]
		switch relationship.Relationship {
		case common.TypeRelationshipDescribe:
			binary := got[b.PackageFileName]
			binary.checksum = b.PackageChecksums[0].Value
			got[b.PackageFileName] = binary
		case common.TypeRelationshipDependsOn:
			binary := got[a.PackageFileName]
			binary.modules = append(binary.modules, b.PackageExternalReferences[0].Locator)
			slices.Sort(binary.modules)
			got[a.PackageFileName] = binary
		}
	}
	return got
}

func TestModulesAreThoseThatReplaceOthers(t *testing.T) {
	t.Parallel()
	info := &debug.BuildInfo{GoVersion: "go1.26.8", Deps: []*debug.Module{
		{Path: "example.com/a", Version: "v1.0.0"},
		{Path: "example.com/b", Version: "v1.0.0", Replace: &debug.Module{Path: "example.com/fork", Version: "v1.0.1"}},
	}}
	got, err := modules(info)
	if err != nil {
		t.Fatal(err)
	}
	want := []module{{"stdlib", "1.26.8"}, {"example.com/a", "v1.0.0"}, {"example.com/fork", "v1.0.1"}}
	if !slices.Equal(got, want) {
		t.Errorf("modules() = %v, want %v", got, want)
	}

	info.Deps[1].Replace = &debug.Module{Path: "../fork"}
	_, err = modules(info)
	wantError(t, err, "module example.com/b is replaced by the folder ../fork, which has no version for the SBOM")
}

func TestPackageURLs(t *testing.T) {
	t.Parallel()
	for m, want := range map[module]string{
		{"stdlib", "1.26.8"}:                        "pkg:golang/stdlib@1.26.8",
		{"k8s.io/api", "v0.37.1"}:                   "pkg:golang/k8s.io/api@v0.37.1",
		{"github.com/Masterminds/sprig", "v3.3.0"}:  "pkg:golang/github.com/masterminds/sprig@v3.3.0",
		{"gopkg.in/yaml.v3", "v3.0.1+incompatible"}: "pkg:golang/gopkg.in/yaml.v3@v3.0.1%2Bincompatible",
	} {
		if got := m.url(); got != want {
			t.Errorf("the URL of %s is %s, want %s", m, got, want)
		}
	}
}
