// +kubebuilder:object:generate=true
// +groupName=sourceward.dev

// Package v1alpha1 holds the words that users of Sourceward write: the kind SourceIPPolicy, its
// defaults and its validation, and the annotations on other people's objects.
//
// It knows the form of a policy, not the rules that a policy steers: which rule ids exist and what
// its Rego means is for the package policies/bundle to say.
package v1alpha1
