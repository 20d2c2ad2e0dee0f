package policies

import (
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

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

// workloadKinds are the kinds of workloads, Kinds those of all objects that are judged, and SpreadKinds those whose pods may share a
// node unless something keeps them apart.
var (
	workloadKinds = kindNames(func(WorkloadKind) bool { return true })
	Kinds         = append(slices.Clip(workloadKinds), kindService)
	SpreadKinds   = kindNames(func(k WorkloadKind) bool { return k.Kind != daemonSetKind && k.Kind != podKind })
)

// kind is the row of the workload.
func (w *Workload) kind() WorkloadKind {
	kind, _ := WorkloadKindOf(w.APIVersion, w.Kind)
	return kind
}
