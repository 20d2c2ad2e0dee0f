package v1alpha1

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TestFieldsFollowTheAPIConventions checks each field that has a JSON name:
//
//   - its description, which kubectl explain shows, begins with that name and ends with a full stop;
//   - it has one of the markers +optional and +required, and an optional field can be omitted from the JSON;
//   - a list has the marker +listType, for server-side apply.
//
// See https://github.com/kubernetes/community/blob/main/contributors/devel/sig-architecture/api-conventions.md.
func TestFieldsFollowTheAPIConventions(t *testing.T) {
	t.Parallel()
	files := token.NewFileSet()
	source, err := parser.ParseFile(files, "sourceippolicy_types.go", nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	checked := 0
	ast.Inspect(source, func(n ast.Node) bool {
		object, ok := n.(*ast.StructType)
		if !ok {
			return true
		}
		for _, f := range object.Fields.List {
			tag, err := strconv.Unquote(f.Tag.Value)
			if err != nil {
				t.Fatal(err)
			}
			name, options, _ := strings.Cut(reflect.StructTag(tag).Get("json"), ",")
			if name == "" { // TypeMeta, which is inlined.
				continue
			}
			checked++
			at := files.Position(f.Pos()).String() + ": " + name
			if f.Doc == nil {
				t.Errorf("%s has no comment", at)
				continue
			}
			var text, markers []string
			for _, comment := range f.Doc.List {
				line := strings.TrimSpace(strings.TrimPrefix(comment.Text, "//"))
				if marker, ok := strings.CutPrefix(line, "+"); ok {
					markers = append(markers, marker)
				} else {
					text = append(text, line)
				}
			}
			if !strings.HasPrefix(text[0], name+" ") || !strings.HasSuffix(text[len(text)-1], ".") {
				t.Errorf("%s: the description does not begin with the JSON name, or does not end with a full stop", at)
			}
			optional := slices.Contains(markers, "optional")
			if optional == slices.Contains(markers, "required") {
				t.Errorf("%s needs one of the markers +optional and +required", at)
			}
			// The API server sets defaults only in a spec that exists, so an empty one is written.
			if omitted := options == "omitempty" || options == "omitzero"; omitted != optional && name != "spec" {
				t.Errorf("%s: only an optional field has omitempty or omitzero, and each has one", at)
			}
			list, isList := f.Type.(*ast.ArrayType)
			if isList && fmt.Sprint(list.Elt) == "byte" { // It is a string in the JSON.
				isList = false
			}
			hasListType := slices.ContainsFunc(markers, func(m string) bool { return strings.HasPrefix(m, "listType=") })
			if isList != hasListType && name != "items" { // The items of a list of objects are in no schema.
				t.Errorf("%s: only a list has the marker +listType, and each has it", at)
			}
		}
		return true
	})
	if checked < 20 {
		t.Errorf("checked %d fields, want all fields of a SourceIPPolicy", checked)
	}
}
