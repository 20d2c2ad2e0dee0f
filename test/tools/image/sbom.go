package main

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/hex"
	"fmt"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/package-url/packageurl-go"
	spdxjson "github.com/spdx/tools-golang/json"
	"github.com/spdx/tools-golang/spdx/v2/common"
	spdx "github.com/spdx/tools-golang/spdx/v2/v2_3"
)

// license is the license of Sourceward, as an SPDX expression.
const license = "Apache-2.0"

const noAssertion = "NOASSERTION"

// writeSBOM writes the SBOM of a platform: its binaries, and the modules that they are made of.
func (b build) writeSBOM(name, platform string, binaries []binary) error {
	document, err := b.sbom(platform, binaries)
	if err != nil {
		return err
	}
	var text bytes.Buffer
	if err := spdxjson.Write(document, &text, spdxjson.Indent("  ")); err != nil {
		return err
	}
	return os.WriteFile(name, text.Bytes(), 0o644)
}

// sbom returns a document with a package for each binary, and one for each module in their build info.
func (b build) sbom(platform string, binaries []binary) (*spdx.Document, error) {
	document := &spdx.Document{
		SPDXVersion:    spdx.Version,
		DataLicense:    spdx.DataLicense,
		SPDXIdentifier: "DOCUMENT",
		DocumentName:   "sourceward " + b.version + " " + platform,
		CreationInfo: &spdx.CreationInfo{
			Creators: []common.Creator{{CreatorType: "Tool", Creator: "sourceward-image-" + b.version}},
			Created:  b.created.Format(time.RFC3339),
		},
	}
	relate := func(a common.ElementID, relationship string, b common.ElementID) {
		document.Relationships = append(document.Relationships, &spdx.Relationship{
			RefA: common.DocElementID{ElementRefID: a}, Relationship: relationship,
			RefB: common.DocElementID{ElementRefID: b},
		})
	}

	usedBy := map[module][]common.ElementID{}
	sums := sha256.New()
	for _, binary := range binaries {
		content, err := os.ReadFile(binary.file)
		if err != nil {
			return nil, err
		}
		sum := sha256.Sum256(content)
		sums.Write(sum[:])
		name := path.Base(binary.path)
		id := common.ElementID("Binary-" + name)
		application := newPackage(id, name, module{binary.info.Main.Path, b.version})
		application.PackageFileName = binary.path
		application.PackageChecksums = []common.Checksum{{Algorithm: common.SHA256, Value: hex.EncodeToString(sum[:])}}
		application.PackageLicenseDeclared = license
		application.PrimaryPackagePurpose = "APPLICATION"
		document.Packages = append(document.Packages, application)
		relate(document.SPDXIdentifier, common.TypeRelationshipDescribe, id)

		linked, err := modules(binary.info)
		if err != nil {
			return nil, err
		}
		for _, m := range linked {
			usedBy[m] = append(usedBy[m], id)
		}
	}
	for i, m := range slices.SortedFunc(maps.Keys(usedBy), module.compare) {
		id := common.ElementID(fmt.Sprintf("Module-%d", i+1))
		library := newPackage(id, m.path, m)
		library.PrimaryPackagePurpose = "LIBRARY"
		document.Packages = append(document.Packages, library)
		for _, binary := range usedBy[m] {
			relate(binary, common.TypeRelationshipDependsOn, id)
		}
	}
	// It must be unique, and the same each time that these binaries are built.
	document.DocumentNamespace = fmt.Sprintf("%s/spdx/%x", repository, sums.Sum(nil))
	return document, nil
}

// module is a Go module.
type module struct{ path, version string }

func (m module) compare(other module) int {
	return cmp.Or(strings.Compare(m.path, other.path), strings.Compare(m.version, other.version))
}

// modules returns the modules that a binary was linked from, other than its own. The standard library is one of them,
// under the name that vulnerability scanners give it.
func modules(info *buildinfo.BuildInfo) ([]module, error) {
	linked := []module{{"stdlib", strings.TrimPrefix(info.GoVersion, "go")}}
	for _, dep := range info.Deps {
		if dep.Replace != nil {
			if dep.Replace.Version == "" {
				return nil, fmt.Errorf("module %s is replaced by the folder %s, which has no version for the SBOM",
					dep.Path, dep.Replace.Path)
			}
			dep = dep.Replace
		}
		linked = append(linked, module{dep.Path, dep.Version})
	}
	return linked, nil
}

// newPackage returns a package that is made of a module. Nothing else is known of it: a build info has no licenses.
func newPackage(id common.ElementID, name string, of module) *spdx.Package {
	return &spdx.Package{
		PackageSPDXIdentifier:   id,
		PackageName:             name,
		PackageVersion:          of.version,
		PackageDownloadLocation: noAssertion,
		PackageLicenseConcluded: noAssertion,
		PackageLicenseDeclared:  noAssertion,
		PackageCopyrightText:    noAssertion,
		PackageExternalReferences: []*spdx.PackageExternalReference{{
			Category: common.CategoryPackageManager, RefType: common.TypePackageManagerPURL, Locator: of.url(),
		}},
	}
}

// url returns the package URL of a module, whose path is in lower case by the specification:
// https://github.com/package-url/purl-spec/blob/main/types-doc/golang-definition.md
func (m module) url() string {
	folder, last := path.Split(strings.ToLower(m.path))
	folder = strings.TrimSuffix(folder, "/")
	return packageurl.NewPackageURL(packageurl.TypeGolang, folder, last, m.version, nil, "").String()
}
