package policies

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
)

// misplacedHealthCheckNodePort finds a health check port that the API server rejects: on a Service that has no health
// check, a port other than the one that the Service has already, or a number that is not a port.
//
// Fields: spec.type, spec.externalTrafficPolicy, spec.healthCheckNodePort. 0 means the same as absent: the API server
// allocates a port, or keeps the one that it allocated before.
// On UPDATE the API server clears the port itself if the Service needed it and no longer does, and the value did not
// change, so that is not a finding (kubernetes v1.36.3, pkg/registry/core/service/strategy.go:278-283).
// The API server also rejects a port that is taken, or outside its range of node ports. Only it knows these.
var misplacedHealthCheckNodePort = Rule{
	ID:          "misplaced-health-check-node-port",
	Title:       "Health check port that the API server rejects",
	Severity:    SeverityError,
	DefaultMode: Deny,
	Kinds:       []string{kindService},
	Fixable:     true,

	RefusedByServer: true,
	What: "spec.healthCheckNodePort is set on a Service that is not of type LoadBalancer with externalTrafficPolicy " +
		"Local; or it is not the port that such a Service already has; or it is not a valid port.",
	Why: "The health check port is where a load balancer asks each node whether it has a ready pod of a Local Service. " +
		"Services of other types, and Cluster Services, have no such port, and the API server rejects the field there: " +
		"\"may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'\". A port cannot change " +
		"after it was allocated: \"field is immutable\".",
	Remedy: "Remove healthCheckNodePort: the API server allocates a port where one is needed, and keeps it. If the load " +
		"balancer is meant to be Local, set externalTrafficPolicy: Local.",
	Exempt: "Never: the API server rejects the object whatever the annotation says.",
	Since: "All versions. An UPDATE that only changes the type or the traffic policy is valid: the API server drops the " +
		"unchanged port. For a number that is not a port it answers with an internal error, and in a dry run with an " +
		"invalid value.",
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
	port, had := service.Spec.HealthCheckNodePort, r.formerHealthCheckNodePort()
	const path = "/spec/healthCheckNodePort"
	found := result{
		Finding: Finding{Path: path, Fix: "remove healthCheckNodePort"},
		repair:  []PatchOperation{{Op: "remove", Path: path}},
	}
	switch {
	case port == had:
		return nil
	case !needsHealthCheck(service) && service.Spec.Type == corev1.ServiceTypeLoadBalancer:
		found.Message = fmt.Sprintf("healthCheckNodePort %d is invalid with externalTrafficPolicy %s",
			port, trafficPolicy(service))
		found.Fix = "set externalTrafficPolicy: Local, or remove healthCheckNodePort"
		isWritten := service.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyCluster &&
			r.explicit == ExplicitWritten
		if !isWritten && !r.repairsToLocal() {
			// The author wrote the port and no traffic policy, so perhaps forgot to set Local. If another repair sets
			// it, removing the port is right: pinned-health-check-node-port would ask for that next.
			found.repair = nil
		}
	case !needsHealthCheck(service):
		found.Message = fmt.Sprintf("healthCheckNodePort %d is invalid on type %s", port, serviceType(service))
	case had != 0:
		found.Message = fmt.Sprintf("healthCheckNodePort cannot change from %d to %d", had, port)
		found.Fix = fmt.Sprintf("set %d, or remove healthCheckNodePort: the API server keeps it", had)
	case !isPort(port):
		found.Message = fmt.Sprintf("healthCheckNodePort %d is not a valid port", port)
		found.Fix = "remove healthCheckNodePort: the API server allocates one"
	default:
		return nil
	}
	return []result{found}
}
