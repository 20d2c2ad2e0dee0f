package test

import (
	"bytes"
	"encoding/base64"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"

	"github.com/sourceward/sourceward/test/pages"
)

// kustomize returns the objects of a kustomization, by kind, namespace and name.
func kustomize(t *testing.T, folder string) map[string]*unstructured.Unstructured {
	t.Helper()
	options := krusty.MakeDefaultOptions()
	options.Reorder = krusty.ReorderOptionUnspecified // as kubectl
	built, err := krusty.MakeKustomizer(options).Run(filesys.MakeFsOnDisk(), folder)
	if err != nil {
		t.Fatal(err)
	}
	objects := map[string]*unstructured.Unstructured{}
	for _, resource := range built.Resources() {
		text, err := resource.MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		object := &unstructured.Unstructured{}
		if err := object.UnmarshalJSON(text); err != nil {
			t.Fatal(err)
		}
		objects[keyOf(object)] = object
	}
	return objects
}

// keyOf returns the kind, namespace and name of an object, such as "ClusterRole /sourceward-reader".
func keyOf(object *unstructured.Unstructured) string {
	return object.GetKind() + " " + object.GetNamespace() + "/" + object.GetName()
}

// as converts an object.
func as[T any](t *testing.T, object *unstructured.Unstructured) T {
	t.Helper()
	var typed T
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, &typed); err != nil {
		t.Fatal(err)
	}
	return typed
}

// TestRightsForCertificates checks that only self-managed certificates come with permissions on Secrets, and to change
// the webhook configurations.
func TestRightsForCertificates(t *testing.T) {
	t.Parallel()
	for overlay, want := range map[string][]string{
		"default": {
			"create secrets", "get secrets", "list secrets", "patch mutatingwebhookconfigurations",
			"patch validatingwebhookconfigurations", "update secrets", "watch secrets",
		},
		"fail-closed": {
			"create secrets", "get secrets", "list secrets", "patch mutatingwebhookconfigurations",
			"patch validatingwebhookconfigurations", "update secrets", "watch secrets",
		},
		"certmanager": nil,
		"secret":      nil,
	} {
		t.Run(overlay, func(t *testing.T) {
			t.Parallel()
			permitted := map[string]bool{}
			for _, object := range kustomize(t, "../config/"+overlay) {
				if !strings.HasSuffix(object.GetKind(), "Role") {
					continue
				}
				for _, rule := range as[rbacv1.ClusterRole](t, object).Rules {
					for _, resource := range rule.Resources {
						for _, verb := range rule.Verbs {
							isRead := verb == "list" || verb == "watch"
							if resource == "secrets" || strings.HasSuffix(resource, "webhookconfigurations") && !isRead {
								permitted[verb+" "+resource] = true
							}
						}
					}
				}
			}
			if got := slices.Sorted(maps.Keys(permitted)); !slices.Equal(got, want) {
				t.Errorf("the webhook may %q, want %q", got, want)
			}
		})
	}
}

// TestCheckJudgesConfig checks that sourceward finds nothing in what installs it.
func TestCheckJudgesConfig(t *testing.T) {
	t.Parallel()
	stdout, stderr, code := runBinary(t, root, "check", "config", "--fail-on=audit", "--exclude=config/samples",
		"--set=image.repository=sourceward")
	if code != 0 || len(stderr) > 0 {
		t.Errorf("check exits with %d: %s%s", code, stderr, stdout)
	}
	if bytes.Contains(stdout, []byte("config/chart")) {
		t.Errorf("check skips the chart:\n%s", stdout)
	}
}

