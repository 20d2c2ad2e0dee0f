// +kubebuilder:object:generate=true
// +groupName=sourceward.dev

// Package v1alpha1 defines what users of Sourceward write: the kind SourceIPPolicy, with its defaults and validation,
// and the annotations on Services, workloads and Namespaces.
//
// It knows the form of a policy, but not the rules that a policy configures. The package policies/bundle knows which
// rule ids exist, and compiles the Rego of a policy.
package v1alpha1
