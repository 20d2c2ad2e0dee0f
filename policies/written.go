package policies

import (
	"encoding/json"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utiljson "k8s.io/apimachinery/pkg/util/json"
)

// Explicit says whether the owner of a Service is known to have set spec.externalTrafficPolicy.
type Explicit string

// The values of Explicit. The API server sets the default before it calls a webhook, so a missing field and a written
// Cluster look the same there. A written value is never overridden.
const (
	// ExplicitUnknown means that the object does not show how the field was set.
	ExplicitUnknown Explicit = "unknown"
	// ExplicitWritten means that the owner's manifest sets the field to the value that it has.
	ExplicitWritten Explicit = "written"
	// ExplicitDefaulted means that the owner's manifest does not set the field.
	ExplicitDefaulted Explicit = "defaulted"
)

// explicit returns how spec.externalTrafficPolicy was set; it is the only function that decides this.
//
// In a cluster, two records of the owner's manifest show it: kubectl's last-applied annotation, and the fields that a
// server-side apply owns. The field is written if one of them sets it to the value that it has, and defaulted if none
// sets it. A client that keeps no record, such as kubectl create, Helm 3 or Terraform, leaves it unknown, and so does a
// change beside the record, such as that of kubectl patch or kubectl edit. An Update entry in managedFields proves
// nothing: the API server computes it from the object with its defaults (apiserver,
// pkg/endpoints/handlers/create.go). An Apply entry needs no value: an API server removes a field from it if another
// client changes the value.
//
// In a file, what the file sets is written. A file that was exported from a cluster does not count, since an export
// contains every field.
func explicit(object *Object, inFile InFile) Explicit {
	const field = "externalTrafficPolicy"
	value, applied := lastAppliedField(object.metadata(), field)
	owned := ownedField(object.metadata(), field, metav1.ManagedFieldsOperationApply)
	switch {
	case applied == ExplicitWritten && value == string(object.Service.Spec.ExternalTrafficPolicy):
		return ExplicitWritten
	case owned == ExplicitWritten:
		return ExplicitWritten
	case applied == ExplicitWritten:
		return ExplicitUnknown // Something has changed the value since.
	case applied == ExplicitDefaulted, owned == ExplicitDefaulted:
		return ExplicitDefaulted
	case inFile == InFileUnknown, object.metadata().UID != "":
		return ExplicitUnknown
	default:
		return writtenIf(inFile == InFileWritten)
	}
}

// lastAppliedField returns the value of a field of spec in kubectl's last-applied annotation, if it is a string, and
// whether the annotation sets the field. It returns ExplicitUnknown if there is no such annotation.
func lastAppliedField(meta *metav1.ObjectMeta, field string) (value string, found Explicit) {
	var applied struct {
		Spec map[string]json.RawMessage `json:"spec"`
	}
	text, ok := meta.Annotations[lastApplied]
	if !ok || utiljson.Unmarshal([]byte(text), &applied) != nil {
		return "", ExplicitUnknown
	}
	_ = utiljson.Unmarshal(applied.Spec[field], &value) // not a string
	return value, writtenIf(isSet(applied.Spec[field]))
}

// ownedField returns how a field of spec was set, judging from the entries of managedFields with one of these
// operations.
func ownedField(meta *metav1.ObjectMeta, field string, operations ...metav1.ManagedFieldsOperationType) Explicit {
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
	const field = "healthCheckNodePort"
	_, found := lastAppliedField(object.metadata(), field)
	if found == ExplicitUnknown {
		found = ownedField(object.metadata(), field,
			metav1.ManagedFieldsOperationApply, metav1.ManagedFieldsOperationUpdate)
	}
	if found == ExplicitUnknown {
		// A file with a UID was exported from a cluster: it contains the allocated port.
		return inFile != InFileUnknown && object.metadata().UID == ""
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
