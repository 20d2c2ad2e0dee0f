package manifest

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// renders says how objects of one kind name what a controller renders from them.
type renders struct {
	group, kind string
	// folders are the paths of the fields with a folder of the same repository, and changes those of the fields by which
	// the object changes what that folder holds. A part * stands for all elements of a list.
	folders, changes []string
}

// rendering lists the kinds from which controllers render objects: Argo CD v3.1 (docs/operator-manual), Flux v2.6
// (docs/components) and the Helm controller of k3s.
var rendering = []renders{
	{
		"argoproj.io", "Application", []string{"/spec/source/path", "/spec/sources/*/path"},
		[]string{"/spec/source/helm", "/spec/source/kustomize", "/spec/sources/*/helm", "/spec/sources/*/kustomize"},
	},
	{"argoproj.io", "ApplicationSet", []string{"/spec/template/spec/source/path"}, nil},
	{
		"kustomize.toolkit.fluxcd.io", "Kustomization", []string{"/spec/path"}, []string{
			"/spec/patches", "/spec/postBuild", "/spec/targetNamespace", "/spec/namePrefix", "/spec/nameSuffix",
			"/spec/components", "/spec/images",
		},
	},
	{
		"helm.toolkit.fluxcd.io", "HelmRelease", []string{"/spec/chart/spec/chart"},
		[]string{"/spec/values", "/spec/valuesFrom", "/spec/postRenderers", "/spec/targetNamespace"},
	},
	{"helm.cattle.io", "HelmChart", nil, nil},
}

// renderedBy returns the entry of rendering for a kind; nil if there is none.
func renderedBy(apiVersion, kind string) *renders {
	group, _, _ := strings.Cut(apiVersion, "/")
	i := slices.IndexFunc(rendering, func(r renders) bool { return r.group == group && r.kind == kind })
	if i < 0 {
		return nil
	}
	return &rendering[i]
}

// unseen returns what to say about an object from which a controller renders others; empty if these were seen.
func (f *finder) unseen(d definition, by *renders) string {
	var given, missing []string
	for _, name := range texts(d.content, by.folders) {
		folder, isFolder := inRepository(d.file, name)
		switch {
		case !isFolder:
		case slices.ContainsFunc(f.tops, func(top string) bool { return isBelow(top, folder) }):
			given = append(given, shownAs(folder, d.file.name))
		default:
			missing = append(missing, shownAs(folder, d.file.name))
		}
	}
	var changes []string
	for _, path := range by.changes {
		if len(valuesAt(d.content, tokens(path))) > 0 {
			changes = append(changes, fieldOf(strings.ReplaceAll(path, "/*", "")))
		}
	}
	switch {
	case missing != nil:
		return fmt.Sprintf("what it puts into the cluster was not seen; give %s, too", strings.Join(missing, " and "))
	case given != nil && changes != nil:
		return fmt.Sprintf("%s is checked without what %s of this object changes in it",
			strings.Join(given, " and "), strings.Join(changes, " and "))
	case given != nil:
		return ""
	default:
		return "what it puts into the cluster was not seen; render it, and check the result"
	}
}

// inRepository returns the real path of a folder that a file names relative to the root of its repository, and whether
// there is such a folder in it.
func inRepository(file *foundFile, name string) (folder string, ok bool) {
	root := filepath.Dir(file.real)
	for ; ; root = filepath.Dir(root) {
		if _, err := os.Lstat(filepath.Join(root, ".git")); err == nil {
			break
		}
		if root == filepath.Dir(root) {
			return "", false
		}
	}
	target, err := locate(root, root, filepath.Clean(filepath.FromSlash(name)))
	return target, err == nil && isBelow(root, target) && isFolderAt(target)
}

// texts returns the texts at paths in which a part * stands for all elements of a list.
func texts(content map[string]any, paths []string) []string {
	var found []string
	for _, path := range paths {
		for _, value := range valuesAt(content, tokens(path)) {
			if text, isText := value.(string); isText {
				found = append(found, text)
			}
		}
	}
	return found
}

// valuesAt returns the values at a path that are not absent.
func valuesAt(value any, path []string) []any {
	if len(path) == 0 {
		if isAbsent(value) {
			return nil
		}
		return []any{value}
	}
	if path[0] != "*" {
		object, _ := value.(map[string]any)
		return valuesAt(object[path[0]], path[1:])
	}
	var found []any
	list, _ := value.([]any)
	for _, element := range list {
		found = append(found, valuesAt(element, path[1:])...)
	}
	return found
}
