package policies

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"sync"
	"weak"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	kjson "sigs.k8s.io/json"
)

// Object is a Service or a workload, decoded once. It does not change after NewObject or ReadObject returned it.
type Object struct {
	Ref
	// Service is set if the object is a Service. It holds only what a rule or a selector may read: no
	// status, no managedFields, and no last-applied annotation of kubectl.
	Service *corev1.Service
	// Workload is set if the object is of a workload kind.
	Workload *Workload

	// revision is the revision of the object that was decoded.
	revision Revision
	// meta is the whole metadata of a Service. It records which client set which field. It is nil for a reduced object.
	meta *metav1.ObjectMeta
	// content is the document, unless read returns it. Both are nil for a reduced object.
	content map[string]any
	read    func() map[string]any
	// last is what read has last returned, until the next garbage collection.
	last   weak.Pointer[map[string]any]
	lastMu sync.Mutex
	// wellPlaced is true if the document is known to have no key that hasMisplaced looks for.
	wellPlaced bool
}

// Revision identifies one stored state of an object. The zero value is that of an object that was never stored.
type Revision struct {
	// UID is empty in a manifest. An API server sets it before it calls validating webhooks, and after mutating ones.
	UID types.UID
	// ResourceVersion is empty for an object that is not stored yet. In a request to update an object, it is the one that
	// the object replaces, if the client has sent it.
	ResourceVersion string
}

// RevisionOf returns the revision that the metadata of an object holds.
func RevisionOf(object metav1.Object) Revision {
	return Revision{object.GetUID(), object.GetResourceVersion()}
}

// Revision returns the revision of the object.
func (o *Object) Revision() Revision { return o.revision }

// Content returns the whole document in JSON types, with the API server's defaults. Rego reads it as input.object.
// The caller must not change it.
func (o *Object) Content() map[string]any {
	if o.read == nil {
		return o.content
	}
	o.lastMu.Lock()
	defer o.lastMu.Unlock()
	if last := o.last.Value(); last != nil {
		return *last
	}
	content := o.read()
	complete(content, o.Ref)
	o.last = weak.Make(&content)
	return content
}

// Release frees the document, which may take more memory than the object itself. Content calls read for a document
// equal to the one that NewObject was given, each time that a rule reads it. It owns what read returns, which must not
// be nil.
func (o *Object) Release(read func() map[string]any) { o.content, o.read = nil, read }

// Patched returns a copy of the object with the operations applied. The copy shares with the object what they do not
// change. The error is non-nil when an operation does not apply, or in the same cases as that of NewObject.
func (o *Object) Patched(operations []PatchOperation) (*Object, error) {
	content := o.Content()
	for _, operation := range operations {
		var err error
		if content, err = operation.apply(content); err != nil {
			return nil, fmt.Errorf("patch %s: %w", o.Ref, err)
		}
	}
	decode := func(into any) error { return Decode(content, into) }
	patched, err := newObject(o.APIVersion, o.Kind, o.Namespace, decode)
	if err != nil {
		return nil, fmt.Errorf("patch %s: %w", o.Ref, err)
	}
	patched.content = content
	return patched, nil
}

// MarshalJSON returns the Content as JSON.
func (o *Object) MarshalJSON() ([]byte, error) { return json.Marshal(o.Content()) }

// Judged reports whether objects of this apiVersion and kind are judged. NewObject and ReadObject accept only those.
func Judged(apiVersion, kind string) bool {
	if apiVersion == serviceVersion && kind == kindService {
		return true
	}
	_, ok := WorkloadKindOf(apiVersion, kind)
	return ok
}

const (
	serviceVersion = "v1"
	kindService    = "Service"
)

// NewObject decodes a document. It takes ownership of content, which the caller must not change afterwards. It sets a
// missing namespace in content to "default", and a label or annotation that is null to "".
// The error is non-nil when the kind is not Judged, when the object has no name, or when a field has a value that the
// API server could not decode. It is a *FieldError if the field is known.
func NewObject(content map[string]any) (*Object, error) {
	apiVersion, _ := content["apiVersion"].(string)
	kind, _ := content["kind"].(string)
	object, err := newObject(apiVersion, kind, "", func(into any) error { return Decode(content, into) })
	if err != nil {
		return nil, err
	}
	complete(content, object.Ref)
	object.wellPlaced = !hasMisplaced(object, content)
	object.content = content
	return object, nil
}

