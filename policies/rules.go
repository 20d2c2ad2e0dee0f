package policies

import (
	"context"
	"errors"

	corev1 "k8s.io/api/core/v1"
)

// Rules evaluates Rego for an object. The implementation is *bundle.Set. Rules is an interface so that this package
// does not depend on OPA.
type Rules interface {
	// Evaluate evaluates the built-in modules, then those of each applied policy that has any. It returns one answer for
	// each, in this order. If modules cannot be evaluated, their answer has Err set; it is never missing.
	Evaluate(ctx context.Context, document Document, applied []AppliedPolicy) []Answer
}

// Document is the input document of Rego.
type Document struct {
	// Operation is CREATE or UPDATE.
	Operation Operation `json:"operation"`
	// Object is the object under review. Rego reads all of its Content.
	Object *Object `json:"object"`
	// Old is, on UPDATE, the stored object that Object replaces; else it is absent.
	Old *Object `json:"old,omitempty"`
	// Namespace is the Namespace of the object.
	Namespace NamespaceDocument `json:"namespace"`
	// Related holds the neighbours of the object.
	Related RelatedDocument `json:"related"`
	// Facts holds what Sourceward computed about the object.
	Facts Facts `json:"facts"`
	// Cluster describes the cluster, as far as it is known.
	Cluster ClusterDocument `json:"cluster"`
	// Parameters holds, for the built-in modules, the parameters of all policies that match. A policy's own modules get
	// the parameters of their policy instead.
	Parameters map[string]any `json:"parameters"`

	// Neighbour is true if Object is a neighbour of the object under review. Only KeepsSourceIP is evaluated for it.
	Neighbour bool `json:"-"`
}

// NamespaceDocument is input.namespace.
type NamespaceDocument struct {
	Name        string            `json:"name"`
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
}

// RelatedDocument is input.related. Neighbours are reduced: they have no status and no managedFields, and the template
// of a workload has only the fields that determine how its pods are selected, placed and drained.
type RelatedDocument struct {
	// Services holds, for a workload, the Services that select its pods, sorted by name, and for a Service, the Services
	// that ask by annotation to share its address, sorted by namespace and name.
	Services []*corev1.Service `json:"services"`
	// Workloads holds, for a Service, the workloads whose pods it selects, and for a workload, the other workloads
	// behind the same Services.
	Workloads []*Workload `json:"workloads"`
	// View is Files, Cluster, or empty if the neighbours could not be looked up.
	View View `json:"view"`
}

// Facts is input.facts. For a workload, only Replicas and Spread are set, and Explicit is unknown.
type Facts struct {
	// ExternallyAccessible is true if the Service may set externalTrafficPolicy at all.
	ExternallyAccessible bool `json:"externally_accessible"`
	// Explicit says whether the owner set spec.externalTrafficPolicy: written, defaulted or unknown.
	Explicit Explicit `json:"explicit"`
	// Local is true if the Service is externally accessible and its externalTrafficPolicy is Local.
	Local bool `json:"local"`
	// Provider is the provider of the Service's load balancer according to a SourceIPPolicy or --provider; or empty.
	Provider string `json:"provider"`
	// Replicas is the largest number of pods that the workload may have; 0 for a Service, and for a DaemonSet.
	Replicas int `json:"replicas"`
	// Spread says how well the template keeps the workload's pods on different nodes; empty for a Service, and for a
	// workload that uses the template of another.
	Spread Spreading `json:"spread"`
}

// ClusterDocument is input.cluster.
type ClusterDocument struct {
	// Nodes is the number of nodes that the user gave, else of those that accept pods without node selectors and
	// tolerations; 0 if it is unknown.
	Nodes int `json:"nodes"`
	// Version is the version of the API server, for example 1.37.
	Version string `json:"version"`
}

// Answer holds the results of the modules of one policy for one object. Each list has a fixed order.
type Answer struct {
	// Policy is the name of the SourceIPPolicy; empty for the built-in modules.
	Policy string

	RequireLocal  []RequireLocal
	KeepsSourceIP []KeepsSourceIP
	Deny, Warn    []HouseFinding
	Spread        []SpreadWish
	// SharesTraffic comes from the built-in modules only.
	SharesTraffic []SharesTraffic

	// Err says why the modules could not be evaluated. The lists above may then be incomplete. It wraps ErrTooSlow if the
	// evaluation was stopped because it took too long.
	Err error
	// Failed names the set that Err is about; the first one if Err is about several.
	Failed FailedSet
}

// ErrTooSlow is wrapped by the error of an Answer if the evaluation began, and took too long.
var ErrTooSlow = errors.New("the evaluation took longer")

// FailedSet names a set of a module that could not be evaluated. Both are empty if nothing failed, or if nothing was
// evaluated.
type FailedSet struct {
	// Module is the last element of the module's package. Set is the name of the set, such as deny.
	Module, Set string
}

