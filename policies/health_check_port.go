package policies

import corev1 "k8s.io/api/core/v1"

// needsHealthCheck reports whether a Service has a health check port. The API server allocates one unless it is
// written.
// Source: kubernetes v1.37.1, pkg/api/v1/service/util.go.
func needsHealthCheck(service *corev1.Service) bool {
	return service.Spec.Type == corev1.ServiceTypeLoadBalancer &&
		service.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal
}

// formerHealthCheckNodePort returns the health check port that the Service has before an update; 0 if it has none. The
// API server does not let it change.
func (r *run) formerHealthCheckNodePort() int32 {
	if r.Old == nil || r.Old.Service == nil || !needsHealthCheck(r.Old.Service) {
		return 0
	}
	return r.Old.Service.Spec.HealthCheckNodePort
}

// rejectsHealthCheckNodePort reports whether the API server rejects the health check port of a Service that needs one:
// it cannot change, and must be a valid port. 0 stands for none.
func (r *run) rejectsHealthCheckNodePort(port int32) bool {
	had := r.formerHealthCheckNodePort()
	return port != had && (had != 0 || !isPort(port))
}

func isPort(number int32) bool { return number >= 1 && number <= 65535 }
