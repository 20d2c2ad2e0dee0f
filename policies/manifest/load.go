package manifest

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/sourceward/sourceward/policies"
)

// Stdin is the path that stands for standard input.
const Stdin = "-"

// Options configures Load.
type Options struct {
	// Paths are the files, pipes and directories whose objects are judged. In a directory, Load reads all .yaml, .yml
	// and .json files at any depth, except hidden files, those in hidden directories, the templates of Helm charts, pipes
	// and devices, and what is behind symbolic links that lead out of the directory.
	Paths []string
	// Context are the files and directories whose objects are neighbours of the judged objects, but are not judged.
	Context []string
	// Nodes is true if the Nodes in Paths are those of the cluster, as those in Context are.
	Nodes bool
	// Exclude are globs for files and directories that Load leaves out. A glob matches the last element of a path or, if
	// it has a slash other than at its end, the whole path as it is shown. ** also matches slashes. Files in Paths and
	// Context can be excluded too, but directories in them cannot.
	Exclude []string
	// ExcludeFrom is the directory from which globs with a slash match, absolute and without symbolic links. If it is
	// empty, they match paths as they are shown, and a note names each glob that matches nothing.
	ExcludeFrom string
	// Live holds the objects of a cluster, or is nil. Without Paths they are judged: those in Namespace or, if that is
	// empty, all. With Paths they are neighbours of the judged objects. A file that defines an object replaces the one in
	// the cluster.
	Live *Live
	// NoContext are files and directories that Load leaves out where it finds them in a directory of Context.
	NoContext []string
	// Ignore is a file that Load leaves out of directories, for one that is no manifest but has the name of one. It need
	// not exist, and is empty if there is none.
	Ignore string
	// Stdin is the reader for the path Stdin.
	Stdin io.Reader
	// Texts are read instead of what files hold, by the real paths of the files.
	Texts map[string][]byte
	// Namespace is the namespace of objects that name none. If it is empty, it is the only namespace that the objects of
	// the same file name, and of other files that a kustomization lists with it as resources; default if they name none or
	// several.
	Namespace string
	// Version is the version of the API server whose defaults apply.
	Version policies.Version
	// Reads reports whether a rule reads an annotation of that name, so that a placeholder in it matters; nil means that
	// any may be read.
	Reads func(annotation string) bool
	// Rendering says how kustomizations are built and charts rendered; nil stands for neither.
	Rendering *Rendering
	// Progress, if not nil, is called before the objects of each file are added, with the number of files that are done
	// and the number of all files.
	Progress func(read, all int)
}

// Manifests holds everything that Load has read, ready to be judged.
type Manifests struct {
	// Objects are the objects to judge, sorted by file. Those of one file are in its order.
	Objects []*Object
	// Files is the number of files found in Options.Paths that were read. Documents is the number of Kubernetes objects of
	// any kind in them, without those that a kustomization names as patches, or in Options.Live if there are no paths.
	// NotKubernetes is the number of documents without an apiVersion and a kind, and NotYAML the number of those that are
	// neither YAML nor JSON and do not look like a Kubernetes object.
	Files, Documents, NotKubernetes, NotYAML int
	// Namespaces is the number of Namespaces of a cluster in which objects are judged.
	Namespaces int
	// Skipped are the objects, files and charts in Options.Paths that are not judged although they might hold what a
	// cluster gets, such as a patch. The text is the reason.
	Skipped []Remark
	// Children are the objects in Options.Paths that are not judged because another workload makes them: their Controller.
	Children []*Object
	// Errors are the problems with files and documents that could not be read, sorted by file and line.
	Errors []*Error
	// Notes are what a user should know about what was read, and that is no error.
	Notes []Remark

	// contextSkipped are like Skipped, in Options.Context.
	contextSkipped []Remark
	// patches is the number of documents that are skipped because a kustomization names their file as a patch.
	// kustomizations is the number of kustomizations among Documents.
	patches, kustomizations int

	version policies.Version // that of Options
	// besideLive is true if files are judged as neighbours of what a cluster holds.
	besideLive bool
	last       lastAsked
	index      *policies.Index
	texts      map[string][]byte
	// rendered are the files that kustomizations and charts were rendered from. builders and unbuilt are those of finder.
	rendered []*foundFile
	builders map[builtObject][]string
	unbuilt  map[string]string
	// copies holds each definition of an object; its index is the number in the index. copiesOf holds their numbers by
	// object. numbers holds those of Services and workloads, by pointers to them.
	copies   []definition
	copiesOf map[identity][]int
	numbers  map[any]int
	// defined is the number of objects that were defined.
	defined int
	// unread caches what isUnread returns, by apiVersion and kind.
	unread   map[[2]string]bool
	unreadMu sync.Mutex
	// nearnesses caches what greatestNearness returns.
	nearnesses map[approach]int
	// repeated is true if there is more than one definition of an object.
	repeated   bool
	namespaces map[int]policies.Namespace
	nodes      map[string]*corev1.Node
	// countsNodes is Options.Nodes.
	countsNodes bool
	// ignoredNode is the first Node that was not read, since it is only in Options.Paths.
	ignoredNode *definition
	// known is computed from nodes on first use.
	known *policies.Nodes
	// policies are the objects that are meant to be a SourceIPPolicy. searched has an entry for each file, by its real
	// path, that was searched for policies.
	policies []policyContent
	searched map[string]searched
}

