package manifest

import (
	"fmt"
	"path/filepath"
	"regexp"
	"slices"

	"go.yaml.in/yaml/v3"
	"k8s.io/apimachinery/pkg/labels"
)

// setting searches for the place where a kustomization sets a value of an object that it builds. It does not build the
// object again, and so it compares: what sets the same value at the same path of an object with the same name is taken
// for it. It knows patches, labels, annotations, the namespace and replicas.
type setting struct {
	kustomizeOrigin

	// built is the object, and path that of the value in it, which may be missing there.
	built *yaml.Node
	path  []string
	seen  map[string]bool
}

// in searches the kustomization in a folder, and then those that it refers to, beginning with what changes an object
// last.
func (s *setting) in(folder string) (Place, bool) {
	if s.seen[folder] {
		return Place{}, false
	}
	s.seen[folder] = true
	for _, name := range kustomizations {
		for _, k := range s.finder.sources.parsed(filepath.ToSlash(filepath.Join(folder, name))) {
			if place, ok := s.inFields(folder, k); ok {
				return place, true
			}
			for _, field := range []string{"components", "bases", "resources"} {
				entries, _ := k.Content[field].([]any)
				for _, entry := range slices.Backward(entries) {
					name, _ := entry.(string)
					target := filepath.Join(folder, filepath.FromSlash(name))
					if _, isFolder, ok := s.finder.allowed(target); ok && isFolder {
						if place, ok := s.in(target); ok {
							return place, true
						}
					}
				}
			}
		}
	}
	return Place{}, false
}

// inFields searches the fields of one kustomization in the reverse of the order in which kustomize applies them
// (KustTarget.configureBuiltinTransformers in its package api/internal/target).
func (s *setting) inFields(folder string, k *Document) (Place, bool) {
	root := k.outline()
	if root == nil {
		return Place{}, false
	}
	if len(s.path) == 2 && s.path[0] == "spec" && s.path[1] == "replicas" {
		for i, entry := range list(k.Content["replicas"]) {
			of, _ := entry.(map[string]any)
			if at := fmt.Sprintf("/replicas/%d/count", i); of["name"] == s.object.Name && s.isValue(root.root, at) {
				return s.placeIn(k, at), true
			}
		}
	}
	if place, ok := s.inPatches(folder, k, "patchesJson6902"); ok {
		return place, true
	}
	for _, at := range s.pairs(k) {
		if s.isValue(root.root, at) {
			return s.placeIn(k, at), true
		}
	}
	for _, field := range []string{"patches", "patchesStrategicMerge"} {
		if place, ok := s.inPatches(folder, k, field); ok {
			return place, true
		}
	}
	return Place{}, false
}

// pairs returns the JSON Pointers of the fields that would set the value if it is a label, an annotation or the
// namespace.
func (s *setting) pairs(k *Document) []string {
	if len(s.path) < 2 {
		return nil
	}
	key := escape.Replace(s.path[len(s.path)-1])
	switch of := s.path[len(s.path)-2]; {
	case of == "annotations":
		return []string{"/commonAnnotations/" + key}
	case of == "labels", of == "selector", of == "matchLabels":
		var fields []string
		for i := range list(k.Content["labels"]) {
			fields = append(fields, fmt.Sprintf("/labels/%d/pairs/%s", i, key))
		}
		return append(fields, "/commonLabels/"+key)
	case len(s.path) == 2 && of == "metadata" && key == "namespace":
		return []string{"/namespace"}
	}
	return nil
}

func list(value any) []any {
	elements, _ := value.([]any)
	return elements
}

// isValue reports whether the value at a JSON Pointer into a node is that of the object.
func (s *setting) isValue(of *yaml.Node, pointer string) bool {
	value, isThere := nodeAt(of, tokens(pointer))
	built, isBuilt := nodeAt(s.built, s.path)
	return isThere && isBuilt && value.Kind == yaml.ScalarNode && value.Value == built.Value
}

// nodeAt returns the value at a path, or an empty node and false if there is none.
func nodeAt(node *yaml.Node, path []string) (value *yaml.Node, ok bool) {
	for _, token := range path {
		s := child(node, token)
		if s.container == nil {
			return &yaml.Node{}, false
		}
		node = s.value()
	}
	return written(node), true
}

// placeIn returns the place of the value at a JSON Pointer into a document of a file in the request.
func (s *setting) placeIn(d *Document, pointer string) Place {
	return Place{s.finder.shownFile(s.source, filepath.ToSlash(d.File)), d.Position(pointer)}
}

// inPatches searches the patches that a field of a kustomization lists.
func (s *setting) inPatches(folder string, k *Document, field string) (Place, bool) {
	for i, entry := range slices.Backward(list(k.Content[field])) {
		pointer := fmt.Sprintf("/%s/%d", field, i)
		inline, isText := entry.(string)
		of, _ := entry.(map[string]any)
		if !isText {
			inline, _ = of["patch"].(string)
			pointer += "/patch"
		}
		target, _ := of["target"].(map[string]any)
		if name := fileIn(entry); name != "" {
			file := filepath.ToSlash(filepath.Join(folder, filepath.FromSlash(name)))
			for _, patch := range s.finder.sources.parsed(file) {
				if at, ok := s.inPatch(patch, target); ok {
					return s.placeIn(patch, at), true
				}
			}
			continue
		}
		patches, _ := Parse(k.File, []byte(inline))
		for _, patch := range patches {
			if at, ok := s.inPatch(patch, target); ok {
				return s.inText(k, pointer, patch.Position(at).Line), true
			}
		}
	}
	return Place{}, false
}

