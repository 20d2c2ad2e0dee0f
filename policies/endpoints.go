package policies

import (
	"cmp"

	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Endpoints holds the number of endpoints in an EndpointSlice, or in an object of the older kind Endpoints.
type Endpoints struct {
	Ref Ref
	// Service is the name of the Service, in the same namespace, to which the endpoints belong; empty if they belong to
	// none.
	Service string
	// Count is the number of endpoints, WithoutNode the number of those without a nodeName.
	Count, WithoutNode int
}

var (
	endpointSliceKind = schema.GroupVersionKind{Group: "discovery.k8s.io", Version: "v1", Kind: "EndpointSlice"}
	endpointsKind     = schema.GroupVersionKind{Version: "v1", Kind: "Endpoints"}
)

// HoldsEndpoints reports whether objects of this apiVersion and kind hold endpoints. NewEndpoints accepts only those.
func HoldsEndpoints(apiVersion, kind string) bool {
	gvk := schema.FromAPIVersionAndKind(apiVersion, kind)
	return gvk == endpointSliceKind || gvk == endpointsKind
}

// NewEndpoints counts the endpoints in an object of a kind for which HoldsEndpoints returns true. The error is non-nil
// when a field has a value that the API server could not decode. It is a *FieldError if the field is known.
func NewEndpoints(content map[string]any) (Endpoints, error) {
	type endpoint struct {
		NodeName string `json:"nodeName"`
	}
	// An EndpointSlice has endpoints, an Endpoints object has subsets.
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
	namespace := cmp.Or(decoded.Metadata.Namespace, metav1.NamespaceDefault)
	found := Endpoints{Ref: Ref{apiVersion, kind, namespace, nameOf(decoded.Metadata)}}
	if found.isSlice() {
		found.Service = decoded.Metadata.Labels[discoveryv1.LabelServiceName]
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

// EndpointsOf counts the endpoints in an EndpointSlice.
func EndpointsOf(slice *discoveryv1.EndpointSlice) Endpoints {
	found := Endpoints{
		Ref: Ref{
			endpointSliceKind.GroupVersion().String(), endpointSliceKind.Kind, slice.Namespace, nameOf(slice.ObjectMeta),
		},
		Service: slice.Labels[discoveryv1.LabelServiceName], Count: len(slice.Endpoints),
	}
	for _, endpoint := range slice.Endpoints {
		if endpoint.NodeName == nil || *endpoint.NodeName == "" {
			found.WithoutNode++
		}
	}
	return found
}

func (e Endpoints) isSlice() bool { return e.Ref.Kind == endpointSliceKind.Kind }