// searched is what is known of a file that was searched for policies.
type searched struct {
	// found is true if the file has a policy, or has something that could not be read.
	found bool
	// unreported are problems that matter only if the file is given for its policies.
	unreported []*Error
}

// Remark says something about a place in a file, or about an object there.
type Remark struct {
	// Place has an empty File if the remark is not about a file.
	Place
	// Object is zero if the remark is not about an object.
	Object policies.Ref
	// Text is one line.
	Text string
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

	// number is the index of its definition in copies, and file the file that defines it.
	number int
	file   *foundFile
	// placeholders are the paths of the placeholders that rules may read. variants are what the object may be instead.
	placeholders []string
	variants     []*Object
}

// Place returns the place of the value at a JSON Pointer into the object. See Document.Place.
func (o *Object) Place(pointer string) Place { return o.Document.Place(o.At + pointer) }

// Load reads manifests. If a file or document cannot be read, Load adds to Errors and reads the others. The order of
// Paths and Context does not matter. The error is non-nil when a glob in options.Exclude is not valid, or when there is
// no working directory and options.ExcludeFrom is set.
func Load(options Options) (*Manifests, error) {
	m := &Manifests{
		version:     options.Version,
		countsNodes: options.Nodes,
		index:       policies.NewIndex(policies.ViewFiles),
		texts:       map[string][]byte{},
		copies:      []definition{{file: &foundFile{}}}, // the number 0 is for objects that exist once
		copiesOf:    map[identity][]int{},
		numbers:     map[any]int{},
		unread:      map[[2]string]bool{},
		nearnesses:  map[approach]int{},
		namespaces:  map[int]policies.Namespace{},
		nodes:       map[string]*corev1.Node{},
		searched:    map[string]searched{},
	}
	exclude, err := compileExclude(options)
	if err != nil {
		return nil, err
	}
	files := newFinder(exclude)
	files.texts = options.Texts
	for _, path := range options.NoContext {
		if target, err := realPath(path); err == nil { // else there is nothing to leave out
			files.noContext = append(files.noContext, target)
		}
	}
	if options.Ignore != "" {
		files.ignored, _ = realPath(options.Ignore) // an error means that there is no such file
	}
	files.rendersCharts = options.Rendering != nil
	files.buildsKustomizations = files.rendersCharts && options.Rendering.Kustomize
	files.find(options.Paths, false)
	files.find(options.Context, true)
	if options.Rendering != nil {
		files.render(options)
	}
	files.skipTemplates()
	slices.SortStableFunc(files.found, func(a, b *foundFile) int { return strings.Compare(a.name, b.name) })
	m.Errors, m.Skipped = files.errs, files.skipped
	m.Notes = slices.Concat(files.unmatched(options.Exclude), files.changes())
	m.rendered, m.builders, m.unbuilt = files.renderedFiles(), files.builders, files.unbuilt
	for _, file := range m.rendered {
		m.count(&m.Files, file)
	}
	m.readFiles(files, options)
	m.addLive(options)
	if m.ignoredNode != nil && len(m.nodes) == 0 {
		m.note(*m.ignoredNode, "Nodes are not counted here, as files hardly ever hold all of them; "+
			"if these do, give them with --context")
	}
	m.replaceContext(files.contextRoots)
	m.noteRepeated()
	errs, notes := files.withoutObjects()
	m.Errors, m.Notes = append(m.Errors, errs...), append(m.Notes, notes...)
	m.Notes = append(m.Notes, ofContext(append(m.contextSkipped, files.contextSkipped...),
		"it is not among the neighbours: ", "object or file", "objects or files")...)
	if m.Documents == m.kustomizations && len(m.Errors) == 0 && m.patches > 0 {
		m.Errors = append(m.Errors, &Error{Message: noObjects})
	}
	slices.SortStableFunc(m.Errors, func(a, b *Error) int {
		return cmp.Or(strings.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line))
	})
	for _, remarks := range [][]Remark{m.Skipped, m.Notes} {
		slices.SortStableFunc(remarks, func(a, b Remark) int {
			return cmp.Or(strings.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line))
		})
	}
	return m, nil
}

