package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/dynamic"

	"github.com/sourceward/sourceward/api/v1alpha1"
	"github.com/sourceward/sourceward/test/cluster"
	"github.com/sourceward/sourceward/test/sandbox"
)

const (
	truthNamespace = "truth"
	truthClients   = 6
	// The numbers of requests, each sent without and with the webhook.
	truthCreations = 480
	truthUpdates   = 4_476
)

// TestTruthTable sends the same requests about Services to an API server before and after Sourceward is installed, and
// compares the verdicts, the resulting objects and the warnings. Every difference must be one that a few rules, stated
// here independently of package policies, expect; see truthExpect. The requests are all combinations of a few values,
// so nothing is random. The Services of updates are older than the installation, as in a cluster that gets Sourceward
// later.
func TestTruthTable(t *testing.T) {
	t.Parallel()
	e := newBareEnvironment(t, cluster.Options{})
	e.namespace(t, truthNamespace)
	config := e.Config()
	config.QPS = -1 // no client-side rate limit
	config.WarningHandlerWithContext = truthWarnings{}
	objects, err := dynamic.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	resource := schema.GroupVersionResource{Version: "v1", Resource: "services"}
	services := objects.Resource(resource).Namespace(truthNamespace)

	creations := truthCreateRequests(t)
	var updates []truthRequest
	for i, shape := range truthShapes {
		updates = append(updates, truthUpdateRequests(t, shape, shape.store(t, services, fmt.Sprint("shape-", i)))...)
	}
	if len(creations) != truthCreations || len(updates) != truthUpdates {
		t.Errorf("%d creations and %d updates of %d Services, want %d and %d",
			len(creations), len(updates), len(truthShapes), truthCreations, truthUpdates)
	}
	requests := slices.Concat(creations, updates)
	without := truthSend(t, services, requests)
	e.installSourceward(t, sandbox.Options{Flags: []string{"--verbosity=0"}})
	with := truthSend(t, services, requests)

	tally := truthTally{creations: map[truthClass]int{}, updates: map[truthClass]int{}, unexpected: map[string]int{}}
	for i, request := range requests {
		tally.compare(t, request, without[i], with[i])
	}
	tally.report(t)
}

// truthWarnings adds the warnings of a response to the *[]string in the context of the request.
type truthWarnings struct{}

func (truthWarnings) HandleWarningHeaderWithContext(ctx context.Context, _ int, _, text string) {
	if lines, ok := ctx.Value(truthWarnings{}).(*[]string); ok {
		*lines = append(*lines, text)
	}
}

// truthAnnotations is a value of a table: the annotations of a Service that the rules read.
type truthAnnotations struct {
	name        string
	annotations map[string]string
}

func (a truthAnnotations) String() string { return a.name }

// The annotations that the rules read.
const (
	// truthHard requires Local, and truthForbids makes the controller of the load balancer reject it. Both have no effect
	// on types other than LoadBalancer, since no controller reads them there.
	truthHard    = "networking.gke.io/weighted-load-balancing"
	truthForbids = "kube-vip.io/leaseName"

	truthExemptNeedsLocal = v1alpha1.AnnotationExemptPrefix + "source-ip-needs-local"
	truthExemptForbidden  = v1alpha1.AnnotationExemptPrefix + "local-forbidden"
)

var (
	truthNoAnnotation = truthAnnotations{"no annotation", nil}
	truthPreserve     = truthAnnotations{"preserve", map[string]string{v1alpha1.AnnotationSourceIP: "preserve"}}
	truthIgnore       = truthAnnotations{"ignore", map[string]string{v1alpha1.AnnotationSourceIP: "ignore"}}
	truthRequires     = truthAnnotations{"hard", map[string]string{truthHard: "pods-per-node"}}
	truthRejects      = truthAnnotations{"forbidding", map[string]string{truthForbids: "shared"}}

	truthPreserveAndRejects = truthAnnotations{"preserve and forbidding", map[string]string{
		v1alpha1.AnnotationSourceIP: "preserve", truthForbids: "shared",
	}}
	truthPreserveAndRequires = truthAnnotations{"preserve and hard", map[string]string{
		v1alpha1.AnnotationSourceIP: "preserve", truthHard: "pods-per-node",
	}}
	truthExemptRequires = truthAnnotations{"hard and exempt", map[string]string{
		truthHard: "pods-per-node", truthExemptNeedsLocal: "known",
	}}
	truthExemptRejects = truthAnnotations{"forbidding and exempt", map[string]string{
		truthForbids: "shared", truthExemptForbidden: "known",
	}}

	truthAllAnnotations = []truthAnnotations{
		truthNoAnnotation, truthPreserve, truthIgnore, truthRequires, truthRejects,
	}
	truthKeys = []string{
		v1alpha1.AnnotationSourceIP, truthHard, truthForbids, truthExemptNeedsLocal, truthExemptForbidden,
	}
)

