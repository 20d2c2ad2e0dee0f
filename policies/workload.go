package policies

import (
	"encoding/json"
	"slices"

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
	return podSpecPath
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

// Scaled returns an object for the workload with another number of replicas. The object's Content holds only what the
// Workload holds. The error is non-nil when the workload cannot be encoded as JSON.
func (w *Workload) Scaled(replicas int32) (*Object, error) {
	of := *w
	of.Replicas = &replicas
	raw, err := json.Marshal(&of)
	if err != nil {
		return nil, err
	}
	return &Object{Ref: of.Ref, Workload: &of, raw: raw}, nil
}
