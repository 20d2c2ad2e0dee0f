package test

import (
	"bytes"
	"encoding/base64"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/component-helpers/auth/rbac/validation"
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

// TestRightsOfThePage compares the rights of the webhook with the tables of the operator's page: one for all kinds of
// certificates, and one for self-managed certificates only. TestRights in test/e2e checks that all of them are needed.
func TestRightsOfThePage(t *testing.T) {
	t.Parallel()
	_, section, _ := strings.Cut(content(t, operating), "\n## Rights\n")
	section, _, _ = strings.Cut(section, "\n## ")
	tables := strings.Split(section, "\n| resources | name | verbs | why |\n|---|---|---|---|\n")
	if len(tables) != 3 {
		t.Fatalf("%s has %d tables of rights, want 2", operating, len(tables)-1)
	}
	row := regexp.MustCompile("(?m)^\\| (`.+`) \\| (?:any|`(.+)`) \\| ([a-z, ]+) \\| .+ \\|$")
	var onPage [2][]string
	for i, table := range tables[1:] {
		table, _, _ = strings.Cut(table, "\n\n")
		rows := row.FindAllStringSubmatch(table, -1)
		if lines := strings.Count(strings.TrimSpace(table), "\n") + 1; len(rows) != lines {
			t.Errorf("%d of %d rows are as they should be:\n%s", len(rows), lines, table)
		}
		for _, cells := range rows {
			for resource := range strings.SplitSeq(cells[1], ", ") {
				for verb := range strings.SplitSeq(cells[3], ", ") {
					onPage[i] = append(onPage[i], strings.TrimSpace(verb+" "+strings.Trim(resource, "`")+" "+cells[2]))
				}
			}
		}
	}
	selfManaged := slices.Concat(onPage[0], onPage[1])
	for overlay, want := range map[string][]string{
		"default": selfManaged, "fail-closed": selfManaged, "certmanager": onPage[0], "secret": onPage[0],
	} {
		t.Run(overlay, func(t *testing.T) {
			t.Parallel()
			want, got := slices.Sorted(slices.Values(want)), rights(t, kustomize(t, "../config/"+overlay))
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("rights on %s and in config/%s (-page +config):\n%s", operating, overlay, diff)
			}
		})
	}
}

// rights returns what the roles that objects bind to the ServiceAccount of the webhook permit, such as
// "get secrets sourceward-ca".
func rights(t *testing.T, objects map[string]*unstructured.Unstructured) []string {
	t.Helper()
	var permitted []string
	for _, object := range objects {
		if !strings.HasSuffix(object.GetKind(), "RoleBinding") {
			continue
		}
		binding := as[rbacv1.ClusterRoleBinding](t, object)
		if !slices.Contains(binding.Subjects, rbacv1.Subject{
			Kind: rbacv1.ServiceAccountKind, Name: "sourceward-webhook", Namespace: "sourceward-system",
		}) {
			continue
		}
		role := objects[binding.RoleRef.Kind+" "+object.GetNamespace()+"/"+binding.RoleRef.Name]
		for _, rule := range as[rbacv1.ClusterRole](t, role).Rules {
			for _, r := range validation.BreakdownRule(rule) {
				name, subresource, isSubresource := strings.Cut(r.Resources[0], "/")
				resource := schema.GroupResource{Group: r.APIGroups[0], Resource: name}.String()
				if isSubresource {
					resource += "/" + subresource
				}
				words := append([]string{r.Verbs[0], resource}, r.ResourceNames...)
				permitted = append(permitted, strings.Join(words, " "))
			}
		}
	}
	slices.Sort(permitted)
	return permitted
}

// TestNetworkPolicy checks that the component network-policy lets in connections to each port of the container: from
// pods to the metrics, and from everywhere to the others.
func TestNetworkPolicy(t *testing.T) {
	t.Parallel()
	objects := kustomize(t, kustomization(t, "default", "network-policy"))
	pod := as[appsv1.Deployment](t, objects["Deployment sourceward-system/sourceward-webhook"]).Spec.Template
	policy := as[networkingv1.NetworkPolicy](t, objects["NetworkPolicy sourceward-system/sourceward-webhook"]).Spec
	selector, err := metav1.LabelSelectorAsSelector(&policy.PodSelector)
	if err != nil || !selector.Matches(labels.Set(pod.Labels)) {
		t.Errorf("the NetworkPolicy does not select the pods (%v)", err)
	}
	if want := []networkingv1.PolicyType{networkingv1.PolicyTypeIngress}; !slices.Equal(policy.PolicyTypes, want) {
		t.Errorf("the NetworkPolicy limits %s, want %s", policy.PolicyTypes, want)
	}
	got, want := map[string][]networkingv1.NetworkPolicyPeer{}, map[string][]networkingv1.NetworkPolicyPeer{}
	for _, rule := range policy.Ingress {
		for _, port := range rule.Ports {
			got[port.Port.StrVal] = rule.From
		}
	}
	for _, port := range pod.Spec.Containers[0].Ports {
		want[port.Name] = nil
	}
	want["metrics"] = []networkingv1.NetworkPolicyPeer{{NamespaceSelector: &metav1.LabelSelector{}}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("who may connect to which port mismatch (-want +got):\n%s", diff)
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