// truthType is a value of a table: the type of a Service, and what makes it externally accessible.
type truthType struct {
	name string
	spec map[string]any
}

func (t truthType) String() string { return t.name }

var (
	truthClusterIP    = truthType{"ClusterIP", map[string]any{"type": "ClusterIP"}}
	truthHeadless     = truthType{"headless", map[string]any{"type": "ClusterIP", "clusterIP": "None"}}
	truthExternalIPs  = truthType{"externalIPs", map[string]any{"type": "ClusterIP", "externalIPs": []any{"192.0.2.1"}}}
	truthNodePort     = truthType{"NodePort", map[string]any{"type": "NodePort"}}
	truthLoadBalancer = truthType{"LoadBalancer", map[string]any{"type": "LoadBalancer"}}
	truthExternalName = truthType{
		"ExternalName", map[string]any{"type": "ExternalName", "externalName": "web.example.com"},
	}

	truthAllTypes = []truthType{
		truthClusterIP, truthHeadless, truthExternalIPs, truthNodePort, truthLoadBalancer, truthExternalName,
	}
	// truthNewTypes are the types that updates change a Service to.
	truthNewTypes = []truthType{truthClusterIP, truthNodePort, truthLoadBalancer}
)

// truthLeftOut is the traffic policy of a manifest without one. Another one that API servers refuse is truthInvalid.
const (
	truthLeftOut = ""
	truthInvalid = "local"
)

var truthPolicies = []string{truthLeftOut, "Cluster", "Local", truthInvalid}

// truthManifest is a Service as its author writes it.
type truthManifest struct {
	typ         truthType
	policy      string
	annotations truthAnnotations
	touched     bool // has a label that no rule reads
}

func (m truthManifest) String() string {
	policy := m.policy
	if policy == truthLeftOut {
		policy = "no policy"
	}
	return fmt.Sprintf("%s, %s, %s", m.typ, policy, m.annotations)
}

// object returns the manifest as an object.
func (m truthManifest) object(name string) *unstructured.Unstructured {
	object := differentialService(name, maps.Clone(m.typ.spec))
	spec := object.Object["spec"].(map[string]any)
	spec["selector"] = map[string]any{"app": "web"}
	spec["ports"] = []any{map[string]any{"port": int64(80), "protocol": "TCP"}}
	if m.policy != truthLeftOut {
		spec["externalTrafficPolicy"] = m.policy
	}
	object.SetNamespace(truthNamespace)
	if m.annotations.annotations != nil {
		object.SetAnnotations(maps.Clone(m.annotations.annotations))
	}
	if m.touched {
		object.SetLabels(map[string]string{truthTouched: "yes"})
	}
	return object
}

const truthTouched = "truth.example.com/touched"

// applied returns the object with kubectl's record of a manifest.
func (m truthManifest) applied(t *testing.T, object *unstructured.Unstructured) *unstructured.Unstructured {
	t.Helper()
	record, err := m.object(object.GetName()).MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	annotations := object.GetAnnotations()
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations[corev1.LastAppliedConfigAnnotation] = string(record)
	object.SetAnnotations(annotations)
	return object
}

// truthWay is a value of a table: how a client creates a Service.
type truthWay string

const (
	// truthPost leaves no record of what was written, as kubectl create, Helm 3 and Terraform do.
	truthPost truthWay = "POST"
	// truthClientSide is kubectl apply.
	truthClientSide truthWay = "client-side apply"
	truthServerSide truthWay = "server-side apply"
	// truthRestore creates an object with the record of a manifest with another policy, as a restored backup may have.
	truthRestore truthWay = "POST with another record"
)

var truthWays = []truthWay{truthPost, truthClientSide, truthServerSide, truthRestore}

// The field managers of server-side apply.
const (
	truthOwner = "owner"
	truthOther = "other"
)

// truthCall sends one request. The error is that of the API server.
type truthCall func(ctx context.Context, services dynamic.ResourceInterface) (*unstructured.Unstructured, error)

// creating returns the request that creates a Service from a manifest.
func (w truthWay) creating(t *testing.T, m truthManifest, name string) truthCall {
	t.Helper()
	object := m.object(name)
	switch w {
	case truthServerSide:
		return truthApplying(t, object, truthOwner, false)
	case truthClientSide:
		object = m.applied(t, object)
	case truthRestore:
		other := m
		if other.policy = "Local"; m.policy == "Local" || m.policy == truthInvalid {
			other.policy = "Cluster"
		}
		object = other.applied(t, object)
	}
	return func(ctx context.Context, services dynamic.ResourceInterface) (*unstructured.Unstructured, error) {
		return services.Create(ctx, object, metav1.CreateOptions{})
	}
}

