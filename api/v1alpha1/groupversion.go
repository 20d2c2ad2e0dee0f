package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// GroupVersion is the API group and version of this package.
var GroupVersion = schema.GroupVersion{Group: "sourceward.dev", Version: "v1alpha1"}

// AddToScheme adds the kinds of this package to a scheme, for clients and caches.
// The error is always nil; it is in the signature because schemes are built from functions that return one.
func AddToScheme(scheme *runtime.Scheme) error {
	builder := runtime.NewSchemeBuilder(addKnownTypes)
	return builder.AddToScheme(scheme)
}

func addKnownTypes(scheme *runtime.Scheme) error {
	scheme.AddKnownTypes(GroupVersion, &SourceIPPolicy{}, &SourceIPPolicyList{})
	metav1.AddToGroupVersion(scheme, GroupVersion)
	return nil
}
