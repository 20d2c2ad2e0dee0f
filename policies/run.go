package policies

import (
	"context"
	"reflect"
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// Rule is one rule of the catalogue: all that is known of it, and how it is checked.
type Rule struct {
	// ID is kebab-case and never changes once released.
	ID string `json:"id"`
	// Title is a few words.
	Title string `json:"title"`
	// Severity is how bad a finding is.
	Severity Severity `json:"severity"`
	// DefaultMode is what a finding does where no policy says otherwise; DefaultModeNote tells when
	// it is another.
	DefaultMode     Mode   `json:"defaultMode"`
	DefaultModeNote string `json:"defaultModeNote,omitempty"`
	// Kinds are the kinds of objects that it has findings on.
	Kinds []string `json:"kinds"`
	// NeedsRelated tells that it looks at neighbours.
	NeedsRelated bool `json:"needsRelated"`
	// NeedsReplicas tells that a finding depends on how many pods there are to be, so that a request
	// to scale is judged by it.
	NeedsReplicas bool `json:"needsReplicas"`
	// Fixable tells that findings may carry a repair, Mutable that a webhook may apply it.
	Fixable bool `json:"fixable"`
	Mutable bool `json:"mutable"`

	// What tells what is found, Why what happens to the packets, Remedy how to mend it, Exempt when
	// an exemption is right, and Since from which server version this holds. One paragraph each.
	What   string `json:"what"`
	Why    string `json:"why"`
	Remedy string `json:"remedy"`
	Exempt string `json:"exempt"`
	Since  string `json:"since"`
	// Sources are where it can be read up.
	Sources []string `json:"sources"`

	// follows is the id of the rule whose mode it has where policies set that one and not its own; empty for none.
	follows string
	// yieldsTo is the id of the rule before it that says all there is to say of a field of which both find something; empty for
	// none.
	yieldsTo string
	check    func(*run) []result
}

// review is one run of Decide: its arguments, and what several rules ask of them.
type run struct {
	Input
	ctx      context.Context
	rules    Rules
	settings Settings

	// answers are what Rego says of the object.
	answers []Answer
	// faults are the answers that could not be had, each policy's once.
	faults []fault
	// explicit tells how the traffic policy of a Service came to be.
	explicit Explicit
	// selecting are, for a workload, the Services that select its pods, by name.
	selecting []*corev1.Service
	// sharing are, for a Service, the others that ask to share its address, by namespace and name.
	sharing []*corev1.Service
	// behind are, for a Service, the workloads whose pods it selects, and, for a workload, the others
	// behind the same Services; sorted.
	behind []*Workload
	// replicas is how few and how many pods a workload may have.
	replicas replicaRange
	// even is what evenServices worked out, if evenKnown.
	evenKnown bool
	even      []*corev1.Service
	// missed tells that a rule asked for the Local Services in front of the object when they could not be seen.
	missed bool
	// unspreadFound is what unspread worked out, if unspreadKnown.
	unspreadKnown bool
	unspreadFound *unspread
}

// newRun asks Rego about the object. former is the review of the object before it was repaired, if it was: what failed then
// is not asked again, since it would take all its time once more, and what it answered counts.
func newRun(ctx context.Context, in Input, rules Rules, settings Settings, former *run) *run {
	r := &run{Input: in, ctx: ctx, rules: rules, settings: settings, explicit: ExplicitUnknown}
	if in.Object.Service != nil {
		r.explicit = explicit(in.Object, in.Old, in.InFile)
		r.selecting = []*corev1.Service{in.Object.Service}
		for _, service := range in.Related.Services {
			if AsksToShareAddress(service, in.Object.Service) && serviceRef(service) != in.Object.Ref {
				r.sharing = append(r.sharing, service)
			}
		}
		slices.SortFunc(r.sharing, compareServices)
	} else {
		r.replicas = replicasOf(in.Object.Workload, in.Related)
		for _, service := range in.Related.Services {
			if Selects(service, in.Object.Workload) {
				r.selecting = append(r.selecting, service)
			}
		}
		slices.SortFunc(r.selecting, compareServices)
	}
	r.behind = behind(r.selecting, in.Related.Workloads, in.Object)
	if former != nil {
		r.faults = slices.Clone(former.faults)
	}
	r.answers = rules.Evaluate(ctx, r.document(), r.sound(settings.Applied))
	if former != nil {
		for _, answer := range former.answers {
			if answer.Policy != "" && r.failed(answer.Policy) {
				r.answers = append(r.answers, answer)
			}
		}
	}
	for _, answer := range r.answers {
		if answer.Err != nil {
			r.fault(answer, settings)
		}
	}
	return r
}

// behind returns the workloads other than the object whose pods one of the Services selects, sorted.
func behind(services []*corev1.Service, workloads []*Workload, object *Object) []*Workload {
	var found []*Workload
	for _, workload := range workloads {
		selected := slices.ContainsFunc(services, func(s *corev1.Service) bool { return Selects(s, workload) })
		if selected && !object.is(workload) {
			found = append(found, workload)
		}
	}
	slices.SortFunc(found, func(a, b *Workload) int { return a.Ref.compare(b.Ref) })
	return found
}

// localServices are, for a workload, the Local Services that select its pods, by name. Rules ask for them last, when all depends on
// them: where they could not be seen, neighboursUnknown tells that somebody asked.
func (r *run) localServices() []*corev1.Service {
	r.missed = r.missed || r.Related.View == ViewNone && r.Object.Workload != nil
	return slices.DeleteFunc(slices.Clone(r.selecting), func(s *corev1.Service) bool { return !isLocal(s, r.Cluster.Version) })
}

// evenServices are those of the localServices whose load balancer shares traffic evenly among nodes: it neither weighs them by their
// pods, nor sends all to one of them, nor goes past them to the pods.
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

// becameLocal tells whether this request is what makes clients of a Service meet a Local policy:
// its creation, its change to Local, or a change of whom it selects.
func (r *run) becameLocal() bool {
	service := r.Object.Service
	if !isLocal(service, r.Cluster.Version) {
		return false
	}
	if r.Old == nil || r.Old.Service == nil {
		return true
	}
	old := r.Old.Service
	return !isLocal(old, r.Cluster.Version) || !reflect.DeepEqual(podSelector(old), podSelector(service))
}

// templateChanged tells whether the request rolls the workload out anyway, so that a repair of its
// template costs no rollout of its own.
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
	spec, _ := content["spec"].(map[string]any)
	return spec["template"]
}

// isOnEachNode tells whether a DaemonSet behind the Service runs a pod on every node, so that no node drops what is Local. Taints do not
// count: who keeps pods away from a node seldom sends clients there.
func (r *run) isOnEachNode() bool {
	return slices.ContainsFunc(r.behind, func(w *Workload) bool {
		return w.Kind == daemonSetKind && !choosesNodes(w.Template.Spec)
	})
}
