package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	jsonpatch "github.com/evanphx/json-patch/v5"
	"github.com/google/go-cmp/cmp"
	admissionv1 "k8s.io/api/admission/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"

	"github.com/sourceward/sourceward/test/cluster"
)

// TestConfig applies config/ to real API servers. Only they compile match conditions and decide which requests these
// let through; with failurePolicy Ignore, the API server skips a webhook whose condition it cannot evaluate.
func TestConfig(t *testing.T) {
	t.Parallel()
	for _, version := range cluster.Versions() {
		t.Run(string(version), func(t *testing.T) {
			t.Parallel()
			c := startCluster(t, cluster.Options{Version: version})
			// kubectl returns the output. A warning, of kubectl or of the API server, fails the test.
			kubectl := func(t *testing.T, stdin []byte, args ...string) []byte {
				t.Helper()
				cmd := c.Kubectl(t.Context(), args...)
				var stdout, stderr bytes.Buffer
				cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(stdin), &stdout, &stderr
				if err := cmd.Run(); err != nil || stderr.Len() > 0 {
					t.Fatalf("kubectl %s: %v\n%s", strings.Join(args, " "), err, &stderr)
				}
				return stdout.Bytes()
			}

			for _, overlay := range []string{"fail-closed", "default"} {
				t.Run("the API server accepts "+overlay, func(t *testing.T) {
					rendered := kubectl(t, nil, "kustomize", "../../config/"+overlay)
					kubectl(t, rendered, "apply", "--server-side", "--filename=-")
				})
			}
			t.Run("another namespace can be chosen", func(t *testing.T) {
				config, err := filepath.Abs("../../config/default")
				if err != nil {
					t.Fatal(err)
				}
				overlay := t.TempDir()
				from, err := filepath.Rel(overlay, config)
				if err != nil {
					t.Fatal(err)
				}
				text := "namespace: elsewhere\nresources: [" + from + "]\n"
				if err := os.WriteFile(filepath.Join(overlay, "kustomization.yaml"), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
				if rendered := kubectl(t, nil, "kustomize", overlay); !bytes.Contains(
					rendered,
					[]byte("\n  namespace: elsewhere\n"),
				) {
					t.Errorf("no object is in the namespace: %.300s", rendered)
				}
			})
			t.Run("the API server accepts every policy that the dry-run binary is tested with", func(t *testing.T) {
				files, err := filepath.Glob("../cases/*/*/settings.yaml")
				if err != nil || len(files) == 0 {
					t.Fatalf("no policies: %v", err)
				}
				files = append(files, "../../config/samples/policy.yaml")
				const crd = "customresourcedefinition/sourceippolicies.sourceward.dev"
				kubectl(t, nil, "wait", "--for=condition=Established", crd)
				kubectl(t, nil, "create", "--dry-run=server", "--filename="+strings.Join(files, ","))
			})
			// Pods need it, and no controller runs that would create it.
			kubectl(t, nil, "create", "serviceaccount", "default")
			kubectl(t, nil, "create", "namespace", "elsewhere")
			testMatchConditions(t, c)
		})
	}
}

// A scenario is a request, and the webhooks of the configurations that the API server calls for it.
type scenario struct {
	namespace string // default if empty
	name      string // any if empty
	exists    string // if not empty, the object exists before: a JSON merge patch of the smallest object
	deleted   bool   // the existing object is being deleted, and waits for its finalizer
	request   request
	want      []string
}

// make creates the object that exists before the request.
func (s scenario) make(
	ctx context.Context,
	objects dynamic.ResourceInterface,
	smallest *unstructured.Unstructured,
) error {
	if err := create(s.exists)(ctx, objects, smallest); err != nil {
		return err
	}
	if s.deleted {
		if err := remove(ctx, objects, smallest); err != nil {
			return err
		}
	}
	// An API server tries a write on the object in its cache first, calling webhooks for that too, and then again on the
	// stored one. A read with a resourceVersion waits until the cache has that version.
	stored, err := objects.Get(ctx, s.name, metav1.GetOptions{})
	if err == nil {
		_, err = objects.Get(ctx, s.name, metav1.GetOptions{ResourceVersion: stored.GetResourceVersion()})
	}
	return err
}

type request func(ctx context.Context, objects dynamic.ResourceInterface, smallest *unstructured.Unstructured) error

// testMatchConditions sends the requests of all scenarios.
func testMatchConditions(t *testing.T, c *cluster.Cluster) {
	tests := []struct {
		resource  schema.GroupVersionResource
		smallest  string
		scenarios map[string]scenario
	}{
		{
			schema.GroupVersionResource{Version: "v1", Resource: "services"},
			`{"apiVersion": "v1", "kind": "Service", "spec": {"ports": [{"port": 80}]}}`,
			serviceScenarios(),
		},
		{
			schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "deployments"},
			`{"apiVersion": "apps/v1", "kind": "Deployment", "spec": {"selector": {"matchLabels": {"app": "web"}},
				"template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "web", "image": "web"}]}}}}`,
			deploymentScenarios(),
		},
		{
			schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "replicasets"},
			`{"apiVersion": "apps/v1", "kind": "ReplicaSet", "spec": {"selector": {"matchLabels": {"app": "web"}},
				"template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "web", "image": "web"}]}}}}`,
			replicaSetScenarios(),
		},
		{
			schema.GroupVersionResource{Group: "autoscaling", Version: "v1", Resource: "horizontalpodautoscalers"},
			`{"apiVersion": "autoscaling/v1", "kind": "HorizontalPodAutoscaler", "spec": {"maxReplicas": 5,
				"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}}}`,
			autoscalerScenarios(),
		},
		{
			schema.GroupVersionResource{Version: "v1", Resource: "pods"},
			`{"apiVersion": "v1", "kind": "Pod", "spec": {"containers": [{"name": "web", "image": "web"}]}}`,
			map[string]scenario{
				"a Pod is created":           {request: create(`{}`)},
				"a Pod gets its first label": {exists: `{}`, request: patch(`{"metadata": {"labels": {"a": "b"}}}`)},
			},
		},
	}
	client := dynamic.NewForConfigOrDie(c.Config())
	recorder := startRecorder(t, c)
	count := 0
	for _, test := range tests {
		for name, s := range test.scenarios {
			count++
			t.Run(name, func(t *testing.T) {
				if s.namespace == "" {
					s.namespace = metav1.NamespaceDefault
				}
				if s.name == "" {
					s.name = fmt.Sprintf("scenario-%d", count)
				}
				smallest := &unstructured.Unstructured{}
				if err := smallest.UnmarshalJSON([]byte(test.smallest)); err != nil {
					t.Fatal(err)
				}
				smallest.SetName(s.name)
				objects := client.Resource(test.resource).Namespace(s.namespace)
				if s.exists != "" {
					if err := s.make(t.Context(), objects, smallest); err != nil {
						t.Fatal(err)
					}
				}
				recorder.take()
				if err := s.request(t.Context(), objects, smallest); err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(s.want, recorder.take()); diff != "" {
					t.Errorf("called webhooks mismatch (-want +got):\n%s", diff)
				}
			})
		}
	}
}

