package policies

import (
	"context"

	corev1 "k8s.io/api/core/v1"
)

// Rules answers what Rego says of an object. *bundle.Set is the one that ships; it is an interface
// so that this package does not depend on OPA.
type Rules interface {
	// Evaluate asks the built-in modules and then those of each applied policy that has any, in this
	// order, one answer each. A fault is an answer with Err set, never a missing answer.
	Evaluate(ctx context.Context, document Document, applied []AppliedPolicy) []Answer
}

// Document is what Rego sees as input.
type Document struct {
	// Operation is CREATE or UPDATE.
	Operation Operation `json:"operation"`
	// Object is the object under review: all of its Content.
	Object *Object `json:"object"`
	// Old is its former self on UPDATE, else absent.
	Old *Object `json:"old,omitempty"`
	// Namespace is the Namespace of the object.
	Namespace NamespaceDocument `json:"namespace"`
	// Related are its neighbours.
	Related RelatedDocument `json:"related"`
	// Facts are what Sourceward worked out about the object.
	Facts Facts `json:"facts"`
	// Cluster is what is known of the cluster.
	Cluster ClusterDocument `json:"cluster"`
	// Parameters are those of all policies that match, for the built-in modules. A policy's own
	// modules see the policy's own in their place.
	Parameters map[string]any `json:"parameters"`

	// Neighbour tells that Object is not under review but beside the object that is: only KeepsSourceIP is asked about it.
	Neighbour bool `json:"-"`
}

// NamespaceDocument is input.namespace.
type NamespaceDocument struct {
	Name        string            `json:"name"`
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
}

// RelatedDocument is input.related. Neighbours are reduced: no status, no managedFields, and of a
// workload's template only the labels and what places its pods.
type RelatedDocument struct {
	// Services are, for a workload, those that select its pods, by name; for a Service, those that by annotation ask to share
	// its address, by namespace and name.
	Services []*corev1.Service `json:"services"`
	// Workloads are, for a Service, those whose pods it selects, and, for a workload, the others
	// behind the same Services.
	Workloads []*Workload `json:"workloads"`
	// View is Files, Cluster, or empty where the neighbours could not be seen.
	View View `json:"view"`
}

// Facts is input.facts. For a workload, all but Replicas and Spread are zero.
type Facts struct {
	// ExternallyAccessible tells whether the Service may have a traffic policy at all.
	ExternallyAccessible bool `json:"externally_accessible"`
	// Explicit tells how spec.externalTrafficPolicy came to be: written, defaulted or unknown.
	Explicit Explicit `json:"explicit"`
	// Local tells whether the Service is externally accessible and its policy is Local.
	Local bool `json:"local"`
	// Provider is what a SourceIPPolicy or --provider says of the Service's load balancer; or empty.
	Provider string `json:"provider"`
	// Replicas is the most pods that the workload may have; 0 for a Service, and for a DaemonSet.
	Replicas int `json:"replicas"`
	// Spread tells how well the template keeps the workload's pods on different nodes; empty for a Service, and for a workload that uses
	// the template of another.
	Spread Spreading `json:"spread"`
}

// ClusterDocument is input.cluster.
type ClusterDocument struct {
	// Nodes is the number of nodes; 0 where it is not known.
	Nodes int `json:"nodes"`
	// Version is the API server's, for example 1.37.
	Version string `json:"version"`
}

// Answer is what the modules of one policy say of one object, each list in a fixed order.
type Answer struct {
	// Policy is the name of the SourceIPPolicy, empty for the built-in modules.
	Policy string

	RequireLocal  []RequireLocal
	KeepsSourceIP []KeepsSourceIP
	Deny, Warn    []HouseFinding
	Spread        []SpreadWish

	// Err says why the modules could not be evaluated; what they said otherwise is then not known.
	Err error
}

// RequireLocal is a reason why a Service should be Local.
type RequireLocal struct {
	// Module is the last element of the package that gave the reason.
	Module string `json:"-"`
	// Message is a clause, for example: annotation a=b asks for the client's address.
	Message string `json:"message"`
	// Annotation and Value are the annotation that asks for it, if one does.
	Annotation string   `json:"annotation,omitempty"`
	Value      string   `json:"value,omitempty"`
	Strength   Strength `json:"strength"`
}

// Strength tells a wish from a need.
type Strength string

// The strengths.
const (
	// StrengthHard: without Local it does not work.
	StrengthHard Strength = "hard"
	// StrengthSoft: Local is wished for, unless something else keeps the source IP.
	StrengthSoft Strength = "soft"
)

// KeepsSourceIP is something that makes Local or spreading pointless, or worse.
type KeepsSourceIP struct {
	Module     string  `json:"-"`
	Message    string  `json:"message"`
	Annotation string  `json:"annotation,omitempty"`
	Value      string  `json:"value,omitempty"`
	Verdict    Verdict `json:"verdict"`
}

// Verdict is what a load balancer makes of the source IP.
type Verdict string

// The verdicts. The first four never force Local; useless and the last two never spread.
const (
	// VerdictPreserved: the source IP reaches the pod without Local.
	VerdictPreserved Verdict = "preserved"
	// VerdictProxy: the pod sees the load balancer's address, whatever the policy, since it ends the connection or puts its own address
	// there; or the source IP is told in a header.
	VerdictProxy Verdict = "proxy"
	// VerdictUseless: the traffic goes to pods and does not pass kube-proxy.
	VerdictUseless Verdict = "useless"
	// VerdictForbidden: Local breaks it.
	VerdictForbidden Verdict = "forbidden"
	// VerdictWeighted: the load balancer weighs nodes by their pods.
	VerdictWeighted Verdict = "weighted"
	// VerdictSingleAnnouncer: one node receives all traffic.
	VerdictSingleAnnouncer Verdict = "single-announcer"
)

// Verdicts lists all verdicts.
var Verdicts = []Verdict{
	VerdictPreserved, VerdictProxy, VerdictUseless, VerdictForbidden, VerdictWeighted, VerdictSingleAnnouncer,
}

// HouseFinding is a finding of a policy's own rule.
type HouseFinding struct {
	// Rule is the id: the last element of the package, with _ as -.
	Rule string `json:"-"`
	// Severity comes from the package's METADATA; empty means that of the kind of finding.
	Severity Severity `json:"-"`
	Message  string   `json:"message"`
	// Path is a JSON Pointer into the object; empty for the object as a whole.
	Path string `json:"path,omitempty"`
	Fix  string `json:"fix,omitempty"`

	// These are for the built-in modules. Want is the text that the field at Path should have, Unwanted tells that it should
	// not be there: either is a repair.
	Want     *string `json:"want,omitempty"`
	Unwanted bool    `json:"unwanted,omitempty"`
	// Because are the other objects without which it would not be a finding.
	Because []Ref `json:"because,omitempty"`
}

// SpreadWish says how a workload should be spread. Fields that are empty are left to the settings.
type SpreadWish struct {
	Module            string            `json:"-"`
	Message           string            `json:"message"`
	Strategy          Strategy          `json:"strategy,omitempty"`
	WhenUnsatisfiable WhenUnsatisfiable `json:"whenUnsatisfiable,omitempty"`
	MaxSkew           int32             `json:"maxSkew,omitempty"`
}
