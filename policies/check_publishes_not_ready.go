package policies

import "slices"

// publishesNotReady finds Local Services whose endpoints count as ready when their pods are not.
//
// Fields: spec.publishNotReadyAddresses, spec.selector and what makes the Service Local. Without a selector no
// endpoints are made of pods, and the field has no effect.
var publishesNotReady = Rule{
	ID:          "publishes-not-ready",
	Title:       "Local Service sends traffic to pods that are not ready",
	Severity:    SeverityWarning,
	DefaultMode: Warn,
	Kinds:       []string{kindService},
	What: "A Service has externalTrafficPolicy Local and publishNotReadyAddresses, and its selector does not name a " +
		"single pod of a StatefulSet (statefulset.kubernetes.io/pod-name or apps.kubernetes.io/pod-index).",
	Why: "With publishNotReadyAddresses, a pod counts as ready from its start to its end. The health check of a node " +
		"then succeeds as soon as the node has a pod, and with Local the node sends its whole share of the traffic to that " +
		"pod. No pod on another node takes over, and no failing health check moves clients elsewhere.",
	Remedy: "Remove publishNotReadyAddresses. If pods must find each other before they are ready, give them a headless " +
		"Service of their own, which no load balancer uses.",
	Exempt: "When the pods have no readiness probe that can fail, and clients retry while a pod starts or ends.",
	Since:  "All versions.",
	Sources: []string{
		"https://kubernetes.io/docs/reference/kubernetes-api/service-resources/service-v1/#ServiceSpec",
		"https://github.com/kubernetes/kubernetes/blob/v1.37.1/staging/src/k8s.io/endpointslice/utils.go#L36-L49",
		"https://github.com/kubernetes/kubernetes/blob/v1.37.1/pkg/proxy/healthcheck/service_health.go#L241-L272",
	},
	check: checkPublishesNotReady,
}

func checkPublishesNotReady(r *run) []result {
	service := r.Object.Service
	if service == nil || !service.Spec.PublishNotReadyAddresses || len(service.Spec.Selector) == 0 ||
		!isLocal(service, r.Cluster.Version) {
		return nil
	}
	isOfOnePod := func(label string) bool { _, ok := service.Spec.Selector[label]; return ok }
	if slices.ContainsFunc(statefulSetLabels, isOfOnePod) {
		return nil // No other pod could take over, ready or not.
	}
	return []result{{Finding: Finding{
		Path:    "/spec/publishNotReadyAddresses",
		Message: "nodes pass the health check while their pods are not ready, and still get traffic",
		Fix:     "remove publishNotReadyAddresses; use a headless Service for pods that must find each other",
	}}}
}