// JSON merge patches that several scenarios use.
const (
	labelled      = `{"metadata": {"labels": {"a": "b"}}}`
	annotated     = `{"metadata": {"annotations": {"a": "b"}}}`
	withFinalizer = `{"metadata": {"finalizers": ["example.com/wait"]}}`
	withOwner     = `{"metadata": {"ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "a", "uid": "1"}]}}`
	controlled    = `{"metadata": {"ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "a", "uid": "1"},
		{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "b", "uid": "2", "controller": true}]}}`
	readyStatus = `{"status": {"conditions": [{"type": "Ready", "status": "True", "reason": "A", "message": "",
		"lastTransitionTime": "2026-01-01T00:00:00Z"}]}}`
	otherTemplate = `{"spec": {"template": {"metadata": {"annotations": {"a": "b"}}}}}`
)

func serviceScenarios() map[string]scenario {
	both := []string{"services.mutate.sourceward.dev", "services.validate.sourceward.dev"}
	// Nearly the 256 KiB of annotations that an object may have, since the cost of a condition is limited.
	largeWith := func(last string) string {
		var many strings.Builder
		for i := range 8_000 {
			fmt.Fprintf(&many, `"a%d": "%015[1]d", `, i)
		}
		return `{"metadata": {"annotations": {` + many.String() + `"a": "` + last + `"}}}`
	}
	return map[string]scenario{
		"a Service is created":                      {request: create(`{}`), want: both},
		"a Service is created with a label":         {request: create(labelled), want: both},
		"a Service is created in a dry run":         {request: create(`{}`, metav1.DryRunAll), want: both},
		"a Service is created by server-side apply": {request: apply, want: both},
		"a Service is created by a PUT":             {request: put, want: both},
		// The API server copies fields from the old object after /mutate.
		"a Service is replaced by its first manifest": {exists: `{}`, request: put, want: both[:1]},
		"a Service is created with a deletionTimestamp": {
			request: create(`{"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}`),
			want:    both,
		},
		"a Service is created by a controller":      {request: create(controlled), want: both},
		"a Service is created in kube-system":       {namespace: "kube-system", request: create(`{}`)},
		"a Service is created in our own namespace": {namespace: "sourceward-system", request: create(`{}`)},
		"the API server's own Service changes":      {name: "kubernetes", request: patch(labelled)},
		"a Service named kubernetes is created elsewhere": {
			namespace: "elsewhere",
			name:      "kubernetes",
			request:   create(`{}`),
			want:      both,
		},
		"another Service is created next to the API server's own": {name: "kubernetes-2", request: create(`{}`), want: both},
		"a Service's spec changes": {
			exists:  `{}`,
			request: patch(`{"spec": {"type": "NodePort"}}`),
			want:    both,
		},
		"a Service that a controller owns changes": {
			exists:  controlled,
			request: patch(`{"spec": {"type": "NodePort"}}`),
			want:    both,
		},
		"a Service gets its first label": {exists: `{}`, request: patch(labelled), want: both},
		"a Service loses its last label": {
			exists:  labelled,
			request: patch(`{"metadata": {"labels": null}}`),
			want:    both,
		},
		"a Service gets its first annotation": {exists: `{}`, request: patch(annotated), want: both},
		"a Service's annotation changes": {
			exists:  annotated,
			request: patch(`{"metadata": {"annotations": {"a": "c"}}}`),
			want:    both,
		},
		"a Service loses its last annotation": {
			exists:  annotated,
			request: patch(`{"metadata": {"annotations": null}}`),
			want:    both,
		},
		"a large Service changes in its last character": {
			exists:  largeWith("x"),
			request: patch(largeWith("y")),
			want:    both,
		},
		"a large Service does not change":            {exists: largeWith("x"), request: putBack},
		"a Service without metadata does not change": {exists: `{}`, request: putBack},
		"a Service with metadata does not change":    {exists: annotated, request: putBack},
		"a Service gets empty labels":                {exists: `{}`, request: patch(`{"metadata": {"labels": {}}}`)},
		"a Service gets a finalizer":                 {exists: `{}`, request: patch(withFinalizer)},
		"a Service gets an owner":                    {exists: `{}`, request: patch(withOwner)},
		"a Service's status changes":                 {exists: `{}`, request: patch(readyStatus, "status")},
		"a Service is deleted":                       {exists: `{}`, request: remove},
		"a Service that is being deleted changes": {
			exists:  withFinalizer,
			deleted: true,
			request: patch(labelled),
		},
		"a Service that is being deleted loses its finalizer": {
			exists:  withFinalizer,
			deleted: true,
			request: patch(`{"metadata": {"finalizers": null}}`),
		},
	}
}

