package policies

import (
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/version"
)

// Input is everything that a decision is made of. Nothing in it is ever changed.
type Input struct {
	// Operation is what is about to happen to Object.
	Operation Operation
	// Object is the object under review, with the API server's defaults.
	Object *Object
	// Old is its former self; set if, and only if, Operation is Update.
	Old *Object
	// Namespace is the Namespace of Object.
	Namespace Namespace
	// Related are its neighbours. The zero value means that they could not be seen.
	Related Related
	// Cluster is what is known of the cluster.
	Cluster Cluster
	// InFile tells whether the manifest that Object was read from writes spec.externalTrafficPolicy.
	// The zero value means that Object does not come from a file.
	InFile InFile
	// Final tells that nobody repairs Object any more: it is judged as it is, and not as a repair would leave it.
	Final bool
	// Now is the time by which exemptions expire.
	Now time.Time
}

// Operation is what is about to happen to an object.
type Operation string

// The operations that are judged.
const (
	Create Operation = "CREATE"
	Update Operation = "UPDATE"
)

// Namespace is what the rules read of a Namespace.
type Namespace struct {
	Name                string
	Labels, Annotations map[string]string
	// Assumed tells that the Namespace was not seen: Labels holds only what every Namespace has, and
	// what asks for other labels does not match.
	Assumed bool
}

// knows tells whether the labels that a selector asks for are known.
func (n Namespace) knows(selector *metav1.LabelSelector) bool {
	return !n.Assumed || !AsksForLabels(selector)
}

// AsksForLabels tells whether a selector of Namespaces asks for labels other than their name.
func AsksForLabels(selector *metav1.LabelSelector) bool {
	if selector == nil {
		return false
	}
	for key := range selector.MatchLabels {
		if key != corev1.LabelMetadataName {
			return true
		}
	}
	return slices.ContainsFunc(selector.MatchExpressions, func(r metav1.LabelSelectorRequirement) bool {
		return r.Key != corev1.LabelMetadataName
	})
}

// Related are the objects beside the one under review, in any order. They may hold more than its
// neighbours: what is no neighbour is passed over.
type Related struct {
	View View
	// Unseen are kinds of neighbours, such as Rollout.argoproj.io, that the cluster has and that could not be listed: what there is
	// of them beside the object is not known. They are in a fixed order.
	Unseen []string
	// Services are, for a workload, those that select its pods; for a Service, those that ask to share its address.
	Services []*corev1.Service
	// Workloads are, for a Service, those whose pods it selects, and, for a workload, the others
	// behind the same Services.
	Workloads []*Workload
	// Users are workloads that use the template of the object, or of one of Workloads, in the place of their own.
	Users []*Workload
	// Autoscalers are those that scale the object, one of Workloads, or one of Users.
	Autoscalers []Autoscaler
	// Endpoints are, for a Service without a selector, those that were written for it in files. Nobody looks them up in a
	// cluster, so that none means that they are not known.
	Endpoints []Endpoints
}

// users are those that use the template of a workload, sorted.
func (r Related) users(w *Workload) []*Workload {
	var found []*Workload
	for _, user := range r.Users {
		if user.Namespace == w.Namespace && user.TemplateOf == w.asTarget() {
			found = append(found, user)
		}
	}
	slices.SortFunc(found, func(a, b *Workload) int { return a.Ref.compare(b.Ref) })
	return found
}

// idle tells whether a workload is scaled to zero, and nothing is seen that would make pods of its template.
func (r Related) idle(w *Workload) bool {
	scales := func(a Autoscaler) bool {
		return a.Ref.Namespace == w.Namespace && a.Target == w.asTarget()
	}
	return w.Replicas != nil && *w.Replicas == 0 && len(r.users(w)) == 0 && !slices.ContainsFunc(r.Autoscalers, scales)
}

// View tells how much of an object's neighbourhood was seen.
type View string

// The views. The zero value is ViewNone, so that a caller who forgets it fails safe.
const (
	// ViewNone: the look-up failed, or nobody looked.
	ViewNone View = ""
	// ViewFiles: the files that were given, which are taken to be all there is.
	ViewFiles View = "Files"
	// ViewCluster: all of the cluster.
	ViewCluster View = "Cluster"
)

// Cluster is what is known of the cluster.
type Cluster struct {
	// Nodes is the number of nodes that may run the pods, where somebody told it; 0 means that nobody did.
	Nodes int
	// Known are the nodes themselves; nil where they are not known. Nodes counts in the place of their number.
	Known *Nodes
	// Version is the version of the API server; the zero value means Newest.
	Version Version
}

// Version is the minor version of a Kubernetes API server.
type Version struct{ Major, Minor uint }

// Newest is the newest version of Kubernetes whose behaviour this package was checked against.
var Newest = Version{1, 37}

// ParseVersion reads 1.28, v1.28, 1.28.3 and what an API server reports, such as v1.30.4+k3s1.
// The error is non-nil when text is none of these.
func ParseVersion(text string) (Version, error) {
	v, err := version.ParseGeneric(text)
	if err != nil || v.Major() != 1 {
		return Version{}, fmt.Errorf("%q is not a Kubernetes version; write it as 1.%d", text, Newest.Minor)
	}
	return Version{v.Major(), v.Minor()}, nil
}

// String is the form 1.37.
func (v Version) String() string { return fmt.Sprintf("%d.%d", v.Major, v.Minor) }

// orNewest returns Newest for the zero value.
func (v Version) orNewest() Version {
	if v == (Version{}) {
		return Newest
	}
	return v
}

// atLeast tells whether v is 1.minor or newer.
func (v Version) atLeast(minor uint) bool {
	v = v.orNewest()
	return v.Major > 1 || v.Major == 1 && v.Minor >= minor
}

// InFile tells whether a manifest writes spec.externalTrafficPolicy.
type InFile string

// The zero value means that the object does not come from a file.
const (
	InFileUnknown InFile = ""
	InFileWritten InFile = "Written"
	InFileAbsent  InFile = "Absent"
)
