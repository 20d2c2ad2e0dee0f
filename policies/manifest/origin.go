package manifest

import (
	"cmp"
	"fmt"
	"path/filepath"
	"reflect"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/sourceward/sourceward/policies/render"
)

// Place is a place in a file by its name as it is shown.
type Place struct {
	File string
	Position
}

// String returns the place as file:line, or the file alone if the line is not known.
func (p Place) String() string {
	if p.Line == 0 {
		return p.File
	}
	return fmt.Sprintf("%s:%d", p.File, p.Line)
}

// Compare returns -1, 0 or +1 if the place comes before, is, or comes after another one, by file, line and column.
func (p Place) Compare(q Place) int {
	return cmp.Or(
		strings.Compare(p.File, q.File), cmp.Compare(p.Line, q.Line), cmp.Compare(p.Column, q.Column))
}

// Error returns an Error about the place.
func (p Place) Error(message string) *Error {
	return &Error{File: p.File, Position: p.Position, Message: message}
}

// Place returns the place of the value at a JSON Pointer, as Position does. For an object that a kustomization or a
// chart renders it is the place in the file from which the object comes, if that can be determined. A line of 0 stands
// for the file as a whole.
func (d *Document) Place(pointer string) Place {
	if d.origin == nil {
		return Place{d.File, d.Position(pointer)}
	}
	return d.origin.place(d, pointer)
}

// RenderedBy returns the kustomization or the chart that renders the document, as it is shown, and the values in the
// folder ci of the chart with which it does, if any. It returns "" for a document that a file holds.
func (d *Document) RenderedBy() string { return d.renderedBy }

// origin knows where a rendered document comes from.
type origin interface {
	place(d *Document, pointer string) Place
}

// templateOrigin is the template of a chart. lines is that of render.Object.
type templateOrigin struct {
	file  string
	lines []int
}

// place returns the line of the value or, if that is not known, of the nearest value around it of which it is.
func (o templateOrigin) place(d *Document, pointer string) Place {
	for path := tokens(pointer); ; path = path[:len(path)-1] {
		at := d.Position(joined(path))
		if i := at.Line - d.chunk.line - 2; i >= 0 && i < len(o.lines) && o.lines[i] > 0 {
			return Place{o.file, Position{Line: o.lines[i]}}
		}
		if len(path) == 0 {
			return Place{File: o.file}
		}
	}
}

// sourceLine matches the comment in which helm template names the template of a document.
var sourceLine = regexp.MustCompile(`^(?:---\s*\n)?# Source: (\S[^\r\n]*?)\s*\n`)

// sourceComment returns the template that a document from the standard input names; nil if it names none.
func sourceComment(text []byte) origin {
	if match := sourceLine.FindSubmatch(text); match != nil && filepath.IsLocal(string(match[1])) {
		return templateOrigin{file: string(match[1])}
	}
	return nil
}

// kustomizeOrigin is the file from which a kustomization reads an object, before it changes it.
type kustomizeOrigin struct {
	finder *finder
	source *source
	object render.Object
	// name is that of the file that holds object, as it is shown. kustomization is the name of the kustomization that
	// changes or generates the object.
	name, kustomization string
}

// place returns the place in the file that holds the value. If a kustomization sets the value, it returns the place
// where that, or a patch of it, does so; and the beginning of the kustomization if the place is not known.
func (o kustomizeOrigin) place(d *Document, pointer string) Place {
	built := d.outline()
	if built != nil && o.object.File != "" {
		if place, isRead := o.read(built, pointer); isRead {
			return place
		}
		s := &setting{kustomizeOrigin: o, built: built.root, path: tokens(pointer), seen: map[string]bool{}}
		if place, isSet := s.in(o.source.kustomization.folder); isSet {
			return place
		}
	}
	return Place{File: o.kustomization, Position: Position{Line: 1, Column: 1}}
}

