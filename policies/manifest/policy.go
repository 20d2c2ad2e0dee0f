package manifest

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
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
	read := map[string]bool{} // the files that were read, and whether there is a policy in them
	for _, path := range paths {
		if path == Stdin {
			errs = append(errs, &Error{File: path, Message: "policies are not read from the standard input; give a file or directory"})
			continue
		}
		files := &finder{seen: map[string]bool{}, partial: map[string]bool{}}
		files.find([]string{path}, false)
		errs = append(errs, files.errs...)
		found := len(files.errs) > 0
		for _, file := range files.found {
			if _, again := read[file.real]; !again {
				policies, problems := readPolicies(file)
				loaded = append(loaded, policies...)
				errs = append(errs, problems...)
				read[file.real] = len(policies)+len(problems) > 0
			}
			found = found || read[file.real]
		}
		if !found {
			errs = append(errs, &Error{File: path, Message: "no SourceIPPolicy is in it; give the file or directory of your policies"})
		}
	}
	return loaded, errs
}

func readPolicies(file foundFile) ([]*Policy, []*Error) {
	data, err := file.read(nil)
	if err != nil {
		return nil, []*Error{fileError(file.name, err)}
	}
	var loaded []*Policy
	documents, errs := Parse(file.name, data)
	for _, document := range documents {
		for _, item := range policyContents(document) {
			policy, problems := decodePolicy(document, item)
			errs = append(errs, problems...)
			if problems == nil {
				loaded = append(loaded, policy)
			}
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
		if field, message := mismatch(item.content); field != "" {
			return nil, []*Error{problem("/"+strings.ReplaceAll(field, ".", "/"), "%s", message)}
		}
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

// mismatch is a field whose value has a type that it does not take, without the indices of lists, and
// what to say of it. The converter does not say where, the JSON decoder does.
func mismatch(content map[string]any) (name, message string) {
	raw, err := json.Marshal(content)
	if err != nil {
		return "", ""
	}
	wrong, ok := errors.AsType[*json.UnmarshalTypeError](json.Unmarshal(raw, new(v1alpha1.SourceIPPolicy)))
	if !ok {
		return "", ""
	}
	got, _, _ := strings.Cut(wrong.Value, " ")
	remedy := "correct it"
	if wrong.Type.Kind() == reflect.String && (got == "bool" || got == "number") {
		remedy = "quote it" // above all the mode Off, which is a boolean in YAML
	}
	return wrong.Field, fmt.Sprintf("%s of this %s does not take a value of type %s; %s", wrong.Field, v1alpha1.Kind, got, remedy)
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