// ReadObject decodes an object as an API server sends it. It takes ownership of raw, which the caller must not change
// afterwards. A namespace that is not empty overrides the one in raw.
// The error is non-nil when raw is null, when DecodeJSON rejects it, and in the same cases as that of NewObject.
func ReadObject(apiVersion, kind, namespace string, raw []byte) (*Object, error) {
	if bytes.Equal(bytes.TrimSpace(raw), []byte("null")) {
		return nil, errors.New("want an object, got nothing")
	}
	object, err := newObject(apiVersion, kind, namespace, func(into any) error { return DecodeJSON(raw, into) })
	if err != nil {
		return nil, err
	}
	object.Release(func() map[string]any { return decoded(raw) })
	return object, nil
}

// decoded returns a document that was decoded into a typed object before.
func decoded(raw []byte) (content map[string]any) {
	if err := kjson.UnmarshalCaseSensitivePreserveInts(raw, &content); err != nil || content == nil {
		return map[string]any{} // never: a typed object was decoded from it
	}
	return content
}

func newObject(apiVersion, kind, namespace string, decode func(into any) error) (*Object, error) {
	object := &Object{}
	workloadKind, isWorkload := WorkloadKindOf(apiVersion, kind)
	switch {
	case isWorkload:
		var err error
		if object.Workload, object.revision, err = workloadKind.read(decode); err != nil {
			return nil, err
		}
		object.Workload.APIVersion, object.Workload.Kind = apiVersion, kind
		object.Workload.Namespace = cmp.Or(namespace, object.Workload.Namespace, metav1.NamespaceDefault)
		object.Ref = object.Workload.Ref
	case apiVersion == serviceVersion && kind == kindService:
		var service corev1.Service
		if err := decode(&service); err != nil {
			return nil, err
		}
		service.Namespace = cmp.Or(namespace, service.Namespace, metav1.NamespaceDefault)
		object.Ref = Ref{apiVersion, kind, service.Namespace, nameOf(service.ObjectMeta)}
		object.Service = ReducedService(&service)
		meta := service.ObjectMeta // a copy, so that the rest of the Service can be freed
		object.meta, object.revision = &meta, RevisionOf(&service)
	default:
		return nil, fmt.Errorf("%s %s is not judged", apiVersion, kind)
	}
	if object.Name == "" {
		return nil, &FieldError{Path: "/metadata/name", Problem: "want a name, got none; set one"}
	}
	return object, nil
}

// complete sets the fields of a document that the request, or a default, supplies.
func complete(content map[string]any, ref Ref) {
	content["apiVersion"], content["kind"] = ref.APIVersion, ref.Kind
	metadata, ok := content["metadata"].(map[string]any)
	if !ok {
		return
	}
	metadata["namespace"] = ref.Namespace
	for _, key := range []string{"labels", "annotations"} {
		texts, _ := metadata[key].(map[string]any)
		for name, text := range texts {
			if text == nil {
				texts[name] = "" // as the API server decodes it
			}
		}
	}
}

// Annotations returns the object's own annotations, not those of its pods. The caller must not change them.
func (o *Object) Annotations() map[string]string {
	if o.Service != nil {
		return o.Service.Annotations
	}
	return o.Workload.Annotations
}

// metadata returns the whole metadata of a Service; the zero value for a reduced object.
func (o *Object) metadata() *metav1.ObjectMeta { return cmp.Or(o.meta, &metav1.ObjectMeta{}) }

// controller returns the object that controls this one, without its namespace; zero for none.
func (o *Object) controller() Ref {
	if o.Service != nil {
		return controllerOf(*o.metadata())
	}
	return o.Workload.Controller
}

// labels returns the object's own labels, not those of its pods.
func (o *Object) labels() map[string]string {
	if o.Service != nil {
		return o.Service.Labels
	}
	return o.Workload.Labels
}

// is reports whether w is the object itself, in its present or its old state.
func (o *Object) is(w *Workload) bool {
	return w == o.Workload || w.Namespace == o.Namespace && keyOf(w.Ref, 0) == keyOf(o.Ref, 0) && !isGenerated(w.Ref)
}

// lastApplied is the annotation in which kubectl keeps the manifest that a user applied. Reduced objects omit it: it is
// large, and says nothing that the object does not.
const lastApplied = corev1.LastAppliedConfigAnnotation

// ReducedService returns a copy of a Service that holds only what rules and selectors read: its names, labels,
// annotations and spec. The copy shares its spec with the original.
func ReducedService(service *corev1.Service) *corev1.Service {
	return &corev1.Service{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Service"},
		ObjectMeta: metav1.ObjectMeta{
			Name:         service.Name,
			GenerateName: service.GenerateName,
			Namespace:    service.Namespace,
			Labels:       service.Labels,
			Annotations:  withoutLastApplied(service.Annotations),
		},
		Spec: service.Spec,
	}
}

func withoutLastApplied(annotations map[string]string) map[string]string {
	if _, ok := annotations[lastApplied]; !ok {
		return annotations
	}
	annotations = maps.Clone(annotations)
	delete(annotations, lastApplied)
	return annotations
}