// noteRepeated adds one note if objects are defined more than once in one folder, or in one file.
func (m *Manifests) noteRepeated() {
	first := map[string]*Object{}
	var repeated []*Object
	for _, object := range m.Objects {
		of := m.copies[object.number]
		if of.generated { // the API server gives each a name of its own
			continue
		}
		key := fmt.Sprintf("%v in %s", of.identity, strings.Join(of.file.folder, "/"))
		if of.file.rendered != nil { // another one may be for another cluster
			key = fmt.Sprintf("%v of %s", of.identity, of.file.real)
		}
		if former, ok := first[key]; ok && former != nil {
			repeated = append(repeated, former, object)
			first[key] = nil
		} else if !ok {
			first[key] = object
		}
	}
	if repeated == nil {
		return
	}
	note := fmt.Sprintf("it is defined more than once, in %s and %s", repeated[0].Place(""), repeated[1].Place(""))
	switch more := len(repeated)/2 - 1; {
	case more == 1:
		note += ", and 1 other object is too"
	case more > 1:
		note += fmt.Sprintf(", and %d other objects are too", more)
	}
	m.Notes = append(m.Notes, Remark{
		Place: repeated[1].Place(""), Object: repeated[1].Ref,
		Text: note + "; each definition is checked, but a cluster keeps only one",
	})
}

// Text returns the text of a file that was read, for use with Patch.
func (m *Manifests) Text(file string) []byte { return m.texts[file] }

// FilesRead returns the names of the files that were read, sorted.
func (m *Manifests) FilesRead() []string {
	names := slices.Collect(maps.Keys(m.texts))
	for _, file := range m.rendered {
		names = append(names, file.name)
	}
	slices.Sort(names)
	return slices.DeleteFunc(slices.Compact(names), func(name string) bool { return name == Stdin })
}

// readFiles reads all files and adds their objects. An object without a namespace is added when all files of its
// kustomizations were read, since these may name it.
func (m *Manifests) readFiles(files *finder, options Options) {
	last := map[string]int{} // the last file of each kustomization
	for i, file := range files.found {
		file.kustomizations = files.resourceOf[file.real]
		for _, kustomization := range file.kustomizations {
			last[kustomization] = i
		}
	}
	namespaces := map[string]namespaces{} // those that the files of each kustomization name
	var waiting []*fileObjects
	complete := 0
	next := m.readAhead(files, options)
	for i, file := range files.found {
		if options.Progress != nil {
			options.Progress(i, len(files.found))
		}
		objects := &fileObjects{file: file}
		m.read(file, next, files, func(d definition) {
			switch namespace, needs := d.namespace(); {
			case needs && options.Namespace == "":
				objects.without = append(objects.without, d)
				return
			case needs:
				d.setNamespace(options.Namespace)
			case namespace != "":
				objects.named = objects.named.with(namespace)
			}
			m.add(d, files, options)
		})
		for _, kustomization := range file.kustomizations {
			namespaces[kustomization] = namespaces[kustomization].with(objects.named...)
			complete = max(complete, last[kustomization])
		}
		if len(objects.without) > 0 {
			waiting = append(waiting, objects)
		}
		if i < complete {
			continue
		}
		for _, objects := range waiting {
			ofAll := objects.named
			for _, kustomization := range objects.file.kustomizations {
				ofAll = ofAll.with(namespaces[kustomization]...)
			}
			m.setNamespace(objects, ofAll)
			for _, d := range objects.without {
				m.add(d, files, options)
			}
		}
		waiting = nil
	}
	for _, objects := range [][]*Object{m.Objects, m.Children} {
		slices.SortStableFunc(objects, func(a, b *Object) int {
			return cmp.Compare(m.copies[a.number].order, m.copies[b.number].order)
		})
	}
}

// fileObjects are the objects of one file that name no namespace, and the namespaces that the others name.
type fileObjects struct {
	file    *foundFile
	without []definition
	named   namespaces
}

// namespaces are different names, at most two of them: more make no difference.
type namespaces []string

func (n namespaces) with(names ...string) namespaces {
	for _, name := range names {
		if len(n) < 2 && !slices.Contains(n, name) {
			n = append(slices.Clip(n), name)
		}
	}
	return n
}

// failure is a document that cannot be read. text is nil if it is not known, since the whole file cannot be read.
type failure struct {
	*Error
	text []byte
	// isObject is true if the text was parsed, and is an object with an apiVersion or a merge key.
	isObject bool
}