// truthApplying returns a server-side apply.
func truthApplying(t *testing.T, object *unstructured.Unstructured, manager string, dryRun bool) truthCall {
	t.Helper()
	body, err := object.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	options := metav1.PatchOptions{FieldManager: manager, Force: new(true)}
	if dryRun {
		options.DryRun = []string{metav1.DryRunAll}
	}
	return func(ctx context.Context, services dynamic.ResourceInterface) (*unstructured.Unstructured, error) {
		return services.Patch(ctx, object.GetName(), types.ApplyPatchType, body, options)
	}
}

// truthRequest is one request of the table.
type truthRequest struct {
	title  string
	name   string
	stored *unstructured.Unstructured // nil for a creation
	call   truthCall
}

func truthCreateRequests(t *testing.T) []truthRequest {
	t.Helper()
	var requests []truthRequest
	for _, typ := range truthAllTypes {
		for _, policy := range truthPolicies {
			for _, annotations := range truthAllAnnotations {
				for _, way := range truthWays {
					m := truthManifest{typ: typ, policy: policy, annotations: annotations}
					name := fmt.Sprint("creation-", len(requests))
					requests = append(requests, truthRequest{
						title: fmt.Sprintf("%s creates %s", way, m), name: name, call: way.creating(t, m, name),
					})
				}
			}
		}
	}
	return requests
}

// truthShape is a Service that exists before Sourceward is installed.
type truthShape struct {
	manifest truthManifest
	way      truthWay
	// patched is the policy that the Service was patched to after that, without a change of the manifest; empty for none.
	patched string
}

// truthShapes are Services in the states that a cluster may have, with each kind of record of what was written.
var truthShapes = []truthShape{
	{truthManifest{typ: truthClusterIP, annotations: truthNoAnnotation}, truthPost, ""},
	{truthManifest{typ: truthClusterIP, annotations: truthPreserve}, truthClientSide, ""},
	{truthManifest{typ: truthNodePort, annotations: truthNoAnnotation}, truthPost, ""},
	{truthManifest{typ: truthNodePort, policy: "Local", annotations: truthNoAnnotation}, truthClientSide, ""},
	{truthManifest{typ: truthNodePort, policy: "Cluster", annotations: truthPreserve}, truthServerSide, ""},
	{truthManifest{typ: truthNodePort, annotations: truthRequires}, truthPost, ""},
	{truthManifest{typ: truthLoadBalancer, annotations: truthNoAnnotation}, truthPost, ""},
	{truthManifest{typ: truthLoadBalancer, policy: "Cluster", annotations: truthNoAnnotation}, truthClientSide, ""},
	{truthManifest{typ: truthLoadBalancer, policy: "Local", annotations: truthNoAnnotation}, truthServerSide, ""},
	{truthManifest{typ: truthLoadBalancer, annotations: truthPreserve}, truthPost, ""},
	{truthManifest{typ: truthLoadBalancer, policy: "Cluster", annotations: truthPreserve}, truthClientSide, ""},
	{truthManifest{typ: truthLoadBalancer, policy: "Local", annotations: truthPreserve}, truthClientSide, "Cluster"},
	{truthManifest{typ: truthLoadBalancer, policy: "Local", annotations: truthPreserve}, truthServerSide, ""},
	{truthManifest{typ: truthLoadBalancer, policy: "Cluster", annotations: truthIgnore}, truthClientSide, ""},
	{truthManifest{typ: truthLoadBalancer, annotations: truthRequires}, truthPost, ""},
	{truthManifest{typ: truthLoadBalancer, policy: "Cluster", annotations: truthRequires}, truthServerSide, ""},
	{truthManifest{typ: truthLoadBalancer, policy: "Local", annotations: truthRejects}, truthPost, ""},

	{truthManifest{typ: truthLoadBalancer, annotations: truthPreserveAndRejects}, truthPost, ""},
	{truthManifest{typ: truthLoadBalancer, annotations: truthPreserveAndRequires}, truthPost, ""},
	{truthManifest{typ: truthLoadBalancer, annotations: truthExemptRequires}, truthClientSide, ""},
	{truthManifest{typ: truthLoadBalancer, policy: "Local", annotations: truthExemptRejects}, truthServerSide, ""},

	{truthManifest{typ: truthExternalIPs, annotations: truthNoAnnotation}, truthPost, ""},
	{truthManifest{typ: truthExternalIPs, policy: "Local", annotations: truthNoAnnotation}, truthClientSide, ""},
	{truthManifest{typ: truthExternalIPs, policy: "Cluster", annotations: truthPreserve}, truthServerSide, ""},
	{truthManifest{typ: truthExternalIPs, policy: "Local", annotations: truthRejects}, truthPost, ""},
	{truthManifest{typ: truthHeadless, annotations: truthPreserve}, truthPost, ""},
	{truthManifest{typ: truthExternalName, annotations: truthNoAnnotation}, truthPost, ""},
	{truthManifest{typ: truthExternalName, annotations: truthPreserve}, truthClientSide, ""},
}

