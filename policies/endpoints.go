package policies

import (
	"cmp"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Endpoints counts the endpoints in an EndpointSlice, or in an object of the older kind Endpoints.
type Endpoints struct {
	Ref Ref
	// Service is the name of the Service whose endpoints they are, in its own namespace; empty for that of none.
	Service string
	// Count is the number of endpoints, and WithoutNode that of those which do not name the node that they are on.
	Count, WithoutNode int
}

var (
	endpointSliceKind = schema.GroupVersionKind{Group: "discovery.k8s.io", Version: "v1", Kind: "EndpointSlice"}
	endpointsKind     = schema.GroupVersionKind{Version: "v1", Kind: "Endpoints"}
)

// serviceNameLabel names the Service of an EndpointSlice.
const serviceNameLabel = "kubernetes.io/service-name"

// HoldsEndpoints tells whether objects of an apiVersion and kind hold endpoints, so that NewEndpoints takes them.
func HoldsEndpoints(apiVersion, kind string) bool {
	gvk := schema.FromAPIVersionAndKind(apiVersion, kind)
	return gvk == endpointSliceKind || gvk == endpointsKind
}

// NewEndpoints counts the endpoints in an object that HoldsEndpoints.
// The error is non-nil when a field has a value that the API server could not decode; it is a
// *FieldError where the field is known.
func NewEndpoints(content map[string]any) (Endpoints, error) {
	type endpoint struct {
		NodeName string `json:"nodeName"`
	}
	// Each of the two kinds has one of the lists.
	var decoded struct {
		Metadata  metav1.ObjectMeta `json:"metadata"`
		Endpoints []endpoint        `json:"endpoints"`
		Subsets   []struct {
			Addresses []endpoint `json:"addresses"`
		} `json:"subsets"`
	}
	if err := Decode(map[string]any{
		"metadata":  content["metadata"],
		"endpoints": content["endpoints"],
		"subsets":   content["subsets"],
	}, &decoded); err != nil {
		return Endpoints{}, err
	}
	apiVersion, _ := content["apiVersion"].(string)
	kind, _ := content["kind"].(string)
	found := Endpoints{Ref: Ref{apiVersion, kind, cmp.Or(decoded.Metadata.Namespace, metav1.NamespaceDefault), nameOf(decoded.Metadata)}}
	if found.isSlice() {
		found.Service = decoded.Metadata.Labels[serviceNameLabel]
	} else {
		found.Service = found.Ref.Name
	}
	all := decoded.Endpoints
	for _, subset := range decoded.Subsets {
		all = append(all, subset.Addresses...)
	}
	found.Count = len(all)
	for _, e := range all {
		if e.NodeName == "" {
			found.WithoutNode++
		}
	}
	return found, nil
}

func (e Endpoints) isSlice() bool { return e.Ref.Kind == endpointSliceKind.Kind }