// read takes the next file, and calls add with each of its objects.
func (m *Manifests) read(file *foundFile, next *ahead, files *finder, add func(definition)) {
	of := <-next.files
	if of.err != nil {
		m.Errors = append(m.Errors, fileError(file.name, of.err))
		m.searched[file.real] = searched{found: true} // so that Policies does not read and report the file again
		files.hasObjects[file.real] = true
		return
	}
	if file.rendered == nil {
		m.count(&m.Files, file)
	}
	m.texts[file.name] = of.data
	var failures []failure
	if of.failed != nil {
		failures = append(failures, failure{Error: of.failed})
	}
	isStream := false
	before := len(m.policies)
	for i, d := range next.documentsOf(of) {
		if d.err != nil {
			d.err.File = file.name
			if file.rendered != nil {
				place := file.rendered.place(d.err.Line)
				d.err.File, d.err.Position = place.File, place.Position
			}
			failures = append(failures, failure{d.err, d.chunk.text, d.chunk.isObject()})
			continue
		}
		document := d.document
		if document == nil {
			continue
		}
		document.File, document.Index, document.last = file.name, i, &m.last
		if file.rendered != nil {
			document.origin, document.renderedBy = file.rendered.origin(i), file.rendered.source.label()
		} else if file.name == Stdin {
			document.origin = sourceComment(d.chunk.text)
		}
		isStream = isStream || isKubernetes(document.Content)
		if file.isKustomization() {
			setKustomizationType(document.Content)
		}
		if of.patchOf != "" {
			m.skip(definition{document: document, content: document.Content, file: file},
				"it is a patch of "+of.patchOf+"; check that instead")
			m.count(&m.patches, file)
			files.hasObjects[file.real] = true
			continue
		}
		objects := m.define(nil, definition{document: document, content: document.Content, file: file, judged: d.judged})
		policies := policyContents(document)
		m.policies = append(m.policies, policies...)
		if policies == nil {
			document.Content = nil // so that it can be freed when its objects were added
		}
		for _, d := range objects {
			add(d)
		}
	}
	var found searched
	for _, failed := range failures {
		if !isStream && !file.isKustomization() && !failed.isObject && !looksLikeKubernetes(failed.text) {
			m.count(&m.NotYAML, file)
			found.unreported = append(found.unreported, failed.Error)
			continue
		}
		found.found = true
		if bytes.Contains(failed.text, []byte("{{")) {
			failed.Message += "; if this is a template, render it first or leave it out with --exclude"
		}
		m.Errors = append(m.Errors, failed.Error)
		files.hasObjects[file.real] = true
	}
	if of.patchOf == "" {
		found.found = found.found || len(found.unreported) > 0 || len(m.policies) > before
		m.searched[file.real] = found
	}
}

// isUnread returns what the function of that name returns, which it asks only once for each kind.
func (m *Manifests) isUnread(apiVersion, kind string) bool {
	of := [2]string{apiVersion, kind}
	m.unreadMu.Lock()
	defer m.unreadMu.Unlock()
	unread, isKnown := m.unread[of]
	if !isKnown {
		unread = isUnread(apiVersion, kind)
		m.unread[of] = unread
	}
	return unread
}

// define appends the object of a document, or the items of a list of objects, to objects.
func (m *Manifests) define(objects []definition, d definition) []definition {
	apiVersion, kind := typeOf(d.content)
	if _, isList := d.content["items"].([]any); !isList && d.content["items"] != nil && isListKind(kind) {
		m.Errors = append(m.Errors, decodeError(d.document, d.at, kind, &policies.FieldError{
			Path: "/items", Problem: "want a list",
		}))
	}
	if items := items(d.content); len(items) > 0 {
		for i, item := range items {
			at := fmt.Sprintf("%s/items/%d", d.at, i)
			element, isObject := item.(map[string]any)
			if !isObject && isKubernetes(d.content) {
				m.Errors = append(m.Errors, decodeError(d.document, d.at, kind, &policies.FieldError{
					Path: fmt.Sprintf("/items/%d", i), Problem: "want an object",
				}))
				continue
			}
			objects = m.define(objects, definition{document: d.document, at: at, content: element, file: d.file})
		}
		if d.content["spec"] == nil {
			return objects
		}
		// kubectl applies only the items. An API server that receives the object ignores them.
	}
	if isKubernetes(d.content) {
		m.defined++
		d.order = m.defined
		return append(objects, d)
	}
	isObject := d.content["metadata"] != nil || d.content["spec"] != nil
	switch {
	case slices.Contains(policies.Kinds, kind):
		m.skip(d, missingKey(d.content, "apiVersion"))
	case apiVersion != "" && isObject:
		m.skip(d, missingKey(d.content, "kind"))
	default:
		m.count(&m.NotKubernetes, d.file)
	}
	return objects
}

// missingKey says that an object lacks a key, or has it in another letter case.
func missingKey(content map[string]any, key string) string {
	for _, other := range slices.Sorted(maps.Keys(content)) {
		if strings.EqualFold(other, key) && other != key {
			return fmt.Sprintf("its key %s is not known; write %s", other, key)
		}
	}
	return fmt.Sprintf("it has no %s; if it is meant for a cluster, add it", key)
}

// isListKind reports whether a kind is that of a list of objects of Kubernetes.
func isListKind(kind string) bool {
	item, isList := strings.CutSuffix(kind, "List")
	return isList && (item == "" || slices.Contains(policies.Kinds, item))
}

// setNamespace gives the objects of a file that name no namespace the only one that the objects of the file and of its
// kustomizations name, which are named.
func (m *Manifests) setNamespace(objects *fileObjects, named namespaces) {
	by := "this file names"
	if len(named) > len(objects.named) {
		by = "the files of its kustomization name"
	}
	namespace, note := corev1.NamespaceDefault, ""
	switch len(named) {
	case 0:
	case 1:
		namespace = named[0]
		note = fmt.Sprintf("objects without a namespace are taken to be in %s, the only one that %s", namespace, by)
	default:
		note = fmt.Sprintf("objects without a namespace are taken to be in %s, since %s several", namespace, by)
	}
	for _, d := range objects.without {
		d.setNamespace(namespace)
	}
	if note != "" {
		m.note(objects.without[0], note+"; -n NAMESPACE sets another")
	}
}

