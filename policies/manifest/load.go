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

// Stdin is the path that stands for the standard input.
const Stdin = "-"

// Options say what Load reads.
type Options struct {
	// Paths are the files, pipes and directories whose objects are judged. Of a directory, all .yaml,
	// .yml and .json files below it are read, except in hidden directories and behind symbolic links
	// that lead out of it.
	Paths []string
	// Context are the files and directories whose objects are neighbours, but not judged.
	Context []string
	// Exclude are globs of files and directories to leave out: of the whole path as it is shown, or,
	// without a slash but at the end, of the last part. ** also matches slashes. Of Paths and Context
	// they leave out files, not directories.
	Exclude []string
	// Stdin is what the path Stdin reads.
	Stdin io.Reader
	// Version is the API server whose defaults apply.
	Version policies.Version
	// Progress, if set, is called now and then with the number of files read and of all files.
	Progress func(read, all int)
}

// Manifests are what was read, ready to be judged.
type Manifests struct {
	// Objects are those to be judged, in the order in which they were read.
	Objects []*Object
	// Files is the number of files read to be judged. Documents is the number of Kubernetes objects in
	// them, whatever their kind, and Skipped that of documents that are none, or only a part of one,
	// such as a kustomize patch. Partial is the number of such parts.
	Files, Documents, Skipped, Partial int
	// Errors are what could not be read, in the order of files and lines.
	Errors []*Error
	// Notes are worth a word to a person and no error; each is one line.
	Notes []string

	last       lastAsked
	index      *policies.Index
	texts      map[string][]byte
	namespaces map[string]policies.Namespace
	nodes      map[string]*corev1.Node
	// known are the nodes, as soon as somebody asks for them.
	known *policies.Nodes
	// policies are what is meant to be a SourceIPPolicy. hasPolicy tells, of each file that was read for them, whether
	// there is one in it, or something that could not be read.
	policies  []policyContent
	hasPolicy map[string]bool
}

// Object is an object to be judged, and where it was read.
type Object struct {
	*policies.Object
	// InFile tells whether its text writes spec.externalTrafficPolicy.
	InFile policies.InFile
	// Document is the document that it is in, and At the JSON Pointer to it: empty, or, for an item
	// of a List, /items/2.
	Document *Document
	At       string
}

// Position is the place of a path of the object.
func (o *Object) Position(pointer string) Position { return o.Document.Position(o.At + pointer) }

// Load reads manifests. Whatever is wrong with a single file or document is one of Errors, and all
// else is read. The error is non-nil when a glob of options.Exclude is no glob.
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
	// The context is read first, so that an object that is judged takes the place of its namesake.
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

// noteRepeated notes, once for all, that objects are given more than once.
func (m *Manifests) noteRepeated() {
	first := map[policies.Ref]*Object{}
	repeated := map[policies.Ref]bool{}
	var note string
	for _, object := range m.Objects {
		former, ok := first[object.Ref]
		switch {
		case strings.HasSuffix(object.Name, "*"): // each is to be named by the API server
		case !ok:
			first[object.Ref] = object
		default:
			if note == "" {
				note = fmt.Sprintf("%s is given twice, in %s and %s", object.Ref, former.place(), object.place())
			}
			repeated[object.Ref] = true
		}
	}
	switch more := len(repeated) - 1; {
	case more == 0:
		m.Notes = append(m.Notes, note+"; both are judged, and the last one is the neighbour of others")
	case more > 0:
		m.Notes = append(m.Notes, fmt.Sprintf("%s, and so are %d more; all are judged, and the last one of each is the neighbour of others", note, more))
	}
}

func contextFirst(file foundFile) int {
	if file.context {
		return 0
	}
	return 1
}

// Input is what a decision about an object is made of: it is created among all that was read. Nodes that were read are those of the
// cluster, unless it knows its own.
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

// Namespace returns a Namespace that was read. One that was not has the label that every Namespace has.
func (m *Manifests) Namespace(name string) policies.Namespace {
	if namespace, ok := m.namespaces[name]; ok {
		return namespace
	}
	return policies.Namespace{Name: name, Labels: map[string]string{corev1.LabelMetadataName: name}, Assumed: true}
}

// Text is the text of a file that was read, as Patch takes it.
func (m *Manifests) Text(file string) []byte { return m.texts[file] }

// HasNamespace tells whether a Namespace was read.
func (m *Manifests) HasNamespace(name string) bool {
	_, ok := m.namespaces[name]
	return ok
}

