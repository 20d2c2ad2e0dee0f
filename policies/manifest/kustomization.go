package manifest

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
)

// kustomizations are the names that a kustomization may have.
var kustomizations = []string{"kustomization.yaml", "kustomization.yml", "Kustomization"}

func isKustomization(path string) bool { return slices.Contains(kustomizations, filepath.Base(path)) }

// setKustomizationType sets the apiVersion and kind that a kustomization may omit.
func setKustomizationType(content map[string]any) {
	if apiVersion, kind := typeOf(content); apiVersion == "" && kind == "" {
		content["apiVersion"], content["kind"] = "kustomize.config.k8s.io/v1beta1", "Kustomization"
	}
}

// kustomization records the files that a kustomization in a folder below top lists as patches or resources, and returns
// its content. path is its name as it is shown, and file without symbolic links. It ignores errors in the kustomization
// itself: they are reported when the file is read as a manifest. The content is nil if it has errors, or was recorded
// before.
func (f *finder) kustomization(path, file, folder, top string) map[string]any {
	key := "kustomization " + file + " in " + top
	if f.seen[key] {
		return nil
	}
	f.seen[key] = true
	data, err := foundFile{real: file}.read(nil)
	if err != nil {
		return nil
	}
	documents, _ := Parse(path, data)
	for _, document := range documents {
		for _, list := range []string{"patches", "patchesStrategicMerge", "patchesJson6902", "resources"} {
			entries, _ := document.Content[list].([]any)
			for _, entry := range entries {
				name := fileIn(entry)
				if name == "" {
					continue
				}
				target, err := locate(top, folder, name)
				switch {
				case err != nil:
				case list == "resources":
					f.isResource[target] = true
				default:
					f.patchOf[target] = path
				}
			}
		}
	}
	if len(documents) != 1 {
		return nil
	}
	return documents[0].Content
}

// fileIn returns the name of the file in an entry of a kustomization; empty for a patch that is written there.
func fileIn(entry any) string {
	name, _ := entry.(string)
	if patch, ok := entry.(map[string]any); ok {
		name, _ = patch["path"].(string)
	}
	if strings.Contains(name, "\n") {
		return ""
	}
	return name
}

// changing holds the fields by which a kustomization changes what rules read in the objects of its files, or adds
// objects.
var changing = []string{
	"namespace", "namePrefix", "nameSuffix", "labels", "commonLabels", "commonAnnotations", "replicas", "patches",
	"patchesStrategicMerge", "patchesJson6902", "replacements", "vars", "transformers", "components", "generators",
	"helmCharts",
}

// changes says that a kustomization in a folder below top makes other objects than its files hold; empty if it does
// not.
func changes(content map[string]any, path, folder, top string) string {
	var fields []string
	for _, field := range changing {
		list, isList := content[field].([]any)
		if value := content[field]; value != nil && value != "" && (!isList || len(list) > 0) {
			fields = append(fields, field)
		}
	}
	resources, _ := content["resources"].([]any)
	isOutside := func(entry any) bool {
		target, err := locate(top, folder, fileIn(entry))
		return err != nil || !isBelow(top, target)
	}
	if slices.ContainsFunc(resources, isOutside) {
		fields = append(fields, "resources outside of what is checked")
	}
	if fields == nil {
		return ""
	}
	return fmt.Sprintf("it was not built, and changes what the files hold by %s; to check what it builds: "+
		"kustomize build %s | sourceward check -", strings.Join(fields, ", "), filepath.Dir(path))
}
