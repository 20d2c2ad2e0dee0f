package policies

import (
	"fmt"
	"slices"
)

// proxiedLabels are on Services that a controller makes for an Ingress or a Gateway, without a selector where a proxy on every node
// takes the traffic itself, as Cilium's does. Their endpoints are made up, and the health check succeeds on every node (cilium
// v1.20.2, pkg/loadbalancer/healthserver/healthserver.go:327 and operator/pkg/model/translation).
var proxiedLabels = []string{"cilium.io/ingress", "io.cilium.gateway/owning-gateway", "gateway.networking.k8s.io/gateway-name"}

// selectorlessLocal finds Local Services whose endpoints somebody writes by hand, unless all of them name their node.
//
// Fields: spec.selector and what makes the Service Local; of EndpointSlices, and of Endpoints where there are none, nodeName.
// A cluster's are not looked up: there it says what must hold. metadata.labels tell what a proxy takes.
var selectorlessLocal = Rule{
	ID:           "selectorless-local",
	Title:        "Local Service whose endpoints may be on no node",
	Severity:     SeverityWarning,
	DefaultMode:  Warn,
	Kinds:        []string{kindService},
	NeedsRelated: true,
	What: "A Service has externalTrafficPolicy Local and no selector, and its EndpointSlices are not among the files, or have endpoints " +
		"without a nodeName. One that a controller made for an Ingress or a Gateway, whose traffic a proxy on each node takes, is left alone.",
	Why: "Under Local a node hands a packet from outside only to endpoints whose nodeName is its own. For a Service without a selector " +
		"nobody fills in nodeName, and an address outside the cluster has no node at all: every node then drops the packet, and the " +
		"health check fails on all of them.",
	Remedy: "Set externalTrafficPolicy: Cluster; or, where the endpoints are on nodes of the cluster, write nodeName on each of them, and " +
		"give the EndpointSlices to the dry-run binary together with the Service.",
	Exempt: "When a controller writes the EndpointSlices, and nodeName with them.",
	Since:  "All versions. An Endpoints object is mirrored into EndpointSlices, nodeName included.",
	Sources: []string{
		"https://kubernetes.io/docs/concepts/services-networking/service/#services-without-selectors",
		"https://kubernetes.io/docs/reference/kubernetes-api/service-resources/endpoint-slice-v1/",
		"https://github.com/kubernetes/kubernetes/blob/v1.37.1/pkg/proxy/endpointslicecache.go#L209",
	},
	check: checkSelectorlessLocal,
}

func checkSelectorlessLocal(r *run) []result {
	service := r.Object.Service
	if service == nil || len(service.Spec.Selector) > 0 || !isLocal(service, r.Cluster.Version) {
		return nil
	}
	proxied := func(label string) bool { _, ok := service.Labels[label]; return ok }
	if slices.ContainsFunc(proxiedLabels, proxied) {
		return nil
	}
	message := "Local without a selector drops all traffic, unless each endpoint has the nodeName of its node"
	switch count, withoutNode := r.endpoints(); {
	case count > 0 && withoutNode == 0:
		return nil
	case count > 0:
		message = fmt.Sprintf("%d of %d endpoints have no nodeName: Local sends them no external traffic", withoutNode, count)
	}
	return []result{{Finding: Finding{
		Path:    "/spec/externalTrafficPolicy",
		Message: message,
		Fix:     "write nodeName on each endpoint, or set externalTrafficPolicy: Cluster",
	}}}
}

// endpoints counts the endpoints of the Service that were seen, and those of them without a node. Endpoints count where there
// are no EndpointSlices: in an export of a cluster there are both, and the ones mirror the others.
func (r *run) endpoints() (count, withoutNode int) {
	for _, fromSlices := range []bool{true, false} {
		for _, e := range r.Related.Endpoints {
			if e.isSlice() == fromSlices && e.Service == r.Object.Name && e.Ref.Namespace == r.Object.Namespace {
				count += e.Count
				withoutNode += e.WithoutNode
			}
		}
		if count > 0 {
			break
		}
	}
	return count, withoutNode
}
