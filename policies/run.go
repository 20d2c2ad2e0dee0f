package policies

import (
	"context"
	"reflect"
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// Rule is one rule of the catalogue: its documentation, its place among the other rules, and its check.
type Rule struct {
	// ID is kebab-case and never changes once released.
	ID string `json:"id"`
	// Title is a short phrase, for tables and lists.
	Title string `json:"title"`
	// Severity says how bad a finding is, whatever its mode.
	Severity Severity `json:"severity"`
	// DefaultMode is the mode of a finding if no policy sets one. DefaultModeNote says when a finding has another
	// mode; it is empty if there is no such case.
	DefaultMode     Mode   `json:"defaultMode"`
	DefaultModeNote string `json:"defaultModeNote,omitempty"`
	// Kinds lists the kinds of objects that the rule reports on.
	Kinds []string `json:"kinds"`
	// NeedsRelated is true if the rule reads related objects.
	NeedsRelated bool `json:"needsRelated"`
	// NeedsReplicas is true if a finding depends on the number of replicas. Requests to scale are judged by these rules.
	NeedsReplicas bool `json:"needsReplicas"`
	// Fixable is true if a finding may carry a repair, Mutable if a webhook may apply that repair.
	Fixable bool `json:"fixable"`
	Mutable bool `json:"mutable"`
	// RefusedByServer is true if the API server itself refuses such an object, after it has called mutating webhooks
	// and before it calls validating ones. Only a mutating webhook can explain the refusal.
	RefusedByServer bool `json:"refusedByServer"`

	// What says what is found, Why what happens to the traffic, Remedy how to fix it, Exempt when an exemption is
	// right, and Since from which version of Kubernetes on the rule applies. Each is one paragraph.
	What   string `json:"what"`
	Why    string `json:"why"`
	Remedy string `json:"remedy"`
	Exempt string `json:"exempt"`
	Since  string `json:"since"`
	// Sources are links to documentation and source code.
	Sources []string `json:"sources"`

	// follows is the id of the rule whose mode applies if policies set that mode and not this rule's own; empty for none.
	follows string
	// yieldsTo is the id of an earlier rule. A finding is dropped if that rule has one on the same path; empty for none.
	yieldsTo string
	// check returns what is wrong with the object of a run.
	check func(*run) []result
}

// run is one run of the catalogue over one object. It holds the arguments of Decide, the neighbours of the object and
// the answers of Rego. Checks read it; only the faults and the cached results change while it lasts.
type run struct {
	Input
	ctx      context.Context
	rules    Rules
	settings Settings

	// answers holds the answers of Rego for the object.
	answers []Answer
	// faults holds the answers that failed, at most one for each policy.
	faults []fault
	// unseen holds what the checks needed and could not see, in the order of the catalogue.
	unseen []unseen
	// explicit says whether the traffic policy of a Service is written, defaulted or unknown.
	explicit Explicit
	// selecting holds the Services that select the pods of a workload, sorted by name; for a Service, the Service itself.
	selecting []*corev1.Service
	// sharing holds the other Services that ask to share the address of a Service, sorted by namespace and name.
	sharing []*corev1.Service
	// neighbourhood has the backends of selecting.
	neighbourhood
	// replicas is the number of pods that a workload may have.
	replicas replicaRange
	// even is the cached result of evenServices, valid if evenKnown.
	evenKnown bool
	even      []*corev1.Service
	// unspreadFound is the cached result of unspread, valid if unspreadKnown.
	unspreadKnown bool
	unspreadFound *unspread
	// known holds the ids of all rules of the catalogue, once its checks run.
	known []string
	// found is the cached result of results, valid if foundKnown.
	foundKnown bool
	found      []result
	// trials caches the runs over the object after a repair.
	trials []trial
	// isStored is true if the object is the stored one, which is judged to find out what was there before the request.
	isStored bool
	// before caches the result of stored; it points to nil before that is known. All runs of one decision share it.
	before *map[kind]count
}

// unseen names related objects that could not be looked up, and the question that a check can therefore not answer.
type unseen struct{ objects, question string }

// result is what a check returns: a finding before its mode is settled or, if unseen is set, what the check could not
// see.
type result struct {
	Finding
	// mode is the mode if no policy sets one; empty for the rule's default.
	mode Mode
	// weight is the weight of the reason.
	weight weight
	// policy is the policy whose Rego made the finding, or could not be evaluated; empty for the built-in rules.
	policy string
	// failed is the part of that policy that could not be evaluated; zero for other findings.
	failed FailedSet
	// repair holds the operations that fix it; nil for none. done says in the past tense what they do.
	repair []PatchOperation
	done   string
	// unsure is true if what is wrong depends on something that is not known: the finding is never denied.
	unsure bool
	// unpatchable is true if a webhook must not apply the repair, though a person may. byHand is then the fix that
	// replaces Fix where the mode is Mutate; empty to keep Fix.
	unpatchable bool
	byHand      string
	// harmful is true if the repair was dropped, because it would do more harm than good.
	harmful bool
	// unseen names what the check needed to see and could not. All other fields are then zero.
	unseen unseen
}

// newRun returns a run over in.Object, for which Rego has been asked. former is the run over the object before it was
// repaired, or nil. A policy that failed in former is not asked again, since it would take as long to fail again; its
// answers from former count.
func newRun(ctx context.Context, in Input, rules Rules, settings Settings, former *run) *run {
	r := &run{
		Input: in, ctx: ctx, rules: rules, settings: settings, explicit: ExplicitUnknown, before: new(map[kind]count),
	}
	if former != nil {
		r.before = former.before
	}
	switch {
	case former != nil && in.Object.Workload != nil:
		// A repair of a workload changes neither the number of its pods nor the Services in front of it.
		r.replicas, r.selecting, r.neighbourhood = former.replicas, former.selecting, former.neighbourhood
		r.evenKnown, r.even = former.evenKnown, former.even
	case in.Object.Service != nil:
		r.explicit = explicit(in.Object, in.InFile)
		r.selecting = []*corev1.Service{in.Object.Service}
		for _, service := range in.Related.Services {
			if AsksToShareAddress(service, in.Object.Service) && serviceRef(service) != in.Object.Ref {
				r.sharing = append(r.sharing, service)
			}
		}
		slices.SortFunc(r.sharing, compareServices)
		r.neighbourhood = in.Related.neighbourhood(r.selecting, in.Object)
	default:
		for _, service := range in.Related.Services {
			if Selects(service, in.Object.Workload) {
				r.selecting = append(r.selecting, service)
			}
		}
		slices.SortFunc(r.selecting, compareServices)
		r.neighbourhood = in.Related.neighbourhood(r.selecting, in.Object)
		r.replicas = r.scaling.replicasOf(in.Object.Workload)
	}
	r.ask(former)
	return r
}

// localServices returns the Local Services that select the pods of a workload, sorted by name. A check that finds none
// returns noLocalService.
func (r *run) localServices() []*corev1.Service {
	return slices.DeleteFunc(slices.Clone(r.selecting), func(s *corev1.Service) bool {
		return !isLocal(s, r.Cluster.Version)
	})
}

// noLocalService is the result of a check of a workload that has no Local Service in front of it: nothing, or what
// could not be seen if the Services could not be looked up.
func (r *run) noLocalService() []result {
	if r.Related.View != ViewNone || r.Object.Workload == nil {
		return nil
	}
	return []result{{unseen: unseen{servicesInFront, "it is behind a Local one"}}}
}

// The related objects that unseen names.
const (
	servicesInFront = "the Services in front of it"
	workloadsBehind = "the workloads behind it"
	servicesSharing = "the Services that ask to share its address"
)

// evenServices returns the localServices whose load balancer sends each node the same share of the traffic: it does not
// weight nodes by their pods, send everything to one node, or bypass the nodes and send traffic to pods.
func (r *run) evenServices() []*corev1.Service {
	if !r.evenKnown {
		r.evenKnown = true
		r.even = slices.DeleteFunc(r.localServices(), func(s *corev1.Service) bool {
			_, uneven := verdict(r.askNeighbour(s), VerdictUseless, VerdictWeighted, VerdictSingleAnnouncer)
			return uneven
		})
	}
	return r.even
}

// becameLocal reports whether the request makes a Service Local for its pods: it creates a Local Service, changes a
// Service to Local, or changes the selector of one. A stored Service became Local at some time before the request.
func (r *run) becameLocal() bool {
	service := r.Object.Service
	if !isLocal(service, r.Cluster.Version) {
		return false
	}
	if r.isStored || r.Old == nil || r.Old.Service == nil {
		return true
	}
	old := r.Old.Service
	return !isLocal(old, r.Cluster.Version) || !reflect.DeepEqual(podSelector(old), podSelector(service))
}

// templateChanged reports whether the request causes a rollout anyway, so that a repair of the template does not cause
// one of its own.
func (r *run) templateChanged() bool {
	if r.Operation == Create {
		return true
	}
	if r.Old == nil || r.Old.Workload == nil {
		return false
	}
	return !reflect.DeepEqual(template(r.Object.Content()), template(r.Old.Content()))
}

func template(content map[string]any) any {
	if template, isPodTemplate := content["template"]; isPodTemplate {
		return template
	}
	spec, _ := content["spec"].(map[string]any)
	return spec["template"]
}

// isOnEachNode reports whether a DaemonSet behind the Service runs a pod on every node, so that no node drops traffic.
// Taints do not count: clients are seldom sent to nodes that repel pods.
func (r *run) isOnEachNode() bool {
	return slices.ContainsFunc(r.behind, func(w *Workload) bool {
		return w.Kind == daemonSetKind && !choosesNodes(w.Template.Spec)
	})
}
