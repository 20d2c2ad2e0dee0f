package policies

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// unspread is a workload behind Local Services whose pods may share a node.
type unspread struct {
	// services are the Local Services that suffer from it, by name.
	services []*corev1.Service
	// ineffective is what looks as if it spread them.
	ineffective *ineffective
	// repair mends it; problem says why there is none.
	repair  []PatchOperation
	problem string
	// strategy is the means of the repair.
	strategy Strategy
}

// unspread returns nil for a workload that is not behind a Local Service, or that is spread.
func (r *run) unspread() *unspread {
	if !r.unspreadKnown {
		r.unspreadKnown = true
		r.unspreadFound = r.findUnspread()
	}
	return r.unspreadFound
}

func (r *run) findUnspread() *unspread {
	spreading, could := r.couldBeUnspread()
	if !could {
		return nil
	}
	services := r.evenServices()
	if len(services) == 0 {
		return nil
	}
	found := &unspread{services: services, ineffective: spreading.ineffective}
	spread := r.settings.with(r.spreadWishes())
	found.strategy = spread.Strategy
	found.repair, found.problem = r.spreadRepair(spread, services)
	return found
}

// couldBeUnspread tells, without a look at the neighbours, whether the object is a workload whose
// pods may share a node. One node, where somebody told so, leaves nothing to spread over; of those that are there now, some may be
// cordoned or yet to come, and a template is not repaired again.
func (r *run) couldBeUnspread() (spreading, bool) {
	if r.Object.Workload == nil || r.replicas.most < 2 || r.Cluster.Nodes == 1 {
		return spreading{}, false
	}
	s := spreadingOf(r.Object.Workload, r.Namespace)
	return s, !s.kept()
}

// LacksLocalService tells whether one more Local Service in in.Related could ask for the pods of a workload to be spread: they
// may share a node, and no Service that is known to select them is Local. What else a Service could ask for can wait for the next
// audit, since no webhook repairs it. It reads Object, Namespace, Related and Cluster.
func LacksLocalService(in Input) bool {
	r := &run{Input: in}
	if in.Object.Workload == nil || len(in.Object.Workload.Template.Labels) == 0 {
		return false // No Service selects it.
	}
	r.replicas = replicasOf(in.Object.Workload, in.Related)
	if _, could := r.couldBeUnspread(); !could {
		return false
	}
	return !slices.ContainsFunc(in.Related.Services, func(s *corev1.Service) bool {
		return Selects(s, in.Object.Workload) && isLocal(s, in.Cluster.Version)
	})
}

// result is the finding, whichever of the two rules makes it.
func (u *unspread) result(r *run, path, message, fix string) result {
	if u.problem != "" {
		fix += "; not repaired, since " + u.problem
	}
	because := serviceRefs(u.services)
	if maker := r.maker(); maker != r.Object.Workload {
		because = append(because, maker.Ref) // whose revisions the repair tells apart
	}
	return result{
		Finding: Finding{Path: path, Message: message, Fix: fix, Because: because},
		repair:  u.repair,
		// A change of the template rolls the workload out, which an unrelated request must not do.
		unpatchable: !r.templateChanged(),
	}
}