// add adds one object.
func (m *Manifests) add(d definition, files *finder, options Options) {
	apiVersion, kind := d.apiVersion(), d.kind()
	// A kustomization is a list of files, and never applied.
	if strings.HasPrefix(apiVersion, "kustomize.config.k8s.io/") {
		m.count(&m.kustomizations, d.file)
	} else {
		files.hasObjects[d.file.real] = true
	}
	reason := otherVersion(apiVersion, kind)
	switch {
	case isPlaceholder(kind):
		reason = "its kind is a placeholder; check what replaces it"
	case isPlaceholder(apiVersion) && slices.Contains(policies.Kinds, kind):
		reason = "its apiVersion is a placeholder; check what replaces it"
	case reason == "":
		if reason = misspelt(apiVersion, kind); reason != "" {
			if holds := embedded(d); holds != "" {
				reason += "; " + holds
			}
		}
	}
	if reason != "" {
		m.skip(d, reason)
		return
	}
	m.count(&m.Documents, d.file)
	var err error
	switch {
	case policies.Judged(apiVersion, kind):
		err = m.addJudged(d, options)
	case policies.Autoscales(apiVersion, kind):
		err = m.addVariants(d, options, func(content map[string]any, register func(policies.Ref) int) error {
			autoscaler, err := policies.NewAutoscaler(content)
			if err == nil && register != nil {
				m.index.PutAutoscalerCopy(autoscaler, register(autoscaler.Ref))
			}
			return err
		})
		if target := "/spec/scaleTargetRef"; err == nil && valueAt(d.content, target) == nil {
			m.note(d, withoutPart(kind, target))
		}
	case policies.HoldsEndpoints(apiVersion, kind):
		err = m.addVariants(d, options, func(content map[string]any, register func(policies.Ref) int) error {
			endpoints, err := policies.NewEndpoints(content)
			if err == nil && register != nil {
				m.index.PutEndpointsCopy(endpoints, register(endpoints.Ref))
			}
			return err
		})
	case apiVersion == "v1" && kind == "Namespace":
		err = m.addNamespace(d)
	case apiVersion == "v1" && kind == "Node" && (m.countsNodes || d.file.context || d.file.inContext):
		err = m.addNode(d.content)
	case apiVersion == "v1" && kind == "Node" && m.ignoredNode == nil:
		m.ignoredNode = &d
	default:
		if by := renderedBy(apiVersion, kind); by != nil {
			if unseen := files.unseen(d, by); unseen != "" {
				m.note(d, unseen)
			}
		} else if holds := embedded(d); holds != "" {
			m.note(d, holds)
		}
	}
	if err != nil {
		m.Errors = append(m.Errors, decodeError(d.document, d.at, kind, err))
	}
}

// judged is an object of a judged kind as it was read.
type judged struct {
	// object is nil if err is not nil, or if isJudged is false. isJudged, missing and isError are what lacks returns.
	object            *policies.Object
	err               error
	inFile            policies.InFile
	isJudged, isError bool
	missing           string
}

// readJudged reads an object of a judged kind. It takes ownership of content.
func readJudged(content map[string]any, version policies.Version) *judged {
	read := &judged{inFile: policies.InFileAbsent}
	_, kind := typeOf(content)
	if read.isJudged, read.missing, read.isError = lacks(kind, content); !read.isJudged {
		return read
	}
	spec, _ := content["spec"].(map[string]any)
	if spec["externalTrafficPolicy"] != nil && spec["externalTrafficPolicy"] != "" {
		read.inFile = policies.InFileWritten
	}
	setDefaults(content, version)
	read.object, read.err = policies.NewObject(content)
	return read
}

