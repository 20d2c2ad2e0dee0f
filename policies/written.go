package policies

import (
	"encoding/json"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Explicit tells how spec.externalTrafficPolicy of a Service came to be.
type Explicit string

// Online the field is already defaulted when a webhook sees it, so that an absent policy and a
// written Cluster look the same. A written value is never overridden.
const (
	// ExplicitUnknown: nobody can tell.
	ExplicitUnknown Explicit = "unknown"
	// ExplicitWritten: the owner's manifest sets it.
	ExplicitWritten Explicit = "written"
	// ExplicitDefaulted: the owner's manifest does not set it.
	ExplicitDefaulted Explicit = "defaulted"
)

// explicit is the one function for all doors: kubectl's copy of the manifest; else what an applier
// owns; else what the file says, unless it is an export of a live object, which writes every field.
//
// An Update entry of managedFields proves nothing: the API server computes it from the object with
// its defaults (apiserver, pkg/endpoints/handlers/create.go).
//
// Where an update changes the policy, and what tells of the owner's manifest stays as it was, somebody writes the policy
// beside that manifest, such as by kubectl patch: no manifest says so, and it is not overridden.
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

// sameRecord tells whether two states of an object tell the same of its owner's manifest.
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

// recorded is what an object by itself tells of its traffic policy.
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

// recordedField is what the records of an object's past tell of a field of its spec: kubectl's copy of the manifest; else
// who owns the field by one of these operations.
func recordedField(meta metav1.ObjectMeta, field string, operations ...metav1.ManagedFieldsOperationType) Explicit {
	if text, ok := meta.Annotations[lastApplied]; ok {
		var applied struct {
			Spec map[string]json.RawMessage `json:"spec"`
		}
		if json.Unmarshal([]byte(text), &applied) == nil {
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
		if json.Unmarshal(entry.FieldsV1.GetRawBytes(), &fields) != nil {
			continue
		}
		if _, owns := fields.Spec["f:"+field]; owns {
			return ExplicitWritten
		}
		// Controllers apply annotations and the like; only who applies the spec could have set the field.
		applied = applied || entry.Operation == metav1.ManagedFieldsOperationApply && len(fields.Spec) > 0
	}
	if applied {
		return ExplicitDefaulted
	}
	return ExplicitUnknown
}

// writesHealthCheckNodePort tells whether somebody chose the health check port that a Service has, as far as can be told.
//
// The API server allocates a port after the owners of the fields were noted, and before a validating webhook is asked
// (apiserver v1.37.1, pkg/endpoints/handlers/create.go and pkg/registry/generic/registry/store.go). So a port that is there
// proves nothing, not even on CREATE, and an Update entry of managedFields that owns it does: unlike the traffic policy it is
// none of the defaults.
func writesHealthCheckNodePort(object *Object, inFile InFile) bool {
	found := recordedField(object.meta, "healthCheckNodePort", metav1.ManagedFieldsOperationApply, metav1.ManagedFieldsOperationUpdate)
	if found == ExplicitUnknown {
		return inFile != InFileUnknown && object.meta.UID == "" // or else it is an export, which writes what was allocated
	}
	return found == ExplicitWritten
}

// isSet tells whether a value is one that the API server does not take for none.
func isSet(value json.RawMessage) bool {
	return len(value) > 0 && !slices.Contains([]string{"null", `""`, "0"}, string(value))
}

func writtenIf(written bool) Explicit {
	if written {
		return ExplicitWritten
	}
	return ExplicitDefaulted
}
