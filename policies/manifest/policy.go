package manifest

import (
	"fmt"
	"maps"
	"regexp"
	"strings"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/sourceward/sourceward/api/v1alpha1"
	"github.com/sourceward/sourceward/policies"
)

// Policy is a SourceIPPolicy, with the place where it was read.
type Policy struct {
	v1alpha1.SourceIPPolicy
	document *Document
	at       string
}

// LoadPolicies reads the SourceIPPolicy objects in files and directories. It finds files in the same way as Load, and
// ignores other objects in them. It leaves out policies that cannot be decoded and returns an Error for each problem
// in them, and one for each path without any policy.
func LoadPolicies(paths []string) ([]*Policy, []*Error) {
	return loadFurtherPolicies(paths, map[string]searched{})
}

// Policies returns the SourceIPPolicy objects in the files that Load has read, followed by those in further files and
// directories, as LoadPolicies does. It does not read a file again. The errors of Load itself, such as a broken
// document, are only in m.Errors.
func (m *Manifests) Policies(paths []string) ([]*Policy, []*Error) {
	loaded, errs := decodePolicies(m.policies)
	more, problems := loadFurtherPolicies(paths, maps.Clone(m.searched))
	return append(loaded, more...), append(errs, problems...)
}

// loadFurtherPolicies does the work of LoadPolicies, but does not read the files in read again, which are named by
// their paths without symbolic links. It adds to read the files that it reads.
func loadFurtherPolicies(paths []string, read map[string]searched) ([]*Policy, []*Error) {
	var loaded []*Policy
	var errs []*Error
	for _, path := range paths {
		if path == Stdin {
			errs = append(errs, &Error{
				File:    path,
				Message: "policies cannot be read from standard input; give a file or directory",
			})
			continue
		}
		files := newFinder(nil)
		files.find([]string{path}, false)
		errs = append(errs, files.errs...)
		for _, skipped := range files.skipped {
			errs = append(errs, &Error{File: skipped.File, Message: skipped.Text + "; name it with --policy if it has policies"})
		}
		found := len(files.errs) > 0
		for _, file := range files.found {
			of, again := read[file.real]
			if !again {
				var readable []*Policy
				readable, of.unreported = readPolicies(file)
				loaded = append(loaded, readable...)
				of.found = len(readable)+len(of.unreported) > 0
			}
			errs = append(errs, of.unreported...)
			read[file.real] = searched{found: of.found}
			found = found || of.found
		}
		if !found {
			errs = append(errs, &Error{
				File:    path,
				Message: "contains no SourceIPPolicy; give the file or directory with your policies",
			})
		}
	}
	return loaded, errs
}

func readPolicies(file *foundFile) ([]*Policy, []*Error) {
	data, err := file.read(nil, nil)
	if err != nil {
		return nil, []*Error{fileError(file.name, err)}
	}
	documents, errs := Parse(file.name, data)
	var contents []policyContent
	for _, document := range documents {
		contents = append(contents, policyContents(document)...)
	}
	loaded, problems := decodePolicies(contents)
	return loaded, append(errs, problems...)
}

func decodePolicies(contents []policyContent) (loaded []*Policy, errs []*Error) {
	for _, content := range contents {
		policy, problems := decodePolicy(content)
		errs = append(errs, problems...)
		if problems == nil {
			loaded = append(loaded, policy)
		}
	}
	return loaded, errs
}

// policyContent is an object that is meant to be a policy, with its place in its document.
type policyContent struct {
	document *Document
	at       string
	content  map[string]any
}

// policyContents returns the objects in a document that are meant to be a policy, by their kind or group: the document
// itself, or items of a list.
func policyContents(document *Document) []policyContent {
	return policyContent{document, "", document.Content}.policies()
}

