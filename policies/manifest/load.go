package manifest

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/gobwas/glob"
	corev1 "k8s.io/api/core/v1"

	"github.com/sourceward/sourceward/policies"
)

// Stdin is the path that stands for standard input.
const Stdin = "-"

// Options configures Load.
type Options struct {
	// Paths are the files, pipes and directories whose objects are judged. In a directory, Load reads all .yaml, .yml
	// and .json files at any depth, except those in hidden directories and those behind symbolic links that lead out
	// of the directory.
	Paths []string
	// Context are the files and directories whose objects are neighbours of the judged objects, but are not judged.
	Context []string
	// Exclude are globs for files and directories that Load leaves out. A glob matches the last element of a path or, if
	// it has a slash other than at its end, the whole path as it is shown. ** also matches slashes. Files in Paths and
	// Context can be excluded too, but directories in them cannot.
	Exclude []string
	// Stdin is the reader for the path Stdin.
	Stdin io.Reader
	// Version is the version of the API server whose defaults apply.
	Version policies.Version
	// Progress, if not nil, is called before each file is read, with the number of files read so far and the number of
	// all files.
	Progress func(read, all int)
}

// Manifests holds everything that Load has read, ready to be judged.
type Manifests struct {
	// Objects are the objects to judge, in the order in which they were read.
	Objects []*Object
	// Files is the number of files found in Options.Paths that were read. Documents is the number of Kubernetes objects of
	// any kind in them. Skipped is the number of documents that are not a Kubernetes object or are only a part of one,
	// such as a kustomize patch. Partial is the number of such parts.
	Files, Documents, Skipped, Partial int
	// Errors are the problems with files and documents that could not be read, sorted by file and line.
	Errors []*Error
	// Notes are hints for the user that are not errors. Each is one line.
	Notes []string

	last       lastAsked
	index      *policies.Index
	texts      map[string][]byte
	namespaces map[string]policies.Namespace
	nodes      map[string]*corev1.Node
	// known is computed from nodes on first use.
	known *policies.Nodes
	// policies are the objects that are meant to be a SourceIPPolicy. hasPolicy has an entry for each file that was
	// searched for policies. It is true if the file has one, or has something that could not be read.
	policies  []policyContent
	hasPolicy map[string]bool
}

// Object is an object to judge, with the place where it was read.
type Object struct {
	*policies.Object
	// InFile reports whether the file sets spec.externalTrafficPolicy.
	InFile policies.InFile
	// Document is the document that contains the object. At is the JSON Pointer to the object in it: empty or, for an
	// item of a List, a path such as /items/2.
	Document *Document
	At       string
}

// Position returns the place of the value at a JSON Pointer into the object. See Document.Position.
func (o *Object) Position(pointer string) Position { return o.Document.Position(o.At + pointer) }

// Load reads manifests. If a file or document cannot be read, Load adds to Errors and reads the others. The error is
// non-nil when a glob in options.Exclude is not valid.
func Load(options Options) (*Manifests, error) {
	m := &Manifests{
		index:      policies.NewIndex(policies.ViewFiles),
		texts:      map[string][]byte{},
		namespaces: map[string]policies.Namespace{},
		nodes:      map[string]*corev1.Node{},
		hasPolicy:  map[string]bool{},
	}
	exclude, err := compileGlobs(options.Exclude)
	if err != nil {
		return nil, err
	}
	files := &finder{exclude: exclude, seen: map[string]bool{}, partial: map[string]bool{}}
	files.find(options.Paths, false)
	files.find(options.Context, true)
	// Read the context first, so that an object to judge replaces the one of the same name in the context.
	slices.SortStableFunc(files.found, func(a, b foundFile) int { return contextFirst(a) - contextFirst(b) })
	m.Errors = files.errs
	for i, file := range files.found {
		if options.Progress != nil {
			options.Progress(i, len(files.found))
		}
		m.read(file, files.partial, options)
	}
	slices.SortStableFunc(m.Errors, func(a, b *Error) int {
		return cmp.Or(strings.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line))
	})
	m.noteRepeated()
	return m, nil
}

// noteRepeated adds one note if objects are defined more than once.
func (m *Manifests) noteRepeated() {
	first := map[policies.Ref]*Object{}
	repeated := map[policies.Ref]bool{}
	var note string
	for _, object := range m.Objects {
		former, ok := first[object.Ref]
		switch {
		case strings.HasSuffix(object.Name, "*"): // generateName: the API server gives each a name of its own
		case !ok:
			first[object.Ref] = object
		default:
			if note == "" {
				note = fmt.Sprintf("%s is defined more than once, in %s and %s", object.Ref, former.place(), object.place())
			}
			repeated[object.Ref] = true
		}
	}
	switch more := len(repeated) - 1; {
	case more == 0:
		m.Notes = append(m.Notes, note+"; all definitions are judged, and its neighbours see the last one")
	case more > 0:
		others := "1 other object is too"
		if more > 1 {
			others = fmt.Sprintf("%d other objects are too", more)
		}
		m.Notes = append(m.Notes, fmt.Sprintf(
			"%s, and %s; all definitions are judged, and other objects are judged with the last one", note, others))
	}
}

