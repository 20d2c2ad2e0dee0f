package policies

import (
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/version"
)

// Input holds everything that a decision about one object depends on, apart from the rules and the settings. Decide
// changes nothing in it.
type Input struct {
	// Operation is the operation of the request: Create or Update.
	Operation Operation
	// Object is the object under review, with the API server's defaults.
	Object *Object
	// Old is the stored object that Object replaces. It is nil unless Operation is Update, and also if the stored object
	// cannot be read: then every finding counts as one that the request brings.
	Old *Object
	// Namespace is the Namespace of Object.
	Namespace Namespace
	// Related holds the neighbours of Object. The zero value means that they could not be looked up.
	Related Related
	// OldRelated holds the neighbours of Old, as Related holds those of Object. With the zero value, what the stored
	// object had because of its neighbours counts as brought by the request.
	OldRelated Related
	// Cluster describes the cluster, as far as it is known.
	Cluster Cluster
	// InFile says whether the manifest that Object was read from sets spec.externalTrafficPolicy.
	// The zero value means that Object does not come from a file.
	InFile InFile
	// Final is true if no repair will be applied to Object after this decision. Decide then judges Object as it is,
	// not as its repairs would leave it.
	Final bool
	// MutationsOnly is true if only the repairs of findings of mode Mutate are wanted. Others are then not tried, which
	// takes most of the time of a decision. The findings are the same.
	MutationsOnly bool
	// Now is the time at which exemptions are checked for expiry.
	Now time.Time
}

// Operation is the operation of an admission request.
type Operation string

// The operations that Decide judges.
const (
	Create Operation = "CREATE"
	Update Operation = "UPDATE"
)

// Namespace holds the parts of a Namespace that rules and policies read.
type Namespace struct {
	Name                string
	Labels, Annotations map[string]string
	// Assumed is true if the Namespace object was not available. Labels then holds only the label that every Namespace
	// has, kubernetes.io/metadata.name, and a selector that reads other labels does not match.
	Assumed bool
}

// knows reports whether the labels that a selector reads are known.
func (n Namespace) knows(selector *metav1.LabelSelector) bool {
	return !n.Assumed || !AsksForLabels(selector)
}

// AsksForLabels reports whether a selector of Namespaces reads any label other than kubernetes.io/metadata.name.
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

// Related holds the neighbours of the object under review, in any order. It may hold other objects as well, which
// Decide ignores.
type Related struct {
	View View
	// Unseen lists, in a fixed order, the kinds of neighbours that the cluster serves but that could not be listed, for
	// example Rollout.argoproj.io. Whether the object has neighbours of these kinds is unknown.
	Unseen []string
	// Services holds, for a workload, the Services that select its pods, and for a Service, the Services that ask to
	// share its address.
	Services []*corev1.Service
	// Workloads holds, for a Service, the workloads whose pods it selects, and for a workload, the other workloads
	// behind the same Services.
	Workloads []*Workload
	// Users holds the workloads that use the template of the object, or of one of Workloads, instead of their own. For a
	// workload, it can leave out those of Workloads that are not scaled to zero.
	Users []*Workload
	// Autoscalers holds the autoscalers of the object, of Workloads and of Users. It can leave out the same as Users.
	Autoscalers []Autoscaler
	// Endpoints holds, for a Service without a selector, its endpoints. An empty list means that they are unknown.
	Endpoints []Endpoints

	// found is set by an Index; nil if the fields above come from elsewhere.
	found *found
}

// View says where an object's neighbours were looked up, and so how complete they are.
type View string

// The views. The zero value is ViewNone, which is the safe one if a caller forgets to set it.
const (
	// ViewNone means that the neighbours are unknown: the look-up failed, or there was none.
	ViewNone View = ""
	// ViewFiles means that the neighbours come from the given files, which are assumed to be complete, or from a cluster
	// in which they are judged, too.
	ViewFiles View = "Files"
	// ViewCluster means that the neighbours come from the whole cluster.
	ViewCluster View = "Cluster"
)

// Cluster describes the cluster, as far as it is known.
type Cluster struct {
	// Nodes is the number of nodes that can run the pods, as given by the user. 0 means that none was given.
	Nodes int
	// Known holds the nodes of the cluster; nil if they are unknown. Nodes, if set, overrides their number.
	Known *Nodes
	// Version is the version of the API server; the zero value means Newest.
	Version Version
}

// Version is the minor version of a Kubernetes API server.
type Version struct{ Major, Minor uint }

// Newest is the newest version of Kubernetes that this package was checked against.
var Newest = Version{1, 37}

// ParseVersion parses versions such as 1.28, v1.28 and 1.28.3, and semantic versions that API servers report, such as
// v1.30.4+k3s1. The error is non-nil when text is not a version in one of these forms, or when its major version is not
// 1.
func ParseVersion(text string) (Version, error) {
	v, err := version.ParseSemantic(text)
	if err != nil {
		v, err = version.ParseSemantic(text + ".0")
	}
	if err != nil || v.Major() != 1 {
		return Version{}, fmt.Errorf("%q is not a valid Kubernetes version: want one such as 1.%d", text, Newest.Minor)
	}
	return Version{v.Major(), v.Minor()}, nil
}

// String returns the form 1.37.
func (v Version) String() string { return fmt.Sprintf("%d.%d", v.Major, v.Minor) }

// orNewest returns Newest for the zero value.
func (v Version) orNewest() Version {
	if v == (Version{}) {
		return Newest
	}
	return v
}

// atLeast reports whether v is 1.minor or newer. The zero value counts as Newest.
func (v Version) atLeast(minor uint) bool {
	v = v.orNewest()
	return v.Major > 1 || v.Major == 1 && v.Minor >= minor
}

// InFile says whether a manifest sets spec.externalTrafficPolicy.
type InFile string

// The values of InFile. The zero value, InFileUnknown, means that the object does not come from a file.
const (
	InFileUnknown InFile = ""
	InFileWritten InFile = "Written"
	InFileAbsent  InFile = "Absent"
)