func deploymentScenarios() map[string]scenario {
	validate := []string{"workloads.validate.sourceward.dev"}
	both := append([]string{"workloads.mutate.sourceward.dev"}, validate...)
	scale := []string{"scale.validate.sourceward.dev"}
	// More than half of the 1.5 MiB that a stored object may have.
	largeWith := func(last string) string {
		var many strings.Builder
		for i := range 4_000 {
			fmt.Fprintf(&many, `{"name": "A%d", "value": "%0100[1]d"}, `, i)
		}
		return `{"spec": {"template": {"spec": {"containers": [{"name": "web", "image": "web", "env": [` + many.String() +
			`{"name": "A", "value": "` + last + `"}]}]}}}}`
	}
	return map[string]scenario{
		"a Deployment is created":                      {request: create(`{}`), want: both},
		"a Deployment is created by server-side apply": {request: apply, want: both},
		"a Deployment is created with an owner":        {request: create(withOwner), want: both},
		"a Deployment is created by a controller":      {request: create(controlled), want: validate},
		"a Deployment is created in kube-system":       {namespace: "kube-system", request: create(`{}`)},
		"a Deployment's template changes":              {exists: `{}`, request: patch(otherTemplate), want: both},
		"a Deployment that a controller owns changes its template": {
			exists: controlled, request: patch(otherTemplate), want: validate,
		},
		"a large Deployment's template changes": {
			exists:  largeWith("x"),
			request: patch(largeWith("y")),
			want:    both,
		},
		"a large Deployment does not change": {exists: largeWith("x"), request: putBack},
		"a Deployment's replicas change": {
			exists:  `{}`,
			request: patch(`{"spec": {"replicas": 3}}`),
			want:    validate,
		},
		"another field of a Deployment's spec changes": {
			exists:  `{}`,
			request: patch(`{"spec": {"minReadySeconds": 3}}`),
			want:    validate,
		},
		"a Deployment gets its first label":              {exists: `{}`, request: patch(labelled), want: validate},
		"a Deployment gets its first annotation":         {exists: `{}`, request: patch(annotated), want: validate},
		"a Deployment does not change":                   {exists: `{}`, request: putBack},
		"a Deployment is replaced by its first manifest": {exists: `{}`, request: put},
		"a Deployment's status changes": {
			exists:  `{}`,
			request: patch(`{"status": {"observedGeneration": 1}}`, "status"),
		},
		"a Deployment that is being deleted changes its template": {
			exists:  withFinalizer,
			deleted: true,
			request: patch(otherTemplate),
		},
		"a Deployment is scaled": {
			exists:  `{}`,
			request: patch(`{"spec": {"replicas": 3}}`, "scale"),
			want:    scale,
		},
		"a Deployment is scaled to zero": {
			exists:  `{}`,
			request: patch(`{"spec": {"replicas": 0}}`, "scale"),
			want:    scale,
		},
		"a Deployment is scaled from zero": {
			exists:  `{"spec": {"replicas": 0}}`,
			request: patch(`{"spec": {"replicas": 2}}`, "scale"),
			want:    scale,
		},
		"a Deployment is scaled to the replicas that it has": {
			exists:  `{}`,
			request: patch(`{"spec": {"replicas": 1}}`, "scale"),
		},
		"a Deployment with zero replicas is scaled to zero": {
			exists:  `{"spec": {"replicas": 0}}`,
			request: patch(`{"spec": {"replicas": 0}}`, "scale"),
		},
		"a Deployment is scaled in kube-system": {
			namespace: "kube-system",
			exists:    `{}`,
			request:   patch(`{"spec": {"replicas": 3}}`, "scale"),
		},
	}
}