func contextFirst(file foundFile) int {
	if file.context {
		return 0
	}
	return 1
}

// Input returns the input of Decide for the creation of an object. It looks up the related objects in everything that
// was read. If cluster.Known is nil, it uses the Nodes in the context.
func (m *Manifests) Input(o *Object, cluster policies.Cluster, now time.Time) policies.Input {
	if cluster.Known == nil {
		cluster.Known = m.knownNodes()
	}
	return policies.Input{
		Operation: policies.Create,
		Object:    o.Object,
		Namespace: m.Namespace(o.Namespace),
		Related:   m.index.Related(o.Object),
		Cluster:   cluster,
		InFile:    o.InFile,
		Now:       now,
	}
}

// Namespace returns a Namespace that was read. For any other name it returns an assumed one, with only the label that
// every Namespace has.
func (m *Manifests) Namespace(name string) policies.Namespace {
	if namespace, ok := m.namespaces[name]; ok {
		return namespace
	}
	return policies.Namespace{Name: name, Labels: map[string]string{corev1.LabelMetadataName: name}, Assumed: true}
}

// Text returns the text of a file that was read, for use with Patch.
func (m *Manifests) Text(file string) []byte { return m.texts[file] }

// FilesRead returns the names of the files that were read, sorted.
func (m *Manifests) FilesRead() []string {
	return slices.DeleteFunc(slices.Sorted(maps.Keys(m.texts)), func(name string) bool { return name == Stdin })
}

// HasNamespace reports whether a Namespace of that name was read.
func (m *Manifests) HasNamespace(name string) bool {
	_, ok := m.namespaces[name]
	return ok
}

func (m *Manifests) read(file foundFile, partial map[string]bool, options Options) {
	data, err := file.read(options.Stdin)
	if err != nil {
		m.Errors = append(m.Errors, fileError(file.name, err))
		m.hasPolicy[file.real] = true // so that Policies does not read and report the file again
		return
	}
	if !file.context {
		m.Files++
	}
	m.texts[file.name] = data
	documents, errs := parse(file.name, data, &m.last)
	for _, e := range errs {
		if strings.Contains(string(data), "{{") {
			e.Message += "; if this is a template, render it first or leave it out with --exclude"
		}
	}
	m.Errors = append(m.Errors, errs...)
	before := len(m.policies)
	for _, document := range documents {
		switch {
		case partial[file.real] || !isKubernetes(document.Content):
			m.skip(document.Content, file)
		default:
			m.add(document, "", document.Content, file, options)
		}
		if !partial[file.real] {
			m.policies = append(m.policies, policyContents(document)...)
		}
	}
	if !partial[file.real] {
		m.hasPolicy[file.real] = len(errs) > 0 || len(m.policies) > before
	}
}

// add adds one object, or the items of a list of objects.
func (m *Manifests) add(document *Document, at string, content map[string]any, file foundFile, options Options) {
	apiVersion, _ := content["apiVersion"].(string)
	kind, _ := content["kind"].(string)
	if items := items(content); len(items) > 0 {
		for i, item := range items {
			element, _ := item.(map[string]any)
			if !isKubernetes(element) {
				m.skip(element, file)
				continue
			}
			m.add(document, fmt.Sprintf("%s/items/%d", at, i), element, file, options)
		}
		return
	}
	if isPart(apiVersion, kind, content) {
		m.skip(content, file)
		return
	}
	if !file.context {
		m.Documents++
	}
	var err error
	switch {
	case policies.Judged(apiVersion, kind):
		err = m.addJudged(document, at, content, file, options)
	case policies.Autoscales(apiVersion, kind):
		var autoscaler policies.Autoscaler
		if autoscaler, err = policies.NewAutoscaler(content); err == nil {
			m.index.PutAutoscaler(autoscaler)
		}
	case policies.HoldsEndpoints(apiVersion, kind):
		var endpoints policies.Endpoints
		if endpoints, err = policies.NewEndpoints(content); err == nil {
			m.index.PutEndpoints(endpoints)
		}
	case apiVersion == "v1" && kind == "Namespace":
		err = m.addNamespace(content)
	case apiVersion == "v1" && kind == "Node" && file.context: // Paths hardly ever hold all nodes of a cluster
		err = m.addNode(content)
	}
	if err != nil {
		m.Errors = append(m.Errors, decodeError(document, at, kind, err))
	}
}