func (c policyContent) policies() []policyContent {
	items := items(c.content)
	var found []policyContent
	for i, item := range items {
		element, _ := item.(map[string]any)
		found = append(found, policyContent{c.document, fmt.Sprintf("%s/items/%d", c.at, i), element}.policies()...)
	}
	apiVersion, kind := typeOf(c.content)
	group, _, _ := strings.Cut(apiVersion, "/")
	isList := items != nil && c.content["spec"] == nil
	if !isList && (group == v1alpha1.GroupVersion.Group || strings.EqualFold(kind, v1alpha1.Kind)) {
		found = append(found, c)
	}
	return found
}

var unknownField = regexp.MustCompile(`unknown field "([^"]+)"`)

func decodePolicy(item policyContent) (*Policy, []*Error) {
	document := item.document
	policy := &Policy{document: document, at: item.at}
	problem := func(pointer, format string, args ...any) *Error {
		return &Error{File: document.File, Position: policy.Position(pointer, 0), Message: fmt.Sprintf(format, args...)}
	}
	var errs []*Error
	for _, is := range []struct{ field, want string }{
		{"apiVersion", v1alpha1.GroupVersion.String()}, {"kind", v1alpha1.Kind},
	} {
		if got, _ := item.content[is.field].(string); got != is.want {
			errs = append(errs, problem("/"+is.field, "%s %q is wrong for a %s; write %[1]s: %[4]s",
				is.field, got, v1alpha1.Kind, is.want))
		}
	}
	// In the Go type, 0 and an absent field look the same.
	const maxSkew = "/spec/spread/maxSkew"
	if valueAt(item.content, maxSkew) == int64(0) {
		invalid := field.Invalid(field.NewPath("spec", "spread", "maxSkew"), 0, "must be at least 1")
		errs = append(errs, problem(maxSkew, "%s", invalid))
	}
	if errs != nil {
		return nil, errs
	}
	if err := policies.Decode(item.content, &policy.SourceIPPolicy); err != nil {
		return nil, []*Error{decodeError(document, item.at, v1alpha1.Kind, err)}
	}
	var known v1alpha1.SourceIPPolicy
	err := runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(item.content, &known, true)
	strict, isStrict := runtime.AsStrictDecodingError(err)
	if !isStrict {
		return policy, nil
	}
	for _, e := range strict.Errors() {
		if match := unknownField.FindStringSubmatch(e.Error()); match != nil {
			pointer := "/" + strings.NewReplacer(".", "/", "[", "/", "]", "").Replace(match[1])
			errs = append(errs, problem(pointer, "a %s has no field %s; check its spelling", v1alpha1.Kind, match[1]))
			continue
		}
		errs = append(errs, problem("", "%s", e))
	}
	return nil, errs
}

// File returns the name of the file that the policy was read from.
func (p *Policy) File() string { return p.document.File }

// Edit applies operations to the policy in data, the text of its file, and returns the whole new text. The error is the
// one of Patch.
func (p *Policy) Edit(data []byte, operations []policies.PatchOperation) ([]byte, error) {
	return Patch(data, p.document.Index, p.at, operations)
}

// Position returns the place of the value at a JSON Pointer into the policy. If row is not 0, the value is a text of
// several lines, such as a Rego module. Position then returns the line of that row, counted from 1, if the file holds
// the row as it is, and else the place of the value.
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
	// The first row of a block scalar is on the line after the key.
	line := place.Line + row
	if strings.TrimSpace(p.document.line(line)) != strings.TrimSpace(rows[row-1]) {
		return place
	}
	return Position{Line: line}
}

// Indent returns the number of characters by which the file indents a row, or 0 if Position does not find that row.
func (p *Policy) Indent(pointer string, row int) int {
	place := p.Position(pointer, row)
	module, _ := valueAt(p.document.Content, p.at+pointer).(string)
	rows := strings.Split(module, "\n")
	if place.Column > 0 || row < 1 || row > len(rows) {
		return 0
	}
	return max(0, len(p.document.line(place.Line))-len(rows[row-1]))
}

// valueAt returns the value at a JSON Pointer, or nil if there is none.
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