func autoscalerScenarios() map[string]scenario {
	validate := []string{"autoscalers.validate.sourceward.dev"}
	return map[string]scenario{
		"an autoscaler is created":                {request: create(`{}`), want: validate},
		"an autoscaler is created in kube-system": {namespace: "kube-system", request: create(`{}`)},
		"the bounds of an autoscaler change": {
			exists: `{}`, request: patch(`{"spec": {"maxReplicas": 6}}`), want: validate,
		},
		"an autoscaler gets an annotation": {exists: `{}`, request: patch(annotated), want: validate},
		"an autoscaler gets a label":       {exists: `{}`, request: patch(labelled)},
		"an autoscaler does not change":    {exists: `{}`, request: putBack},
		"an autoscaler is deleted":         {exists: `{}`, request: remove},
		"the status of an autoscaler changes": {
			exists: `{}`, request: patch(`{"status": {"currentReplicas": 1, "desiredReplicas": 2}}`, "status"),
		},
	}
}

// replicaSetScenarios are about owners: only a controller that makes ReplicaSets exempts one.
func replicaSetScenarios() map[string]scenario {
	validate := []string{"workloads.validate.sourceward.dev"}
	owner := func(apiVersion, kind string, controller bool) string {
		return fmt.Sprintf(`{"metadata": {"ownerReferences": [
			{"apiVersion": %q, "kind": %q, "name": "b", "uid": "2", "controller": %t}]}}`, apiVersion, kind, controller)
	}
	return map[string]scenario{
		"a ReplicaSet is created": {
			request: create(`{}`), want: []string{"workloads.mutate.sourceward.dev", validate[0]},
		},
		"a ReplicaSet is created by a Deployment": {request: create(owner("apps/v1", "Deployment", true))},
		"a ReplicaSet is created by a Rollout":    {request: create(owner("argoproj.io/v1alpha1", "Rollout", true))},
		"a ReplicaSet is created for a Deployment that does not control it": {
			request: create(owner("apps/v1", "Deployment", false)),
			want:    []string{"workloads.mutate.sourceward.dev", validate[0]},
		},
		"a ReplicaSet is created by a ConfigMap": {request: create(owner("v1", "ConfigMap", true)), want: validate},
		"a ReplicaSet is created by a Deployment of another group": {
			request: create(owner("evil.example/v1", "Deployment", true)), want: validate,
		},
		"a ReplicaSet is created by a Rollout of the group of Deployments": {
			request: create(owner("apps/v1", "Rollout", true)), want: validate,
		},
		"a ReplicaSet of a Deployment is labelled": {
			exists: owner("apps/v1", "Deployment", true), request: patch(labelled),
		},
		"a ReplicaSet of a ConfigMap is labelled": {
			exists: owner("v1", "ConfigMap", true), request: patch(labelled), want: validate,
		},
	}
}

