package policies

import (
	"encoding/json"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Workload holds what the rules read from an object that creates pods from a template, or from a Pod without a
// controller. It has the same form for all kinds.
type Workload struct {
	Ref
	// Labels and Annotations are the workload's own, not those of its pods.
	Labels, Annotations map[string]string
	// Controller is the object that controls the workload, without a namespace; zero for none.
	Controller Ref
	// Replicas is spec.replicas; nil if it is not set, which means 1, and for a DaemonSet, which has no such field.
	Replicas *int32
	// Selector is spec.selector, by which the workload finds its pods.
	Selector *metav1.LabelSelector
	// Template is the pod template, reduced to what determines how the pods are selected, placed and drained. It is
	// empty if TemplateOf is set.
	Template corev1.PodTemplateSpec
	// TemplateOf names the workload, in the same namespace, whose template this one uses instead of its own; zero if it
	// uses its own.
	TemplateOf WorkloadRef
	// Update is the strategy for replacing pods.
	Update UpdateStrategy
}

// WorkloadRef names a workload, in any version of its API, in the namespace of the object that refers to it.
type WorkloadRef struct{ Group, Kind, Name string }

// asTarget returns the reference that objects in the same namespace use for the workload.
func (w *Workload) asTarget() WorkloadRef { return WorkloadRef{w.group(), w.Kind, w.Name} }

func compareWorkloads(a, b *Workload) int { return a.Ref.compare(b.Ref) }

// IsChild reports whether the workload is made by another workload, whose template is judged instead. An owner of any
// other kind proves nothing, since users may write owner references.
func (w *Workload) IsChild() bool {
	maker := schema.GroupKind{Group: w.Controller.group(), Kind: w.Controller.Kind}
	return slices.Contains(w.kind().Makers, maker)
}

// podPath returns the JSON Pointer of the pod spec.
func (w *Workload) podPath() string {
	if w.Kind == podKind {
		return "/spec"
	}
	return w.placed(podSpecPath)
}

// placed returns a JSON Pointer into the pod template of most kinds as one into that of the workload.
func (w *Workload) placed(path string) string {
	if inside, isInside := strings.CutPrefix(path, "/spec/template/"); isInside && w.Kind == podTemplateKind {
		return "/template/" + inside
	}
	return path
}

// placedRepair returns operations on most kinds as operations on the workload.
func (w *Workload) placedRepair(operations []PatchOperation) []PatchOperation {
	placed := slices.Clone(operations)
	for i := range placed {
		placed[i].Path = w.placed(placed[i].Path)
	}
	return placed
}

// isNeighbour reports whether other objects can have the workload as a neighbour. The answer is the same in files as in
// a cluster: a kind that the webhook does not cache is not a neighbour in files either.
func (w *Workload) isNeighbour() bool { return w.kind().Door == Everywhere }

// MarshalJSON returns the workload in the form that Rego reads, which is the same for all kinds: metadata and spec.
func (w *Workload) MarshalJSON() ([]byte, error) {
	type metadata struct {
		Namespace   string            `json:"namespace"`
		Name        string            `json:"name"`
		Labels      map[string]string `json:"labels,omitempty"`
		Annotations map[string]string `json:"annotations,omitempty"`
	}
	type spec struct {
		Replicas *int32                 `json:"replicas,omitempty"`
		Selector *metav1.LabelSelector  `json:"selector,omitempty"`
		Template corev1.PodTemplateSpec `json:"template"`
	}
	return json.Marshal(struct {
		APIVersion string   `json:"apiVersion"`
		Kind       string   `json:"kind"`
		Metadata   metadata `json:"metadata"`
		Spec       spec     `json:"spec"`
	}{
		w.APIVersion, w.Kind,
		metadata{w.Namespace, w.Name, w.Labels, w.Annotations},
		spec{w.Replicas, w.Selector, w.Template},
	})
}

// Object returns an object for the workload. Its Content holds only what the Workload holds. The error is non-nil when
// the workload cannot be encoded as JSON.
func (w *Workload) Object() (*Object, error) {
	raw, err := json.Marshal(w)
	if err != nil {
		return nil, err
	}
	return &Object{Ref: w.Ref, Workload: w, read: func() map[string]any { return decoded(raw) }}, nil
}

// Scaled returns what Object returns for the workload with another number of replicas.
func (w *Workload) Scaled(replicas int32) (*Object, error) {
	of := *w
	of.Replicas = &replicas
	return of.Object()
}

// Ref returns a reference to the workload in a namespace, in an unknown version of its API.
func (w WorkloadRef) Ref(namespace string) Ref {
	version := schema.GroupVersion{Group: w.Group, Version: "v1"}
	return Ref{APIVersion: version.String(), Kind: w.Kind, Namespace: namespace, Name: w.Name}
}
