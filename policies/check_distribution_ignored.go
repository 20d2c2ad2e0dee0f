package policies

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
)

// deprecatedPreferCloseVersion is the minor version from which PreferClose is deprecated (k8s.io/api v0.35.0,
// core/v1/types.go). Its other name, PreferSameZone, is accepted by default from 1.34 on.
const deprecatedPreferCloseVersion = 35

// distributionIgnored finds Local Services that set trafficDistribution.
//
// Fields: spec.trafficDistribution and what makes the Service Local.
var distributionIgnored = Rule{
	ID:          "distribution-ignored",
	Title:       "Traffic distribution does not apply to external traffic",
	Severity:    SeverityInfo,
	DefaultMode: Audit,
	Kinds:       []string{kindService},
	What:        "A Service has externalTrafficPolicy Local and trafficDistribution.",
	Why: "trafficDistribution prefers some of the pods on all nodes. With Local, a packet from outside may only go to " +
		"pods on the node that received it, and kube-proxy uses all of these, whatever their zone. The field only affects " +
		"clients in the cluster.",
	Remedy: "Remove trafficDistribution, unless it is meant for clients in the cluster. In that case set PreferSameZone " +
		"instead of PreferClose, which means the same. To keep external traffic near but allow it to leave the node, use " +
		"externalTrafficPolicy: Cluster with PreferSameNode; pods then do not see the source IP.",
	Exempt: "When it is meant for clients in the cluster.",
	Since: "1.31, where the field is enabled by default; PreferSameZone and PreferSameNode from 1.34 on. PreferClose is " +
		"deprecated from 1.35 on.",
	Sources: []string{
		"https://kubernetes.io/docs/concepts/services-networking/service/#traffic-distribution",
		"https://kubernetes.io/docs/reference/networking/virtual-ips/#traffic-distribution",
		"https://github.com/kubernetes/kubernetes/blob/v1.37.1/pkg/proxy/topology.go#L57-L123",
	},
	check: checkDistributionIgnored,
}

func checkDistributionIgnored(r *run) []result {
	service := r.Object.Service
	if service == nil || service.Spec.TrafficDistribution == nil || !isLocal(service, r.Cluster.Version) {
		return nil
	}
	distribution := *service.Spec.TrafficDistribution
	fix := "remove trafficDistribution, unless it is for clients in the cluster"
	if distribution == corev1.ServiceTrafficDistributionPreferClose &&
		r.Cluster.Version.atLeast(deprecatedPreferCloseVersion) {
		fix = "remove trafficDistribution, or set PreferSameZone for clients in the cluster: PreferClose is deprecated"
	}
	return []result{{Finding: Finding{
		Path: "/spec/trafficDistribution",
		Message: fmt.Sprintf("trafficDistribution %s does not apply to external traffic: Local keeps it on the node",
			Shorten(distribution, maxQuoted)),
		Fix: fix,
	}}}
}
