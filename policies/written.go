package policies

import (
	"bytes"
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

// recorded is what an object by itself tells.
func recorded(object *Object, inFile InFile) Explicit {
	meta := object.meta
	if text, ok := meta.Annotations[lastApplied]; ok {
		var applied struct {
			Spec map[string]json.RawMessage `json:"spec"`
		}
		if json.Unmarshal([]byte(text), &applied) == nil {
			return writtenIf(isSet(applied.Spec["externalTrafficPolicy"]))
		}
	}
	applied := false
	for _, entry := range meta.ManagedFields {
		if entry.Operation != metav1.ManagedFieldsOperationApply || entry.Subresource != "" || entry.FieldsV1 == nil {
			continue
		}
		var fields struct {
			Spec map[string]json.RawMessage `json:"f:spec"`
		}
		if json.Unmarshal(entry.FieldsV1.GetRawBytes(), &fields) != nil {
			continue
		}
		if _, owns := fields.Spec["f:externalTrafficPolicy"]; owns {
			return ExplicitWritten
		}
		// Controllers apply annotations and the like; only who applies the spec could have set the policy.
		applied = applied || len(fields.Spec) > 0
	}
	switch {
	case applied:
		return ExplicitDefaulted
	case inFile == InFileUnknown, meta.UID != "":
		return ExplicitUnknown
	default:
		return writtenIf(inFile == InFileWritten)
	}
}

func isSet(value json.RawMessage) bool {
	return len(value) > 0 && !bytes.Equal(value, []byte("null")) && !bytes.Equal(value, []byte(`""`))
}

func writtenIf(written bool) Explicit {
	if written {
		return ExplicitWritten
	}
	return ExplicitDefaulted
}
