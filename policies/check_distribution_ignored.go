package policies

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
)

// deprecatedPreferCloseVersion is the minor version from which PreferClose is deprecated (k8s.io/api v0.35.0,
// core/v1/types.go). Its other name, PreferSameZone, is accepted by default from 1.34 on.
const deprecatedPreferCloseVersion = 35

// distributionIgnored finds Local Services that ask for a distribution of traffic.
//
// Fields: spec.trafficDistribution and what makes the Service Local.
var distributionIgnored = Rule{
	ID:          "distribution-ignored",
	Title:       "Traffic distribution that external traffic does not follow",
	Severity:    SeverityInfo,
	DefaultMode: Audit,
	Kinds:       []string{kindService},
	What:        "A Service has externalTrafficPolicy Local and trafficDistribution.",
	Why: "trafficDistribution chooses among the pods of all nodes. Under Local a packet from outside may go only to pods of the node that " +
		"received it, and kube-proxy takes all of these, whatever their zone. The field steers only clients in the cluster.",
	Remedy: "Remove trafficDistribution, unless it is meant for clients in the cluster; then write PreferSameZone in the place of " +
		"PreferClose, which means the same. To keep external traffic near, and yet let it go elsewhere if need be, use " +
		"externalTrafficPolicy: Cluster with PreferSameNode, at the price of the source IP.",
	Exempt: "When it is meant for clients in the cluster, and everybody knows.",
	Since:  "1.31, where the field is on by default; PreferSameZone and PreferSameNode from 1.34 on. PreferClose is deprecated from 1.35 on.",
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
	fix := "remove it, unless it is for clients inside the cluster"
	if distribution == corev1.ServiceTrafficDistributionPreferClose && r.Cluster.Version.atLeast(deprecatedPreferCloseVersion) {
		fix = "remove it; for clients inside write PreferSameZone, since PreferClose is deprecated"
	}
	return []result{{Finding: Finding{
		Path:    "/spec/trafficDistribution",
		Message: fmt.Sprintf("trafficDistribution %.40s does not apply to external traffic: Local keeps it on a node", distribution),
		Fix:     fix,
	}}}
}