// read returns the place of a value in the file that holds the object, or false if that has not the value of built.
func (o kustomizeOrigin) read(built *outline, pointer string) (Place, bool) {
	document, at := o.finder.sources.find(o.object)
	if document == nil || document.outline() == nil {
		return Place{}, false
	}
	written := document.outline().root
	for _, token := range tokens(at) {
		written = child(written, token).value()
	}
	value, read := built.root, ""
	for _, token := range tokens(pointer) {
		next, same := child(value, token), child(written, token)
		if next.container == nil {
			if same.container != nil {
				return Place{}, false // a patch has removed it
			}
			break // what is missing is to be added to what the object has around it
		}
		value = next.value()
		if next.container.Kind == yaml.SequenceNode { // a patch may have moved the elements
			token, same = sameElement(written, value, token)
		}
		if same.container == nil {
			return Place{}, false
		}
		written, read = same.value(), read+"/"+escape.Replace(token)
	}
	if value.Kind == yaml.ScalarNode && value.Value != written.Value {
		return Place{}, false
	}
	return Place{o.name, document.Position(at + read)}, true
}

// sameElement returns the element of a list that is the same as one of a built list, with its index: the one of the
// same name or, if it has no name, an equal one. It is looked for at the index in the built list first.
func sameElement(list, of *yaml.Node, index string) (string, slot) {
	list = written(list)
	if list.Kind != yaml.SequenceNode {
		return "", slot{}
	}
	name := func(n *yaml.Node) string {
		if s := child(n, "name"); n.Kind == yaml.MappingNode && s.container != nil {
			return s.value().Value
		}
		return ""
	}
	isSame := func(n *yaml.Node) bool {
		if name(of) != "" {
			return name(n) == name(of)
		}
		return isEqual(n, of)
	}
	if s := child(list, index); s.container != nil && isSame(s.value()) {
		return index, s
	}
	for i := range list.Content {
		if s := child(list, strconv.Itoa(i)); isSame(s.value()) {
			return strconv.Itoa(i), s
		}
	}
	return "", slot{}
}

// isEqual reports whether two nodes have the same value, in any order of keys.
func isEqual(a, b *yaml.Node) bool {
	var first, second any
	return a.Decode(&first) == nil && b.Decode(&second) == nil && reflect.DeepEqual(first, second)
}

// joined returns the JSON Pointer with these parts.
func joined(path []string) string {
	var pointer strings.Builder
	for _, part := range path {
		pointer.WriteString("/" + escape.Replace(part))
	}
	return pointer.String()
}

// sources are kustomizations, their patches, and the files from which they read objects. They are parsed when a place
// in them is asked for.
type sources struct {
	texts     map[string][]byte
	documents map[string][]*Document
}

// parsed returns the documents of a file.
func (s *sources) parsed(file string) []*Document {
	documents, isParsed := s.documents[file]
	if !isParsed {
		documents, _ = Parse(filepath.FromSlash(file), s.texts[file])
		s.documents[file] = documents
	}
	return documents
}

// find returns the document that holds an object before it was changed, and the JSON Pointer of the object in it; nil
// if it cannot be found.
func (s *sources) find(of render.Object) (document *Document, at string) {
	number := 0
	var find func(content map[string]any, at string) (string, bool)
	find = func(content map[string]any, at string) (string, bool) {
		if items := items(content); items != nil {
			for i, item := range items {
				element, _ := item.(map[string]any)
				if found, isIn := find(element, fmt.Sprintf("%s/items/%d", at, i)); isIn {
					return found, true
				}
			}
			return "", false
		}
		number++
		metadata, _ := content["metadata"].(map[string]any)
		_, kind := typeOf(content)
		return at, number-1 == of.Index && kind == of.Kind && metadata["name"] == of.Name
	}
	for _, d := range s.parsed(of.File) {
		if at, isIn := find(d.Content, ""); isIn {
			return d, at
		}
	}
	return nil, ""
}
