package policies

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// externalIPsVersion is the minor version from which a ClusterIP Service with externalIPs may have a
// traffic policy (kubernetes v1.29.0, pkg/apis/core/validation: ExternallyAccessible).
const externalIPsVersion = 29

// ExternallyAccessible tells whether clients outside the cluster reach a Service, which is when an
// API server of this version accepts a traffic policy, and defaults it to Cluster.
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

// isLocal tells whether external traffic goes only to pods on the node that receives it. kube-proxy
// does nothing for a headless Service, whatever its policy.
func isLocal(service *corev1.Service, version Version) bool {
	return service.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal &&
		service.Spec.ClusterIP != corev1.ClusterIPNone &&
		ExternallyAccessible(service, version)
}

// balancedServices are those of the Services for which Kubernetes asks for a load balancer: one of which it is known that it asks nodes
// for their health, and which nodes it leaves out.
func balancedServices(services []*corev1.Service) []*corev1.Service {
	return slices.DeleteFunc(slices.Clone(services), func(s *corev1.Service) bool { return s.Spec.Type != corev1.ServiceTypeLoadBalancer })
}

// runtimeLabels are set on pods by their controllers and never stand in a template. A tool such as
// Argo Rollouts adds them to the selectors of live Services.
var runtimeLabels = runtimeLabelsOf(WorkloadKinds)

func runtimeLabelsOf(kinds []WorkloadKind) []string {
	var found []string
	for _, kind := range kinds {
		found = append(found, slices.Concat(kind.revisionLabels, kind.singleLabels)...)
	}
	slices.Sort(found)
	return slices.Compact(found)
}

// podSelector returns what the labels of a pod template must hold for a Service to select its pods,
// or nil if it selects none: an empty selector matches nothing, not everything
// (kubernetes, pkg/controller/endpointslice).
func podSelector(service *corev1.Service) map[string]string {
	selector := service.Spec.Selector
	if service.Spec.Type == corev1.ServiceTypeExternalName || len(selector) == 0 {
		return nil
	}
	// Who selects by a label of which every pod has its own value selects a single pod, and there is nothing to spread.
	for _, label := range statefulSetLabels {
		if _, ok := selector[label]; ok {
			return nil
		}
	}
	cloned := false
	for _, label := range runtimeLabels {
		if _, ok := selector[label]; ok {
			if !cloned {
				selector, cloned = maps.Clone(selector), true
			}
			delete(selector, label)
		}
	}
	if len(selector) == 0 {
		return nil
	}
	return selector
}

// Selects tells whether a Service selects the pods of a workload.
func Selects(service *corev1.Service, workload *Workload) bool {
	return service.Namespace == workload.Namespace && selects(service, workload.Template.Labels)
}

// selects tells whether a Service selects pods with these labels in its own namespace.
func selects(service *corev1.Service, labels map[string]string) bool {
	selector := podSelector(service)
	for key, value := range selector {
		if got, ok := labels[key]; !ok || got != value {
			return false
		}
	}
	return selector != nil
}

// sharingAnnotations are the annotations by which Services, whatever their namespace, ask a load balancer controller for
// one address together: those with the same value do. Each stands before the one that it has replaced, which counts where
// it is absent.
// They are those of the rows of the provider table that share an address, as a test of package bundle holds.
var sharingAnnotations = [][]string{
	{"lbipam.cilium.io/sharing-key", "io.cilium/lb-ipam-sharing-key"},
	{"metallb.io/allow-shared-ip", "metallb.universe.tf/allow-shared-ip"},
	{"service.antrea.io/allow-shared-load-balancer-ip"},
}

// sharingPairs are the annotations, by their newest names, by which a Service asks to share an address.
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

// AsksToShareAddress tells whether two Services ask for one address, by the same value of an annotation or of the one that
// has replaced it.
func AsksToShareAddress(a, b *corev1.Service) bool {
	pairs := sharingPairs(b)
	return slices.ContainsFunc(sharingPairs(a), func(pair labelPair) bool { return slices.Contains(pairs, pair) })
}

func compareServices(a, b *corev1.Service) int {
	return cmp.Or(strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Name, b.Name))
}
