package manifest

import (
	"bytes"
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
	"syscall"
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
	// and .json files at any depth, except those in hidden directories, those behind symbolic links that lead out of
	// the directory, and pipes and devices.
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
	isTemplate := bytes.Contains(data, []byte("{{"))
	for _, e := range errs {
		if isTemplate {
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
	apiVersion, kind := identity(content)
	if items := items(content); len(items) > 0 {
		for i, item := range items {
			element, _ := item.(map[string]any)
			if !isKubernetes(element) {
				m.skip(element, file)
				continue
			}
			m.add(document, fmt.Sprintf("%s/items/%d", at, i), element, file, options)
		}
		if content["spec"] == nil {
			return
		}
		// kubectl applies only the items. An API server that receives the object ignores them.
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

// items returns the items of a list of objects, or nil if content is not a list. As for kubectl, an object of any kind
// with items is a list. items sets the apiVersion and kind of items that have neither: the API server omits them in a
// typed list, such as a ServiceList.
func items(content map[string]any) []any {
	apiVersion, kind := identity(content)
	items, _ := content["items"].([]any)
	for _, item := range items {
		element, _ := item.(map[string]any)
		itemVersion, itemKind := identity(element)
		if element != nil && itemVersion == "" && itemKind == "" {
			element["apiVersion"], element["kind"] = apiVersion, strings.TrimSuffix(kind, "List")
		}
	}
	return items
}

// identity returns the apiVersion and kind of an object; each is empty if it is not a string.
func identity(content map[string]any) (apiVersion, kind string) {
	apiVersion, _ = content["apiVersion"].(string)
	kind, _ = content["kind"].(string)
	return apiVersion, kind
}

func isKubernetes(content map[string]any) bool {
	apiVersion, kind := identity(content)
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
	path := strings.ReplaceAll(strings.TrimPrefix(wrong.Path, "/"), "/", ".")
	return &Error{
		File:     document.File,
		Position: document.Position(at + wrong.Path),
		Message:  fmt.Sprintf("%s of this %s: %s", path, kind, wrong.Problem),
	}
}

// maxFile is the most bytes that are read from one file, pipe or device. To read YAML takes about 50 times its size in
// memory: 6 GiB for a file of that size, which a build machine has.
const maxFile = 128 << 20

var errTooLarge = fmt.Errorf("it is larger than %d MiB", maxFile>>20)

func fileError(name string, err error) *Error {
	advice := "check the path and its permissions"
	if errors.Is(err, errTooLarge) {
		advice = "split it or leave it out"
	}
	if pathError, ok := errors.AsType[*fs.PathError](err); ok {
		err = pathError.Err
	}
	return &Error{File: name, Message: fmt.Sprintf("cannot be read: %s; %s", err, advice)}
}

// foundFile is a file to read.
type foundFile struct {
	// name is the path as it is shown. real is the absolute path without symbolic links.
	name, real string
	context    bool
}

// read returns the content of the file. The error is errTooLarge if that is more than maxFile.
func (f foundFile) read(stdin io.Reader) ([]byte, error) {
	if f.name == Stdin {
		return readAll(stdin, 0)
	}
	file, err := os.Open(f.real)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	return readAll(file, info.Size())
}

// readAll returns what r holds. size is how much that is, if it is known.
func readAll(r io.Reader, size int64) ([]byte, error) {
	if size > maxFile {
		return nil, errTooLarge
	}
	data := bytes.NewBuffer(make([]byte, 0, size+bytes.MinRead))
	if _, err := data.ReadFrom(io.LimitReader(r, maxFile+1)); err != nil {
		return nil, err
	}
	if data.Len() > maxFile {
		return nil, errTooLarge
	}
	return data.Bytes(), nil
}

// finder finds the files in and below paths, each once.
type finder struct {
	exclude []pattern
	found   []foundFile
	// unread are the files in folders that are never opened.
	unread []unreadFile
	errs   []*Error
	seen   map[string]bool
	// partial holds the files that a kustomization lists as patches.
	partial map[string]bool
}

// unreadFile is a file that is left out, with the reason.
type unreadFile struct{ name, reason string }

const (
	leadsOut   = "is a symbolic link that leads out of the folder"
	notRegular = "is not a regular file"
)

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
			f.named(path, context)
		default: // a pipe, such as /dev/fd/3: resolving its symbolic links gives no usable path
			f.add(foundFile{name: path, real: path, context: context})
		}
	}
}

// named adds a file that the user named. Its symbolic links may lead anywhere.
func (f *finder) named(path string, context bool) {
	target, err := realPath(path)
	if err == nil && isKustomization(path) {
		var folder string
		if folder, err = realPath(filepath.Dir(path)); err == nil {
			f.kustomization(target, folder, folder)
		}
	}
	if err != nil {
		f.errs = append(f.errs, fileError(path, err))
		return
	}
	f.add(foundFile{name: path, real: target, context: context})
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
		case !entry.IsDir():
			f.file(path, root, top, context)
		}
		return nil
	})
}

