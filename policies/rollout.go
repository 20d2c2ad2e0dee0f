package policies

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// makers returns the workloads that make and replace the pods of the one under review: those that use its template,
// sorted, or else the workload itself.
func (r *run) makers() []*Workload {
	if users := r.scaling.users[r.Object.Workload.scaled()]; len(users) > 0 {
		return users
	}
	return []*Workload{r.Object.Workload}
}

// maker returns the first of makers. All of them have the same RevisionLabel, since only Rollouts use the template of
// another workload.
func (r *run) maker() *Workload { return r.makers()[0] }

// revisionLabel returns the label whose value differs between the pods of two revisions of the workload; empty for
// none.
func (r *run) revisionLabel() string { return r.maker().kind().RevisionLabel }

// replicasBy returns the number of pods that one of makers may make.
func (r *run) replicasBy(maker *Workload) replicaRange {
	if len(r.makers()) == 1 {
		return r.replicas
	}
	return r.scaling.replicasOf(maker)
}

// makerResult returns a finding about a field of one of makers that sets the number of pods behind Local Services, or
// how they are replaced. If another workload uses the template, the field is in that workload, and the finding has no
// path.
func (r *run) makerResult(maker *Workload, path, message, fix string, services []*corev1.Service) result {
	found := result{Finding: Finding{Path: path, Message: message, Fix: fix, Because: serviceRefs(services)}}
	if maker != r.Object.Workload {
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

// exclusion is what lets only one pod of a workload run in each of some places.
type exclusion struct {
	// means is what it is, in the words of messages.
	means string
	// key is the label of nodes whose values are the places.
	key string
	// passes is true if the pods before and after this request do not exclude each other.
	passes bool
}

const (
	hostPort             = "a hostPort"
	requiredAntiAffinity = "required anti-affinity"
)

// exclusion returns what keeps an old and a new pod apart; nil for nothing. Of several reasons, it is one that holds
// for the pods before and after this request, and of those the one with the fewest places.
func (r *run) exclusion() *exclusion {
	w, old := r.Object.Workload, r.Object.Workload
	if r.Old != nil && r.Old.Workload != nil {
		old = r.Old.Workload
	}
	var found *exclusion
	if usesHostPorts(w.Template.Spec) {
		found = &exclusion{means: hostPort, key: corev1.LabelHostname, passes: !usesHostPorts(old.Template.Spec)}
	}
	nodes := r.Cluster.topologyOf(w)
	for _, term := range antiAffinityTerms(w.Template.Spec.Affinity) {
		if !term.required || nodes.carrying(term.TopologyKey) != allNodes || !r.excludes(term, w, w) {
			continue
		}
		// A term of the old or of the new pods is enough for the scheduler.
		byOld := func(former antiAffinityTerm) bool {
			return former.required && former.TopologyKey == term.TopologyKey && r.excludes(former, old, w)
		}
		passes := !r.excludes(term, w, old) && !slices.ContainsFunc(antiAffinityTerms(old.Template.Spec.Affinity), byOld)
		fewer := found != nil && nodes.domains(term.TopologyKey) < nodes.domains(found.key)
		if found == nil || found.passes && !passes || found.passes == passes && fewer {
			found = &exclusion{means: requiredAntiAffinity, key: term.TopologyKey, passes: passes}
		}
	}
	return found
}

// excludes reports whether a term of the pods of one workload keeps them apart from the pods of another, where both are
// the same workload, at the same or at different times.
func (r *run) excludes(term antiAffinityTerm, of, other *Workload) bool {
	own, others := podLabelsOf(of), podLabelsOf(other)
	bare := term.PodAffinityTerm
	bare.MatchLabelKeys, bare.MismatchLabelKeys = nil, nil
	if termProblem(bare, others, r.Namespace) != "" {
		return false
	}
	if !r.Cluster.Version.atLeast(antiMatchLabelsVersion) {
		return true
	}
	// A revision has another value of the label of revisions, and each pod another value of a single label.
	differs := func(key string) bool {
		return slices.Contains(r.maker().kind().revisionLabels, key) || slices.Contains(own.single, key) ||
			own.Has(key) && own.Get(key) != others.Get(key)
	}
	equals := func(key string) bool {
		return own.Has(key) && !slices.Contains(own.single, key) &&
			(slices.Contains(r.maker().kind().revisionLabels, key) || own.Get(key) == others.Get(key))
	}
	return !slices.ContainsFunc(term.MatchLabelKeys, differs) && !slices.ContainsFunc(term.MismatchLabelKeys, equals)
}

// places returns the number of places that a workload's pods can run in, one in each, now and in time; 0 if it is
// unknown. exact is false if there may be fewer places.
func (r *run) places(key string) (now, inTime int, exact bool) {
	w := r.Object.Workload
	switch {
	case w.Template.Spec.NodeSelector[corev1.LabelHostname] != "":
		return 1, 1, true
	case key == corev1.LabelHostname || r.Cluster.Known == nil:
		now = r.Cluster.eligible(w)
		return now, max(now, r.Cluster.eligibleInTime(w)), key == corev1.LabelHostname
	default:
		now = distinct(r.Cluster.Known.eligible(w.scheduledPod()), key)
		return now, max(now, r.Cluster.topologyOf(w).domains(key)), true
	}
}

// stuckRollout returns which rollouts by one of makers cannot complete if each place with a value of a label of nodes
// has room for one pod, for example
//
//	rollouts of 3 pods get stuck on 3 nodes
//
// and whether every rollout is one of them. It returns the empty string if all can complete.
func (r *run) stuckRollout(maker *Workload, key string) (text string, certain bool) {
	update, replicas := maker.Update, r.replicasBy(maker)
	least, most := replicas.least, replicas.most
	places, inTime, exact := r.places(key)
	// enough returns the smallest number of pods that leaves too few of the places free.
	enough := func(places int) int {
		if update.atOnce {
			return places/2 + 1
		}
		return places
	}
	pods := max(enough(places), least)
	switch {
	case r.Object.Workload.Kind == daemonSetKind:
		// Each node has a pod before the rollout begins.
		if !update.waits(1) {
			return "", false
		}
		return "rollouts get stuck on every node", key == corev1.LabelHostname || r.Cluster.Known != nil
	case places == 0, !exact && pods > most:
		if most < 2 || !update.waits(most) {
			return "", false
		}
		few := most
		if update.atOnce {
			few = 2*most - 1
		}
		return fmt.Sprintf("rollouts of %d pods get stuck %s or fewer", most, placesText(key, few)), false
	default:
		if pods > most || !update.waits(pods) {
			return "", false
		}
		// Nodes that are not known have the labels of zones and regions, but perhaps no others.
		isLabel := exact || slices.Contains(zoneKeys, key)
		certain = isLabel && least >= enough(inTime) && update.waits(most)
		if !exact {
			key = corev1.LabelHostname
		}
		return fmt.Sprintf("rollouts of %s get stuck %s", plural(pods, "pod"), placesText(key, places)), certain
	}
}

// placesText returns a number of places, such as "on 3 nodes" or "in 3 zones".
func placesText(key string, number int) string {
	switch key {
	case corev1.LabelHostname:
		return "on " + plural(number, "node")
	case corev1.LabelTopologyZone, corev1.LabelFailureDomainBetaZone:
		return "in " + plural(number, "zone")
	case corev1.LabelTopologyRegion, corev1.LabelFailureDomainBetaRegion:
		return "in " + plural(number, "region")
	default:
		return "in " + plural(number, "domain")
	}
}
