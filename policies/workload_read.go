package policies

import (
	"cmp"
	"maps"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// reading returns a function that decodes a T and converts it with read.
func reading[T any, P interface {
	*T
	metav1.Object
}](read func(*T) *Workload) func(decode func(into any) error) (*Workload, Revision, error) {
	return func(decode func(into any) error) (*Workload, Revision, error) {
		var object T
		if err := decode(&object); err != nil {
			return nil, Revision{}, err
		}
		return read(&object), RevisionOf(P(&object)), nil
	}
}

// newWorkload returns a workload with the fields that all kinds have.
func newWorkload(
	kind string, meta metav1.ObjectMeta, selector *metav1.LabelSelector, template corev1.PodTemplateSpec,
) *Workload {
	// Most workloads have the same labels two or three times. One map for all of them takes a third of the memory.
	if maps.Equal(template.Labels, meta.Labels) {
		template.Labels = meta.Labels
	}
	if selector != nil && maps.Equal(selector.MatchLabels, template.Labels) {
		selector = &metav1.LabelSelector{MatchLabels: template.Labels, MatchExpressions: selector.MatchExpressions}
	}
	return &Workload{
		Ref:         Ref{APIVersion: "apps/v1", Kind: kind, Namespace: meta.Namespace, Name: nameOf(meta)},
		Labels:      meta.Labels,
		Annotations: withoutLastApplied(meta.Annotations),
		Controller:  controllerOf(meta),
		Selector:    selector,
		Template:    reducedTemplate(template),
	}
}

// NewWorkload converts a typed object, with which the Workload then shares maps and slices. It returns nil for a type
// that is not a workload.
func NewWorkload(object any) *Workload {
	var w *Workload
	switch o := object.(type) {
	case *appsv1.Deployment:
		w = newDeployment(o)
	case *appsv1.StatefulSet:
		w = newStatefulSet(o)
	case *appsv1.DaemonSet:
		w = newDaemonSet(o)
	case *appsv1.ReplicaSet:
		w = newReplicaSet(o)
	case *corev1.ReplicationController:
		w = newReplicationController(o)
	case *corev1.PodTemplate:
		w = newPodTemplate(o)
	case *corev1.Pod:
		w = newPod(o)
	default:
		return nil
	}
	w.Namespace = cmp.Or(w.Namespace, metav1.NamespaceDefault)
	return w
}

func newDeployment(d *appsv1.Deployment) *Workload {
	w := newWorkload(deploymentKind, d.ObjectMeta, d.Spec.Selector, d.Spec.Template)
	w.Replicas = d.Spec.Replicas
	w.Update = UpdateStrategy{
		Type:  UpdateType(cmp.Or(d.Spec.Strategy.Type, appsv1.RollingUpdateDeploymentStrategyType)),
		floor: true, paused: d.Spec.Paused,
	}
	rolling := cmp.Or(d.Spec.Strategy.RollingUpdate, &appsv1.RollingUpdateDeployment{}) // if absent, all defaults
	w.Update.MaxUnavailable = orDefault(rolling.MaxUnavailable, quarter)
	w.Update.MaxSurge = orDefault(rolling.MaxSurge, quarter)
	return w
}

func newStatefulSet(s *appsv1.StatefulSet) *Workload {
	w := newWorkload(statefulSetKind, s.ObjectMeta, s.Spec.Selector, s.Spec.Template)
	w.Replicas = s.Spec.Replicas
	w.Update = UpdateStrategy{
		Type:           UpdateType(cmp.Or(s.Spec.UpdateStrategy.Type, appsv1.RollingUpdateStatefulSetStrategyType)),
		MaxUnavailable: one, floor: true,
	}
	if rolling := s.Spec.UpdateStrategy.RollingUpdate; rolling != nil {
		w.Update.MaxUnavailable = orDefault(rolling.MaxUnavailable, one)
		w.Update.partitioned = rolling.Partition != nil && *rolling.Partition > 0
	}
	return w
}

func newDaemonSet(d *appsv1.DaemonSet) *Workload {
	w := newWorkload(daemonSetKind, d.ObjectMeta, d.Spec.Selector, d.Spec.Template)
	w.Update = UpdateStrategy{
		Type:           UpdateType(cmp.Or(d.Spec.UpdateStrategy.Type, appsv1.RollingUpdateDaemonSetStrategyType)),
		MaxUnavailable: one, up: true,
	}
	if rolling := d.Spec.UpdateStrategy.RollingUpdate; rolling != nil {
		w.Update.MaxUnavailable = orDefault(rolling.MaxUnavailable, one)
		w.Update.MaxSurge = orDefault(rolling.MaxSurge, none)
	}
	return w
}

func newReplicaSet(r *appsv1.ReplicaSet) *Workload {
	w := newWorkload(replicaSetKind, r.ObjectMeta, r.Spec.Selector, r.Spec.Template)
	w.Replicas = r.Spec.Replicas
	return w
}

func newReplicationController(c *corev1.ReplicationController) *Workload {
	var selector *metav1.LabelSelector
	if c.Spec.Selector != nil {
		selector = &metav1.LabelSelector{MatchLabels: c.Spec.Selector}
	}
	w := newWorkload(controllerKind, c.ObjectMeta, selector, *cmp.Or(c.Spec.Template, &corev1.PodTemplateSpec{}))
	w.APIVersion = "v1"
	w.Replicas = c.Spec.Replicas
	return w
}

func newPodTemplate(p *corev1.PodTemplate) *Workload {
	w := newWorkload(podTemplateKind, p.ObjectMeta, nil, p.Template)
	w.APIVersion = "v1"
	w.Replicas = new(int32)
	return w
}

func newPod(p *corev1.Pod) *Workload {
	w := newWorkload(podKind, p.ObjectMeta, nil, corev1.PodTemplateSpec{ObjectMeta: p.ObjectMeta, Spec: p.Spec})
	w.APIVersion = "v1"
	return w
}

var (
	none    = intstr.FromInt32(0)
	one     = intstr.FromInt32(1)
	fifth   = intstr.FromString("20%")
	quarter = intstr.FromString("25%")
	all     = intstr.FromString("100%")
)

func orDefault(written *intstr.IntOrString, value intstr.IntOrString) intstr.IntOrString {
	if written == nil {
		return value
	}
	return *written
}

// The custom kinds, with only the fields that are read.
type (
	rollout struct {
		metav1.ObjectMeta `json:"metadata"`
		Spec              struct {
			podMaker
			Paused      bool       `json:"paused"`
			WorkloadRef *targetRef `json:"workloadRef"`
			Strategy    struct {
				BlueGreen *struct{} `json:"blueGreen"`
				Canary    struct {
					rolling
					TrafficRouting     *struct{} `json:"trafficRouting"`
					DynamicStableScale bool      `json:"dynamicStableScale"`
				} `json:"canary"`
			} `json:"strategy"`
		} `json:"spec"`
	}
	cloneSet struct {
		metav1.ObjectMeta `json:"metadata"`
		Spec              struct {
			podMaker
			UpdateStrategy struct {
				rolling
				Paused    bool                `json:"paused"`
				Partition *intstr.IntOrString `json:"partition"`
			} `json:"updateStrategy"`
		} `json:"spec"`
	}
	advancedStatefulSet struct {
		metav1.ObjectMeta `json:"metadata"`
		Spec              struct {
			podMaker
			PodManagementPolicy appsv1.PodManagementPolicyType `json:"podManagementPolicy"`
			UpdateStrategy      struct {
				Type          UpdateType `json:"type"`
				RollingUpdate struct {
					rolling
					Paused    bool   `json:"paused"`
					Partition *int32 `json:"partition"`
				} `json:"rollingUpdate"`
			} `json:"updateStrategy"`
		} `json:"spec"`
	}

	podMaker struct {
		Replicas *int32                 `json:"replicas"`
		Selector *metav1.LabelSelector  `json:"selector"`
		Template corev1.PodTemplateSpec `json:"template"`
	}
	rolling struct {
		MaxUnavailable *intstr.IntOrString `json:"maxUnavailable"`
		MaxSurge       *intstr.IntOrString `json:"maxSurge"`
	}
)

func (m podMaker) workload(kind string, meta metav1.ObjectMeta) *Workload {
	w := newWorkload(kind, meta, m.Selector, m.Template)
	w.Replicas = m.Replicas
	return w
}

func newRollout(r *rollout) *Workload {
	w := r.Spec.workload(rolloutKind, r.ObjectMeta)
	if r.Spec.WorkloadRef != nil {
		w.TemplateOf = r.Spec.WorkloadRef.read()
	}
	w.Update = UpdateStrategy{Type: UpdateRolling, paused: r.Spec.Paused}
	switch canary := r.Spec.Strategy.Canary; {
	case r.Spec.Strategy.BlueGreen != nil, canary.TrafficRouting != nil && !canary.DynamicStableScale:
		w.Update.MaxSurge, w.Update.byTraffic, w.Update.atOnce = all, true, true
	case canary.TrafficRouting != nil:
		w.Update.MaxSurge, w.Update.byTraffic = one, true
	default:
		w.Update.MaxUnavailable = orDefault(canary.MaxUnavailable, quarter)
		w.Update.MaxSurge = orDefault(canary.MaxSurge, quarter)
		w.Update.floor = true
	}
	return w
}

func newCloneSet(c *cloneSet) *Workload {
	w := c.Spec.workload(cloneSetKind, c.ObjectMeta)
	updates := c.Spec.UpdateStrategy
	w.Update = UpdateStrategy{
		Type:           UpdateRolling,
		MaxUnavailable: orDefault(updates.MaxUnavailable, fifth),
		MaxSurge:       orDefault(updates.MaxSurge, none),
		up:             true, paused: updates.Paused,
		partitioned: updates.Partition != nil && !slices.Contains([]string{"0", "0%"}, updates.Partition.String()),
	}
	return w
}

func newAdvancedStatefulSet(s *advancedStatefulSet) *Workload {
	w := s.Spec.workload(statefulSetKind, s.ObjectMeta)
	updates := s.Spec.UpdateStrategy.RollingUpdate
	w.Update = UpdateStrategy{
		Type: cmp.Or(s.Spec.UpdateStrategy.Type, UpdateRolling), MaxUnavailable: one, floor: true,
		paused: updates.Paused, partitioned: updates.Partition != nil && *updates.Partition > 0,
	}
	if s.Spec.PodManagementPolicy == appsv1.ParallelPodManagement {
		w.Update.MaxUnavailable = orDefault(updates.MaxUnavailable, one)
	}
	return w
}

// targetRef is a reference to a workload as manifests write it.
type targetRef struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Name       string `json:"name"`
}