func (m *Manifests) addJudged(
	document *Document, at string, content map[string]any, file foundFile, options Options,
) error {
	object := &Object{InFile: policies.InFileAbsent, Document: document, At: at}
	spec, _ := content["spec"].(map[string]any)
	if spec["externalTrafficPolicy"] != nil && spec["externalTrafficPolicy"] != "" {
		object.InFile = policies.InFileWritten
	}
	setDefaults(content, options.Version)
	var err error
	if object.Object, err = policies.NewObject(content); err != nil {
		return err
	}
	m.index.Put(object.Object)
	if file.context || object.Workload != nil && object.Workload.IsChild() {
		return nil
	}
	m.Objects = append(m.Objects, object)
	return nil
}

func (o *Object) place() string {
	return fmt.Sprintf("%s:%d", o.Document.File, o.Position("").Line)
}

func (m *Manifests) addNamespace(content map[string]any) error {
	var decoded corev1.Namespace
	if err := policies.Decode(content, &decoded); err != nil {
		return err
	}
	namespace := policies.Namespace{Name: decoded.Name, Labels: map[string]string{}, Annotations: decoded.Annotations}
	maps.Copy(namespace.Labels, decoded.Labels)
	namespace.Labels[corev1.LabelMetadataName] = decoded.Name
	m.namespaces[decoded.Name] = namespace
	return nil
}

func (m *Manifests) addNode(content map[string]any) error {
	var node corev1.Node
	if err := policies.Decode(content, &node); err != nil {
		return err
	}
	m.nodes[node.Name] = policies.ReducedNode(&node)
	m.known = nil
	return nil
}

// knownNodes returns the nodes that were read, or nil if there are none.
func (m *Manifests) knownNodes() *policies.Nodes {
	if m.known == nil && len(m.nodes) > 0 {
		m.known = policies.NewNodes(slices.Collect(maps.Values(m.nodes)))
	}
	return m.known
}

// skip counts a document, or an item in one, that is not a complete object.
func (m *Manifests) skip(content map[string]any, file foundFile) {
	if file.context {
		return
	}
	m.Skipped++
	if isKubernetes(content) {
		m.Partial++
	}
}

// items returns the items of a list of objects, or nil if content is not a list. It sets the apiVersion and kind of the
// items of a typed list, such as a ServiceList: the API server omits them there.
func items(content map[string]any) []any {
	apiVersion, _ := content["apiVersion"].(string)
	kind, _ := content["kind"].(string)
	kind, isList := strings.CutSuffix(kind, "List")
	items, _ := content["items"].([]any)
	if !isList {
		return nil
	}
	for _, item := range items {
		if element, ok := item.(map[string]any); ok && element["kind"] == nil && kind != "" {
			element["apiVersion"], element["kind"] = apiVersion, kind
		}
	}
	return items
}

func isKubernetes(content map[string]any) bool {
	apiVersion, _ := content["apiVersion"].(string)
	kind, _ := content["kind"].(string)
	return apiVersion != "" && kind != ""
}

// isPart reports whether an object is so incomplete that it can only be a part of one, such as a patch that is merged
// into the rest before it is applied.
func isPart(apiVersion, kind string, content map[string]any) bool {
	if !policies.Judged(apiVersion, kind) {
		return false
	}
	spec, _ := content["spec"].(map[string]any)
	switch {
	case kind == "Pod":
		return spec["containers"] == nil
	case kind != "Service" && spec["workloadRef"] != nil:
		return false
	case kind != "Service":
		template, isObject := spec["template"].(map[string]any)
		return spec["template"] == nil || isObject && template["spec"] == nil
	}
	ports, isList := spec["ports"].([]any)
	none := spec["ports"] == nil || isList && len(ports) == 0
	return none && spec["type"] != string(corev1.ServiceTypeExternalName) && spec["clusterIP"] != corev1.ClusterIPNone
}

func decodeError(document *Document, at, kind string, err error) *Error {
	wrong, ok := errors.AsType[*policies.FieldError](err)
	if !ok {
		return &Error{
			File:     document.File,
			Position: document.Position(at),
			Message:  fmt.Sprintf("this %s cannot be read: %s", kind, err),
		}
	}
	return &Error{
		File:     document.File,
		Position: document.Position(at + wrong.Path),
		Message:  fmt.Sprintf("%s of this %s: %s", wrong.Field(), kind, wrong.Problem),
	}
}

func fileError(name string, err error) *Error {
	if pathError, ok := errors.AsType[*fs.PathError](err); ok {
		err = pathError.Err
	}
	return &Error{File: name, Message: fmt.Sprintf("cannot be read: %s; check the path and its permissions", err)}
}

// foundFile is a file to read.
type foundFile struct {
	// name is the path as it is shown. real is the absolute path without symbolic links.
	name, real string
	context    bool
}

func (f foundFile) read(stdin io.Reader) ([]byte, error) {
	if f.name == Stdin {
		return io.ReadAll(stdin)
	}
	return os.ReadFile(f.real)
}