// create creates the smallest object with a merge patch applied.
func create(mergePatch string, dryRun ...string) request {
	return func(ctx context.Context, objects dynamic.ResourceInterface, smallest *unstructured.Unstructured) error {
		object, err := merged(smallest, mergePatch)
		if err == nil {
			_, err = objects.Create(ctx, object, metav1.CreateOptions{DryRun: dryRun})
		}
		return err
	}
}

// put replaces an object with the smallest one. If it does not exist, it is created if its kind allows that.
func put(ctx context.Context, objects dynamic.ResourceInterface, smallest *unstructured.Unstructured) error {
	_, err := objects.Update(ctx, smallest, metav1.UpdateOptions{})
	return err
}

// putBack replaces an object with itself.
func putBack(ctx context.Context, objects dynamic.ResourceInterface, smallest *unstructured.Unstructured) error {
	object, err := objects.Get(ctx, smallest.GetName(), metav1.GetOptions{})
	if err == nil {
		_, err = objects.Update(ctx, object, metav1.UpdateOptions{})
	}
	return err
}

func merged(smallest *unstructured.Unstructured, mergePatch string) (*unstructured.Unstructured, error) {
	original, err := smallest.MarshalJSON()
	if err != nil {
		return nil, err
	}
	patched, err := jsonpatch.MergePatch(original, []byte(mergePatch))
	if err != nil {
		return nil, err
	}
	object := &unstructured.Unstructured{}
	return object, object.UnmarshalJSON(patched)
}

func apply(ctx context.Context, objects dynamic.ResourceInterface, smallest *unstructured.Unstructured) error {
	_, err := objects.Apply(ctx, smallest.GetName(), smallest, metav1.ApplyOptions{FieldManager: "test"})
	return err
}