func isManifest(path string) bool {
	return slices.Contains([]string{".yaml", ".yml", ".json"}, strings.ToLower(filepath.Ext(path)))
}

func isKustomization(path string) bool {
	return slices.Contains([]string{"kustomization.yaml", "kustomization.yml", "Kustomization"}, filepath.Base(path))
}

// file adds a file that was found below root, if it is a manifest and a regular file. top is root without symbolic
// links. A link out of top is noted whatever its name, since it may stand for a folder of manifests.
func (f *finder) file(path, root, top string, context bool) {
	wanted := isManifest(path) || isKustomization(path)
	if !wanted && strings.HasPrefix(filepath.Base(path), ".") {
		return // a link may stand for a hidden folder
	}
	below, err := filepath.Rel(root, filepath.Dir(path))
	folder, target := filepath.Join(top, below), ""
	if err == nil {
		target, err = locate(top, folder, filepath.Base(path))
	}
	if err == nil && !contains(top, target) {
		f.unread = append(f.unread, unreadFile{path, leadsOut})
		return
	}
	if !wanted {
		return
	}
	var info fs.FileInfo
	if err == nil {
		info, err = os.Lstat(target)
	}
	switch {
	case err != nil:
		f.errs = append(f.errs, fileError(path, err))
		return
	case info.IsDir(): // its files are found below top
		return
	case !info.Mode().IsRegular():
		f.unread = append(f.unread, unreadFile{path, notRegular})
		return
	}
	if isKustomization(path) {
		f.kustomization(target, folder, top)
	}
	if isManifest(path) {
		f.add(foundFile{name: path, real: target, context: context})
	}
}

// realPath returns the absolute path without symbolic links.
func realPath(path string) (string, error) {
	absolute, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	return filepath.EvalSymlinks(absolute)
}

// contains reports whether a path is top or below it.
func contains(top, path string) bool {
	inside, err := filepath.Rel(top, path)
	return err == nil && inside != ".." && !strings.HasPrefix(inside, ".."+string(filepath.Separator))
}

// locate returns the absolute path without symbolic links of what a name stands for in a folder. top contains the
// folder, and both are without symbolic links. It never looks at anything outside top: if a link leads out of top, it
// returns where to, and follows no further links.
// The error is non-nil when there is no such file in top, or its links do not end.
func locate(top, folder, name string) (string, error) {
	const maxLinks = 40 // as in Linux
	path := folder
	for links := 0; name != ""; {
		if filepath.IsAbs(name) {
			path = filepath.VolumeName(name) + string(filepath.Separator)
			name = strings.TrimPrefix(name, path)
		}
		var first string
		first, name, _ = strings.Cut(name, string(filepath.Separator))
		next := filepath.Join(path, first)
		if contains(next, top) { // on the way to top, where there are no links
			path = next
			continue
		}
		if !contains(top, next) {
			return filepath.Join(next, name), nil
		}
		info, err := os.Lstat(next)
		if err != nil {
			return "", err
		}
		if info.Mode().Type() != fs.ModeSymlink {
			path = next
			continue
		}
		if links++; links > maxLinks {
			return "", &fs.PathError{Op: "locate", Path: next, Err: syscall.ELOOP}
		}
		target, err := os.Readlink(next)
		if err != nil {
			return "", err
		}
		name = target + string(filepath.Separator) + name
	}
	return path, nil
}

func (f *finder) add(file foundFile) {
	if !f.seen[file.real] {
		f.seen[file.real] = true
		f.found = append(f.found, file)
	}
}

// kustomization records the files that a kustomization in a folder below top lists as patches. It ignores errors in the
// kustomization itself: they are reported when the file is read as a manifest.
func (f *finder) kustomization(file, folder, top string) {
	data, err := foundFile{real: file}.read(nil)
	if err != nil {
		return
	}
	documents, _ := Parse(file, data)
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
				if target, err := locate(top, folder, name); err == nil {
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
