package policies

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
)

// misplacedHealthCheckNodePort finds a health check port that the API server refuses: on a Service that has no
// health check of its own, another one than the Service got, or a number that is no port.
//
// Fields: spec.type, spec.externalTrafficPolicy, spec.healthCheckNodePort. 0 is the same as absent: the API
// server chooses a port, or keeps the one that it chose.
// On UPDATE the API server clears the port by itself if the Service needed it, no longer does, and the value did
// not change, so that is no finding (kubernetes v1.36.3, pkg/registry/core/service/strategy.go:278-283).
// A port that is taken, or outside the API server's range of node ports, it refuses too, but nobody else knows
// which these are.
var misplacedHealthCheckNodePort = Rule{
	ID:          "misplaced-health-check-node-port",
	Title:       "Health check port that the API server refuses",
	Severity:    SeverityError,
	DefaultMode: Deny,
	Kinds:       []string{kindService},
	Fixable:     true,
	What: "spec.healthCheckNodePort is set on a Service that is not of type LoadBalancer with externalTrafficPolicy Local, " +
		"or it is not the port that such a Service already has, or not a port at all.",
	Why: "Only a Local load balancer asks the nodes, at this port, whether they have a pod; on a NodePort Service nobody does, Local or " +
		"not. Elsewhere the API server refuses the field: \"may only be set when `type` is 'LoadBalancer' and " +
		"`externalTrafficPolicy` is 'Local'\", and a port once given may not change: \"field is immutable\".",
	Remedy: "Remove healthCheckNodePort: the API server chooses a port where one is needed, and keeps it. " +
		"If the load balancer is meant to be Local, set externalTrafficPolicy: Local.",
	Exempt: "Never: the API server refuses the object whatever the annotation says.",
	Since: "All versions. An UPDATE that only changes the type or the traffic policy is legal: the server drops the unchanged port. " +
		"A number that is no port it calls an internal error, but in a dry run an invalid value.",
	Sources: []string{
		"https://kubernetes.io/docs/reference/kubernetes-api/service-resources/service-v1/#ServiceSpec",
		"https://github.com/kubernetes/kubernetes/blob/v1.36.3/pkg/apis/core/validation/validation.go#L6952-L6976",
		"https://github.com/kubernetes/kubernetes/blob/v1.36.3/pkg/registry/core/service/strategy.go#L278-L283",
	},
	check: checkMisplacedHealthCheckNodePort,
}

func checkMisplacedHealthCheckNodePort(r *run) []result {
	service := r.Object.Service
	if service == nil || service.Spec.HealthCheckNodePort == 0 {
		return nil
	}
	port := service.Spec.HealthCheckNodePort
	var had int32
	if r.Old != nil && r.Old.Service != nil && needsHealthCheck(r.Old.Service) {
		had = r.Old.Service.Spec.HealthCheckNodePort
	}
	const path = "/spec/healthCheckNodePort"
	found := result{
		Finding: Finding{Path: path, Fix: "remove healthCheckNodePort"},
		repair:  []PatchOperation{{Op: "remove", Path: path}},
	}
	switch {
	case port == had:
		return nil
	case !needsHealthCheck(service) && service.Spec.Type == corev1.ServiceTypeLoadBalancer:
		found.Message = fmt.Sprintf("healthCheckNodePort %d is invalid with externalTrafficPolicy %s (needs Local)", port, trafficPolicy(service))
		found.Fix = "set externalTrafficPolicy: Local, or remove healthCheckNodePort"
		isWritten := service.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyCluster && r.explicit == ExplicitWritten
		if !isWritten && !r.repairsToLocal() {
			// Who asks for the port of a load balancer that nobody wrote to be Cluster may have forgotten the policy. Where
			// other repairs add it, pinned-health-check-node-port would have the port removed next.
			found.repair = nil
		}
	case !needsHealthCheck(service):
		found.Message = fmt.Sprintf("healthCheckNodePort %d is invalid on type %s (needs LoadBalancer, and externalTrafficPolicy Local)",
			port, serviceType(service))
	case had != 0:
		found.Message = fmt.Sprintf("healthCheckNodePort may not change from %d to %d", had, port)
		found.Fix = fmt.Sprintf("write %d, or remove healthCheckNodePort: the API server keeps it", had)
	case port < 1 || port > maxPort:
		found.Message = fmt.Sprintf("healthCheckNodePort %d is no port (want one of the API server's node ports)", port)
		found.Fix = "remove healthCheckNodePort: the API server chooses one"
	default:
		return nil
	}
	return []result{found}
}
