package policies

import (
	"fmt"
	"slices"
)

// proxiedLabels are the labels of Services that a controller makes for an Ingress or a Gateway. Such a Service has no
// selector if a proxy on every node handles its traffic, as with Cilium: its endpoints are placeholders, and its health
// check succeeds on every node (cilium v1.20.2, pkg/loadbalancer/healthserver/healthserver.go:327 and
// operator/pkg/model/translation).
var proxiedLabels = []string{
	"cilium.io/ingress", "io.cilium.gateway/owning-gateway", "gateway.networking.k8s.io/gateway-name",
}

// selectorlessLocal finds Local Services without a selector, unless all of their endpoints name a node.
//
// Fields: spec.selector, metadata.labels and what makes the Service Local; nodeName in EndpointSlices or, if there are
// none, in Endpoints. If no endpoints are known, the message says what must hold.
var selectorlessLocal = Rule{
	ID:           "selectorless-local",
	Title:        "Local Service whose endpoints may not be on any node",
	Severity:     SeverityWarning,
	DefaultMode:  Warn,
	Kinds:        []string{kindService},
	NeedsRelated: true,
	What: "A Service has externalTrafficPolicy Local and no selector, and it has no EndpointSlices among the files or " +
		"in the cluster, or some of their endpoints have no nodeName. A Service that a controller makes for an Ingress or " +
		"a Gateway, whose traffic a proxy on each node handles, is not reported.",
	Why: "With Local, a node sends external traffic only to endpoints whose nodeName is its own. For a Service without " +
		"a selector, Kubernetes does not set nodeName, and an address outside the cluster has no node at all. Every node " +
		"then drops the packets, and the health check fails on all of them.",
	Remedy: "Set externalTrafficPolicy: Cluster. If the endpoints are on nodes of the cluster, set nodeName on each of " +
		"them, and give the EndpointSlices to \"sourceward check\" together with the Service, or create them before it.",
	Exempt: "When a controller writes the EndpointSlices and sets nodeName in them.",
	Since:  "All versions. An Endpoints object is mirrored into EndpointSlices, including nodeName.",
	Sources: []string{
		"https://kubernetes.io/docs/concepts/services-networking/service/#services-without-selectors",
		"https://kubernetes.io/docs/reference/kubernetes-api/service-resources/endpoint-slice-v1/",
		"https://github.com/kubernetes/kubernetes/blob/v1.37.1/pkg/proxy/endpointslicecache.go#L209",
	},
	check: checkSelectorlessLocal,
}

// NeedsEndpoints reports whether the decision about an object depends on Related.Endpoints.
func NeedsEndpoints(in Input) bool {
	service := in.Object.Service
	if service == nil || len(service.Spec.Selector) > 0 || !isLocal(service, in.Cluster.Version) {
		return false
	}
	isProxied := func(label string) bool { _, ok := service.Labels[label]; return ok }
	return !slices.ContainsFunc(proxiedLabels, isProxied)
}

func checkSelectorlessLocal(r *run) []result {
	if !NeedsEndpoints(r.Input) {
		return nil
	}
	message, where := "Local without a selector drops all traffic unless each endpoint has a nodeName", "each endpoint"
	switch count, withoutNode := r.endpoints(); {
	case count > 0 && withoutNode == 0:
		return nil
	case count > 0:
		message = fmt.Sprintf("%d of %s %s no nodeName: Local sends %s no external traffic", withoutNode,
			plural(count, "endpoint"), form(withoutNode, "has", "have"), form(withoutNode, "it", "them"))
		where = form(withoutNode, "the endpoint", "each endpoint")
	}
	return []result{{Finding: Finding{
		Path:    trafficPolicyPath,
		Message: message,
		Fix:     "set nodeName on " + where + ", or set externalTrafficPolicy: Cluster",
	}}}
}

// endpoints returns the number of endpoints of the Service, and of those without a node. Endpoints objects count only
// if there are no EndpointSlices: an export of a cluster has both, and one mirrors the other.
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