func (m *Manifests) addJudged(d definition, options Options) error {
	of := d.judged
	var paths, others []string
	var possible []variant
	if of == nil {
		paths, others = placeholders(d.content, options.Reads)
		if len(paths) > maxPlaceholders {
			m.skip(d, fmt.Sprintf("rules may read more than %d placeholders in it; check what replaces them", maxPlaceholders))
			return nil
		}
		possible = variants(d.content, paths, others, func(content map[string]any) bool {
			if len(paths)+len(others) == 0 {
				return true
			}
			of := readJudged(runtime.DeepCopyJSON(content), options.Version)
			return of.isJudged && of.err == nil
		})
		_, lacked, isUseless := lacks(d.kind(), without(d.content, paths))
		i := slices.IndexFunc(paths, func(path string) bool {
			return isUseless && path == lacked || containerPath.MatchString(path)
		})
		switch {
		case i >= 0:
			m.skip(d, fieldOf(paths[i])+" is a placeholder; check what replaces it")
			return nil
		case len(possible) > 0:
			d.content = possible[0].content
		}
		of = readJudged(d.content, options.Version)
	}
	switch {
	case of.isError:
		m.Errors = append(m.Errors, decodeError(d.document, d.at, d.kind(), &policies.FieldError{
			Path:    of.missing,
			Problem: "it is missing; add it or, if this is a patch, leave it out with --exclude",
		}))
	case of.missing != "" && !slices.Contains(paths, of.missing):
		m.note(d, withoutPart(d.kind(), of.missing))
	}
	if !of.isJudged || of.err != nil {
		return of.err
	}
	object := &Object{
		Object: of.object, InFile: of.inFile, Document: d.document, At: d.at, file: d.file, placeholders: paths,
	}
	// JSON is read as a whole, which for one object of a large list would take too long.
	if len(paths)+len(others) == 0 && !d.document.chunk.isJSON {
		document, at, ref, version := d.document, d.at, object.Ref, options.Version
		object.Release(func() map[string]any {
			content := document.objectAt(at)
			content["apiVersion"], content["kind"] = ref.APIVersion, ref.Kind
			setDefaults(content, version)
			return content
		})
	}
	m.put(object, d)
	for _, v := range possible[min(1, len(possible)):] {
		other := &Object{InFile: object.InFile, Document: d.document, At: d.at}
		read := readJudged(v.content, options.Version)
		if other.Object = read.object; read.err != nil {
			return read.err
		}
		d.variantOf, d.placeholders = object.number, v.paths
		m.put(other, d)
		object.variants = append(object.variants, other)
	}
	m.judge(object)
	return nil
}

// judge adds an object to those that are judged, or to the children, unless its file is context.
func (m *Manifests) judge(object *Object) {
	switch {
	case object.file.context:
	case object.Workload != nil && object.Workload.IsChild():
		m.Children = append(m.Children, object)
	default:
		m.Objects = append(m.Objects, object)
	}
}

// put registers a judged object and adds it to the index.
func (m *Manifests) put(o *Object, d definition) {
	o.number = m.register(o.Ref, d)
	m.index.PutCopy(o.Object, o.number)
	if o.Service != nil {
		m.numbers[o.Service] = o.number
	} else {
		m.numbers[o.Workload] = o.number
	}
}