// patch patches an object, or one of its subresources.
func patch(mergePatch string, subresource ...string) request {
	return func(ctx context.Context, objects dynamic.ResourceInterface, smallest *unstructured.Unstructured) error {
		_, err := objects.Patch(
			ctx,
			smallest.GetName(),
			types.MergePatchType,
			[]byte(mergePatch),
			metav1.PatchOptions{},
			subresource...)
		return err
	}
}

func remove(ctx context.Context, objects dynamic.ResourceInterface, smallest *unstructured.Unstructured) error {
	return objects.Delete(ctx, smallest.GetName(), metav1.DeleteOptions{})
}

// recorder is an admission server that allows everything and records the webhooks for which it is called.
type recorder struct {
	mu    sync.Mutex
	calls []string
}

// startRecorder makes the webhook configurations of the cluster call a new recorder, and returns once the API server
// does. It sets their failurePolicy to Fail, so that a request fails if a condition cannot be evaluated.
func startRecorder(t *testing.T, c *cluster.Cluster) *recorder {
	t.Helper()
	r := &recorder{}
	server := httptest.NewTLSServer(r)
	t.Cleanup(server.Close)
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	here := func(name string) admissionregistrationv1.WebhookClientConfig {
		return admissionregistrationv1.WebhookClientConfig{URL: new(server.URL + "/" + name), CABundle: ca}
	}

	ctx := t.Context()
	registration := kubernetes.NewForConfigOrDie(c.Config()).AdmissionregistrationV1()
	mutating, err := registration.MutatingWebhookConfigurations().Get(ctx, "sourceward", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for i, webhook := range mutating.Webhooks {
		mutating.Webhooks[i].ClientConfig = here(webhook.Name)
		mutating.Webhooks[i].FailurePolicy = new(admissionregistrationv1.Fail)
	}
	if _, err := registration.MutatingWebhookConfigurations().Update(ctx, mutating, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	validating, err := registration.ValidatingWebhookConfigurations().Get(ctx, "sourceward", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for i, webhook := range validating.Webhooks {
		validating.Webhooks[i].ClientConfig = here(webhook.Name)
		validating.Webhooks[i].FailurePolicy = new(admissionregistrationv1.Fail)
	}
	_, err = registration.ValidatingWebhookConfigurations().Update(ctx, validating, metav1.UpdateOptions{})
	if err != nil {
		t.Fatal(err)
	}

	services := dynamic.NewForConfigOrDie(c.Config()).
		Resource(schema.GroupVersionResource{Version: "v1", Resource: "services"})
	var last error
	err = wait.PollUntilContextTimeout(
		ctx,
		50*time.Millisecond,
		time.Minute,
		true,
		func(ctx context.Context) (bool, error) {
			r.take()
			probe := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "Service",
				"metadata": map[string]any{"name": "probe"},
				"spec":     map[string]any{"ports": []any{map[string]any{"port": int64(80)}}}}}
			last = create(`{}`, metav1.DryRunAll)(ctx, services.Namespace(metav1.NamespaceDefault), probe)
			return last == nil &&
				slices.Equal(r.take(), []string{"services.mutate.sourceward.dev", "services.validate.sourceward.dev"}), nil
		},
	)
	if err != nil {
		t.Fatalf("wait for the API server to read its configurations: %v (%v)\n%s", err, last, c.Logs())
	}
	return r
}

// ServeHTTP implements http.Handler.
func (r *recorder) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	var review admissionv1.AdmissionReview
	if err := json.NewDecoder(request.Body).Decode(&review); err != nil || review.Request == nil {
		http.Error(w, fmt.Sprint("not an AdmissionReview: ", err), http.StatusBadRequest)
		return
	}
	r.mu.Lock()
	r.calls = append(r.calls, path.Base(request.URL.Path))
	r.mu.Unlock()
	review.Response = &admissionv1.AdmissionResponse{UID: review.Request.UID, Allowed: true}
	review.Request = nil
	_ = json.NewEncoder(w).Encode(review) // without the response the request fails
}

// take returns the webhooks that were called since the last call of take.
func (r *recorder) take() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	calls := r.calls
	r.calls = nil
	return calls
}
