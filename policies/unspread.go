package policies

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// unspread is a workload behind Local Services whose pods may share a node. Two rules report it: ineffective-spread if
// a constraint only looks as if it spread the pods, else unspread-behind-local.
type unspread struct {
	// services holds the Local Services in front of it that share traffic evenly among nodes, sorted by name.
	services []*corev1.Service
	// ineffective is the constraint that looks as if it spread the pods; nil for none.
	ineffective *ineffective
	// repair spreads the pods. If it is zero, problem says why.
	repair  addition
	problem string
	// strategy is the strategy of the repair.
	strategy Strategy
}

// unspread returns nil if the object is not a workload behind a Local Service, or if its pods are spread.
func (r *run) unspread() *unspread {
	if !r.unspreadKnown {
		r.unspreadKnown = true
		r.unspreadFound = r.findUnspread()
	}
	return r.unspreadFound
}

func (r *run) findUnspread() *unspread {
	if r.Object.Workload == nil {
		return nil
	}
	spreading, may := mayShareNode(r.Object.Workload, r.replicas, r.Namespace, r.Cluster)
	if !may {
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
	switch {
	case found.problem != "":
	case len(r.repairs(misplacedField)) > 0:
		found.problem = "the repair of misplaced-field comes first"
	case !r.isSpreadBy(found.repair):
		found.problem = "beside the other constraints it would have no effect"
	}
	return found
}

// isSpreadBy reports whether the pods of the workload are spread once it has a repair. Without other constraints they
// always are. A repair that does not apply is reported where it is tried.
func (r *run) isSpreadBy(repair addition) bool {
	if len(r.Object.Workload.Template.Spec.TopologySpreadConstraints) == 0 {
		return true
	}
	operations := addToList(placement(r.Object), repair.list, repair.element)
	repaired, err := r.Object.Patched(r.Object.Workload.placedRepair(operations))
	return err != nil || r.spreading(repaired.Workload).kept()
}

// finding returns the result of either rule.
func (u *unspread) finding(r *run, path, message, fix string) result {
	if u.problem != "" {
		fix += notRepaired + u.problem
	}
	because := serviceRefs(u.services)
	if maker := r.maker(); maker != r.Object.Workload {
		because = append(because, maker.Ref) // The repair names the label of its revisions.
	}
	found := result{Finding: Finding{Path: path, Message: message, Fix: fix, Because: because}}
	if u.problem != "" {
		return found
	}
	found.repair = addToList(placement(r.Object), u.repair.list, u.repair.element)
	found.done = "added " + u.repair.name + " on " + corev1.LabelHostname
	// A change of the template causes a rollout, which a request about something else must not do.
	found.unpatchable = !r.templateChanged()
	if r.Object.Workload.holdsAsWhole(u.repair.list) {
		// Each apply of a manifest that has the list would remove the repair again. A person may repair the file.
		found.unpatchable = true
		found.byHand = fmt.Sprintf("in the manifest, which replaces the whole list, add to %s: %s",
			u.repair.list[strings.LastIndex(u.repair.list, "/")+1:], inline(u.repair.element))
	}
	return found
}

// unseenSpread is the result of both rules where related objects could not be looked up: what could not be seen, if
// they could have made a finding. The number of replicas does not count, since an autoscaler may not have been seen
// either.
func (r *run) unseenSpread() []result {
	const question = "its pods are spread"
	switch {
	case r.Related.View != ViewNone:
		return nil
	case r.Object.Workload != nil && r.Cluster.Nodes != 1 && !r.spreading(r.Object.Workload).kept():
		return []result{{unseen: unseen{servicesInFront, question}}}
	case r.Object.Service != nil && r.needsSpread():
		return []result{{unseen: unseen{workloadsBehind, question}}}
	default:
		return nil
	}
}

// needsSpread reports whether the request makes it necessary to spread the pods behind a Service.
func (r *run) needsSpread() bool {
	uneven := []Verdict{VerdictUseless, VerdictWeighted, VerdictSingleAnnouncer}
	_, never := verdict(r.answers, uneven...)
	if never || r.Cluster.Nodes == 1 || !isLocal(r.Object.Service, r.Cluster.Version) {
		return false
	}
	if r.becameLocal() {
		return true
	}
	_, before := verdict(r.askNeighbour(r.Old.Service), uneven...)
	return before // for example, because an annotation made the load balancer weight nodes by their pods
}

// LacksLocalService reports whether one more Local Service in in.Related could lead to a repair of the workload under
// review: its pods may share a node, and none of the Services that select them is Local. What else a Service could lead
// to is not repaired by a webhook. It reads Object, Namespace, Related and Cluster.
func LacksLocalService(in Input) bool {
	w := in.Object.Workload
	if w == nil || len(w.Template.Labels) == 0 {
		return false // No Service selects its pods.
	}
	if _, may := mayShareNode(w, in.Related.scaling().replicasOf(w), in.Namespace, in.Cluster); !may {
		return false
	}
	return !slices.ContainsFunc(in.Related.Services, func(s *corev1.Service) bool {
		return Selects(s, w) && isLocal(s, in.Cluster.Version)
	})
}

// mayShareNode reports, without looking at related objects, whether pods of a workload may share a node, and how they
// are spread. "--nodes 1" leaves nothing to spread over. The number of Nodes in the cluster does not count: some may be
// cordoned or join later, and a template is not repaired again.
func mayShareNode(w *Workload, pods replicaRange, namespace Namespace, cluster Cluster) (spreading, bool) {
	if pods.most < 2 || cluster.Nodes == 1 {
		return spreading{}, false
	}
	s := spreadingOf(w, namespace, cluster)
	return s, !s.kept()
}
