package policies

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
)

// localOnClusterIP finds a traffic policy on a Service that must not have one.
//
// Fields: spec.type, spec.externalIPs, spec.externalTrafficPolicy. On UPDATE the API server clears the field itself if
// the Service was externally accessible and the value did not change, so that is not a finding (kubernetes v1.36.3,
// pkg/registry/core/service/strategy.go:301-305).
var localOnClusterIP = Rule{
	ID:          "local-on-cluster-ip",
	Title:       "Traffic policy on a Service that is not externally accessible",
	Severity:    SeverityError,
	DefaultMode: Deny,
	Kinds:       []string{kindService},
	Fixable:     true,

	RefusedByServer: true,
	What: "spec.externalTrafficPolicy is set, to any value, on a Service that is not externally accessible: type " +
		"ClusterIP without externalIPs, or ExternalName.",
	Why: "The field controls what a node does with packets from outside the cluster. A ClusterIP Service receives none, " +
		"and the API server rejects the field: \"may only be set for externally-accessible services\". In Git it breaks " +
		"the next sync.",
	Remedy: "Remove externalTrafficPolicy. If clients outside the cluster must reach the Service, set type LoadBalancer " +
		"or NodePort.",
	Exempt: "Never: the API server rejects the object whatever the annotation says.",
	Since: "All versions. ClusterIP with externalIPs may have the field from 1.29 on; for older API servers this rule " +
		"reports it too. An UPDATE that only changes the type is valid: the API server drops the unchanged field.",
	Sources: []string{
		"https://kubernetes.io/docs/tasks/access-application-cluster/create-external-load-balancer/#preserving-the-client-source-ip",
		"https://github.com/kubernetes/kubernetes/blob/v1.36.3/pkg/apis/core/validation/validation.go#L6933-L6968",
	},
	check: checkLocalOnClusterIP,
}

func checkLocalOnClusterIP(r *run) []result {
	service := r.Object.Service
	if service == nil || service.Spec.ExternalTrafficPolicy == "" || ExternallyAccessible(service, r.Cluster.Version) {
		return nil
	}
	if r.Old != nil && r.Old.Service != nil && ExternallyAccessible(r.Old.Service, r.Cluster.Version) &&
		r.Old.Service.Spec.ExternalTrafficPolicy == service.Spec.ExternalTrafficPolicy {
		return nil
	}
	kind := serviceType(service)
	switch {
	case kind != string(corev1.ServiceTypeClusterIP):
	case r.Cluster.Version.atLeast(externalIPsVersion):
		kind += " without externalIPs"
	case len(service.Spec.ExternalIPs) > 0:
		kind += fmt.Sprintf(" with externalIPs before Kubernetes 1.%d", externalIPsVersion)
	}
	return []result{{
		Finding: Finding{
			Path:    trafficPolicyPath,
			Message: fmt.Sprintf("externalTrafficPolicy %s is invalid on type %s", trafficPolicy(service), kind),
			Fix:     "remove externalTrafficPolicy, or set type LoadBalancer or NodePort",
		},
		repair: []PatchOperation{{Op: "remove", Path: trafficPolicyPath}},
	}}
}