// TestNamespaceSample checks that nothing names the former namespace where a sample moves Sourceward to another one,
// whatever makes the certificates.
func TestNamespaceSample(t *testing.T) {
	t.Parallel()
	for _, overlay := range []string{"default", "certmanager", "secret", "fail-closed"} {
		t.Run(overlay, func(t *testing.T) {
			t.Parallel()
			root := t.TempDir()
			if err := os.CopyFS(root, os.DirFS("../config")); err != nil {
				t.Fatal(err)
			}
			sample := filepath.Join(root, "samples", "namespace")
			file := filepath.Join(sample, "kustomization.yaml")
			text := strings.Replace(content(t, file), "../../default", "../../"+overlay, 1)
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			objects := kustomize(t, sample)
			for name, object := range objects {
				text, err := object.MarshalJSON()
				if err != nil {
					t.Fatal(err)
				}
				if strings.Contains(string(text), "sourceward-system") {
					t.Errorf("%s names sourceward-system: %s", name, text)
				}
			}
			configuration := as[admissionregistrationv1.MutatingWebhookConfiguration](
				t, objects["MutatingWebhookConfiguration /sourceward"])
			excluded := configuration.Webhooks[0].NamespaceSelector.MatchExpressions[0].Values
			if want := []string{"kube-system", "admission"}; !slices.Equal(excluded, want) {
				t.Errorf("the webhook is not asked about the namespaces %q, want %q", excluded, want)
			}
		})
	}
}

// TestOwnCertificateSample checks that the CA of the sample gets into every webhook.
func TestOwnCertificateSample(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	if err := os.CopyFS(root, os.DirFS("../config")); err != nil {
		t.Fatal(err)
	}
	sample := filepath.Join(root, "samples", "own-certificate")
	for _, file := range []string{"tls.crt", "tls.key", "ca.crt"} {
		if err := os.WriteFile(filepath.Join(sample, file), []byte("the text of "+file), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	objects := kustomize(t, sample)
	want := base64.StdEncoding.EncodeToString([]byte("the text of ca.crt"))
	webhooks := 0
	for _, kind := range []string{"MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"} {
		items, _, err := unstructured.NestedSlice(objects[kind+" /sourceward"].Object, "webhooks")
		if err != nil {
			t.Fatal(err)
		}
		for _, item := range items {
			webhooks++
			webhook, _ := item.(map[string]any)
			if got, _, _ := unstructured.NestedString(webhook, "clientConfig", "caBundle"); got != want {
				t.Errorf("caBundle of %v is %q, want %q", webhook["name"], got, want)
			}
		}
	}
	if webhooks != 7 {
		t.Errorf("there are %d webhooks, want 7", webhooks)
	}
	mounted := objects["Secret sourceward-system/sourceward-webhook-tls"]
	if mounted == nil || mounted.Object["type"] != "kubernetes.io/tls" {
		t.Errorf("there is no Secret of type kubernetes.io/tls: %v", mounted)
	}
}

// overlayOfPage returns the objects of the overlay of the operator's page that names the running test.
func overlayOfPage(t *testing.T) map[string]*unstructured.Unstructured {
	t.Helper()
	blocks, err := pages.RunBy(operating, t.Name())
	if err != nil || len(blocks) != 1 {
		t.Fatalf("%s has %d overlays (%v), want one", operating, len(blocks), err)
	}
	root := t.TempDir()
	if err := os.CopyFS(filepath.Join(root, "config"), os.DirFS("../config")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "kustomization.yaml"), []byte(blocks[0]), 0o600); err != nil {
		t.Fatal(err)
	}
	return kustomize(t, root)
}

// TestOverlayOfOnesOwn builds the overlay of the operator's page.
func TestOverlayOfOnesOwn(t *testing.T) {
	t.Parallel()
	objects := overlayOfPage(t)
	webhook := as[appsv1.Deployment](t, objects["Deployment sourceward-system/sourceward-webhook"])
	if got, want := webhook.Spec.Template.Spec.Containers[0].Image, "registry.example.com/sourceward:dev"; got != want {
		t.Errorf("the image is %q, want %q", got, want)
	}
	for _, name := range []string{
		"Certificate sourceward-system/sourceward-webhook", "NetworkPolicy sourceward-system/sourceward-webhook",
	} {
		if objects[name] == nil {
			t.Errorf("there is no %s", name)
		}
	}
	services := as[admissionregistrationv1.ValidatingWebhookConfiguration](
		t, objects["ValidatingWebhookConfiguration /sourceward"])
	for _, webhook := range services.Webhooks {
		want := admissionregistrationv1.Ignore
		if webhook.Name == "services.validate.sourceward.dev" {
			want = admissionregistrationv1.Fail
		}
		if *webhook.FailurePolicy != want {
			t.Errorf("the failure policy of %s is %s, want %s", webhook.Name, *webhook.FailurePolicy, want)
		}
	}
}
