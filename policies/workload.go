package policies

import (
	"cmp"
	"encoding/json"
	"math"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// Workload is what the rules read of an object that makes pods from a template, or of a Pod that nobody made. It is the same for all
// kinds.
type Workload struct {
	Ref
	// Labels and Annotations are the workload's own, not those of its pods.
	Labels, Annotations map[string]string
	// Controlled tells that another object controls it, which would undo what is repaired here: it is never judged.
	Controlled bool
	// Replicas is the written number; nil for the default of one, and for a DaemonSet, which has none.
	Replicas *int32
	// Selector is the workload's own selector of its pods.
	Selector *metav1.LabelSelector
	// Template is the template of its pods, reduced to what tells how they are selected, placed and drained. It is empty if
	// TemplateOf is set.
	Template corev1.PodTemplateSpec
	// TemplateOf names the workload whose template it uses in the place of its own, in its own namespace; zero for none.
	TemplateOf WorkloadRef
	// Update is how it replaces its pods.
	Update UpdateStrategy
}

// WorkloadRef names a workload in the namespace of the object that refers to it, by whichever version.
type WorkloadRef struct{ Group, Kind, Name string }

// asTarget is how objects in its namespace refer to the workload.
func (w *Workload) asTarget() WorkloadRef { return WorkloadRef{w.group(), w.Kind, w.Name} }

// targetRef is a WorkloadRef as manifests write it.
type targetRef struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Name       string `json:"name"`
}

