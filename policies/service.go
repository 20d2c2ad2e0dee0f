package policies

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// trafficPolicyPath is the JSON Pointer of the traffic policy of a Service.
const trafficPolicyPath = "/spec/externalTrafficPolicy"

// local is the traffic policy Local, as a text.
const local = string(corev1.ServiceExternalTrafficPolicyLocal)

// externalIPsVersion is the minor version from which a ClusterIP Service with externalIPs may set
// externalTrafficPolicy (kubernetes v1.29.0, pkg/apis/core/validation: ExternallyAccessible).
const externalIPsVersion = 29

// ExternallyAccessible reports whether clients outside the cluster can reach a Service. Only then does an API server of
// this version accept externalTrafficPolicy, which it defaults to Cluster.
// Source: kubernetes v1.37.1, pkg/api/v1/service/util.go; before 1.29 externalIPs did not count.
func ExternallyAccessible(service *corev1.Service, version Version) bool {
	switch service.Spec.Type {
	case corev1.ServiceTypeLoadBalancer, corev1.ServiceTypeNodePort:
		return true
	case corev1.ServiceTypeClusterIP, "":
		return len(service.Spec.ExternalIPs) > 0 && version.atLeast(externalIPsVersion)
	default:
		return false
	}
}

// isLocal reports whether external traffic goes only to pods on the node that receives it. It returns false for a
// headless Service, for which kube-proxy does nothing.
func isLocal(service *corev1.Service, version Version) bool {
	return service.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal &&
		service.Spec.ClusterIP != corev1.ClusterIPNone &&
		ExternallyAccessible(service, version)
}

// balancedServices returns the Services of type LoadBalancer. Only their load balancers are known to check the health
// of nodes, and to send no traffic to those that fail.
func balancedServices(services []*corev1.Service) []*corev1.Service {
	return slices.DeleteFunc(slices.Clone(services), func(s *corev1.Service) bool {
		return s.Spec.Type != corev1.ServiceTypeLoadBalancer
	})
}

// runtimeLabels holds the keys of labels that controllers set on pods, and that are never in a template. Tools such as
// Argo Rollouts add them to the selectors of live Services.
var runtimeLabels = runtimeLabelsOf(WorkloadKinds)

func runtimeLabelsOf(kinds []WorkloadKind) []string {
	var found []string
	for _, kind := range kinds {
		found = append(found, slices.Concat(kind.revisionLabels, kind.singleLabels)...)
	}
	slices.Sort(found)
	return slices.Compact(found)
}

// podSelector returns the labels that a pod template must have for the Service to select its pods, or nil if it selects
// none: an empty selector matches nothing, not everything (kubernetes, pkg/controller/endpointslice).
func podSelector(service *corev1.Service) map[string]string {
	selector := service.Spec.Selector
	if service.Spec.Type == corev1.ServiceTypeExternalName || len(selector) == 0 {
		return nil
	}
	// A selector with a label that has a different value on each pod selects one pod, so there is nothing to spread.
	for _, label := range statefulSetLabels {
		if _, ok := selector[label]; ok {
			return nil
		}
	}
	isSelected := func(label string) bool { _, ok := selector[label]; return ok }
	if slices.ContainsFunc(runtimeLabels, isSelected) {
		selector = maps.Clone(selector) // that of the Service must not change
		maps.DeleteFunc(selector, func(label, _ string) bool { return slices.Contains(runtimeLabels, label) })
	}
	if len(selector) == 0 {
		return nil
	}
	return selector
}

// Selects reports whether a Service selects the pods of a workload.
func Selects(service *corev1.Service, workload *Workload) bool {
	return service.Namespace == workload.Namespace && selects(service, workload.Template.Labels)
}

// selects reports whether a Service selects pods with these labels in its own namespace.
func selects(service *corev1.Service, labels map[string]string) bool {
	return holds(labels, podSelector(service))
}

// holds reports whether labels has all pairs of a podSelector. It is false for a nil selector.
func holds(labels, selector map[string]string) bool {
	return selector != nil && hasAll(labels, selector)
}

// hasAll reports whether labels has all these pairs.
func hasAll(labels, pairs map[string]string) bool {
	for key, value := range pairs {
		if got, ok := labels[key]; !ok || got != value {
			return false
		}
	}
	return true
}

// sharingAnnotations lists the annotations by which Services, in any namespaces, ask a load balancer controller for a
// common address: Services with the same value share one. Each row has the current name first, then the deprecated one,
// which counts if the current one is absent. A test of package bundle checks that the names are those in the provider
// table.
var sharingAnnotations = [][]string{
	{"lbipam.cilium.io/sharing-key", "io.cilium/lb-ipam-sharing-key"},
	{"metallb.io/allow-shared-ip", "metallb.universe.tf/allow-shared-ip"},
	{"service.antrea.io/allow-shared-load-balancer-ip"},
}

// sharingPairs returns the annotations, under their current names, by which a Service asks to share an address.
func sharingPairs(service *corev1.Service) []labelPair {
	if service.Spec.Type != corev1.ServiceTypeLoadBalancer {
		return nil
	}
	var pairs []labelPair
	for _, names := range sharingAnnotations {
		for _, name := range names {
			value, ok := service.Annotations[name]
			if value != "" {
				pairs = append(pairs, labelPair{names[0], value})
			}
			if ok {
				break
			}
		}
	}
	return pairs
}

// AsksToShareAddress reports whether two Services ask for a common address, by the same value of an annotation. The
// current and the deprecated name of an annotation count as the same.
func AsksToShareAddress(a, b *corev1.Service) bool {
	pairs := sharingPairs(b)
	return slices.ContainsFunc(sharingPairs(a), func(pair labelPair) bool { return slices.Contains(pairs, pair) })
}

func compareServices(a, b *corev1.Service) int {
	return cmp.Or(strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Name, b.Name))
}