func (s truthShape) String() string {
	if s.patched != "" {
		return fmt.Sprintf("[%s by %s, patched to %s]", s.manifest, s.way, s.patched)
	}
	return fmt.Sprintf("[%s by %s]", s.manifest, s.way)
}

// store creates the Service, and returns it as it is stored.
func (s truthShape) store(t *testing.T, services dynamic.ResourceInterface, name string) *unstructured.Unstructured {
	t.Helper()
	stored, err := s.way.creating(t, s.manifest, name)(t.Context(), services)
	if err == nil && s.patched != "" {
		patch := fmt.Sprintf(`{"spec":{"externalTrafficPolicy":%q}}`, s.patched)
		stored, err = services.Patch(t.Context(), name, types.MergePatchType, []byte(patch), metav1.PatchOptions{})
	}
	if err != nil {
		t.Fatalf("store %s: %v", s, err)
	}
	return stored
}

// truthUpdateRequests returns all updates of a Service. Each changes a label, so none is empty: changes of the type, of
// the policy and of the annotations, and all combinations of them. They are dry runs, so that all see the same Service.
func truthUpdateRequests(t *testing.T, s truthShape, stored *unstructured.Unstructured) []truthRequest {
	t.Helper()
	var requests []truthRequest
	add := func(m truthManifest) {
		m.touched = true
		for _, way := range []struct {
			name string
			call truthCall
		}{
			{"PUT", s.putting(m, stored)},
			{"merge patch", s.patching(t, m, stored)},
			{"server-side apply", s.applying(t, m, stored)},
		} {
			requests = append(requests, truthRequest{
				title: fmt.Sprintf("%s: %s becomes %s", way.name, s, m), name: stored.GetName(), stored: stored, call: way.call,
			})
		}
	}
	for _, typ := range withKept(truthNewTypes, s.manifest.typ) {
		for _, annotations := range withKept(truthAllAnnotations, s.manifest.annotations) {
			for _, policy := range truthPolicies {
				// The API server refuses the invalid one whatever the annotations are.
				if policy != truthInvalid || annotations.String() == s.manifest.annotations.String() {
					add(truthManifest{typ: typ, policy: policy, annotations: annotations})
				}
			}
		}
	}
	return requests
}

// withKept returns values, and the one that a Service has if it is not among them.
func withKept[T fmt.Stringer](values []T, kept T) []T {
	if slices.ContainsFunc(values, func(value T) bool { return value.String() == kept.String() }) {
		return values
	}
	return append(slices.Clone(values), kept)
}

// putting returns the update by a client that reads a Service, changes it and writes it back, and so keeps every
// record.
func (s truthShape) putting(m truthManifest, stored *unstructured.Unstructured) truthCall {
	object := differentialService(stored.GetName(), runtime.DeepCopyJSON(stored.Object)["spec"].(map[string]any))
	object.SetNamespace(truthNamespace)
	object.SetLabels(map[string]string{truthTouched: "yes"})
	annotations := stored.GetAnnotations()
	maps.DeleteFunc(annotations, func(key, _ string) bool { return slices.Contains(truthKeys, key) })
	if annotations == nil {
		annotations = map[string]string{}
	}
	maps.Copy(annotations, m.annotations.annotations)
	object.SetAnnotations(annotations)
	for key, value := range s.typePatch(m) {
		setOrDelete(object, value, "spec", key)
	}
	var policy any
	if m.policy != truthLeftOut {
		policy = m.policy
	}
	setOrDelete(object, policy, "spec", "externalTrafficPolicy")
	return func(ctx context.Context, services dynamic.ResourceInterface) (*unstructured.Unstructured, error) {
		return services.Update(ctx, object, metav1.UpdateOptions{DryRun: []string{metav1.DryRunAll}})
	}
}

func setOrDelete(object *unstructured.Unstructured, value any, path ...string) {
	if value == nil {
		unstructured.RemoveNestedField(object.Object, path...)
		return
	}
	if err := unstructured.SetNestedField(object.Object, value, path...); err != nil {
		panic(err) // The paths lead to objects.
	}
}

// typePatch returns the merge patch of spec that changes the type.
func (s truthShape) typePatch(m truthManifest) map[string]any {
	patch := map[string]any{}
	if m.typ.name == s.manifest.typ.name {
		return patch
	}
	for key := range s.manifest.typ.spec {
		patch[key] = nil
	}
	maps.Copy(patch, m.typ.spec)
	return patch
}