// read takes what is not written for a Deployment, as KEDA does.
func (t targetRef) read() WorkloadRef {
	return WorkloadRef{Ref{APIVersion: cmp.Or(t.APIVersion, "apps/v1")}.group(), cmp.Or(t.Kind, deploymentKind), t.Name}
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

// WorkloadKind is a kind of objects whose pods a Service may select. A further one is a row of WorkloadKinds, from which
// the configuration of the webhook and its permissions are generated.
type WorkloadKind struct {
	Group string
	// Versions are those that are read, the one that a cluster is asked for first.
	Versions []string
	Kind     string
	// Resource is the plural by which an API server knows it.
	Resource string
	// Custom tells that a CustomResourceDefinition brings it: a cluster may lack it.
	Custom bool
	// Scaled tells that a request for its subresource scale is judged: it sets the replicas of a workload that is known.
	Scaled bool
	// Door is where it is seen.
	Door WorkloadDoor
	// RevisionLabel is the label by which its controller tells the pods of one revision from those of another, where old and
	// new ones are there together; empty where they are not, or where the label does not tell.
	RevisionLabel string

	// revisionLabels are the keys of all labels by which its controller tells the pods of revisions from each other, and
	// singleLabels of those that it gives to no two pods with the same value.
	revisionLabels, singleLabels []string
	// updatePath is the JSON Pointer of how it replaces its pods; empty for a kind that does not.
	updatePath string
	// surges tells that it can make a new pod before an old one goes.
	surges bool

	read func(decode func(into any) error) (*Workload, error)
}

// WorkloadDoor is where objects of a kind are seen.
type WorkloadDoor string

// The doors. The zero value is everywhere.
const (
	// Everywhere: in files, at admission, and as a neighbour in a cluster.
	Everywhere WorkloadDoor = ""
	// NeverCached: in files and at admission. It is nobody's neighbour, since nearly all objects of the kind are controlled by
	// others, and would only be kept to be passed over.
	NeverCached WorkloadDoor = "NeverCached"
	// FilesOnly: in files, and nobody's neighbour: many a Pod in a chart is a test of it. A webhook that is asked about each pod stops
	// the cluster when it is down.
	FilesOnly WorkloadDoor = "FilesOnly"
)

const (
	deploymentKind  = "Deployment"
	replicaSetKind  = "ReplicaSet"
	statefulSetKind = "StatefulSet"
	daemonSetKind   = "DaemonSet"
	podKind         = "Pod"
	rolloutKind     = "Rollout"
	cloneSetKind    = "CloneSet"
)

// WorkloadKinds lists the kinds of workloads that are judged. It must not be changed.
//
// Sources of the labels and defaults: kubernetes v1.37.1, pkg/apis/apps/v1/defaults.go, pkg/controller/deployment/sync.go and
// pkg/controller/statefulset/stateful_set_utils.go; argo-rollouts v1.8.3, pkg/apis/rollouts/v1alpha1/types.go and utils/defaults;
// kruise v1.8.0, apis/apps and pkg/controller/cloneset/utils/cloneset_utils.go.
var WorkloadKinds = []WorkloadKind{
	{
		Group: "apps", Versions: []string{"v1"}, Kind: deploymentKind, Resource: "deployments", Scaled: true,
		RevisionLabel: appsv1.DefaultDeploymentUniqueLabelKey, revisionLabels: []string{appsv1.DefaultDeploymentUniqueLabelKey},
		updatePath: "/spec/strategy", surges: true, read: reading(newDeployment),
	},
	// A StatefulSet removes a pod before it makes its successor, and a DaemonSet has one on each node: counting old and new
	// pods together is right.
	{
		Group: "apps", Versions: []string{"v1"}, Kind: statefulSetKind, Resource: "statefulsets", Scaled: true,
		revisionLabels: []string{appsv1.ControllerRevisionHashLabelKey}, singleLabels: statefulSetLabels,
		updatePath: "/spec/updateStrategy", read: reading(newStatefulSet),
	},
	{
		Group: "apps", Versions: []string{"v1"}, Kind: daemonSetKind, Resource: "daemonsets",
		revisionLabels: []string{appsv1.ControllerRevisionHashLabelKey},
		updatePath:     "/spec/updateStrategy", surges: true, read: reading(newDaemonSet),
	},
	{Group: "apps", Versions: []string{"v1"}, Kind: replicaSetKind, Resource: "replicasets", Door: NeverCached, read: reading(newReplicaSet)},
	{Group: "", Versions: []string{"v1"}, Kind: podKind, Resource: "pods", Door: FilesOnly, read: reading(newPod)},
	{
		Group: "argoproj.io", Versions: []string{"v1alpha1"}, Kind: rolloutKind, Resource: "rollouts", Custom: true, Scaled: true,
		RevisionLabel: rolloutLabel, revisionLabels: []string{rolloutLabel},
		updatePath: "/spec/strategy", surges: true, read: reading(newRollout),
	},
	{
		Group: "apps.kruise.io", Versions: []string{"v1alpha1"}, Kind: cloneSetKind, Resource: "clonesets", Custom: true, Scaled: true,
		RevisionLabel:  appsv1.DefaultDeploymentUniqueLabelKey,
		revisionLabels: []string{appsv1.ControllerRevisionHashLabelKey, appsv1.DefaultDeploymentUniqueLabelKey},
		updatePath:     "/spec/updateStrategy", surges: true, read: reading(newCloneSet),
	},
	{
		Group: "apps.kruise.io", Versions: []string{"v1beta1", "v1alpha1"}, Kind: statefulSetKind, Resource: "statefulsets",
		Custom: true, Scaled: true,
		revisionLabels: []string{appsv1.ControllerRevisionHashLabelKey}, singleLabels: statefulSetLabels,
		updatePath: "/spec/updateStrategy", read: reading(newAdvancedStatefulSet),
	},
}

const rolloutLabel = "rollouts-pod-template-hash"

// statefulSetLabels are those of which every pod of a StatefulSet has its own value.
var statefulSetLabels = []string{appsv1.StatefulSetPodNameLabel, appsv1.PodIndexLabel}

// WorkloadKindOf returns the kind of workload that an apiVersion and a kind name.
func WorkloadKindOf(apiVersion, kind string) (WorkloadKind, bool) {
	gv, err := schema.ParseGroupVersion(apiVersion)
	i := slices.IndexFunc(WorkloadKinds, func(k WorkloadKind) bool {
		return k.Kind == kind && k.Group == gv.Group && slices.Contains(k.Versions, gv.Version)
	})
	if err != nil || i < 0 {
		return WorkloadKind{}, false
	}
	return WorkloadKinds[i], true
}

// APIVersion is the one that a cluster is asked for.
func (k WorkloadKind) APIVersion() string {
	return schema.GroupVersion{Group: k.Group, Version: k.Versions[0]}.String()
}

// kindNames are the kinds of workloads that a rule is about, each once.
func kindNames(about func(WorkloadKind) bool) []string {
	var names []string
	for _, kind := range WorkloadKinds {
		if about(kind) && !slices.Contains(names, kind.Kind) {
			names = append(names, kind.Kind)
		}
	}
	return names
}

// kind is the row of the workload.
func (w *Workload) kind() WorkloadKind {
	kind, _ := WorkloadKindOf(w.APIVersion, w.Kind)
	return kind
}

// podPath is the JSON Pointer of the spec of its pods.
func (w *Workload) podPath() string {
	if w.Kind == podKind {
		return "/spec"
	}
	return podSpecPath
}

// newWorkload is what all kinds have in common.
func newWorkload(kind string, meta metav1.ObjectMeta, selector *metav1.LabelSelector, template corev1.PodTemplateSpec) *Workload {
	return &Workload{
		Ref:         Ref{APIVersion: "apps/v1", Kind: kind, Namespace: meta.Namespace, Name: nameOf(meta)},
		Labels:      meta.Labels,
		Annotations: withoutLastApplied(meta.Annotations),
		Controlled:  metav1.GetControllerOfNoCopy(&meta) != nil,
		Selector:    selector,
		Template:    reducedTemplate(template),
	}
}

// NewWorkload returns what the rules read of a typed object, with which it shares maps and lists; nil for a type of which there is
// no kind of workload.
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
	case *corev1.Pod:
		w = newPod(o)
	default:
		return nil
	}
	w.Namespace = cmp.Or(w.Namespace, metav1.NamespaceDefault)
	return w
}

