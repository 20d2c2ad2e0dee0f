package review

import (
	"errors"
	"fmt"
	"slices"

	admissionv1 "k8s.io/api/admission/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sourceward/sourceward/api/v1alpha1"
	"github.com/sourceward/sourceward/policies"
)

// scaleSubresource is the one subresource that is judged. It changes the replicas of a workload without a request for
// the workload itself.
const scaleSubresource = "scale"

// Judges reports whether a request is judged: the creation or update of an object of a kind that policies.Judged names,
// except kinds that are judged in files only, a new scale of a workload, or an autoscaler. All other requests are
// allowed.
func Judges(request *admissionv1.AdmissionRequest) bool {
	if request.SubResource != "" || IsAutoscaler(request) {
		return WarnsOnly(request)
	}
	apiVersion := groupVersion(request.Kind)
	if kind, ok := policies.WorkloadKindOf(apiVersion, request.Kind.Kind); ok && kind.Door == policies.FilesOnly {
		return false
	}
	return (request.Operation == admissionv1.Create || request.Operation == admissionv1.Update) &&
		policies.Judged(apiVersion, request.Kind.Kind)
}

// ReadPolicy returns the policy that a request is to create or update; nil for any other request. The error is non-nil
// when it does not decode.
func ReadPolicy(request *admissionv1.AdmissionRequest) (*v1alpha1.SourceIPPolicy, error) {
	kind := v1alpha1.GroupVersion.WithKind(v1alpha1.Kind)
	if request.Kind != metav1.GroupVersionKind(kind) || request.SubResource != "" ||
		request.Operation != admissionv1.Create && request.Operation != admissionv1.Update {
		return nil, nil
	}
	var policy v1alpha1.SourceIPPolicy
	if err := policies.DecodeJSON(request.Object.Raw, &policy); err != nil {
		return nil, fmt.Errorf("read object: %w", err)
	}
	return &policy, nil
}

// IsScale reports whether a request sets the replicas of a workload through its scale subresource. It carries only
// numbers, not the workload; ReadScale reads it.
func IsScale(request *admissionv1.AdmissionRequest) bool {
	_, ok := ScaleOf(request)
	return ok
}

// WarnsOnly reports whether a request says nothing about a workload but the number of its pods: through its scale
// subresource, or an autoscaler. It is judged by Validate, and never denied.
func WarnsOnly(request *admissionv1.AdmissionRequest) bool {
	return IsScale(request) || IsAutoscaler(request)
}

// ScaleOf returns the workload that a request scales, and whether it IsScale.
func ScaleOf(request *admissionv1.AdmissionRequest) (policies.Ref, bool) {
	i := slices.IndexFunc(policies.WorkloadKinds, func(kind policies.WorkloadKind) bool {
		return kind.Scaled && kind.Group == request.Resource.Group && kind.Resource == request.Resource.Resource
	})
	if i < 0 || request.SubResource != scaleSubresource || request.Operation != admissionv1.Update {
		return policies.Ref{}, false
	}
	kind := policies.WorkloadKinds[i]
	return policies.Ref{
		APIVersion: kind.APIVersion(), Kind: kind.Kind, Namespace: request.Namespace, Name: request.Name,
	}, true
}

// Read returns the part of an Input that a request holds: Operation, Object and Old. The caller fills in the rest. The
// error is non-nil when an object does not decode, or when an update lacks the old one. Old is nil if a field of it has
// a value that does not decode: a stored object that cannot be read is no reason not to judge its successor.
func Read(request *admissionv1.AdmissionRequest) (policies.Input, error) {
	in := policies.Input{Operation: policies.Operation(request.Operation)}
	var err error
	if in.Object, err = object(request, request.Object.Raw); err != nil {
		return policies.Input{}, fmt.Errorf("read object: %w", err)
	}
	if in.Operation != policies.Update {
		return in, nil
	}
	in.Old, err = object(request, request.OldObject.Raw)
	if _, unreadable := errors.AsType[*policies.FieldError](err); err != nil && !unreadable {
		return policies.Input{}, fmt.Errorf("read oldObject: %w", err)
	}
	return in, nil
}

// object decodes an object of a request. The kind and the Namespace come from the request: a review that is written by
// hand may lack them in the object.
func object(request *admissionv1.AdmissionRequest, raw []byte) (*policies.Object, error) {
	return policies.ReadObject(groupVersion(request.Kind), request.Kind.Kind, request.Namespace, raw)
}

// ReadScale returns the part of an Input that a scale request holds. workload is the workload that it scales, as far as
// it is known; it is not changed. The Object holds nothing else. The error is non-nil when a Scale does not decode.
func ReadScale(request *admissionv1.AdmissionRequest, workload *policies.Workload) (policies.Input, error) {
	in := policies.Input{Operation: policies.Update}
	var err error
	if in.Object, err = scaled(workload, request.Object.Raw); err != nil {
		return policies.Input{}, fmt.Errorf("read object: %w", err)
	}
	if in.Old, err = scaled(workload, request.OldObject.Raw); err != nil {
		return policies.Input{}, fmt.Errorf("read oldObject: %w", err)
	}
	return in, nil
}

func scaled(workload *policies.Workload, raw []byte) (*policies.Object, error) {
	var scale autoscalingv1.Scale
	if err := policies.DecodeJSON(raw, &scale); err != nil {
		return nil, err
	}
	return workload.Scaled(scale.Spec.Replicas)
}

func groupVersion(kind metav1.GroupVersionKind) string {
	return metav1.GroupVersion{Group: kind.Group, Version: kind.Version}.String()
}