func (m *Manifests) read(file foundFile, partial map[string]bool, options Options) {
	data, err := file.read(options.Stdin)
	if err != nil {
		m.Errors = append(m.Errors, fileError(file.name, err))
		m.hasPolicy[file.real] = true // or else it would be read again, and told again
		return
	}
	if !file.context {
		m.Files++
	}
	m.texts[file.name] = data
	documents, errs := parse(file.name, data, &m.last)
	for _, e := range errs {
		if strings.Contains(string(data), "{{") {
			e.Message += "; if this is a template, render it first, or leave it out with --exclude"
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

// add takes one object, or the items of a list of them.
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
	case apiVersion == "v1" && kind == "Node":
		err = m.addNode(content)
	}
	if err != nil {
		m.Errors = append(m.Errors, decodeError(document, at, kind, err))
	}
}

func (m *Manifests) addJudged(document *Document, at string, content map[string]any, file foundFile, options Options) error {
	object := &Object{InFile: policies.InFileAbsent, Document: document, At: at}
	if spec, ok := content["spec"].(map[string]any); ok && spec["externalTrafficPolicy"] != nil && spec["externalTrafficPolicy"] != "" {
		object.InFile = policies.InFileWritten
	}
	setDefaults(content, options.Version)
	var err error
	if object.Object, err = policies.NewObject(content); err != nil {
		return err
	}
	m.index.Put(object.Object)
	if file.context || object.Workload != nil && object.Workload.Controlled {
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

// knownNodes are the nodes that were read; nil if there were none.
func (m *Manifests) knownNodes() *policies.Nodes {
	if m.known == nil && len(m.nodes) > 0 {
		m.known = policies.NewNodes(slices.Collect(maps.Values(m.nodes)))
	}
	return m.known
}

// skip counts a document, or an item of one, that is no whole object.
func (m *Manifests) skip(content map[string]any, file foundFile) {
	if file.context {
		return
	}
	m.Skipped++
	if isKubernetes(content) {
		m.Partial++
	}
}

// items are the items of a list of objects; nil if it is none. Those of a typed list get what they share,
// which the API server leaves out.
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

// isPart tells whether an object is so incomplete that it can only be a part of one, to be merged
// with the rest before it is applied.
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
		return &Error{File: document.File, Position: document.Position(at), Message: fmt.Sprintf("this %s cannot be read: %s", kind, err)}
	}
	return &Error{
		File:     document.File,
		Position: document.Position(at + wrong.Path),
		Message:  fmt.Sprintf("%s of this %s: %s", strings.ReplaceAll(strings.TrimPrefix(wrong.Path, "/"), "/", "."), kind, wrong.Problem),
	}
}

func fileError(name string, err error) *Error {
	if pathError, ok := errors.AsType[*fs.PathError](err); ok {
		err = pathError.Err
	}
	return &Error{File: name, Message: fmt.Sprintf("cannot be read: %s; check the path and its permissions", err)}
}

// foundFile is a file to be read.
type foundFile struct {
	// name is the path as it is shown, real the one without symbolic links.
	name, real string
	context    bool
}

func (f foundFile) read(stdin io.Reader) ([]byte, error) {
	if f.name == Stdin {
		return io.ReadAll(stdin)
	}
	return os.ReadFile(f.real)
}

// finder finds the files below paths, each once.
type finder struct {
	exclude []pattern
	found   []foundFile
	errs    []*Error
	seen    map[string]bool
	// partial are the files that a kustomization names as patches.
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
		default: // a pipe, whose path leads nowhere without its links
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
	root += string(filepath.Separator) // or a root that is a symbolic link would not be entered
	// The error of the walk itself is always nil: each one met on the way is kept.
	_ = filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			f.errs = append(f.errs, fileError(path, err))
			return nil
		case path != root && excluded(f.exclude, path), path != root && entry.IsDir() && strings.HasPrefix(entry.Name(), "."):
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

// file adds a file, unless it is not a regular one or a symbolic link leads it out of top.
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
		if inside, err := filepath.Rel(top, target); err != nil || inside == ".." || strings.HasPrefix(inside, ".."+string(filepath.Separator)) {
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

// realPath is the absolute path without symbolic links.
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

// kustomization remembers the files that a kustomization names as patches. What is wrong with the
// file itself is told when it is read.
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
					continue // A patch in place of the name of one.
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
			return nil, fmt.Errorf("%q is not a glob: %w", text, err)
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