// reading decodes an object of a type.
func reading[T any](read func(*T) *Workload) func(decode func(into any) error) (*Workload, error) {
	return func(decode func(into any) error) (*Workload, error) {
		var object T
		if err := decode(&object); err != nil {
			return nil, err
		}
		return read(&object), nil
	}
}

func newDeployment(d *appsv1.Deployment) *Workload {
	w := newWorkload(deploymentKind, d.ObjectMeta, d.Spec.Selector, d.Spec.Template)
	w.Replicas = d.Spec.Replicas
	w.Update = UpdateStrategy{Type: UpdateType(cmp.Or(d.Spec.Strategy.Type, appsv1.RollingUpdateDeploymentStrategyType)), floor: true, paused: d.Spec.Paused}
	rolling := cmp.Or(d.Spec.Strategy.RollingUpdate, &appsv1.RollingUpdateDeployment{}) // absent is all defaults
	w.Update.MaxUnavailable, w.Update.MaxSurge = orDefault(rolling.MaxUnavailable, quarter), orDefault(rolling.MaxSurge, quarter)
	return w
}

func newStatefulSet(s *appsv1.StatefulSet) *Workload {
	w := newWorkload(statefulSetKind, s.ObjectMeta, s.Spec.Selector, s.Spec.Template)
	w.Replicas = s.Spec.Replicas
	w.Update = UpdateStrategy{Type: UpdateType(cmp.Or(s.Spec.UpdateStrategy.Type, appsv1.RollingUpdateStatefulSetStrategyType)), MaxUnavailable: one, floor: true}
	if rolling := s.Spec.UpdateStrategy.RollingUpdate; rolling != nil {
		w.Update.MaxUnavailable = orDefault(rolling.MaxUnavailable, one)
		w.Update.partitioned = rolling.Partition != nil && *rolling.Partition > 0
	}
	return w
}