// RequireLocal is a reason why a Service should be Local.
type RequireLocal struct {
	// Module is the last element of the package that gives the reason.
	Module string `json:"-"`
	// Message is a clause, for example: annotation a=b asks for the client's address.
	Message string `json:"message"`
	// Annotation and Value are the key and the value of the annotation that asks for Local, if there is one.
	Annotation string   `json:"annotation,omitempty"`
	Value      string   `json:"value,omitempty"`
	Strength   Strength `json:"strength"`
}

// Strength says how much a Service needs Local.
type Strength string

// The strengths.
const (
	// StrengthHard means that the Service does not work without Local.
	StrengthHard Strength = "hard"
	// StrengthSoft means that Local is preferred, unless something else keeps the source IP.
	StrengthSoft Strength = "soft"
)

// KeepsSourceIP is a reason why Local or spreading is useless or harmful.
type KeepsSourceIP struct {
	Module     string  `json:"-"`
	Message    string  `json:"message"`
	Annotation string  `json:"annotation,omitempty"`
	Value      string  `json:"value,omitempty"`
	Verdict    Verdict `json:"verdict"`
}

// Verdict says what a load balancer does with the source IP, or with the traffic of nodes.
type Verdict string

// The verdicts. With the first four, a Service is never required to be Local. With useless and the last two, its pods
// are never required to be spread.
const (
	// VerdictPreserved means that the source IP reaches the pod without Local.
	VerdictPreserved Verdict = "preserved"
	// VerdictProxy means that the pod sees the address of the load balancer under any traffic policy, because the load
	// balancer terminates the connection or replaces the source address; or that a header carries the source IP.
	VerdictProxy Verdict = "proxy"
	// VerdictUseless means that traffic goes directly to the pods and bypasses kube-proxy.
	VerdictUseless Verdict = "useless"
	// VerdictForbidden means that the Service does not work with Local.
	VerdictForbidden Verdict = "forbidden"
	// VerdictWeighted means that the load balancer weights nodes by their number of pods.
	VerdictWeighted Verdict = "weighted"
	// VerdictSingleAnnouncer means that one node receives all traffic.
	VerdictSingleAnnouncer Verdict = "single-announcer"
)

// Verdicts lists all verdicts.
var Verdicts = []Verdict{
	VerdictPreserved, VerdictProxy, VerdictUseless, VerdictForbidden, VerdictWeighted, VerdictSingleAnnouncer,
}

// SharesTraffic is a reason why a load balancer shares traffic with Local as it does.
type SharesTraffic struct {
	Module  string     `json:"-"`
	Message string     `json:"message"`
	How     SharingWay `json:"how"`
	// Source is a link.
	Source string `json:"source"`
}

// SharingWay says what SharesTraffic is a reason for.
type SharingWay string

// The ways of sharing traffic.
const (
	// SharingNodes means that each node that passes the health check gets the same share, also if there are zones.
	SharingNodes SharingWay = "nodes"
	// SharingZones means that each zone gets the same share.
	SharingZones SharingWay = "zones"
	// SharingWeighted, SharingAnnouncer and SharingPods mean what ShareWeighted, ShareAnnouncer and SharePods do.
	SharingWeighted  SharingWay = "weighted"
	SharingAnnouncer SharingWay = "announcer"
	SharingPods      SharingWay = "pods"
	// SharingUnchecked means that no health check keeps traffic away from nodes without pods.
	SharingUnchecked SharingWay = "unchecked"
)

// SharingWays lists all ways of sharing traffic.
var SharingWays = []SharingWay{
	SharingNodes, SharingZones, SharingWeighted, SharingAnnouncer, SharingPods, SharingUnchecked,
}

// HouseFinding is a finding of a Rego rule, in a policy or built in.
type HouseFinding struct {
	// Rule is the rule id: the last element of the package, with - instead of _.
	Rule string `json:"-"`
	// Severity is the severity in the package's METADATA. Empty means error in Answer.Deny, and warning in Answer.Warn.
	Severity Severity `json:"-"`
	Message  string   `json:"message"`
	// Path is a JSON Pointer into the object; empty for the object as a whole.
	Path string `json:"path,omitempty"`
	Fix  string `json:"fix,omitempty"`

	// The following fields are for built-in modules only. Want is the string that the field at Path should have. Unwanted
	// is true if that field should be removed. Either gives the finding a repair.
	Want     *string `json:"want,omitempty"`
	Unwanted bool    `json:"unwanted,omitempty"`
	// Because lists the other objects that cause the finding.
	Because []Ref `json:"because,omitempty"`
}

// SpreadWish says how a workload should be spread. The settings decide about empty fields.
type SpreadWish struct {
	Module            string            `json:"-"`
	Message           string            `json:"message"`
	Strategy          Strategy          `json:"strategy,omitempty"`
	WhenUnsatisfiable WhenUnsatisfiable `json:"whenUnsatisfiable,omitempty"`
	MaxSkew           int32             `json:"maxSkew,omitempty"`
}
