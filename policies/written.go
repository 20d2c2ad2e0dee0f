package policies

import (
	"encoding/json"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utiljson "k8s.io/apimachinery/pkg/util/json"
)

// Explicit says whether the owner of a Service set spec.externalTrafficPolicy, or whether it has the default.
type Explicit string

// The values of Explicit. The API server sets the default before it calls a webhook, so a missing field and a written
// Cluster look the same there. A written value is never overridden.
const (
	// ExplicitUnknown means that the object does not show how the field was set.
	ExplicitUnknown Explicit = "unknown"
	// ExplicitWritten means that the owner's manifest sets the field.
	ExplicitWritten Explicit = "written"
	// ExplicitDefaulted means that the owner's manifest does not set the field.
	ExplicitDefaulted Explicit = "defaulted"
)

// explicit returns how spec.externalTrafficPolicy was set; it is the only function that decides this. The first source
// that is present counts: kubectl's last-applied annotation, the fields that a server-side apply owns, or the file. A
// file that was exported from a cluster does not count, since an export contains every field.
//
// An Update entry in managedFields proves nothing: the API server computes it from the object with its defaults
// (apiserver, pkg/endpoints/handlers/create.go).
//
// If an update changes the policy, but neither the last-applied annotation nor the applied fields, the client set the
// policy without changing the manifest, for example with kubectl patch. No manifest shows that, but the value counts as
// written, so it is not overridden.
func explicit(object, old *Object, inFile InFile) Explicit {
	found := recorded(object, inFile)
	if found == ExplicitDefaulted && old != nil && old.Service != nil && inFile == InFileUnknown &&
		old.Service.Spec.ExternalTrafficPolicy != "" &&
		old.Service.Spec.ExternalTrafficPolicy != object.Service.Spec.ExternalTrafficPolicy &&
		sameRecord(object.meta, old.meta) {
		return ExplicitWritten
	}
	return found
}

// sameRecord reports whether two states of an object have the same last-applied annotation and the same applied fields.
func sameRecord(a, b metav1.ObjectMeta) bool {
	applied := func(meta metav1.ObjectMeta) []string {
		records := []string{meta.Annotations[lastApplied]}
		for _, entry := range meta.ManagedFields {
			if entry.Operation == metav1.ManagedFieldsOperationApply && entry.Subresource == "" && entry.FieldsV1 != nil {
				records = append(records, entry.Manager+" "+string(entry.FieldsV1.GetRawBytes()))
			}
		}
		return records
	}
	return slices.Equal(applied(a), applied(b))
}

// recorded returns how the traffic policy was set, judging from the present state of the object only.
func recorded(object *Object, inFile InFile) Explicit {
	switch found := recordedField(object.meta, "externalTrafficPolicy", metav1.ManagedFieldsOperationApply); {
	case found != ExplicitUnknown:
		return found
	case inFile == InFileUnknown, object.meta.UID != "":
		return ExplicitUnknown
	default:
		return writtenIf(inFile == InFileWritten)
	}
}

// recordedField returns how a field of spec was set, judging from kubectl's last-applied annotation, else from the
// entries of managedFields with one of these operations.
func recordedField(meta metav1.ObjectMeta, field string, operations ...metav1.ManagedFieldsOperationType) Explicit {
	if text, ok := meta.Annotations[lastApplied]; ok {
		var applied struct {
			Spec map[string]json.RawMessage `json:"spec"`
		}
		if utiljson.Unmarshal([]byte(text), &applied) == nil {
			return writtenIf(isSet(applied.Spec[field]))
		}
	}
	applied := false
	for _, entry := range meta.ManagedFields {
		if !slices.Contains(operations, entry.Operation) || entry.Subresource != "" || entry.FieldsV1 == nil {
			continue
		}
		var fields struct {
			Spec map[string]json.RawMessage `json:"f:spec"`
		}
		if utiljson.Unmarshal(entry.FieldsV1.GetRawBytes(), &fields) != nil {
			continue
		}
		if _, owns := fields.Spec["f:"+field]; owns {
			return ExplicitWritten
		}
		// Controllers apply annotations, for example. Only a client that applies part of spec can have set the field.
		applied = applied || entry.Operation == metav1.ManagedFieldsOperationApply && len(fields.Spec) > 0
	}
	if applied {
		return ExplicitDefaulted
	}
	return ExplicitUnknown
}

// writesHealthCheckNodePort reports whether the health check port of a Service is known to be the choice of a client,
// not of the API server.
//
// The API server allocates a port after it has recorded the owners of the fields, and before it calls a validating
// webhook (apiserver v1.37.1, pkg/endpoints/handlers/create.go and pkg/registry/generic/registry/store.go). So a port
// in the object proves nothing, not even on CREATE. But an Update entry in managedFields that owns the port is proof:
// unlike the traffic policy, the port is not set by defaulting.
func writesHealthCheckNodePort(object *Object, inFile InFile) bool {
	found := recordedField(object.meta, "healthCheckNodePort",
		metav1.ManagedFieldsOperationApply, metav1.ManagedFieldsOperationUpdate)
	if found == ExplicitUnknown {
		// A file with a UID was exported from a cluster: it contains the allocated port.
		return inFile != InFileUnknown && object.meta.UID == ""
	}
	return found == ExplicitWritten
}

// isSet reports whether the API server treats a value as set: it ignores null, "" and 0.
func isSet(value json.RawMessage) bool {
	return len(value) > 0 && !slices.Contains([]string{"null", `""`, "0"}, string(value))
}

func writtenIf(written bool) Explicit {
	if written {
		return ExplicitWritten
	}
	return ExplicitDefaulted
}
