package manifest

import (
	"encoding/json"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	kjson "sigs.k8s.io/json"

	"github.com/sourceward/sourceward/policies"
)

// Live holds the objects of a cluster that rules read, each once. Load does not change it, so that several calls of
// Load can use the same Live.
type Live struct {
	version policies.Version
	objects []liveObject
	errs    []*Error
}

// liveObject is an object of a cluster as it was decoded. Exactly one of its pointers is not nil.
type liveObject struct {
	ref        policies.Ref
	judged     *judged
	autoscaler *policies.Autoscaler
	endpoints  *policies.Endpoints
	namespace  *policies.Namespace
	node       *corev1.Node
}

// NewLive returns a Live without objects. The version is that of the API server.
func NewLive(version policies.Version) *Live { return &Live{version: version} }

// Add adds an object as an API server returns it. It ignores objects of kinds that no rule reads. If the object cannot
// be decoded, Load reports that. Add takes ownership of content. It removes the record of which client set which field
// from workloads, since no rule reads that of them.
func (l *Live) Add(content map[string]any) {
	apiVersion, kind := typeOf(content)
	o := liveObject{ref: definition{content: content}.ref()}
	var err error
	switch {
	case policies.Judged(apiVersion, kind):
		o.judged, err = l.read(content)
	case policies.Autoscales(apiVersion, kind):
		o.autoscaler, err = pointerTo(policies.NewAutoscaler(content))
	case policies.HoldsEndpoints(apiVersion, kind):
		o.endpoints, err = pointerTo(policies.NewEndpoints(content))
	case o.ref == namespaceRef(o.ref.Name):
		o.namespace, err = pointerTo(readNamespace(content))
	case apiVersion == "v1" && kind == "Node":
		o.node, err = readNode(content)
	default:
		return
	}
	if err != nil {
		l.errs = append(l.errs, &Error{Message: fmt.Sprintf("%s cannot be read: %s", o.ref, err)})
		return
	}
	l.objects = append(l.objects, o)
}

// AddChild adds an object, if another workload makes it, and reports whether one does. Of such an object, which is not
// judged, only the apiVersion, the kind and the metadata are needed.
func (l *Live) AddChild(content map[string]any) bool {
	object, err := policies.NewObject(content)
	if err != nil || object.Workload == nil || !object.Workload.IsChild() {
		return false
	}
	l.objects = append(l.objects, liveObject{ref: object.Ref, judged: &judged{object: object}})
	return true
}

// Services calls do with each Service.
func (l *Live) Services(do func(*corev1.Service)) {
	for _, o := range l.objects {
		if o.judged != nil && o.judged.object.Service != nil {
			do(o.judged.object.Service)
		}
	}
}

// read decodes an object that can be judged. It keeps the document as JSON, which takes a fraction of the memory.
func (l *Live) read(content map[string]any) (*judged, error) {
	if metadata, _ := content["metadata"].(map[string]any); content["kind"] != "Service" {
		delete(metadata, "managedFields")
	}
	read := readJudged(content, l.version)
	switch {
	case read.err != nil:
		return nil, read.err
	case read.isError:
		return nil, &policies.FieldError{Path: read.missing, Problem: "it is missing"}
	}
	raw, err := json.Marshal(content)
	if err != nil {
		return nil, err
	}
	read.object.Release(func() map[string]any {
		var content map[string]any
		_ = kjson.UnmarshalCaseSensitivePreserveInts(raw, &content) // it was encoded above
		return content
	})
	return read, nil
}

func pointerTo[T any](value T, err error) (*T, error) { return &value, err }

// addLive adds the objects of a cluster. Without paths, those in options.Namespace are judged, or all of them; with
// paths, all are context.
func (m *Manifests) addLive(options Options) {
	if options.Live == nil {
		return
	}
	m.besideLive = len(options.Paths) > 0
	judgedFile := &foundFile{real: "cluster", live: true}
	contextFile := &foundFile{real: judgedFile.real, live: true, context: true}
	document := &Document{}
	m.Errors = append(m.Errors, options.Live.errs...)
	for _, o := range options.Live.objects {
		m.defined++
		d := definition{document: document, file: judgedFile, order: m.defined}
		isOther := options.Namespace != "" && o.ref.Namespace != "" && o.ref.Namespace != options.Namespace
		if m.besideLive || isOther {
			d.file = contextFile
		}
		m.count(&m.Documents, d.file)
		switch {
		case o.judged != nil:
			object := &Object{Object: o.judged.object, InFile: o.judged.inFile, Document: document, file: d.file}
			m.put(object, d)
			m.judge(object)
		case o.autoscaler != nil:
			m.index.PutAutoscalerCopy(*o.autoscaler, m.register(o.ref, d))
		case o.endpoints != nil:
			m.index.PutEndpointsCopy(*o.endpoints, m.register(o.ref, d))
		case o.namespace != nil:
			m.namespaces[m.register(o.ref, d)] = *o.namespace
			m.count(&m.Namespaces, d.file)
		case m.nodes[o.node.Name] == nil:
			m.nodes[o.node.Name] = o.node
		}
	}
}