func newDaemonSet(d *appsv1.DaemonSet) *Workload {
	w := newWorkload(daemonSetKind, d.ObjectMeta, d.Spec.Selector, d.Spec.Template)
	w.Update = UpdateStrategy{Type: UpdateType(cmp.Or(d.Spec.UpdateStrategy.Type, appsv1.RollingUpdateDaemonSetStrategyType)), MaxUnavailable: one, up: true}
	if rolling := d.Spec.UpdateStrategy.RollingUpdate; rolling != nil {
		w.Update.MaxUnavailable, w.Update.MaxSurge = orDefault(rolling.MaxUnavailable, one), orDefault(rolling.MaxSurge, none)
	}
	return w
}

func newReplicaSet(r *appsv1.ReplicaSet) *Workload {
	w := newWorkload(replicaSetKind, r.ObjectMeta, r.Spec.Selector, r.Spec.Template)
	w.Replicas = r.Spec.Replicas
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

// Of custom kinds, only the fields that are read.
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
		w.Update.MaxUnavailable, w.Update.MaxSurge = orDefault(canary.MaxUnavailable, quarter), orDefault(canary.MaxSurge, quarter)
		w.Update.floor = true
	}
	return w
}

func newCloneSet(c *cloneSet) *Workload {
	w := c.Spec.workload(cloneSetKind, c.ObjectMeta)
	updates := c.Spec.UpdateStrategy
	w.Update = UpdateStrategy{
		Type: UpdateRolling, MaxUnavailable: orDefault(updates.MaxUnavailable, fifth), MaxSurge: orDefault(updates.MaxSurge, none),
		up: true, paused: updates.Paused,
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

// isNeighbour tells whether others see the workload beside them: in files as in a cluster, where those of some kinds are seen only at
// their own admission, or not at all.
func (w *Workload) isNeighbour() bool { return w.kind().Door == Everywhere }

// MarshalJSON writes the workload in one form for all kinds: metadata and spec.
func (w *Workload) MarshalJSON() ([]byte, error) {
	type metadata struct {
		Namespace   string            `json:"namespace"`
		Name        string            `json:"name"`
		Labels      map[string]string `json:"labels,omitempty"`
		Annotations map[string]string `json:"annotations,omitempty"`
	}
	type spec struct {
		Replicas *int32                 `json:"replicas,omitempty"`
		Selector *metav1.LabelSelector  `json:"selector,omitempty"`
		Template corev1.PodTemplateSpec `json:"template"`
	}
	return json.Marshal(struct {
		APIVersion string   `json:"apiVersion"`
		Kind       string   `json:"kind"`
		Metadata   metadata `json:"metadata"`
		Spec       spec     `json:"spec"`
	}{
		w.APIVersion, w.Kind,
		metadata{w.Namespace, w.Name, w.Labels, w.Annotations},
		spec{w.Replicas, w.Selector, w.Template},
	})
}

// Scaled returns the workload with another number of replicas. Its Content holds no more than the workload does. The error is
// non-nil when that cannot be written as JSON.
func (w *Workload) Scaled(replicas int32) (*Object, error) {
	of := *w
	of.Replicas = &replicas
	raw, err := json.Marshal(&of)
	if err != nil {
		return nil, err
	}
	return &Object{Ref: of.Ref, Workload: &of, raw: raw}, nil
}

// reducedTemplate is a template without what says nothing of how its pods are selected, placed and drained.
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

// aProbe stands for any: what it asks no rule reads.
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

// Autoscaler is a HorizontalPodAutoscaler or a ScaledObject: what sets the replicas of a workload.
type Autoscaler struct {
	Ref Ref
	// Target is the workload that it scales, in its own namespace.
	Target WorkloadRef
	// MinReplicas and MaxReplicas are the least and the most pods that it makes.
	MinReplicas, MaxReplicas int32
}

// AutoscalerKind is a kind of objects that scale workloads.
type AutoscalerKind struct {
	Group string
	// Versions are those that are read, the one that a cluster is asked for first. Empty means all, which have the same fields.
	Versions []string
	Kind     string
	Resource string
	// Custom is as that of a WorkloadKind.
	Custom bool

	read func(content map[string]any) (Autoscaler, error)
}

// AutoscalerKinds lists the kinds of objects that scale workloads. It must not be changed.
var AutoscalerKinds = []AutoscalerKind{
	{
		Group: "autoscaling", Versions: []string{"v2", "v1", "v2beta2", "v2beta1"}, Kind: "HorizontalPodAutoscaler",
		Resource: "horizontalpodautoscalers", read: readHorizontalPodAutoscaler,
	},
	{Group: "keda.sh", Versions: []string{"v1alpha1"}, Kind: "ScaledObject", Resource: "scaledobjects", Custom: true, read: readScaledObject},
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

// APIVersion is the one that a cluster is asked for.
func (k AutoscalerKind) APIVersion() string {
	return schema.GroupVersion{Group: k.Group, Version: k.Versions[0]}.String()
}

// Autoscales tells whether objects of an apiVersion and kind scale workloads, so that NewAutoscaler takes them.
func Autoscales(apiVersion, kind string) bool {
	_, ok := autoscalerKindOf(apiVersion, kind)
	return ok
}

// NewAutoscaler decodes an object of one of AutoscalerKinds.
// The error is non-nil when a field has a value that the API server could not decode; it is a
// *FieldError where the field is known.
func NewAutoscaler(content map[string]any) (Autoscaler, error) {
	apiVersion, _ := content["apiVersion"].(string)
	kind, _ := content["kind"].(string)
	row, _ := autoscalerKindOf(apiVersion, kind)
	autoscaler, err := row.read(map[string]any{"metadata": content["metadata"], "spec": content["spec"]})
	autoscaler.Ref.APIVersion, autoscaler.Ref.Kind = apiVersion, kind
	return autoscaler, err
}

// readHorizontalPodAutoscaler reads what is the same in all versions.
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

// readScaledObject reads what KEDA makes a HorizontalPodAutoscaler of, with its defaults.
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
	return newAutoscaler(scaled.ObjectMeta, scaled.Spec.ScaleTargetRef.read(), least, most), nil
}

func newAutoscaler(meta metav1.ObjectMeta, target WorkloadRef, least, most int32) Autoscaler {
	return Autoscaler{
		Ref:    Ref{Namespace: cmp.Or(meta.Namespace, metav1.NamespaceDefault), Name: nameOf(meta)},
		Target: target, MinReplicas: least, MaxReplicas: most,
	}
}

// replicaRange is how few and how many pods a workload may have.
type replicaRange struct {
	// least is 0 where the workload may be scaled to zero. most is 0 for a DaemonSet, whose nodes decide.
	least, most int
}

// replicasOf is what is written, or what those that scale it allow. A workload that is scaled to zero, and of which nobody says more,
// will hardly stay so: it counts as two.
func replicasOf(w *Workload, related Related) replicaRange {
	if w.Kind == daemonSetKind {
		return replicaRange{}
	}
	written := int32(1)
	if w.Replicas != nil {
		written = *w.Replicas
	}
	found := replicaRange{int(written), int(written)}
	names := []WorkloadRef{w.asTarget()}
	users := related.users(w)
	for i, user := range users {
		// Its pods are made by those that use its template: it is scaled to zero itself, or soon will be.
		names = append(names, user.asTarget())
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
	for _, a := range related.Autoscalers {
		if a.Ref.Namespace == w.Namespace && slices.Contains(names, a.Target) {
			scaled.least, scaled.most = min(scaled.least, int(a.MinReplicas)), max(scaled.most, int(a.MaxReplicas))
		}
	}
	switch {
	case scaled.most > 0:
		return scaled
	case found.most == 0:
		return replicaRange{0, 2}
	default:
		return found
	}
}
