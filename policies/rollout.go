package policies

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// maker is who makes the pods of the workload under review, and replaces them: who uses its template in the place of its own, else
// itself.
func (r *run) maker() *Workload {
	if users := r.Related.users(r.Object.Workload); len(users) > 0 {
		return users[0]
	}
	return r.Object.Workload
}

// revisionLabel is the label that tells the pods of one revision of the workload from those of another; empty for none.
func (r *run) revisionLabel() string { return r.maker().kind().RevisionLabel }

// makerResult is a finding about a field by which the workload behind Local Services decides how many pods there are, or how they are
// replaced. Where another one uses its template, it is that one's field, and the finding has no path.
func (r *run) makerResult(path, message, fix string, services []*corev1.Service) result {
	found := result{Finding: Finding{Path: path, Message: message, Fix: fix, Because: serviceRefs(services)}}
	if maker := r.maker(); maker != r.Object.Workload {
		found.Path = ""
		found.Fix += " in " + maker.Ref.String()
		found.Because = append(found.Because, maker.Ref)
	}
	return found
}

// UpdateStrategy is how a workload replaces its pods when its template changes. The zero value is for kinds that never do.
type UpdateStrategy struct {
	Type UpdateType
	// MaxUnavailable and MaxSurge are how many pods may be missing, and how many there may be beyond the wanted number,
	// while they are replaced.
	MaxUnavailable, MaxSurge intstr.IntOrString
	// floor tells that at least one pod is replaced where both come to none, and up that what may be missing is rounded up where
	// there is no surge: each kind has its own way.
	floor, up bool
	// byTraffic tells that new pods come as traffic is moved to them, whatever its numbers say, and atOnce that all of them are
	// there before the first old one goes.
	byTraffic, atOnce bool
	// paused tells that nothing is replaced until somebody goes on with it, and partitioned that some pods stay as they are.
	paused, partitioned bool
}

// UpdateType is the way in which pods are replaced.
type UpdateType string

// The types. The zero value means never.
const (
	// UpdateRolling replaces some pods at a time.
	UpdateRolling UpdateType = "RollingUpdate"
	// UpdateRecreate removes all pods before it makes the first new one.
	UpdateRecreate UpdateType = "Recreate"
	// UpdateOnDelete leaves it to those who delete pods.
	UpdateOnDelete UpdateType = "OnDelete"
)

// limits returns how many of these pods may be missing at a time, and how many there may be beyond them.
// Sources: kubernetes v1.37.1, pkg/controller/deployment/util/deployment_util.go ResolveFenceposts, pkg/controller/daemon/util and
// pkg/controller/statefulset/stateful_set_utils.go; kruise v1.8.0, apis/apps/v1alpha1/cloneset_types.go.
func (u UpdateStrategy) limits(replicas int) (unavailable, surge int) {
	// What does not parse the API server refuses.
	surge, _ = intstr.GetScaledValueFromIntOrPercent(&u.MaxSurge, replicas, true)
	unavailable, _ = intstr.GetScaledValueFromIntOrPercent(&u.MaxUnavailable, replicas, u.up && surge == 0)
	if u.floor && unavailable == 0 && surge == 0 {
		unavailable = 1
	}
	return unavailable, surge
}

// waits tells whether none of these pods goes before a further one is ready.
func (u UpdateStrategy) waits(replicas int) bool {
	unavailable, surge := u.limits(replicas)
	return u.Type == UpdateRolling && unavailable == 0 && surge > 0
}

const (
	hostPort             = "a hostPort"
	requiredAntiAffinity = "required anti-affinity"
)

// stuckRollout tells, in words, which rollouts of pods that need a node each cannot end, and whether there is no other; empty for none.
func (r *run) stuckRollout() (text string, certain bool) {
	w, update := r.Object.Workload, r.maker().Update
	least, most := r.replicas.least, r.replicas.most
	nodes := r.Cluster.eligible(w)
	if w.Template.Spec.NodeSelector[corev1.LabelHostname] != "" {
		nodes = 1
	}
	switch {
	case w.Kind == daemonSetKind:
		// There is a pod on each node before the rollout begins.
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
		// enough is the fewest pods that leave too few of these nodes free.
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
