package policies

import (
	"cmp"
	"math"
	"slices"
	"strconv"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Autoscaler is a HorizontalPodAutoscaler or a ScaledObject, which sets the replicas of a workload.
type Autoscaler struct {
	Ref Ref
	// Target is the workload that it scales, in the namespace of the autoscaler.
	Target WorkloadRef
	// MinReplicas and MaxReplicas are the bounds within which it sets the replicas. MinReplicas is 0 if it may scale to
	// zero.
	MinReplicas, MaxReplicas int32
}

// AutoscalerKind is a kind of object that scales workloads.
type AutoscalerKind struct {
	Group string
	// Versions lists the versions that can be decoded. The first one is requested from a cluster.
	Versions []string
	Kind     string
	Resource string
	// Custom is true if a CustomResourceDefinition defines the kind, so that a cluster may not serve it.
	Custom bool

	read func(content map[string]any) (Autoscaler, error)
}

// AutoscalerKinds lists the supported kinds of autoscalers. It must not be changed.
var AutoscalerKinds = []AutoscalerKind{
	{
		Group: "autoscaling", Versions: []string{"v2", "v1", "v2beta2", "v2beta1"}, Kind: "HorizontalPodAutoscaler",
		Resource: "horizontalpodautoscalers", read: readHorizontalPodAutoscaler,
	},
	{
		Group: "keda.sh", Versions: []string{"v1alpha1"}, Kind: "ScaledObject", Resource: "scaledobjects",
		Custom: true, read: readScaledObject,
	},
}

func autoscalerKindOf(apiVersion, kind string) (AutoscalerKind, bool) {
	gv, err := schema.ParseGroupVersion(apiVersion)
	i := slices.IndexFunc(AutoscalerKinds, func(k AutoscalerKind) bool {
		return k.Kind == kind && k.Group == gv.Group && slices.Contains(k.Versions, gv.Version)
	})
	if err != nil || i < 0 {
		return AutoscalerKind{}, false
	}
	return AutoscalerKinds[i], true
}

// APIVersion returns the apiVersion that is requested from a cluster: the group and the first of Versions.
func (k AutoscalerKind) APIVersion() string {
	return schema.GroupVersion{Group: k.Group, Version: k.Versions[0]}.String()
}

// Autoscales reports whether objects of this apiVersion and kind are autoscalers. NewAutoscaler accepts only those.
func Autoscales(apiVersion, kind string) bool {
	_, ok := autoscalerKindOf(apiVersion, kind)
	return ok
}

// NewAutoscaler decodes an object of one of AutoscalerKinds; it panics for objects of other kinds. The error is non-nil
// when a field has a value that the API server could not decode. It is a *FieldError if the field is known.
func NewAutoscaler(content map[string]any) (Autoscaler, error) {
	apiVersion, _ := content["apiVersion"].(string)
	kind, _ := content["kind"].(string)
	row, _ := autoscalerKindOf(apiVersion, kind)
	autoscaler, err := row.read(map[string]any{"metadata": content["metadata"], "spec": content["spec"]})
	autoscaler.Ref.APIVersion, autoscaler.Ref.Kind = apiVersion, kind
	return autoscaler, err
}

// readHorizontalPodAutoscaler decodes the fields that all versions have in common.
func readHorizontalPodAutoscaler(content map[string]any) (Autoscaler, error) {
	var hpa struct {
		metav1.ObjectMeta `json:"metadata"`
		Spec              struct {
			ScaleTargetRef targetRef `json:"scaleTargetRef"`
			MinReplicas    *int32    `json:"minReplicas"`
			MaxReplicas    int32     `json:"maxReplicas"`
		} `json:"spec"`
	}
	if err := Decode(content, &hpa); err != nil {
		return Autoscaler{}, err
	}
	least := int32(1)
	if hpa.Spec.MinReplicas != nil {
		least = *hpa.Spec.MinReplicas
	}
	return newAutoscaler(hpa.ObjectMeta, hpa.Spec.ScaleTargetRef.read(), least, hpa.Spec.MaxReplicas), nil
}

// pausedReplicas is the annotation of a ScaledObject that sets the number of replicas and pauses scaling.
// Source: keda v2.17.2, apis/keda/v1alpha1/scaledobject_types.go.
const pausedReplicas = "autoscaling.keda.sh/paused-replicas"

// readScaledObject decodes the fields, with their defaults, from which KEDA creates a HorizontalPodAutoscaler.
// Source: keda v2.17.2, apis/keda/v1alpha1/scaledobject_types.go.
func readScaledObject(content map[string]any) (Autoscaler, error) {
	var scaled struct {
		metav1.ObjectMeta `json:"metadata"`
		Spec              struct {
			ScaleTargetRef   targetRef `json:"scaleTargetRef"`
			IdleReplicaCount *int32    `json:"idleReplicaCount"`
			MinReplicaCount  *int32    `json:"minReplicaCount"`
			MaxReplicaCount  *int32    `json:"maxReplicaCount"`
		} `json:"spec"`
	}
	if err := Decode(content, &scaled); err != nil {
		return Autoscaler{}, err
	}
	least, most := int32(0), int32(100)
	if scaled.Spec.MinReplicaCount != nil {
		least = *scaled.Spec.MinReplicaCount
	}
	if scaled.Spec.IdleReplicaCount != nil {
		least = min(least, *scaled.Spec.IdleReplicaCount)
	}
	if scaled.Spec.MaxReplicaCount != nil {
		most = *scaled.Spec.MaxReplicaCount
	}
	// While it is paused at zero, the bounds say what comes after the pause. KEDA ignores a number that does not parse.
	if paused, err := strconv.ParseInt(scaled.Annotations[pausedReplicas], 10, 32); err == nil && paused > 0 {
		least, most = int32(paused), int32(paused)
	}
	return newAutoscaler(scaled.ObjectMeta, scaled.Spec.ScaleTargetRef.read(), least, most), nil
}

func compareAutoscalers(a, b Autoscaler) int { return a.Ref.compare(b.Ref) }

func newAutoscaler(meta metav1.ObjectMeta, target WorkloadRef, least, most int32) Autoscaler {
	return Autoscaler{
		Ref:    Ref{Namespace: cmp.Or(meta.Namespace, metav1.NamespaceDefault), Name: nameOf(meta)},
		Target: target, MinReplicas: least, MaxReplicas: most,
	}
}

// replicaRange is the smallest and the largest number of pods that a workload may have.
type replicaRange struct {
	// least is 0 if the workload may be scaled to zero. most is 0 for a DaemonSet, which has as many pods as nodes.
	least, most int
}

// scaling holds, by the workload, what else sets the number of its pods.
type scaling struct {
	// users holds the workloads that use the template of another, sorted.
	users       map[scaledWorkload][]*Workload
	autoscalers map[scaledWorkload][]Autoscaler
}

// scaledWorkload identifies a workload.
type scaledWorkload struct {
	namespace string
	WorkloadRef
}

func (w *Workload) scaled() scaledWorkload { return scaledWorkload{w.Namespace, w.asTarget()} }

func (r Related) scaling() scaling {
	s := scaling{map[scaledWorkload][]*Workload{}, map[scaledWorkload][]Autoscaler{}}
	for _, user := range r.Users {
		of := scaledWorkload{user.Namespace, user.TemplateOf}
		s.users[of] = append(s.users[of], user)
	}
	for _, users := range s.users {
		slices.SortFunc(users, compareWorkloads)
	}
	for _, autoscaler := range r.Autoscalers {
		of := scaledWorkload{autoscaler.Ref.Namespace, autoscaler.Target}
		s.autoscalers[of] = append(s.autoscalers[of], autoscaler)
	}
	return s
}

// idle reports whether w is scaled to zero and has no known autoscaler, and no known workload uses its template.
func (s scaling) idle(w *Workload) bool {
	return w.isScaledToZero() && len(s.users[w.scaled()]) == 0 && len(s.autoscalers[w.scaled()]) == 0
}

func (w *Workload) isScaledToZero() bool { return w.Replicas != nil && *w.Replicas == 0 }

// replicasOf returns how many pods may be created from the template of w: the bounds of the autoscalers, if there are
// any, else spec.replicas. It considers w and the workloads that use its template. If all are scaled to zero and none
// has an autoscaler, they will probably be scaled up later, so the largest number is 2.
func (s scaling) replicasOf(w *Workload) replicaRange {
	if w.Kind == daemonSetKind {
		return replicaRange{}
	}
	written := int32(1)
	if w.Replicas != nil {
		written = *w.Replicas
	}
	found := replicaRange{int(written), int(written)}
	autoscalers := s.autoscalers[w.scaled()]
	for i, user := range s.users[w.scaled()] {
		// The users of its template create the pods. The workload itself is scaled to zero, or soon will be.
		autoscalers = slices.Concat(autoscalers, s.autoscalers[user.scaled()])
		number := 1
		if user.Replicas != nil {
			number = int(*user.Replicas)
		}
		if i == 0 && written == 0 {
			found = replicaRange{number, number}
		}
		found = replicaRange{min(found.least, number), max(found.most, number)}
	}
	scaled := replicaRange{math.MaxInt, 0}
	for _, a := range autoscalers {
		scaled.least, scaled.most = min(scaled.least, int(a.MinReplicas)), max(scaled.most, int(a.MaxReplicas))
	}
	switch {
	case scaled.most > 0:
		return scaled
	case found.most == 0 && w.Kind != podTemplateKind:
		return replicaRange{0, 2}
	default:
		return found
	}
}
