package policies

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// maker returns the workload that makes and replaces the pods of the one under review: the one that uses its template,
// or else the workload itself.
func (r *run) maker() *Workload {
	if users := r.scaling.users[r.Object.Workload.scaled()]; len(users) > 0 {
		return users[0]
	}
	return r.Object.Workload
}

// revisionLabel returns the label whose value differs between the pods of two revisions of the workload; empty for
// none.
func (r *run) revisionLabel() string { return r.maker().kind().RevisionLabel }

// makerResult returns a finding about a field that sets the number of pods behind Local Services, or how they are
// replaced. If another workload uses the template, the field is in that workload, and the finding has no path.
func (r *run) makerResult(path, message, fix string, services []*corev1.Service) result {
	found := result{Finding: Finding{Path: path, Message: message, Fix: fix, Because: serviceRefs(services)}}
	if maker := r.maker(); maker != r.Object.Workload {
		found.Path = ""
		found.Fix = "in " + maker.Ref.String() + ", " + found.Fix
		found.Because = append(found.Because, maker.Ref)
	}
	return found
}

// UpdateStrategy is how a workload replaces its pods when its template changes. The zero value is that of kinds which
// never replace them.
type UpdateStrategy struct {
	Type UpdateType
	// MaxUnavailable is how many pods may be missing during a rollout, MaxSurge how many there may be in addition to
	// the replicas. Each is a number or a percentage of the replicas.
	MaxUnavailable, MaxSurge intstr.IntOrString
	// floor is true if one pod may be missing where both numbers round to 0. up is true if MaxUnavailable is rounded up
	// where there is no surge.
	floor, up bool
	// byTraffic is true if new pods are made as traffic is shifted to them, whatever the numbers say. atOnce is true if
	// all of them are made before the first old one is removed.
	byTraffic, atOnce bool
	// paused is true if rollouts wait until a user resumes them, partitioned if some pods keep the old template.
	paused, partitioned bool
}

// UpdateType names a way to replace pods.
type UpdateType string

// The update types. The zero value means never.
const (
	// UpdateRolling replaces some pods at a time.
	UpdateRolling UpdateType = "RollingUpdate"
	// UpdateRecreate removes all pods before it makes the first new one.
	UpdateRecreate UpdateType = "Recreate"
	// UpdateOnDelete replaces a pod only after a user has deleted it.
	UpdateOnDelete UpdateType = "OnDelete"
)

// limits returns how many of the replicas may be missing at a time, and how many pods there may be in addition.
// Sources: kubernetes v1.37.1, pkg/controller/deployment/util/deployment_util.go ResolveFenceposts,
// pkg/controller/daemon/util and pkg/controller/statefulset/stateful_set_utils.go;
// kruise v1.8.0, apis/apps/v1alpha1/cloneset_types.go.
func (u UpdateStrategy) limits(replicas int) (unavailable, surge int) {
	// The API server refuses values that do not parse.
	surge, _ = intstr.GetScaledValueFromIntOrPercent(&u.MaxSurge, replicas, true)
	unavailable, _ = intstr.GetScaledValueFromIntOrPercent(&u.MaxUnavailable, replicas, u.up && surge == 0)
	if u.floor && unavailable == 0 && surge == 0 {
		unavailable = 1
	}
	return unavailable, surge
}

// waits reports whether a rollout removes no pod before an additional one is ready.
func (u UpdateStrategy) waits(replicas int) bool {
	unavailable, surge := u.limits(replicas)
	return u.Type == UpdateRolling && unavailable == 0 && surge > 0
}

// What keeps two pods off the same node, in the words of messages.
const (
	hostPort             = "a hostPort"
	requiredAntiAffinity = "required anti-affinity"
)

// stuckRollout returns which rollouts cannot complete if each pod needs a node of its own, for example
//
//	rollouts of 3 pods get stuck on 3 nodes
//
// and whether every rollout is one of them. It returns the empty string if all can complete.
func (r *run) stuckRollout() (text string, certain bool) {
	w, update := r.Object.Workload, r.maker().Update
	least, most := r.replicas.least, r.replicas.most
	nodes := r.Cluster.eligible(w)
	if w.Template.Spec.NodeSelector[corev1.LabelHostname] != "" {
		nodes = 1
	}
	switch {
	case w.Kind == daemonSetKind:
		// Each node has a pod before the rollout begins.
		if !update.waits(1) {
			return "", false
		}
		return "rollouts get stuck on every node", true
	case nodes == 0:
		if most < 2 || !update.waits(most) {
			return "", false
		}
		few := most
		if update.atOnce {
			few = 2*most - 1
		}
		return fmt.Sprintf("rollouts of %d pods get stuck on %d nodes or fewer", most, few), false
	default:
		// enough returns the smallest number of pods that leaves too few of the nodes free.
		enough := func(nodes int) int {
			if update.atOnce {
				return nodes/2 + 1
			}
			return nodes
		}
		pods := max(enough(nodes), least)
		if pods > most || !update.waits(pods) {
			return "", false
		}
		certain = least >= enough(max(nodes, r.Cluster.eligibleInTime(w))) && update.waits(most)
		return fmt.Sprintf("rollouts of %s get stuck on %s", plural(pods, "pod"), plural(nodes, "node")), certain
	}
}
