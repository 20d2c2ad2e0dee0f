package policies

import corev1 "k8s.io/api/core/v1"

// needsHealthCheck tells whether a Service has a health check port, which the API server chooses if nobody does.
// Source: kubernetes v1.37.1, pkg/api/v1/service/util.go.
func needsHealthCheck(service *corev1.Service) bool {
	return service.Spec.Type == corev1.ServiceTypeLoadBalancer &&
		service.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal
}

// maxPort is the largest number of a port.
const maxPort = 65535
