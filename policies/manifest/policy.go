package manifest

import (
	"fmt"
	"regexp"
	"strings"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/sourceward/sourceward/api/v1alpha1"
)

// Policy is a SourceIPPolicy, and where it was read.
type Policy struct {
	v1alpha1.SourceIPPolicy
	document *Document
	at       string
}

// LoadPolicies reads the SourceIPPolicy objects in files and directories, which are read as Load
// does. Other objects there are passed over. A policy that cannot be decoded is left out, with an
// Error for each thing that is wrong with it; so is each path without any policy.
func LoadPolicies(paths []string) ([]*Policy, []*Error) {
	var loaded []*Policy
	var errs []*Error
	for _, path := range paths {
		files := &finder{seen: map[string]bool{}, partial: map[string]bool{}}
		files.find([]string{path}, false)
		errs = append(errs, files.errs...)
		found := len(files.errs) > 0
		for _, file := range files.found {
			data, err := file.read(nil)
			if err != nil {
				errs = append(errs, fileError(file.name, err))
				continue
			}
			documents, problems := Parse(file.name, data)
			errs = append(errs, problems...)
			found = found || len(problems) > 0
			for _, document := range documents {
				for _, item := range policyContents(document) {
					found = true
					policy, problems := decodePolicy(document, item)
					errs = append(errs, problems...)
					if problems == nil {
						loaded = append(loaded, policy)
					}
				}
			}
		}
		if !found {
			errs = append(errs, &Error{File: path, Message: "no SourceIPPolicy is in it; give the file or directory of your policies"})
		}
	}
	return loaded, errs
}

type policyContent struct {
	at      string
	content map[string]any
}

// policyContents are the policies in a document: it, or the items of a List.
func policyContents(document *Document) []policyContent {
	var found []policyContent
	add := func(at string, content map[string]any) {
		apiVersion, _ := content["apiVersion"].(string)
		kind, _ := content["kind"].(string)
		gvk := schema.FromAPIVersionAndKind(apiVersion, kind)
		if gvk.Group == v1alpha1.GroupVersion.Group && gvk.Kind == v1alpha1.Kind {
			found = append(found, policyContent{at, content})
		}
	}
	add("", document.Content)
	items, _ := document.Content["items"].([]any)
	for i, item := range items {
		if content, ok := item.(map[string]any); ok {
			add(fmt.Sprintf("/items/%d", i), content)
		}
	}
	return found
}

var unknownField = regexp.MustCompile(`unknown field "([^"]+)"`)

func decodePolicy(document *Document, item policyContent) (*Policy, []*Error) {
	policy := &Policy{document: document, at: item.at}
	problem := func(pointer, format string, args ...any) *Error {
		return &Error{File: document.File, Position: policy.Position(pointer, 0), Message: fmt.Sprintf(format, args...)}
	}
	if version := item.content["apiVersion"]; version != v1alpha1.GroupVersion.String() {
		return nil, []*Error{problem("/apiVersion", "there is no %s of version %v; write apiVersion: %s", v1alpha1.Kind, version, v1alpha1.GroupVersion)}
	}
	err := runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(item.content, &policy.SourceIPPolicy, true)
	strict, isStrict := runtime.AsStrictDecodingError(err)
	switch {
	case err == nil:
		return policy, nil
	case !isStrict:
		return nil, []*Error{problem("", "this %s cannot be read: %s", v1alpha1.Kind, err)}
	}
	var errs []*Error
	for _, e := range strict.Errors() {
		if match := unknownField.FindStringSubmatch(e.Error()); match != nil {
			pointer := "/" + strings.NewReplacer(".", "/", "[", "/", "]", "").Replace(match[1])
			errs = append(errs, problem(pointer, "there is no field %s in a %s; check its spelling", match[1], v1alpha1.Kind))
			continue
		}
		errs = append(errs, problem("", "%s", e))
	}
	return nil, errs
}

// File is the file that the policy was read from.
func (p *Policy) File() string { return p.document.File }

// Position is the place of a path of the policy. If row is not 0, the path is that of a text of
// several lines, such as a Rego module, and the place is that of its row, counted from 1, as far as
// it stands in the file as it is.
func (p *Policy) Position(pointer string, row int) Position {
	place := p.document.Position(p.at + pointer)
	if row == 0 {
		return place
	}
	module, ok := valueAt(p.document.Content, p.at+pointer).(string)
	rows := strings.Split(module, "\n")
	if !ok || row > len(rows) {
		return place
	}
	// In a block scalar the first row is the line after the key.
	line := place.Line + row
	if strings.TrimSpace(p.document.line(line)) != strings.TrimSpace(rows[row-1]) {
		return place
	}
	return Position{Line: line}
}

// valueAt is the value that a JSON Pointer names; nil if there is none.
func valueAt(value any, pointer string) any {
	for _, token := range tokens(pointer) {
		switch container := value.(type) {
		case map[string]any:
			value = container[token]
		case []any:
			var i int
			if _, err := fmt.Sscanf(token, "%d", &i); err != nil || i < 0 || i >= len(container) {
				return nil
			}
			value = container[i]
		default:
			return nil
		}
	}
	return value
}