// addVariants adds an object that is not judged, and what it may be instead. add decodes an object and, if register is
// not nil, puts it into the index.
func (m *Manifests) addVariants(
	d definition, options Options, add func(content map[string]any, register func(policies.Ref) int) error,
) error {
	paths, others := placeholders(d.content, options.Reads)
	if len(paths) > maxPlaceholders {
		m.skip(d, fmt.Sprintf("rules may read more than %d placeholders in it; check what replaces them", maxPlaceholders))
		return nil
	}
	possible := variants(d.content, paths, others, func(content map[string]any) bool { return add(content, nil) == nil })
	if len(possible) == 0 {
		return add(d.content, func(ref policies.Ref) int { return m.register(ref, d) })
	}
	number := 0
	for _, v := range possible {
		d.placeholders = v.paths
		err := add(v.content, func(ref policies.Ref) int {
			registered := m.register(ref, d)
			if number == 0 {
				number = registered
			}
			d.variantOf = number
			return registered
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// withoutPart says that an object lacks the value at a JSON Pointer.
func withoutPart(kind, pointer string) string {
	return fmt.Sprintf("the API server rejects a %s without %s; if this is a patch, leave it out with --exclude",
		kind, fieldOf(pointer))
}

func (m *Manifests) addNamespace(d definition) error {
	namespace, err := readNamespace(d.content)
	if err == nil {
		m.namespaces[m.register(namespaceRef(namespace.Name), d)] = namespace
	}
	return err
}

// readNamespace decodes a Namespace. It adds the label that every Namespace has.
func readNamespace(content map[string]any) (policies.Namespace, error) {
	var decoded corev1.Namespace
	if err := policies.Decode(content, &decoded); err != nil {
		return policies.Namespace{}, err
	}
	namespace := policies.Namespace{Name: decoded.Name, Labels: map[string]string{}, Annotations: decoded.Annotations}
	maps.Copy(namespace.Labels, decoded.Labels)
	namespace.Labels[corev1.LabelMetadataName] = decoded.Name
	return namespace, nil
}

func (m *Manifests) addNode(content map[string]any) error {
	node, err := readNode(content)
	if err == nil {
		m.nodes[node.Name] = node
		m.known = nil
	}
	return err
}

// readNode decodes what rules read of a Node.
func readNode(content map[string]any) (*corev1.Node, error) {
	var node corev1.Node
	if err := policies.Decode(content, &node); err != nil {
		return nil, err
	}
	return policies.ReducedNode(&node), nil
}

// knownNodes returns the nodes that were read, or nil if there are none.
func (m *Manifests) knownNodes() *policies.Nodes {
	if m.known == nil && len(m.nodes) > 0 {
		m.known = policies.NewNodes(slices.Collect(maps.Values(m.nodes)))
	}
	return m.known
}

// count adds one to a counter, unless the file is context.
func (m *Manifests) count(counter *int, file *foundFile) {
	if !file.context {
		*counter++
	}
}

// skip records that an object is not judged or, in the context, not a neighbour.
func (m *Manifests) skip(d definition, reason string) {
	if d.file.context {
		m.contextSkipped = append(m.contextSkipped, d.remark(reason))
	} else {
		m.Skipped = append(m.Skipped, d.remark(reason))
	}
}

// note records what a user should know about an object, unless the file is context.
func (m *Manifests) note(d definition, text string) {
	if !d.file.context {
		m.Notes = append(m.Notes, d.remark(text))
	}
}

// items returns the items of a list of objects, or nil if content is not a list. As for kubectl, an object of any kind
// with items is a list. items sets the apiVersion and kind of items that have neither: the API server omits them in a
// typed list, such as a ServiceList.
func items(content map[string]any) []any {
	apiVersion, kind := typeOf(content)
	items, _ := content["items"].([]any)
	for _, item := range items {
		element, _ := item.(map[string]any)
		itemVersion, itemKind := typeOf(element)
		if element != nil && itemVersion == "" && itemKind == "" {
			element["apiVersion"], element["kind"] = apiVersion, strings.TrimSuffix(kind, "List")
		}
	}
	return items
}

// typeOf returns the apiVersion and kind of an object; each is empty if it is not a string.
func typeOf(content map[string]any) (apiVersion, kind string) {
	apiVersion, _ = content["apiVersion"].(string)
	kind, _ = content["kind"].(string)
	return apiVersion, kind
}

func isKubernetes(content map[string]any) bool {
	apiVersion, kind := typeOf(content)
	return apiVersion != "" && kind != ""
}

// containerPath matches the path of a whole container.
var containerPath = regexp.MustCompile(`/containers/\d+$`)

// isAbsent reports whether a value is null, or an object or a list without elements.
func isAbsent(value any) bool {
	object, isObject := value.(map[string]any)
	list, isList := value.([]any)
	return value == nil || isObject && len(object) == 0 || isList && len(list) == 0
}

// lacks returns the path of a part of a judged kind without which the API server refuses an object; empty if it has
// all. isError is true if the object is no use without it, and isJudged if it is judged all the same. A part of the
// wrong type is for the decoder to report.
func lacks(kind string, content map[string]any) (isJudged bool, path string, isError bool) {
	if kind == "PodTemplate" {
		content = map[string]any{"spec": map[string]any{"template": content["template"]}}
		if isJudged, path, isError = lacks("Deployment", content); path == "/spec" {
			path = "/spec/template"
		}
		return isJudged, strings.TrimPrefix(path, "/spec"), isError
	}
	spec, isObject := content["spec"].(map[string]any)
	if !isObject && content["spec"] != nil {
		return true, "", false
	}
	if len(spec) == 0 {
		return false, "/spec", true
	}
	if kind == "Service" {
		if spec["type"] == string(corev1.ServiceTypeExternalName) || spec["clusterIP"] == corev1.ClusterIPNone ||
			!isAbsent(spec["ports"]) {
			return true, "", false
		}
		return true, "/spec/ports", false
	}
	if ref, ok := spec["workloadRef"].(map[string]any); ok && kind == "Rollout" && len(ref) > 0 {
		return true, "", false // it uses the template of another workload
	}
	path = "/spec"
	if kind != "Pod" {
		for _, part := range []string{"template", "spec"} {
			path += "/" + part
			next, isObject := spec[part].(map[string]any)
			switch {
			case spec[part] == nil:
				return false, path, true
			case !isObject:
				return true, "", false
			}
			spec = next
		}
	}
	if isAbsent(spec["containers"]) {
		return true, path + "/containers", true
	}
	return true, "", false
}

// otherVersion returns why an object of a kind with the name of a judged one is not judged: Kubernetes does not serve
// this version of it, or it is one of a custom kind that is not known. It returns "" for any other kind.
func otherVersion(apiVersion, kind string) string {
	if policies.Judged(apiVersion, kind) || !slices.Contains(policies.Kinds, kind) {
		return ""
	}
	served := "v1"
	for _, k := range policies.WorkloadKinds {
		if k.Kind == kind && !k.Custom {
			served = k.APIVersion()
		}
	}
	group, _, _ := strings.Cut(apiVersion, "/")
	for _, k := range policies.WorkloadKinds {
		if k.Custom && k.Kind == kind && k.Group == group {
			return fmt.Sprintf("Sourceward does not know %s in %s, only in %s", kind, apiVersion, k.APIVersion())
		}
	}
	isBuiltIn := !strings.Contains(group, ".") // groups of custom kinds must have a dot
	isCustomOnly := kind == "Rollout" || kind == "CloneSet"
	if !isBuiltIn || isCustomOnly {
		return ""
	}
	return fmt.Sprintf("Kubernetes serves no %s in %s; write %s", kind, apiVersion, served)
}

// isRead reports whether objects of this apiVersion and kind are judged, or are neighbours of those that are.
func isRead(apiVersion, kind string) bool {
	return policies.Judged(apiVersion, kind) || policies.Autoscales(apiVersion, kind) ||
		policies.HoldsEndpoints(apiVersion, kind) || apiVersion == "v1" && (kind == "Namespace" || kind == "Node")
}

// readKinds are the kinds for which isRead returns true in some apiVersion.
var readKinds = slices.Concat(
	policies.Kinds, []string{"Namespace", "Node", "EndpointSlice", "Endpoints"}, autoscalerKinds())

func autoscalerKinds() []string {
	var kinds []string
	for _, kind := range policies.AutoscalerKinds {
		kinds = append(kinds, kind.Kind)
	}
	return kinds
}

// builtInKinds knows all kinds of the two groups that have most of the kinds that are read.
var builtInKinds = sync.OnceValue(func() *runtime.Scheme {
	scheme := runtime.NewScheme()
	if err := errors.Join(corev1.AddToScheme(scheme), appsv1.AddToScheme(scheme)); err != nil {
		panic(err) // The types are compiled in.
	}
	return scheme
})

// misspelt returns why an object is not read whose kind does not exist in its apiVersion, or is nearly one that is
// read; empty for any other object. No group has two kinds with names so similar.
func misspelt(apiVersion, kind string) string {
	if isRead(apiVersion, kind) {
		return ""
	}
	for _, right := range readKinds {
		isNear := strings.EqualFold(kind, right) || strings.EqualFold(kind, right+"s") || policies.IsNear(kind, right)
		if isNear && isRead(apiVersion, right) {
			return fmt.Sprintf("there is no kind %q in %s; write %s", kind, apiVersion, right)
		}
	}
	group, err := schema.ParseGroupVersion(apiVersion)
	isKnown := err == nil && (group == corev1.SchemeGroupVersion || group == appsv1.SchemeGroupVersion)
	isList := strings.HasSuffix(kind, "List")
	isOfClient := kind == "Config" // the file that kubectl reads its clusters from
	if !isKnown || isList || isOfClient || builtInKinds().Recognizes(group.WithKind(kind)) {
		return ""
	}
	return fmt.Sprintf("Kubernetes has no kind %q in %s; correct it or the apiVersion", kind, apiVersion)
}

// embedded returns a note about the Services and workloads that an object of another kind holds; empty if there are
// none. A reference, which has no spec, is none.
func embedded(d definition) string {
	type found struct{ path, object string }
	var all []found
	var walk func(value any, path string)
	walk = func(value any, path string) {
		switch value := value.(type) {
		case map[string]any:
			spec, _ := value["spec"].(map[string]any)
			if apiVersion, kind := typeOf(value); path != "" && len(spec) > 0 && policies.Judged(apiVersion, kind) {
				all = append(all, found{fieldOf(path), definition{content: value}.ref().String()})
				return
			}
			for key, below := range value {
				walk(below, path+"/"+escape.Replace(key))
			}
		case []any:
			for i, element := range value {
				walk(element, fmt.Sprintf("%s/%d", path, i))
			}
		}
	}
	walk(d.content, "")
	const advice = "; check what it puts into a cluster"
	if len(all) == 0 {
		return ""
	}
	first := slices.MinFunc(all, func(a, b found) int { return strings.Compare(a.path, b.path) })
	if len(all) == 1 {
		return fmt.Sprintf("it holds %s at %s, which is not checked", first.object, first.path) + advice
	}
	return fmt.Sprintf("it holds %d Services or workloads, the first of them %s at %s, which are not checked",
		len(all), first.object, first.path) + advice
}

// judgedKind matches a key with a judged kind.
const judgedKind = `\bkind["']?\s*:\s*(![\w!]*\s+|&\S+\s+)?["']?(%s)\b`

// namesKubernetes matches what a Kubernetes object begins with: a key apiVersion, or a judged kind. namesJudged matches
// only the latter.
var (
	namesKubernetes = regexp.MustCompile(`\bapiVersion["']?\s*:|` + namesJudged.String())
	namesJudged     = regexp.MustCompile(fmt.Sprintf(judgedKind, strings.Join(policies.Kinds, "|")))
)

// looksLikeKubernetes reports whether a text that cannot be read is likely to be a Kubernetes object. In UTF-16, each
// second byte is zero.
func looksLikeKubernetes(text []byte) bool {
	return text == nil || namesKubernetes.Match(bytes.ReplaceAll(text, []byte{0}, nil))
}

func decodeError(document *Document, at, kind string, err error) *Error {
	wrong, ok := errors.AsType[*policies.FieldError](err)
	if !ok {
		return document.Place(at).Error(fmt.Sprintf("this %s cannot be read: %s", kind, err))
	}
	return document.Place(at + wrong.Path).Error(fmt.Sprintf("%s of this %s: %s", wrong.Field(), kind, wrong.Problem))
}

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
