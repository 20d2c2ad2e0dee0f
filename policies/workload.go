package policies

import (
	"encoding/json"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Workload is what the rules read of an object that makes pods from a template, or of a Pod that nobody made. It is the same for all
// kinds.
type Workload struct {
	Ref
	// Labels and Annotations are the workload's own, not those of its pods.
	Labels, Annotations map[string]string
	// Controlled tells that another object controls it, which would undo what is repaired here: it is never judged.
	Controlled bool
	// Replicas is the written number; nil for the default of one, and for a DaemonSet, which has none.
	Replicas *int32
	// Selector is the workload's own selector of its pods.
	Selector *metav1.LabelSelector
	// Template is the template of its pods, reduced to what tells how they are selected, placed and drained. It is empty if
	// TemplateOf is set.
	Template corev1.PodTemplateSpec
	// TemplateOf names the workload whose template it uses in the place of its own, in its own namespace; zero for none.
	TemplateOf WorkloadRef
	// Update is how it replaces its pods.
	Update UpdateStrategy
}

// WorkloadRef names a workload in the namespace of the object that refers to it, by whichever version.
type WorkloadRef struct{ Group, Kind, Name string }

// asTarget is how objects in its namespace refer to the workload.
func (w *Workload) asTarget() WorkloadRef { return WorkloadRef{w.group(), w.Kind, w.Name} }

// podPath is the JSON Pointer of the spec of its pods.
func (w *Workload) podPath() string {
	if w.Kind == podKind {
		return "/spec"
	}
	return podSpecPath
}

// isNeighbour tells whether others see the workload beside them: in files as in a cluster, where those of some kinds are seen only at
// their own admission, or not at all.
func (w *Workload) isNeighbour() bool { return w.kind().Door == Everywhere }

// MarshalJSON writes the workload in one form for all kinds: metadata and spec.
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

// Scaled returns the workload with another number of replicas. Its Content holds no more than the workload does. The error is
// non-nil when that cannot be written as JSON.
func (w *Workload) Scaled(replicas int32) (*Object, error) {
	of := *w
	of.Replicas = &replicas
	raw, err := json.Marshal(&of)
	if err != nil {
		return nil, err
	}
	return &Object{Ref: of.Ref, Workload: &of, raw: raw}, nil
}