// patching returns the merge patch that makes a Service like a manifest. For one that was applied by a client, it is
// the patch of kubectl apply, with a new record; else it is one without a record, as of kubectl patch.
func (s truthShape) patching(t *testing.T, m truthManifest, stored *unstructured.Unstructured) truthCall {
	t.Helper()
	annotations, spec := map[string]any{}, s.typePatch(m)
	for key := range s.manifest.annotations.annotations {
		annotations[key] = nil
	}
	for key, value := range m.annotations.annotations {
		annotations[key] = value
	}
	if m.policy != truthLeftOut {
		spec["externalTrafficPolicy"] = m.policy
	}
	if s.way == truthClientSide {
		record := m.applied(t, m.object(stored.GetName())).GetAnnotations()[corev1.LastAppliedConfigAnnotation]
		annotations[corev1.LastAppliedConfigAnnotation] = record
		if s.manifest.policy != truthLeftOut && m.policy == truthLeftOut {
			spec["externalTrafficPolicy"] = nil
		}
	}
	body, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"annotations": annotations, "labels": map[string]any{truthTouched: "yes"}}, "spec": spec,
	})
	if err != nil {
		t.Fatal(err)
	}
	options := metav1.PatchOptions{DryRun: []string{metav1.DryRunAll}}
	return func(ctx context.Context, services dynamic.ResourceInterface) (*unstructured.Unstructured, error) {
		return services.Patch(ctx, stored.GetName(), types.MergePatchType, body, options)
	}
}

// applying returns the server-side apply of a manifest, by its owner or by a client that did not create the Service and
// forces conflicts.
func (s truthShape) applying(t *testing.T, m truthManifest, stored *unstructured.Unstructured) truthCall {
	t.Helper()
	manager := truthOther
	if s.way == truthServerSide {
		manager = truthOwner
	}
	return truthApplying(t, m.object(stored.GetName()), manager, true)
}

// truthResponse is a response of the API server.
type truthResponse struct {
	code    int32
	message string
	// fields are the fields for which the API server itself refuses the request.
	fields   []string
	object   *unstructured.Unstructured // nil if the request was refused
	warnings []string
}

// truthSend sends requests, and returns the responses in the same order.
func truthSend(t *testing.T, services dynamic.ResourceInterface, requests []truthRequest) []truthResponse {
	t.Helper()
	start := time.Now()
	responses := make([]truthResponse, len(requests))
	group, ctx := errgroup.WithContext(t.Context())
	group.SetLimit(truthClients)
	for i, request := range requests {
		group.Go(func() error {
			send := func(ctx context.Context) (done bool, err error) {
				responses[i], err = request.send(ctx, services)
				return !isNotEvaluated(responses[i].warnings), err
			}
			return wait.PollUntilContextTimeout(ctx, time.Millisecond, patience, true, send)
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d requests in %s", len(requests), time.Since(start).Round(time.Second))
	return responses
}

// send sends the request, and deletes what it creates. The error is non-nil if there is no response.
func (r truthRequest) send(ctx context.Context, services dynamic.ResourceInterface) (truthResponse, error) {
	response := truthResponse{code: http.StatusOK}
	object, err := r.call(context.WithValue(ctx, truthWarnings{}, &response.warnings), services)
	if err == nil {
		response.object = object
		if r.stored == nil {
			err = services.Delete(ctx, r.name, metav1.DeleteOptions{})
		}
		return response, err
	}
	refusal, ok := errors.AsType[*apierrors.StatusError](err)
	if !ok {
		return response, fmt.Errorf("%s: %w", r.title, err)
	}
	response.code, response.message = refusal.ErrStatus.Code, refusal.ErrStatus.Message
	if details := refusal.ErrStatus.Details; details != nil {
		for _, cause := range details.Causes {
			response.fields = append(response.fields, cause.Field)
		}
	}
	return response, nil
}

// service returns the Service of a response.
func (r truthResponse) service(t *testing.T) *corev1.Service {
	t.Helper()
	return truthService(t, r.object)
}

func truthService(t *testing.T, object *unstructured.Unstructured) *corev1.Service {
	t.Helper()
	service := &corev1.Service{}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, service); err != nil {
		t.Fatal(err)
	}
	return service
}

// comparable returns the labels, the annotations and the spec, without the values that the API server allocates anew
// for each request.
func (r truthResponse) comparable(t *testing.T) corev1.Service {
	t.Helper()
	service := r.service(t)
	const allocatedIP, allocatedPort = "allocated", 1
	if service.Spec.ClusterIP != "" && service.Spec.ClusterIP != corev1.ClusterIPNone {
		service.Spec.ClusterIP, service.Spec.ClusterIPs = allocatedIP, []string{allocatedIP}
	}
	for i, port := range service.Spec.Ports {
		service.Spec.Ports[i].NodePort = min(port.NodePort, allocatedPort)
	}
	service.Spec.HealthCheckNodePort = min(service.Spec.HealthCheckNodePort, allocatedPort)
	return corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Labels: service.Labels, Annotations: service.Annotations}, Spec: service.Spec,
	}
}

