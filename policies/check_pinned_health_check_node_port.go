package policies

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
)

// pinnedHealthCheckNodePort finds a health check port that somebody chose, where the API server would have chosen one.
//
// Fields: spec.type, spec.externalTrafficPolicy, spec.healthCheckNodePort, and what tells who wrote it. A port that may be
// the API server's choice, such as in an export, is none of it; nor is one that the API server refuses, which
// misplaced-health-check-node-port tells.
var pinnedHealthCheckNodePort = Rule{
	ID:          "pinned-health-check-node-port",
	Title:       "Health check port that is chosen by hand",
	Severity:    SeverityInfo,
	DefaultMode: Audit,
	Kinds:       []string{kindService},
	Fixable:     true,
	What: "A manifest of a LoadBalancer Service with externalTrafficPolicy Local writes spec.healthCheckNodePort, which the API server " +
		"would choose.",
	Why: "The load balancer asks every node at this port, so it is one of the cluster's node ports, and only one Service may have it. " +
		"Where another Service already has it, the API server answers the creation with an internal error (500), which nothing in " +
		"the manifest foretells; and it refuses every later change of the port.",
	Remedy: "Remove healthCheckNodePort: the API server chooses a free one, and keeps it when the manifest is applied again without.",
	Exempt: "When a firewall, or a load balancer outside the cluster, is set up for this very port.",
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
	if !writesHealthCheckNodePort(r.Object, r.InFile) || !isLocal(service, r.Cluster.Version) || checkMisplacedHealthCheckNodePort(r) != nil {
		return nil
	}
	const path = "/spec/healthCheckNodePort"
	return []result{{
		Finding: Finding{
			Path: path,
			Message: fmt.Sprintf("healthCheckNodePort %d is pinned: if it is taken, creation fails with error 500",
				service.Spec.HealthCheckNodePort),
			Fix: "remove healthCheckNodePort: the API server chooses one, and keeps it",
		},
		repair: []PatchOperation{{Op: "remove", Path: path}},
	}}
}
