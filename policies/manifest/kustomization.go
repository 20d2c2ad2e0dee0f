package manifest

import (
	"cmp"
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

// kustomization is one that was found. path is its name as it is shown, folder its real folder.
type kustomization struct {
	path, folder string
	content      map[string]any
	given        given
}

func givenIn(context bool) given {
	if context {
		return inContext
	}
	return inPaths
}

// given says how the folder of a kustomization, or a file beside it, was given. A larger one takes precedence.
type given int

const (
	notGiven given = iota // it lies above what was given
	inContext
	inPaths
)

// kustomization records a kustomization in a folder below top, and the files that it lists as patches or resources.
// path is its name as it is shown, and file without symbolic links. It returns the errors in the kustomization the
// first time.
func (f *finder) kustomization(path, file, folder, top string, given given) []*Error {
	if known := f.kustomizations[file]; known != nil {
		known.given, known.path = max(known.given, given), min(known.path, path)
	}
	key := "kustomization " + file + " in " + top
	if f.seen[key] {
		return nil
	}
	f.seen[key] = true
	data, err := (&foundFile{real: file}).read(nil, f.texts)
	if err != nil {
		return []*Error{fileError(path, err)}
	}
	documents, errs := Parse(path, data)
	for _, document := range documents {
		if f.kustomizations[file] == nil {
			f.kustomizations[file] = &kustomization{path, folder, document.Content, given}
		}
		for _, list := range []string{"patches", "patchesStrategicMerge", "patchesJson6902", "resources"} {
			entries, _ := document.Content[list].([]any)
			for _, entry := range entries {
				name := fileIn(entry)
				if name == "" {
					continue
				}
				target, err := locate(top, folder, name)
				switch former := f.patchOf[target]; {
				case err != nil:
				case list != "resources" && (former == "" || path < former): // whatever the order of the paths
					f.patchOf[target] = path
				case list == "resources" && !slices.Contains(f.resourceOf[target], file):
					f.resourceOf[target] = append(f.resourceOf[target], file)
				}
			}
		}
	}
	return errs
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

// changes returns a note about each kustomization of judged files that makes other objects than its files hold, and one
// about all of those in the context.
func (f *finder) changes() []Remark {
	var notes, context []Remark
	for _, k := range f.kustomizations {
		var fields []string
		for _, field := range changing {
			if !isAbsent(k.content[field]) && k.content[field] != "" {
				fields = append(fields, field)
			}
		}
		resources, _ := k.content["resources"].([]any)
		if slices.ContainsFunc(resources, func(entry any) bool { return !f.reads(k.folder, fileIn(entry)) }) {
			fields = append(fields, "resources that are not read here")
		}
		if fields == nil || k.given == notGiven || f.builds(k) {
			continue
		}
		text := "it was not built, and changes what the files hold by " + strings.Join(fields, ", ")
		if k.given == inContext {
			context = append(context, Remark{Place: Place{File: k.path}, Text: text + "; give its folder with --context"})
			continue
		}
		notes = append(notes, Remark{Place: Place{File: k.path}, Text: fmt.Sprintf(
			"%s; to check what it builds: sourceward check %s", text, filepath.Dir(k.path))})
	}
	slices.SortFunc(notes, func(a, b Remark) int { return strings.Compare(a.File, b.File) })
	return append(notes, ofContext(context, "", "kustomization", "kustomizations")...)
}

// ofContext returns one note for all remarks about the context: the first by file and line, with a text before it, and
// the number of the others.
func ofContext(remarks []Remark, before, one, several string) []Remark {
	if len(remarks) == 0 {
		return nil
	}
	first := slices.MinFunc(remarks, func(a, b Remark) int {
		return cmp.Or(strings.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), strings.Compare(a.Text, b.Text))
	})
	first.Text = before + first.Text
	switch others := len(remarks) - 1; others {
	case 0:
	case 1:
		first.Text += fmt.Sprintf("; 1 other %s of the context is not used either", one)
	default:
		first.Text += fmt.Sprintf("; %d other %s of the context are not used either", others, several)
	}
	return []Remark{first}
}

// reads reports whether a resource of a kustomization in a folder is read: a file or a directory that was found.
func (f *finder) reads(folder, name string) bool {
	target := filepath.Join(folder, filepath.FromSlash(name))
	return f.seen[target] || f.walked[target]
}