// truthClass names how the verdicts without and with the webhook may differ.
type truthClass string

const (
	truthSame      truthClass = "no difference"
	truthExplained truthClass = "refused anyway (422): /mutate refuses it first, and says why"
	truthSoft      truthClass = "not written, and the request brings our annotation's wish: repaired to Local"
	truthHardClass truthClass = "not written, and the request brings the hard reason: repaired to Local"
	truthDenied    truthClass = "written Cluster, and the request brings the hard reason: denied"
	truthForbidden truthClass = "the request brings Local, which the load balancer's controller rejects: denied"

	truthUnexpected truthClass = "not intended"
)

var truthClasses = []truthClass{truthSame, truthExplained, truthSoft, truthHardClass, truthDenied, truthForbidden}

// truthTally counts requests by their class. Its maps must not be nil.
type truthTally struct {
	creations, updates map[truthClass]int
	// unexpected counts the requests whose verdict is not the intended one, by both.
	unexpected map[string]int
	problems   int
	// knownWritten counts the accepted requests after which the policy is known to be written, and overridden those of
	// them whose policy the webhook changed.
	knownWritten, overridden int
	// there counts the updates after which the Service has a finding that it had before, and denied and repaired those of
	// them that were refused or repaired for that finding.
	there, denied, repaired int
	warned                  int
}

// compare compares the two responses to one request with each other and with what truthExpect expects.
func (c *truthTally) compare(t *testing.T, request truthRequest, without, with truthResponse) {
	t.Helper()
	problem := func(format string, args ...any) {
		if c.problems++; c.problems <= 40 {
			t.Errorf("%s: %s\nwithout the webhook: %s\nwith the webhook: %s",
				request.title, fmt.Sprintf(format, args...), without, with)
		}
	}
	var old *corev1.Service
	counts := c.creations
	if request.stored != nil {
		old, counts = truthService(t, request.stored), c.updates
	}
	want := truthExpect(t, old, without)
	got, difference := truthGot(t, without, with)
	if got != want.shown() {
		c.unexpected[fmt.Sprintf("want %q, got %q", want.class, got)]++
		problem("want %q, got %q: %s", want.class, got, difference)
		counts[truthUnexpected]++
	} else {
		counts[want.class]++
	}
	c.countInvariants(t, problem, old, without, with)
	if with.object == nil || got != want.shown() {
		return
	}

	ours, others := splitWarnings(with.warnings)
	if _, before := splitWarnings(without.warnings); !cmp.Equal(before, others) {
		problem("the API server's own warnings differ")
	}
	if !slices.Equal(ours, want.warnings) {
		problem("warnings of rules %q, want %q", ours, want.warnings)
	}
	if len(ours) > 0 {
		c.warned++
	}
}

func (r truthResponse) String() string {
	if r.object == nil {
		return fmt.Sprintf("%d %s", r.code, r.message)
	}
	policy, _, _ := unstructured.NestedString(r.object.Object, "spec", "externalTrafficPolicy")
	return fmt.Sprintf("%d, policy %q, warnings %q", r.code, policy, r.warnings)
}

// splitWarnings returns the rules of our warnings, sorted and each once, and the warnings of the API server itself.
func splitWarnings(lines []string) (rules, others []string) {
	for _, line := range lines {
		// The API server's own begin with a field or a sentence.
		if rule := warningRule(line); rule != line && !strings.ContainsAny(rule, ". ") {
			rules = append(rules, rule)
		} else {
			others = append(others, line)
		}
	}
	slices.Sort(rules)
	return slices.Compact(rules), others
}

// truthGot returns the class of a difference, as far as the two responses show it: a repair counts as truthSoft. The
// difference describes it.
func truthGot(t *testing.T, without, with truthResponse) (class truthClass, difference string) {
	t.Helper()
	const byMutate, byValidate = `admission webhook "services.mutate.sourceward.dev" denied the request: `,
		`admission webhook "services.validate.sourceward.dev" denied the request: `
	isDenied := func(by, rule string) bool {
		return with.code == http.StatusForbidden && strings.HasPrefix(with.message, by+rule+": Service "+truthNamespace+"/")
	}
	switch {
	case without.object == nil && with.object == nil:
		if without.code == with.code && without.message == with.message {
			return truthSame, ""
		}
		rules := []string{"local-on-cluster-ip", "unknown-traffic-policy", "misplaced-health-check-node-port"}
		isExplained := slices.ContainsFunc(rules, func(rule string) bool { return isDenied(byMutate, rule) })
		if without.code == http.StatusUnprocessableEntity && isExplained {
			return truthExplained, ""
		}
		return truthUnexpected, "two refusals"
	case without.object == nil:
		return truthUnexpected, "the API server alone refuses it"
	case with.object == nil && isDenied(byValidate, "source-ip-needs-local"):
		return truthDenied, "denied"
	case with.object == nil && isDenied(byValidate, "local-forbidden"):
		return truthForbidden, "denied"
	case with.object == nil:
		return truthUnexpected, "denied for another reason"
	}
	before, after := without.comparable(t), with.comparable(t)
	if reflect.DeepEqual(before, after) {
		return truthSame, ""
	}
	difference = cmp.Diff(before, after)

	// Only the policy may be repaired; the API server then allocates the port.
	before.Spec.ExternalTrafficPolicy = "Local"
	if before.Spec.Type == corev1.ServiceTypeLoadBalancer {
		before.Spec.HealthCheckNodePort = 1
	}
	if reflect.DeepEqual(before, after) {
		return truthSoft, "repaired"
	}
	return truthUnexpected, difference
}

