package policies

// PatchOperation is one operation of a JSON Patch (RFC 6902) on the object under review.
type PatchOperation struct {
	// Op is "add" or "remove". Setting a member is always "add", also where it exists, so that
	// the patch of a defaulted object and that of the manifest it came from are the same bytes.
	Op string `json:"op"`
	// Path is a JSON Pointer (RFC 6901) into the object, for example
	// /spec/template/spec/topologySpreadConstraints/-.
	Path string `json:"path"`
	// Value is what "add" puts there: JSON types only (string, bool, int64, float64, []any,
	// map[string]any). Absent for "remove".
	Value any `json:"value,omitempty"`
}
