package policies

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Ref identifies one object in a cluster.
type Ref struct {
	// APIVersion is the group and the version, such as apps/v1, or only the version, such as v1.
	APIVersion string `json:"apiVersion"`
	// Kind is the kind, such as Deployment.
	Kind string `json:"kind"`
	// Namespace is empty for an object that is in no namespace.
	Namespace string `json:"namespace,omitempty"`
	// Name is the name or, with a star at its end, what a generated name begins with.
	Name string `json:"name"`
}

// String returns the form used in messages, for example Service edge/web.
func (r Ref) String() string {
	if r.Namespace == "" {
		return r.Kind + " " + r.Name
	}
	return r.Kind + " " + r.Namespace + "/" + r.Name
}

// group returns the API group. Unlike apiVersion, it is the same in all versions of an object.
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

// controllerOf returns the object that controls another one, without its namespace; zero for none.
func controllerOf(meta metav1.ObjectMeta) Ref {
	owner := metav1.GetControllerOfNoCopy(&meta)
	if owner == nil {
		return Ref{}
	}
	return Ref{APIVersion: owner.APIVersion, Kind: owner.Kind, Name: owner.Name}
}

// nameOf returns the name of an object, or its generateName with an asterisk, such as "web-*", if the API server has
// not generated the name yet.
func nameOf(meta metav1.ObjectMeta) string {
	if meta.Name == "" && meta.GenerateName != "" {
		return meta.GenerateName + "*"
	}
	return meta.Name
}

// isGenerated reports whether the API server has not generated the name of an object yet. Two of those are different
// objects even if their Refs are equal.
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
