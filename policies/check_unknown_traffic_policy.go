package policies

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// unknownTrafficPolicy finds a traffic policy that does not exist, on a Service that may have one.
//
// Fields: spec.externalTrafficPolicy. Values that pass: absent, Cluster, Local, in this case.
var unknownTrafficPolicy = Rule{
	ID:          "unknown-traffic-policy",
	Title:       "Traffic policy that does not exist",
	Severity:    SeverityError,
	DefaultMode: Deny,
	Kinds:       []string{kindService},
	Fixable:     true,
	What:        "spec.externalTrafficPolicy is neither Cluster nor Local. Case matters: local is no value.",
	Why: "The API server refuses the object: Unsupported value, supported values: \"Cluster\", \"Local\". " +
		"Until that is mended, the Service that runs keeps its old policy.",
	Remedy: "Write Local to keep the client's source IP, or Cluster to reach pods on every node.",
	Exempt: "Never: the API server refuses the object whatever the annotation says.",
	Since:  "All versions.",
	Sources: []string{
		"https://kubernetes.io/docs/reference/kubernetes-api/service-resources/service-v1/#ServiceSpec",
		"https://github.com/kubernetes/kubernetes/blob/v1.36.3/pkg/apis/core/validation/validation.go#L6946-L6948",
	},
	check: checkUnknownTrafficPolicy,
}

func checkUnknownTrafficPolicy(r *run) []result {
	service := r.Object.Service
	if service == nil || !ExternallyAccessible(service, r.Cluster.Version) {
		return nil
	}
	policy := service.Spec.ExternalTrafficPolicy
	known := []corev1.ServiceExternalTrafficPolicy{
		"", corev1.ServiceExternalTrafficPolicyCluster, corev1.ServiceExternalTrafficPolicyLocal,
	}
	found := result{Finding: Finding{
		Path:    "/spec/externalTrafficPolicy",
		Message: fmt.Sprintf("externalTrafficPolicy %s does not exist (want Cluster or Local; case matters)", trafficPolicy(service)),
		Fix:     "write Local to keep the client's source IP, or Cluster",
	}}
	for _, k := range known {
		switch {
		case policy == k:
			return nil
		case strings.EqualFold(string(policy), string(k)):
			found.Fix = "write " + string(k)
			found.repair = []PatchOperation{{Op: "add", Path: found.Path, Value: string(k)}}
		}
	}
	return []result{found}
}
