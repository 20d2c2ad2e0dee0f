package policies

import (
	"cmp"
	"context"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// LoadBalancer says how the external traffic of a Service finds its nodes and pods, and how Sourceward knows.
type LoadBalancer struct {
	Routing
	// Assumed is true if nothing is known about how the load balancer, or else the clients, choose among nodes. It is then
	// assumed that they give each node the same share, and that a load balancer obeys the health check.
	Assumed bool `json:"assumed"`
	// Why lists the reasons for what is known, sorted.
	Why []Reason `json:"why"`
}

// Reason is a sentence without a period, with a link to its source. The link is empty if a SourceIPPolicy says it in
// its own Rego.
type Reason struct {
	// Message is the sentence, and Source the link.
	Message string `json:"message"`
	Source  string `json:"source,omitempty"`
}

// LoadBalancerOf returns how the external traffic of the Service in in.Object finds its nodes and pods, from its type,
// the provider table and the policies in settings. It does not depend on the traffic policy that the Service has. It
// reads what Decide reads.
//
// The error is non-nil if Rego could not be evaluated; it is then of type [Faults], and the result holds what is known
// all the same.
func LoadBalancerOf(ctx context.Context, in Input, rules Rules, settings Settings) (LoadBalancer, error) {
	r := newRun(ctx, in, rules, settings, nil)
	return r.loadBalancer(), r.faultsFound()
}

// loadBalancer returns the LoadBalancer of the Service under review.
func (r *run) loadBalancer() LoadBalancer {
	service := r.Object.Service
	found := LoadBalancer{Assumed: true}
	if service.Spec.TrafficDistribution != nil {
		found.Distribution = *service.Spec.TrafficDistribution
	}
	if service.Spec.Type != corev1.ServiceTypeLoadBalancer {
		found.Unchecked = true
		found.Why = append(found.Why, Reason{
			"type " + serviceType(service) + " has no health check that keeps clients away from nodes without pods",
			"https://github.com/kubernetes/kubernetes/blob/v1.37.1/pkg/api/v1/service/util.go#L94-L99",
		})
	}
	ways := map[SharingWay]bool{}
	of := map[Reason]SharingWay{}
	for _, answer := range r.answers {
		for _, reason := range answer.SharesTraffic {
			ways[reason.How] = true
			why := Reason{reason.Message, reason.Source}
			of[why] = reason.How
			found.Why = append(found.Why, why)
		}
		for _, keeps := range answer.KeepsSourceIP {
			if way, ok := sharingWays[keeps.Verdict]; ok && answer.Policy != "" { // A built-in module says it above.
				ways[way] = true
				found.Why = append(found.Why, Reason{Message: keeps.Message + " (" + policyName(answer.Policy) + ")"})
			}
		}
	}
	slices.SortFunc(found.Why, func(a, b Reason) int {
		return cmp.Or(strings.Compare(a.Message, b.Message), strings.Compare(a.Source, b.Source))
	})
	found.Why = slices.Compact(found.Why)
	if ways[SharingNodes] { // What shares among nodes has the last word.
		found.Why = slices.DeleteFunc(found.Why, func(r Reason) bool { return of[r] == SharingZones })
	}
	found.Zonal = ways[SharingZones] && !ways[SharingNodes]
	found.Unchecked = found.Unchecked || ways[SharingUnchecked]
	switch {
	case ways[SharingPods]:
		found.Sharing = SharePods
	case ways[SharingAnnouncer]:
		found.Sharing = ShareAnnouncer
	case ways[SharingWeighted]:
		found.Sharing = ShareWeighted
	}
	delete(ways, SharingUnchecked)
	found.Assumed = len(ways) == 0
	return found
}

// sharingWays says how a load balancer shares traffic for which a policy's own Rego gives a verdict.
var sharingWays = map[Verdict]SharingWay{
	VerdictUseless: SharingPods, VerdictWeighted: SharingWeighted, VerdictSingleAnnouncer: SharingAnnouncer,
}
