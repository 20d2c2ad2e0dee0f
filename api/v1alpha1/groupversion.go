package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// GroupVersion is the API group and version of this package.
var GroupVersion = schema.GroupVersion{Group: "sourceward.dev", Version: "v1alpha1"}

// AddToScheme teaches a scheme the kinds of this package, for clients and caches.
// Its error is what a registration function returned; these return none.
func AddToScheme(scheme *runtime.Scheme) error {
	builder := runtime.NewSchemeBuilder(addKnownTypes)
	return builder.AddToScheme(scheme)
}

func addKnownTypes(scheme *runtime.Scheme) error {
	scheme.AddKnownTypes(GroupVersion, &SourceIPPolicy{}, &SourceIPPolicyList{})
	metav1.AddToGroupVersion(scheme, GroupVersion)
	return nil
}