// finder finds the files in and below paths, each once.
type finder struct {
	exclude []pattern
	found   []foundFile
	errs    []*Error
	seen    map[string]bool
	// partial holds the files that a kustomization lists as patches.
	partial map[string]bool
}

func (f *finder) find(paths []string, context bool) {
	for _, path := range paths {
		if path == Stdin {
			f.add(foundFile{name: Stdin, real: Stdin, context: context})
			continue
		}
		info, err := os.Stat(path)
		switch {
		case err == nil && info.IsDir():
			f.walk(path, context)
		case excluded(f.exclude, path):
		case err != nil:
			f.errs = append(f.errs, fileError(path, err))
		case info.Mode().IsRegular():
			f.file(path, path, context)
		default: // a pipe, such as /dev/fd/3: resolving its symbolic links gives no usable path
			f.add(foundFile{name: path, real: path, context: context})
		}
	}
}

func (f *finder) walk(root string, context bool) {
	top, err := realPath(root)
	if err != nil {
		f.errs = append(f.errs, fileError(root, err))
		return
	}
	root += string(filepath.Separator) // without it, WalkDir does not enter a root that is a symbolic link
	// WalkDir always returns nil here: the function below collects the errors.
	_ = filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			f.errs = append(f.errs, fileError(path, err))
			return nil
		case path != root && excluded(f.exclude, path),
			path != root && entry.IsDir() && strings.HasPrefix(entry.Name(), "."):
			if entry.IsDir() {
				return filepath.SkipDir
			}
		case !entry.IsDir() && isManifest(path):
			f.file(path, top, context)
		case !entry.IsDir() && entry.Name() == "Kustomization":
			f.kustomization(path)
		}
		return nil
	})
}

func isManifest(path string) bool {
	return slices.Contains([]string{".yaml", ".yml", ".json"}, strings.ToLower(filepath.Ext(path)))
}

// file adds a file if it is a regular file. It skips symbolic links that lead out of top.
func (f *finder) file(path, top string, context bool) {
	info, err := os.Stat(path)
	if err != nil {
		f.errs = append(f.errs, fileError(path, err))
		return
	}
	target, err := realPath(path)
	if err != nil {
		f.errs = append(f.errs, fileError(path, err))
		return
	}
	if path != top {
		inside, err := filepath.Rel(top, target)
		if err != nil || inside == ".." || strings.HasPrefix(inside, ".."+string(filepath.Separator)) {
			return
		}
	}
	if !info.Mode().IsRegular() {
		return
	}
	if name := filepath.Base(path); name == "kustomization.yaml" || name == "kustomization.yml" {
		f.kustomization(path)
	}
	f.add(foundFile{name: path, real: target, context: context})
}

// realPath returns the absolute path without symbolic links.
func realPath(path string) (string, error) {
	absolute, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	return filepath.EvalSymlinks(absolute)
}

func (f *finder) add(file foundFile) {
	if !f.seen[file.real] {
		f.seen[file.real] = true
		f.found = append(f.found, file)
	}
}

// kustomization records the files that a kustomization lists as patches. It ignores errors in the kustomization itself:
// they are reported when the file is read as a manifest.
func (f *finder) kustomization(path string) {
	if info, err := os.Stat(path); err != nil || !info.Mode().IsRegular() {
		return
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return
	}
	documents, _ := Parse(path, data)
	for _, document := range documents {
		for _, list := range []string{"patches", "patchesStrategicMerge", "patchesJson6902"} {
			patches, _ := document.Content[list].([]any)
			for _, patch := range patches {
				name, _ := patch.(string)
				if entry, ok := patch.(map[string]any); ok {
					name, _ = entry["path"].(string)
				}
				if strings.Contains(name, "\n") {
					continue // an inline patch, not the name of a file
				}
				if target, err := realPath(filepath.Join(filepath.Dir(path), name)); err == nil {
					f.partial[target] = true
				}
			}
		}
	}
}

// pattern is one glob of --exclude.
type pattern struct {
	*glob.Pattern
	wholePath bool
}

func compileGlobs(texts []string) ([]pattern, error) {
	var patterns []pattern
	for _, text := range texts {
		text = strings.TrimSuffix(text, "/")
		compiled, err := glob.Compile(text, '/')
		if err != nil {
			return nil, fmt.Errorf("%q is not a valid glob: %w", text, err)
		}
		patterns = append(patterns, pattern{compiled, strings.Contains(text, "/")})
	}
	return patterns, nil
}

func excluded(patterns []pattern, path string) bool {
	path = filepath.ToSlash(path)
	return slices.ContainsFunc(patterns, func(p pattern) bool {
		if p.wholePath {
			return p.Match(path)
		}
		return p.Match(filepath.Base(path))
	})
}