// inText returns the place of a line of the text at a JSON Pointer, if it is written line by line; else that of the
// text.
func (s *setting) inText(d *Document, pointer string, line int) Place {
	place := s.placeIn(d, pointer)
	outline := d.outline()
	if text, ok := nodeAt(outline.root, tokens(pointer)); ok && text.Style&yaml.LiteralStyle != 0 {
		place.Position = Position{Line: position(outline.lines, text).Line + line}
	}
	return place
}

// inPatch returns the JSON Pointer of the value in a patch that sets it.
func (s *setting) inPatch(patch *Document, target map[string]any) (string, bool) {
	outline := patch.outline()
	if outline == nil || !s.isTarget(outline.root, target) {
		return "", false
	}
	if outline.root.Kind == yaml.SequenceNode {
		return s.inOperations(outline.root)
	}
	return sets(outline.root, s.built, s.path)
}

// isTarget reports whether a patch may be one of the object: by its target, or else by its own kind and name. kustomize
// also accepts the names that an object had before.
func (s *setting) isTarget(patch *yaml.Node, target map[string]any) bool {
	value := func(of *yaml.Node, path ...string) string {
		value, _ := nodeAt(of, path)
		return value.Value
	}
	kind, name := s.object.Kind, value(s.built, "metadata", "name")
	namespace := value(s.built, "metadata", "namespace")
	if target == nil {
		named, in := value(patch, "metadata", "name"), value(patch, "metadata", "namespace")
		return value(patch, "kind") == kind && (named == name || named == s.object.Name) &&
			(in == "" || in == namespace || in == s.object.Namespace)
	}
	matches := func(key string, texts ...string) bool {
		pattern, _ := target[key].(string)
		compiled, err := regexp.Compile("^(?:" + pattern + ")$")
		return pattern == "" || err == nil && slices.ContainsFunc(texts, compiled.MatchString)
	}
	selects := func(key, of string) bool {
		text, _ := target[key].(string)
		selector, err := labels.Parse(text)
		var set map[string]string
		node, _ := nodeAt(s.built, []string{"metadata", of})
		return err == nil && (node.Kind == 0 || node.Decode(&set) == nil) && selector.Matches(labels.Set(set))
	}
	return matches("kind", kind) && matches("name", name, s.object.Name) &&
		matches("namespace", namespace, s.object.Namespace) &&
		selects("labelSelector", "labels") && selects("annotationSelector", "annotations")
}

// inOperations returns the JSON Pointer of the value in the last operation of a JSON patch (RFC 6902) that sets it or
// removes it.
func (s *setting) inOperations(patch *yaml.Node) (string, bool) {
	for i, operation := range slices.Backward(patch.Content) {
		text := func(key string) string {
			value, _ := nodeAt(operation, []string{key})
			return value.Value
		}
		path := tokens(text("path"))
		if len(path) > len(s.path) || !slices.EqualFunc(path, s.path[:len(path)], func(part, of string) bool {
			const end = "-"
			return part == of || part == end
		}) {
			continue
		}
		around, isThere := nodeAt(s.built, s.path[:len(path)])
		switch text("op") {
		case "remove":
			if !isThere {
				return fmt.Sprintf("/%d", i), true
			}
		case "add", "replace":
			value, ok := nodeAt(operation, []string{"value"})
			if !ok || len(path) > 0 && path[len(path)-1] == "-" && !isEqual(value, around) {
				continue
			}
			if at, ok := sets(value, around, s.path[len(path):]); ok {
				return fmt.Sprintf("/%d/value%s", i, at), true
			}
		}
	}
	return "", false
}

// sets returns the JSON Pointer of the value in a strategic merge patch that sets the value at a path of what it makes,
// or removes it.
func sets(patch, built *yaml.Node, path []string) (pointer string, ok bool) {
	for i, token := range path {
		patch = written(patch)
		if patch.Kind == yaml.ScalarNode {
			return pointer, patch.ShortTag() == "!!null"
		}
		if directive := child(patch, "$patch"); directive.container != nil && directive.value().Value != "merge" {
			_, isThere := nodeAt(patch, path[i:])
			if !isThere {
				return pointer, true
			}
		}
		next, _ := nodeAt(built, []string{token})
		same := child(patch, token)
		if patch.Kind == yaml.SequenceNode {
			token, same = sameElement(patch, next, token)
		}
		if same.container == nil {
			return "", false
		}
		patch, built = same.value(), next
		pointer += "/" + escape.Replace(token)
	}
	patch = written(patch)
	return pointer, patch.Kind != yaml.ScalarNode || patch.Value == built.Value || patch.ShortTag() == "!!null"
}
