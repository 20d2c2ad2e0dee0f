package policies

import (
	appsv1 "k8s.io/api/apps/v1"
)

// publishesNotReady finds Local Services that count pods as ready which are not.
//
// Fields: spec.publishNotReadyAddresses, spec.selector and what makes the Service Local. Without a selector nobody makes
// endpoints of pods, and the field says nothing.
var publishesNotReady = Rule{
	ID:          "publishes-not-ready",
	Title:       "Local Service that sends traffic to pods that are not ready",
	Severity:    SeverityWarning,
	DefaultMode: Warn,
	Kinds:       []string{kindService},
	What: "A Service has externalTrafficPolicy Local and publishNotReadyAddresses, and selects pods, not a single one by " +
		"its name.",
	Why: "With publishNotReadyAddresses every pod counts as ready, from its start to its end. The health check of a node then succeeds as " +
		"soon as a pod is on it, and under Local the node hands its whole share of the traffic to that pod: there is no pod on another " +
		"node to turn to, and no failing health check to send clients elsewhere.",
	Remedy: "Remove publishNotReadyAddresses. Pods that must find each other before they are ready do so by a headless Service of their own, " +
		"which no load balancer uses.",
	Exempt: "When the pods have no readiness probe that could fail, and clients try again by themselves while one starts or ends.",
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
	if service == nil || !service.Spec.PublishNotReadyAddresses || len(service.Spec.Selector) == 0 || !isLocal(service, r.Cluster.Version) {
		return nil
	}
	if _, onePod := service.Spec.Selector[appsv1.StatefulSetPodNameLabel]; onePod {
		return nil // No pod on another node could take over, ready or not.
	}
	return []result{{Finding: Finding{
		Path:    "/spec/publishNotReadyAddresses",
		Message: "pods that are not ready pass the health check, and Local gives them their node's traffic",
		Fix:     "remove publishNotReadyAddresses; let peers find each other by a headless Service",
	}}}
}
