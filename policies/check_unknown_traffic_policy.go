package policies

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// unknownTrafficPolicy finds a traffic policy with an invalid value, on a Service that may have one.
//
// Fields: spec.externalTrafficPolicy. Valid values: absent, Cluster, Local; they are case-sensitive.
var unknownTrafficPolicy = Rule{
	ID:          "unknown-traffic-policy",
	Title:       "Traffic policy with an invalid value",
	Severity:    SeverityError,
	DefaultMode: Deny,
	Kinds:       []string{kindService},
	Fixable:     true,

	RefusedByServer: true,
	What: "spec.externalTrafficPolicy is neither Cluster nor Local. The values are case-sensitive: local is " +
		"not valid.",
	Why: "The API server rejects the object: Unsupported value, supported values: \"Cluster\", \"Local\". Until that is " +
		"fixed, the running Service keeps its old traffic policy.",
	Remedy: "Set Local to keep the client's source IP, or Cluster to reach pods on every node.",
	Exempt: "Never: the API server rejects the object whatever the annotation says.",
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
		Path: trafficPolicyPath,
		Message: fmt.Sprintf("externalTrafficPolicy %s is not valid (want Cluster or Local; case matters)",
			trafficPolicy(service)),
		Fix: "set Local to keep the client's source IP, or Cluster",
	}}
	for _, k := range known {
		switch {
		case policy == k:
			return nil
		case strings.EqualFold(string(policy), string(k)):
			found.Fix = "set " + string(k)
			found.repair = []PatchOperation{{Op: "add", Path: found.Path, Value: string(k)}}
		}
	}
	return []result{found}
}
