package policies

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Ref names one object of a cluster.
type Ref struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Namespace  string `json:"namespace,omitempty"`
	Name       string `json:"name"`
}

// String is the form of messages: Service edge/web.
func (r Ref) String() string {
	if r.Namespace == "" {
		return r.Kind + " " + r.Name
	}
	return r.Kind + " " + r.Namespace + "/" + r.Name
}

// group is the API group: the same object may be known by several versions.
func (r Ref) group() string {
	if group, _, ok := strings.Cut(r.APIVersion, "/"); ok {
		return group
	}
	return ""
}

func (r Ref) compare(s Ref) int {
	if c := strings.Compare(r.Namespace, s.Namespace); c != 0 {
		return c
	}
	if c := strings.Compare(r.Name, s.Name); c != 0 {
		return c
	}
	if c := strings.Compare(r.Kind, s.Kind); c != 0 {
		return c
	}
	return strings.Compare(r.APIVersion, s.APIVersion)
}

// nameOf is the name, or, of an object that the API server is still to name, "name-*".
func nameOf(meta metav1.ObjectMeta) string {
	if meta.Name == "" && meta.GenerateName != "" {
		return meta.GenerateName + "*"
	}
	return meta.Name
}

// isGenerated tells whether the API server is still to name an object: another one of the same Ref then
// is another object.
func isGenerated(ref Ref) bool { return strings.HasSuffix(ref.Name, "*") }

func serviceRef(service *corev1.Service) Ref {
	return Ref{APIVersion: "v1", Kind: "Service", Namespace: service.Namespace, Name: nameOf(service.ObjectMeta)}
}

func serviceRefs(services []*corev1.Service) []Ref {
	refs := make([]Ref, len(services))
	for i, service := range services {
		refs[i] = serviceRef(service)
	}
	return refs
}
