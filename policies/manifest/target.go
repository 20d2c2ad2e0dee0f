package manifest

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/sourceward/sourceward/policies"
)

// Target is where a repair of an object is written.
type Target struct {
	// File is the name of the file as it is shown, and Path its absolute path without symbolic links.
	File, Path string
	// Index and At are those of Change, and Operations those of the repair, relative to the object in the file.
	Index      int
	At         string
	Operations []policies.PatchOperation

	// object is the object in the file from which a kustomization builds it; zero for one that is judged as it stands.
	object builtObject
}

// Builders returns the kustomizations that build the object of a target from its file, sorted: a change of the file
// changes what all of them build. There are none for an object that is judged as it stands. failed is a kustomization
// that reads the file and could not be built, so that it is not known what it makes of the object; empty if there is
// none.
func (m *Manifests) Builders(t *Target) (builders []string, failed string) {
	if t.object == (builtObject{}) {
		return nil, ""
	}
	return m.builders[t.object], m.unbuilt[t.object.file]
}

// Target returns where to write operations that repair the object. The error says in one line why they belong in no
// file: a chart renders the object, a kustomization sets what is to be changed, or the file was not given to be judged.
func (o *Object) Target(operations []policies.PatchOperation) (*Target, error) {
	if o.Document.origin == nil {
		if o.file.folder == nil {
			return nil, errors.New("it does not come from a file that can be written")
		}
		return &Target{
			File: o.file.name, Path: o.file.real, Index: o.Document.Index, At: o.At, Operations: operations,
		}, nil
	}
	of, isBuilt := o.Document.origin.(kustomizeOrigin)
	if !isBuilt {
		return nil, errors.New("a template of a Helm chart writes it; change the template")
	}
	return of.target(o, operations)
}

// target returns what Object.Target does for an object that a kustomization builds.
func (o kustomizeOrigin) target(object *Object, operations []policies.PatchOperation) (*Target, error) {
	if o.object.File == "" {
		return nil, errors.New("a generator of a kustomization makes it; change the kustomization")
	}
	file := o.source.realOf(o.object.File)
	isGiven := o.source.judged[file] ||
		slices.ContainsFunc(o.finder.judgedTops, func(top string) bool { return isBelow(top, file) })
	if !isGiven {
		return nil, fmt.Errorf("%s is only context; name it to have it changed", o.name)
	}
	document, at := o.finder.sources.find(o.object)
	built := object.Document.outline()
	if document == nil || document.outline() == nil || built == nil {
		return nil, fmt.Errorf("it cannot be found in %s", o.name)
	}
	written, ok := nodeAt(document.outline().root, tokens(at))
	target := &Target{
		File: o.name, Path: file, Index: document.Index, At: at,
		object: builtObject{file, o.object.Index},
	}
	labels := []string{"spec", "template", "metadata", "labels"}
	own, _ := nodeAt(written, labels)
	all, _ := nodeAt(built.root, labels)
	for _, operation := range operations {
		if strings.Contains(flow(operation.Value), "labelSelector") && !isEqual(own, all) {
			return nil, fmt.Errorf("%s changes the labels of the pods, which are a part of it", o.source.name)
		}
		if ok {
			operation.Path, ok = pathIn(written, built.root, tokens(object.At+operation.Path))
		}
		if !ok {
			return nil, fmt.Errorf("%s sets what is to be changed", o.source.name)
		}
		target.Operations = append(target.Operations, operation)
	}
	return target, nil
}

// Judges reports whether the object of a target is judged as it stands, in the file as a whole.
func (m *Manifests) Judges(t *Target) bool {
	return slices.ContainsFunc(m.Objects, func(o *Object) bool {
		return o.Document.origin == nil && o.file.real == t.Path && o.Document.Index == t.Index && o.At == t.At
	})
}

// builtObject is an object in a file, by the real path of that and the index of render.Object.
type builtObject struct {
	file  string
	index int
}

// pathIn returns the JSON Pointer at which the file holds what an object has at a path. It returns false if the file
// does not hold the same value there, or nothing where the object has nothing.
func pathIn(written, built *yaml.Node, path []string) (pointer string, ok bool) {
	for i, token := range path {
		next, same := child(built, token), child(written, token)
		if next.container == nil {
			return pointer + joined(path[i:]), same.container == nil
		}
		if next.container.Kind == yaml.SequenceNode {
			token, same = sameElement(written, next.value(), token)
		}
		if same.container == nil {
			return "", false
		}
		built, written = next.value(), same.value()
		pointer += "/" + escape.Replace(token)
	}
	return pointer, isEqual(built, written)
}

// Lines are what to write by hand at one place of an object.
type Lines struct {
	// Path is the path of the mapping or list to which the lines belong, such as spec.template.spec, or that of a field to
	// remove. It is empty for the object itself.
	Path string
	// Text holds the lines in YAML. It is empty if the field is to be removed.
	Text string
}

// LinesOf returns what to write by hand to make a repair.
func LinesOf(operations []policies.PatchOperation) []Lines {
	var all []Lines
	for i := 0; i < len(operations); i++ {
		of := operations[i]
		if of.Op == "remove" {
			all = append(all, Lines{Path: fieldOf(of.Path)})
			continue
		}
		// What later operations add below is part of the value.
		value := map[string]any{"": of.Value}
		for i+1 < len(operations) && strings.HasPrefix(operations[i+1].Path, of.Path+"/") && operations[i+1].Op == "add" {
			i++
			inner := operations[i]
			inner.Path = "/" + strings.TrimPrefix(inner.Path, of.Path)
			applied, err := apply(value, []policies.PatchOperation{inner})
			if err != nil {
				i--
				break
			}
			value = applied
		}
		path := tokens(of.Path)
		last := path[len(path)-1]
		var entry any = map[string]any{last: value[""]}
		if last == "-" {
			entry = []any{value[""]}
		}
		text := (&editor{newline: "\n"}).block(entry, 0)
		all = append(all, Lines{Path: fieldOf(joined(path[:len(path)-1])), Text: strings.TrimPrefix(text, "\n")})
	}
	return all
}
