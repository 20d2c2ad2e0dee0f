package policies

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
)

// pinnedHealthCheckNodePort finds a health check port that is written in the manifest, where the API server would
// allocate one.
//
// Fields: spec.type, spec.externalTrafficPolicy, spec.healthCheckNodePort, and the records of who wrote it. A port that
// the API server may have allocated, such as in an export, is not a finding. Neither is one that the API server
// rejects, which misplaced-health-check-node-port reports.
var pinnedHealthCheckNodePort = Rule{
	ID:          "pinned-health-check-node-port",
	Title:       "Health check port that is set by hand",
	Severity:    SeverityInfo,
	DefaultMode: Audit,
	Kinds:       []string{kindService},
	Fixable:     true,
	What: "A manifest of a LoadBalancer Service with externalTrafficPolicy Local sets spec.healthCheckNodePort, which " +
		"the API server would otherwise allocate.",
	Why: "The load balancer asks every node at this port, so it is one of the cluster's node ports, and only one " +
		"Service can have it. If another Service has it already, the API server answers the creation with an internal " +
		"error (500), and nothing in the manifest warns of that. It also rejects every later change of the port.",
	Remedy: "Remove healthCheckNodePort. The API server allocates a free port, and keeps it when the manifest is " +
		"applied again.",
	Exempt: "When a firewall, or a load balancer outside the cluster, is configured for this port.",
	Since:  "All versions.",
	Sources: []string{
		"https://kubernetes.io/docs/reference/kubernetes-api/service-resources/service-v1/#ServiceSpec",
		"https://github.com/kubernetes/kubernetes/blob/v1.37.1/pkg/registry/core/service/storage/alloc.go#L570-L589",
		"https://github.com/kubernetes/kubernetes/blob/v1.37.1/pkg/registry/core/service/storage/storage.go#L609-L613",
	},
	check: checkPinnedHealthCheckNodePort,
}

func checkPinnedHealthCheckNodePort(r *run) []result {
	service := r.Object.Service
	if service == nil || service.Spec.HealthCheckNodePort == 0 || service.Spec.Type != corev1.ServiceTypeLoadBalancer {
		return nil
	}
	if !writesHealthCheckNodePort(r.Object, r.InFile) || !isLocal(service, r.Cluster.Version) {
		return nil
	}
	port := service.Spec.HealthCheckNodePort
	if r.rejectsHealthCheckNodePort(port) {
		return nil // misplaced-health-check-node-port reports it.
	}
	const path = "/spec/healthCheckNodePort"
	return []result{{
		Finding: Finding{
			Path:    path,
			Message: fmt.Sprintf("healthCheckNodePort %d is pinned: creation fails with error 500 if it is taken", port),
			Fix:     "remove healthCheckNodePort: the API server allocates one, and keeps it",
		},
		repair: []PatchOperation{{Op: "remove", Path: path}},
	}}
}
