package policies

import (
	"fmt"
)

// localOnClusterIP finds a traffic policy on a Service that may not have one.
//
// Fields: spec.type, spec.externalIPs, spec.externalTrafficPolicy.
// On UPDATE the API server clears the policy by itself if the Service was externally accessible and
// the value did not change, so that is no finding (kubernetes v1.36.3,
// pkg/registry/core/service/strategy.go:301-305).
var localOnClusterIP = Rule{
	ID:          "local-on-cluster-ip",
	Title:       "Traffic policy on a Service that no client outside reaches",
	Severity:    SeverityError,
	DefaultMode: Deny,
	Kinds:       []string{kindService},
	Fixable:     true,
	What: "spec.externalTrafficPolicy is set, to whatever value, on a Service that is not externally accessible: " +
		"type ClusterIP without externalIPs, or ExternalName.",
	Why: "The field says what a node does with a packet from outside. No such packet arrives at a ClusterIP Service, and the " +
		"API server refuses the field: \"may only be set for externally-accessible services\". In Git it breaks the next sync.",
	Remedy: "Remove externalTrafficPolicy. If clients outside must reach the Service, set type LoadBalancer or NodePort.",
	Exempt: "Never: the API server refuses the object whatever the annotation says.",
	Since: "All versions. ClusterIP with externalIPs may have the field from 1.29 on; before, this rule finds it too. " +
		"An UPDATE that only changes the type is legal: the server drops the unchanged field.",
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
	needs := "LoadBalancer, NodePort, or ClusterIP with externalIPs"
	if !r.Cluster.Version.atLeast(externalIPsVersion) {
		needs = fmt.Sprintf("LoadBalancer or NodePort; externalIPs count from Kubernetes 1.%d", externalIPsVersion)
	}
	return []result{{
		Finding: Finding{
			Path: "/spec/externalTrafficPolicy",
			Message: fmt.Sprintf("externalTrafficPolicy %s is invalid on type %s (needs %s)",
				trafficPolicy(service), serviceType(service), needs),
			Fix: "remove externalTrafficPolicy, or set type LoadBalancer",
		},
		repair: []PatchOperation{{Op: "remove", Path: "/spec/externalTrafficPolicy"}},
	}}
}