// countInvariants checks what must hold whatever the intended verdict is.
func (c *truthTally) countInvariants(t *testing.T, problem func(format string, args ...any), old *corev1.Service,
	without, with truthResponse,
) {
	t.Helper()
	if without.object == nil {
		return
	}
	meant := without.service(t)
	isRepaired := with.object != nil && with.service(t).Spec.ExternalTrafficPolicy != meant.Spec.ExternalTrafficPolicy
	if truthWritten(t, meant) {
		if c.knownWritten++; isRepaired {
			c.overridden++
			problem("a written policy is overridden")
		}
	}
	if old == nil {
		return
	}
	for _, found := range truthFindings(meant) {
		if truthBrings(old, found) {
			continue
		}
		c.there++
		if with.object == nil && strings.Contains(with.message, found.rule+": ") {
			c.denied++
			problem("denied for %s, which the stored Service has too", found.rule)
		}
		if isRepaired && found.rule == "source-ip-needs-local" {
			c.repaired++
			problem("repaired for what the stored Service has too")
		}
	}
}

// report logs the tally, and checks that the table is large enough to prove something.
func (c *truthTally) report(t *testing.T) {
	t.Helper()
	for _, class := range slices.Concat(truthClasses, []truthClass{truthUnexpected}) {
		t.Logf("%4d creations, %4d updates: %s", c.creations[class], c.updates[class], class)
	}
	t.Logf("%d accepted with a warning; %d of %d written policies overridden; "+
		"of %d findings that a stored Service had before an update: %d denied, %d repaired",
		c.warned, c.overridden, c.knownWritten, c.there, c.denied, c.repaired)
	for _, what := range slices.Sorted(maps.Keys(c.unexpected)) {
		t.Logf("%d times: %s", c.unexpected[what], what)
	}
	if c.problems > 0 {
		t.Errorf("%d problems", c.problems)
	}
	for _, class := range truthClasses {
		if c.creations[class] == 0 || c.updates[class] == 0 {
			t.Errorf("%q: %d creations and %d updates, want some", class, c.creations[class], c.updates[class])
		}
	}
	if c.knownWritten == 0 || c.there == 0 || c.warned == 0 {
		t.Errorf("nothing was written, there before, or warned about: %d, %d, %d", c.knownWritten, c.there, c.warned)
	}
}

// truthExpectation is what should happen to a request with the webhook.
type truthExpectation struct {
	class truthClass
	// warnings are the rules whose findings are returned as warnings, sorted.
	warnings []string
}

// shown returns the class as far as two responses show it.
func (e truthExpectation) shown() truthClass {
	if e.class == truthHardClass {
		return truthSoft
	}
	return e.class
}

// truthExpect returns what the webhook should do to a request, given the stored Service, if there is one, and the
// response of the API server alone. It is the specification of the rules about traffic policies in their default modes:
//
//   - What the API server refuses stays refused. Where the reason is the policy or its port, /mutate explains it.
//   - A finding that the stored Service has too is a warning, even if it was exempt. A hard reason where there was only
//     a wish is new.
//   - A new hard reason for Local repairs a policy that is not known to be written, and denies a written Cluster. A new
//     wish of the owner, by our annotation, repairs it or warns.
//   - A new Local that the load balancer's controller rejects is denied.
//   - An exempt finding has no effect.
func truthExpect(t *testing.T, old *corev1.Service, without truthResponse) truthExpectation {
	t.Helper()
	if without.object == nil {
		for _, field := range []string{"spec.externalTrafficPolicy", "spec.healthCheckNodePort"} {
			if slices.Contains(without.fields, field) {
				return truthExpectation{class: truthExplained}
			}
		}
		return truthExpectation{class: truthSame}
	}
	meant := without.service(t)
	expected := truthExpectation{class: truthSame}
	for _, found := range truthFindings(meant) {
		switch {
		case found.exempt:
			continue
		case !truthBrings(old, found), found.path != truthPolicyPath:
		case found.rule == "local-forbidden":
			return truthExpectation{class: truthForbidden}
		case !truthWritten(t, meant):
			expected.class = truthSoft
			if found.hard {
				expected.class = truthHardClass
			}
		case found.hard:
			return truthExpectation{class: truthDenied}
		}
		expected.warnings = append(expected.warnings, found.rule)
	}
	if expected.shown() == truthSoft {
		meant.Spec.ExternalTrafficPolicy = "Local"
	}
	expected.warnings = append(expected.warnings, truthOtherWarnings(meant)...)
	slices.Sort(expected.warnings)
	return expected
}

