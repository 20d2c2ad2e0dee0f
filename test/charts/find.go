package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/sourceward/sourceward/policies"
)

// bundle is a set of manifests that are applied together, and therefore judged together: a chart with one set of
// values, or the manifests in a folder.
type bundle struct {
	module string
	// root is the folder of the module. name is the path of the chart, the folder or the file relative to root.
	root, name string
	// values is the set of values with which a chart is rendered. For plain manifests it only says whether they are
	// exposed, and has no name if they are not.
	values values
	// files are the paths of plain manifests, relative to root. For a chart, they are known after it is rendered.
	files []string
	// chart is nil for plain manifests.
	chart *chart
}

// findAll finds the charts and the manifests of modules.
func findAll(modules []module) ([]bundle, error) {
	var all []bundle
	for _, m := range modules {
		bundles, err := find(m)
		if err != nil {
			return nil, err
		}
		all = append(all, bundles...)
	}
	return all, nil
}

// find finds charts and manifests in a module. All files in the folder of a chart belong to the chart.
func find(m module) ([]bundle, error) {
	var bundles []bundle
	folders := map[string][]string{} // files by folder
	judged := map[string]bool{}      // folders with an object that is judged; others are skipped to save time
	err := fs.WalkDir(os.DirFS(m.dir), ".", func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && (slices.Contains(m.skip, name) || name != "." && strings.HasPrefix(entry.Name(), ".")):
			return fs.SkipDir
		case entry.IsDir():
			if _, err := os.Stat(filepath.Join(m.dir, name, "Chart.yaml")); errors.Is(err, fs.ErrNotExist) {
				return nil // not a chart: search this folder
			} else if err != nil {
				return err
			}
			c := m.charts[name]
			for _, set := range append([]values{{name: "default"}}, c.values...) {
				bundles = append(bundles, bundle{module: m.path, root: m.dir, name: name, values: set, chart: &c})
			}
			return fs.SkipDir
		case isYAML(name):
			text, err := os.ReadFile(filepath.Join(m.dir, name))
			if err != nil {
				return err
			}
			folder := path.Dir(name)
			judged[folder] = judged[folder] || judgedKind.Match(text)
			if bytes.Contains(text, []byte("kind:")) || path.Base(name) == "kustomization.yaml" {
				folders[folder] = append(folders[folder], name)
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	for folder, files := range folders {
		if !judged[folder] {
			continue
		}
		bundles = append(bundles, bundle{module: m.path, root: m.dir, name: folder, files: files})
		if slices.Contains(m.expose, folder) {
			bundles = append(bundles, bundle{module: m.path, root: m.dir, name: folder, files: files, values: exposed})
		}
		for _, file := range files {
			if slices.Contains(m.expose, file) {
				one := []string{file}
				bundles = append(bundles, bundle{module: m.path, root: m.dir, name: file, files: one, values: exposed})
			}
		}
	}
	for _, name := range slices.Concat(slices.Collect(maps.Keys(m.charts)), m.expose, m.skip) {
		if _, err := os.Stat(filepath.Join(m.dir, name)); err != nil {
			return nil, fmt.Errorf("sources.go: %s: %w", m.path, err)
		}
	}
	slices.SortStableFunc(bundles, func(a, b bundle) int { return strings.Compare(a.name, b.name) })
	return bundles, nil
}

var judgedKind = regexp.MustCompile(`kind:\s*(` + strings.Join(policies.Kinds, "|") + `)\s*\n`)
