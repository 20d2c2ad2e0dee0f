package review

import (
	"fmt"
	"slices"

	admissionv1 "k8s.io/api/admission/v1"

	"github.com/sourceward/sourceward/policies"
)

// IsAutoscaler reports whether a request creates or changes an autoscaler. What it scales is judged, not the
// autoscaler.
func IsAutoscaler(request *admissionv1.AdmissionRequest) bool {
	return request.SubResource == "" && policies.Autoscales(groupVersion(request.Kind), request.Kind.Kind) &&
		(request.Operation == admissionv1.Create || request.Operation == admissionv1.Update)
}

// ReadAutoscaler returns the autoscaler that a request creates or changes, and the stored one that it replaces; nil if
// there is none, or if it does not decode. The error is non-nil when the new one does not decode.
func ReadAutoscaler(
	request *admissionv1.AdmissionRequest,
) (next policies.Autoscaler, old *policies.Autoscaler, err error) {
	if next, err = autoscaler(request, request.Object.Raw); err != nil {
		return next, nil, fmt.Errorf("read object: %w", err)
	}
	if request.Operation == admissionv1.Update {
		if stored, err := autoscaler(request, request.OldObject.Raw); err == nil {
			old = &stored
		}
	}
	return next, old, nil
}

// autoscaler decodes an autoscaler of a request. As in object, the kind and the Namespace come from the request.
func autoscaler(request *admissionv1.AdmissionRequest, raw []byte) (policies.Autoscaler, error) {
	var content map[string]any
	if err := policies.DecodeJSON(raw, &content); err != nil {
		return policies.Autoscaler{}, err
	}
	if content == nil {
		return policies.Autoscaler{}, fmt.Errorf("want an object, got nothing")
	}
	content["apiVersion"], content["kind"] = groupVersion(request.Kind), request.Kind.Kind
	decoded, err := policies.NewAutoscaler(content)
	if request.Namespace != "" {
		decoded.Ref.Namespace = request.Namespace
	}
	return decoded, err
}

// WithAutoscaler returns the neighbours of a workload if one autoscaler were another, or were missing if that is nil.
func WithAutoscaler(related policies.Related, ref policies.Ref, as *policies.Autoscaler) policies.Related {
	related.Autoscalers = slices.DeleteFunc(slices.Clone(related.Autoscalers), func(a policies.Autoscaler) bool {
		return a.Ref.Kind == ref.Kind && a.Ref.Namespace == ref.Namespace && a.Ref.Name == ref.Name
	})
	if as != nil {
		related.Autoscalers = append(related.Autoscalers, *as)
	}
	return related
}

// BroughtByAutoscaler returns a decision about a workload without the findings that it has before an autoscaler
// changes. The author of the autoscaler has not named the workload, so the messages do.
func BroughtByAutoscaler(before, after policies.Decision) policies.Decision {
	var brought []policies.Finding
	for _, f := range after.Findings {
		isSame := func(b policies.Finding) bool {
			return b.Rule == f.Rule && b.Path == f.Path && b.Message == f.Message
		}
		if !slices.ContainsFunc(before.Findings, isSame) {
			f.Message = f.Object.String() + ": " + f.Message
			brought = append(brought, f)
		}
	}
	return policies.Decision{Findings: brought}
}