// truthFinding is a finding of a rule about traffic policies that can deny or repair in its default mode.
type truthFinding struct {
	rule, path   string
	hard, exempt bool
}

const truthPolicyPath = "/spec/externalTrafficPolicy"

// truthFindings returns the findings on a Service.
func truthFindings(s *corev1.Service) []truthFinding {
	exempt := func(rule string) bool { return s.Annotations[v1alpha1.AnnotationExemptPrefix+rule] != "" }
	wish := s.Annotations[v1alpha1.AnnotationSourceIP]
	isBalancer := s.Spec.Type == corev1.ServiceTypeLoadBalancer
	isNodePort := s.Spec.Type == corev1.ServiceTypeNodePort
	hard := isBalancer && s.Annotations[truthHard] == "pods-per-node"
	rejects := isBalancer && s.Annotations[truthForbids] != ""

	var findings []truthFinding
	needsLocal := truthFinding{rule: "source-ip-needs-local", exempt: exempt("source-ip-needs-local")}
	switch {
	case wish == "ignore":
	case wish == "preserve" && !isBalancer && !isNodePort && !truthHasExternalIPs(s):
		needsLocal.path = "/metadata/annotations/sourceward.dev~1source-ip"
		findings = append(findings, needsLocal)
	case (isBalancer || isNodePort) && s.Spec.ExternalTrafficPolicy == "Cluster" && !rejects &&
		(hard || wish == "preserve"):
		needsLocal.path, needsLocal.hard = truthPolicyPath, hard
		findings = append(findings, needsLocal)
	}
	if s.Spec.ExternalTrafficPolicy == "Local" && rejects {
		findings = append(findings, truthFinding{
			rule: "local-forbidden", path: truthPolicyPath, exempt: exempt("local-forbidden"),
		})
	}
	return findings
}

func truthHasExternalIPs(s *corev1.Service) bool {
	return s.Spec.Type == corev1.ServiceTypeClusterIP && len(s.Spec.ExternalIPs) > 0
}

// truthOtherWarnings returns the rules that only warn about a Service in their default mode.
func truthOtherWarnings(s *corev1.Service) []string {
	var rules []string
	isLocal := s.Spec.ExternalTrafficPolicy == "Local"
	if isLocal && s.Spec.Type == corev1.ServiceTypeNodePort {
		rules = append(rules, "node-port-local")
	}
	if isLocal && truthHasExternalIPs(s) {
		rules = append(rules, "external-ips-local")
	}
	// source-ip-needs-local reports it, unless a controller rejects Local.
	rejects := s.Annotations[truthForbids] != ""
	if !isLocal && rejects && s.Spec.Type == corev1.ServiceTypeLoadBalancer &&
		s.Annotations[truthHard] == "pods-per-node" && s.Annotations[v1alpha1.AnnotationSourceIP] != "ignore" {
		rules = append(rules, "weighted-needs-local")
	}
	return rules
}

// truthBrings reports whether a request brings a finding: the stored Service, nil for none, has none of this rule on
// this path, or a soft one instead of a hard one.
func truthBrings(old *corev1.Service, found truthFinding) bool {
	if old == nil {
		return true
	}
	return !slices.ContainsFunc(truthFindings(old), func(had truthFinding) bool {
		return had.rule == found.rule && had.path == found.path && (had.hard || !found.hard)
	})
}

// truthWritten reports whether the policy of a Service is known to be written: the record of client-side apply holds
// the value that the Service has, or a field manager has applied it.
func truthWritten(t *testing.T, s *corev1.Service) bool {
	t.Helper()
	if record, ok := s.Annotations[corev1.LastAppliedConfigAnnotation]; ok {
		var applied corev1.Service
		if err := json.Unmarshal([]byte(record), &applied); err != nil {
			t.Fatal(err)
		}
		if policy := applied.Spec.ExternalTrafficPolicy; policy != "" && policy == s.Spec.ExternalTrafficPolicy {
			return true
		}
	}
	return slices.ContainsFunc(s.ManagedFields, func(entry metav1.ManagedFieldsEntry) bool {
		return entry.Operation == metav1.ManagedFieldsOperationApply && entry.Subresource == "" &&
			strings.Contains(string(entry.FieldsV1.GetRawBytes()), `"f:externalTrafficPolicy":{}`)
	})
}
