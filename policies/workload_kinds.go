package policies

import (
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// WorkloadKind is a kind of object whose pods a Service can select. To support another kind, add a row to
// WorkloadKinds: the configuration and the permissions of the webhook are generated from it.
type WorkloadKind struct {
	Group string
	// Versions lists the versions that can be decoded. The first one is requested from a cluster.
	Versions []string
	Kind     string
	// Resource is the plural name in the API.
	Resource string
	// Custom is true if a CustomResourceDefinition defines the kind, so that a cluster may not serve it.
	Custom bool
	// Scaled is true if requests for the scale subresource are judged. Such a request sets the replicas of a workload
	// that exists already.
	Scaled bool
	// Makers lists the kinds of controllers that make objects of this kind from a template of their own. An object with
	// such a controller is not judged: its maker is, or its maker makes no pods for which a Service is likely.
	Makers []schema.GroupKind
	// Door says where objects of the kind are judged and looked up.
	Door WorkloadDoor
	// RevisionLabel is the label that distinguishes pods of different revisions while a rollout runs old and new pods
	// together. It is empty if the kind never runs them together, or if no label distinguishes them.
	RevisionLabel string

	// revisionLabels holds the keys of all labels that the controller sets on pods by revision, singleLabels the keys
	// of those that have a different value on each pod.
	revisionLabels, singleLabels []string
	// updatePath is the JSON Pointer of the update strategy; empty for a kind that does not replace pods.
	updatePath string
	// surges is true if the kind can create a new pod before it deletes an old one.
	surges bool

	read func(decode func(into any) error) (*Workload, Revision, error)
}

// WorkloadDoor says where objects of a kind are judged, and whether they are looked up as neighbours.
type WorkloadDoor string

// The values of WorkloadDoor. The zero value is Everywhere.
const (
	// Everywhere means that the kind is judged in files and at admission, and looked up as a neighbour.
	Everywhere WorkloadDoor = ""
	// NeverCached means that the kind is judged in files and at admission, but never looked up as a neighbour. Nearly
	// all of its objects are controlled by others, so a cache would hold objects that no rule uses.
	NeverCached WorkloadDoor = "NeverCached"
	// FilesOnly means that the kind is judged in files only, and never looked up as a neighbour: many Pods in charts are
	// tests of the chart. It is not judged at admission, because a webhook for all pods stops the cluster when it is
	// down.
	FilesOnly WorkloadDoor = "FilesOnly"
)

const (
	deploymentKind  = "Deployment"
	replicaSetKind  = "ReplicaSet"
	controllerKind  = "ReplicationController"
	statefulSetKind = "StatefulSet"
	daemonSetKind   = "DaemonSet"
	podKind         = "Pod"
	podTemplateKind = "PodTemplate"
	rolloutKind     = "Rollout"
	cloneSetKind    = "CloneSet"
)

// WorkloadKinds lists the kinds of workloads that are judged. It must not be changed.
//
// Sources of the labels and defaults: kubernetes v1.37.1, pkg/apis/apps/v1/defaults.go,
// pkg/controller/deployment/sync.go and pkg/controller/statefulset/stateful_set_utils.go; argo-rollouts v1.8.3,
// pkg/apis/rollouts/v1alpha1/types.go and utils/defaults; kruise v1.8.0, apis/apps and
// pkg/controller/cloneset/utils/cloneset_utils.go.
var WorkloadKinds = []WorkloadKind{
	{
		Group: "apps", Versions: []string{"v1"}, Kind: deploymentKind, Resource: "deployments", Scaled: true,
		RevisionLabel:  appsv1.DefaultDeploymentUniqueLabelKey,
		revisionLabels: []string{appsv1.DefaultDeploymentUniqueLabelKey},
		updatePath:     "/spec/strategy", surges: true, read: reading(newDeployment),
	},
	// StatefulSets and DaemonSets have no RevisionLabel. A StatefulSet deletes a pod before it creates its successor, and
	// a DaemonSet has one pod on each node, so it is right to count old and new pods together.
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
	{
		Group: "apps", Versions: []string{"v1"}, Kind: replicaSetKind, Resource: "replicasets", Door: NeverCached,
		Makers: []schema.GroupKind{{Group: "apps", Kind: deploymentKind}, {Group: "argoproj.io", Kind: rolloutKind}},
		read:   reading(newReplicaSet),
	},
	{
		Group: "", Versions: []string{"v1"}, Kind: controllerKind, Resource: "replicationcontrollers", Door: NeverCached,
		Scaled: true,
		Makers: []schema.GroupKind{{Group: "apps.openshift.io", Kind: "DeploymentConfig"}},
		read:   reading(newReplicationController),
	},
	// A PodTemplate makes no pods. The workloads that use it do.
	{
		Group: "", Versions: []string{"v1"}, Kind: podTemplateKind, Resource: "podtemplates", read: reading(newPodTemplate),
	},
	{
		Group: "", Versions: []string{"v1"}, Kind: podKind, Resource: "pods", Door: FilesOnly,
		Makers: []schema.GroupKind{
			{Group: "apps", Kind: replicaSetKind}, {Group: "apps", Kind: statefulSetKind},
			{Group: "apps", Kind: daemonSetKind}, {Group: "batch", Kind: "Job"},
			{Group: "", Kind: controllerKind},
			{Group: "", Kind: "Node"}, // the kubelet's mirror of a static pod
			{Group: "apps.kruise.io", Kind: cloneSetKind}, {Group: "apps.kruise.io", Kind: statefulSetKind},
			{Group: "apps.kruise.io", Kind: daemonSetKind},
		},
		read: reading(newPod),
	},
	{
		Group: "argoproj.io", Versions: []string{"v1alpha1"}, Kind: rolloutKind, Resource: "rollouts",
		Custom: true, Scaled: true,
		RevisionLabel: rolloutLabel, revisionLabels: []string{rolloutLabel},
		updatePath: "/spec/strategy", surges: true, read: reading(newRollout),
	},
	{
		Group: "apps.kruise.io", Versions: []string{"v1alpha1"}, Kind: cloneSetKind, Resource: "clonesets",
		Custom: true, Scaled: true,
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

// statefulSetLabels holds the keys of the labels that have a different value on each pod of a StatefulSet.
var statefulSetLabels = []string{appsv1.StatefulSetPodNameLabel, appsv1.PodIndexLabel}

// WorkloadKindOf returns the WorkloadKind with this apiVersion and kind, and false if there is none.
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

// APIVersion returns the apiVersion that is requested from a cluster: the group and the first of Versions.
func (k WorkloadKind) APIVersion() string {
	return schema.GroupVersion{Group: k.Group, Version: k.Versions[0]}.String()
}

// kindNames returns the names of the kinds of workloads for which include returns true, each once.
func kindNames(include func(WorkloadKind) bool) []string {
	var names []string
	for _, kind := range WorkloadKinds {
		if include(kind) && !slices.Contains(names, kind.Kind) {
			names = append(names, kind.Kind)
		}
	}
	return names
}

// workloadKinds lists the names of the kinds of workloads.
var workloadKinds = kindNames(func(WorkloadKind) bool { return true })

// Kinds lists the names of all kinds of objects that are judged: workloads and Service. It must not be changed.
var Kinds = append(slices.Clip(workloadKinds), kindService)

// SpreadKinds lists the names of the kinds of workloads whose pods may share a node unless something keeps them apart.
// It must not be changed.
var SpreadKinds = kindNames(func(k WorkloadKind) bool { return k.Kind != daemonSetKind && k.Kind != podKind })

// kind returns the row of WorkloadKinds for the workload.
func (w *Workload) kind() WorkloadKind {
	kind, _ := WorkloadKindOf(w.APIVersion, w.Kind)
	return kind
}
