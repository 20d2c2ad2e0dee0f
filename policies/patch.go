package policies

// PatchOperation is one operation of a JSON Patch (RFC 6902) on the object under review.
type PatchOperation struct {
	// Op is "add" or "remove". A member is always set with "add", even if it exists, so that an object with the API
	// server's defaults gets the same patch, byte for byte, as the manifest that it was created from.
	Op string `json:"op"`
	// Path is a JSON Pointer (RFC 6901) into the object, for example
	// /spec/template/spec/topologySpreadConstraints/-.
	Path string `json:"path"`
	// Value is the value that "add" sets. It has JSON types only: string, bool, int64, float64, []any and
	// map[string]any. It is absent for "remove".
	Value any `json:"value,omitempty"`
}