// read converts the reference. Missing fields default to those of a Deployment, as in KEDA.
func (t targetRef) read() WorkloadRef {
	return WorkloadRef{Ref{APIVersion: cmp.Or(t.APIVersion, "apps/v1")}.group(), cmp.Or(t.Kind, deploymentKind), t.Name}
}

// reducedTemplate returns a template with only the fields that determine how its pods are selected, placed and drained.
func reducedTemplate(template corev1.PodTemplateSpec) corev1.PodTemplateSpec {
	pod := template.Spec
	return corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: template.Labels},
		Spec: corev1.PodSpec{
			NodeName:                      pod.NodeName,
			NodeSelector:                  pod.NodeSelector,
			HostNetwork:                   pod.HostNetwork,
			RestartPolicy:                 pod.RestartPolicy,
			Affinity:                      pod.Affinity,
			Tolerations:                   pod.Tolerations,
			TopologySpreadConstraints:     pod.TopologySpreadConstraints,
			TerminationGracePeriodSeconds: pod.TerminationGracePeriodSeconds,
			Containers:                    reducedContainers(pod.Containers),
			InitContainers:                reducedContainers(pod.InitContainers),
		},
	}
}

// aProbe replaces every probe: rules read only whether there is one.
var aProbe = &corev1.Probe{}

func reducedContainers(containers []corev1.Container) []corev1.Container {
	if containers == nil {
		return nil
	}
	reduced := make([]corev1.Container, len(containers))
	for i, c := range containers {
		reduced[i] = corev1.Container{Name: c.Name, Ports: c.Ports, RestartPolicy: c.RestartPolicy}
		if c.Image == injectedImage {
			reduced[i].Image = c.Image
		}
		if c.ReadinessProbe != nil {
			reduced[i].ReadinessProbe = aProbe
		}
		if c.StartupProbe != nil {
			reduced[i].StartupProbe = aProbe
		}
		if c.Lifecycle != nil && c.Lifecycle.PreStop != nil {
			reduced[i].Lifecycle = &corev1.Lifecycle{PreStop: c.Lifecycle.PreStop}
		}
	}
	return reduced
}
