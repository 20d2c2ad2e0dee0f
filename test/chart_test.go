package test

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/common/util"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	"helm.sh/helm/v4/pkg/engine"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/yaml"
)

const chartFolder = "../config/chart"

// chartRelease is an installation of the chart, on a cluster with cert-manager and the Prometheus Operator.
type chartRelease struct {
	// namespace is that of the release. Empty means sourceward-system, as in the kustomization.
	namespace string
	// values are YAML texts of values, each of which takes precedence over those before it. image.repository is sourceward
	// unless they say otherwise.
	values []string
	// bare is true if the cluster has neither.
	bare bool
}

// render returns the texts of the templates, by their file names. The error is that of `helm install`.
func (r chartRelease) render(t *testing.T) (map[string]string, error) {
	t.Helper()
	chart, err := loader.LoadDir(chartFolder)
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]any{"image": map[string]any{"repository": "sourceward"}}
	for _, text := range r.values {
		more, err := loader.LoadValues(strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		values = loader.MergeMaps(values, more)
	}
	capabilities := common.DefaultCapabilities.Copy()
	if !r.bare {
		capabilities.APIVersions = append(capabilities.APIVersions, "cert-manager.io/v1", "monitoring.coreos.com/v1")
	}
	release := common.ReleaseOptions{Name: "sourceward", Namespace: r.namespace, Revision: 1, IsInstall: true}
	if release.Namespace == "" {
		release.Namespace = "sourceward-system"
	}
	top, err := util.ToRenderValues(chart, values, release, capabilities)
	if err != nil {
		return nil, err
	}
	texts, err := engine.Engine{}.RenderWithContext(t.Context(), chart, top)
	if err != nil {
		return nil, err
	}
	named := map[string]string{}
	for name, text := range texts {
		named[filepath.Base(name)] = text
	}
	return named, nil
}

// objects returns the objects that the chart renders, by kind, namespace and name.
func (r chartRelease) objects(t *testing.T) map[string]*unstructured.Unstructured {
	t.Helper()
	texts, err := r.render(t)
	if err != nil {
		t.Fatal(err)
	}
	delete(texts, "NOTES.txt")
	strict := serializer.NewCodecFactory(scheme.Scheme, serializer.EnableStrict).UniversalDeserializer()
	objects := map[string]*unstructured.Unstructured{}
	for name, text := range texts {
		for decoder := utilyaml.NewYAMLOrJSONDecoder(strings.NewReader(text), 4096); ; {
			var document runtime.RawExtension
			if err := decoder.Decode(&document); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatalf("%s: %v\n%s", name, err, text)
			}
			if document.Raw == nil {
				continue // a template that renders nothing
			}
			object := &unstructured.Unstructured{}
			if err := object.UnmarshalJSON(document.Raw); err != nil {
				t.Fatalf("%s: %v\n%s", name, err, text)
			}
			key := keyOf(object)
			if objects[key] != nil {
				t.Errorf("%s: the chart renders %s twice", name, key)
			}
			objects[key] = object
			if _, _, err := strict.Decode(document.Raw, nil, nil); err != nil && !runtime.IsNotRegisteredError(err) {
				t.Errorf("%s: an API server would complain about %s: %v", name, key, err)
			}
		}
	}
	return objects
}

// TestChartIsTheKustomization compares what the chart renders with what the kustomization builds.
func TestChartIsTheKustomization(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		// folder is a kustomization. component is the name of a component on top of it, if there is one.
		folder, component string
		namespace, values string
	}{
		"self-managed certificates":      {folder: "default"},
		"certificates from cert-manager": {folder: "certmanager", values: "certificates: {mode: cert-manager}"},
		"certificates from a Secret":     {folder: "secret", values: "certificates: {mode: secret}"},
		"fail closed":                    {folder: "fail-closed", values: "webhooks: {services: {failurePolicy: Fail}}"},
		"another namespace":              {folder: "samples/namespace", namespace: "admission"},
		"a network policy": {
			folder: "default", component: "network-policy", values: "networkPolicy: {enabled: true}",
		},
		"monitoring": {
			folder: "default", component: "monitoring",
			values: "{podMonitor: {enabled: true}, prometheusRule: {enabled: true}, dashboard: {enabled: true}}",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			release := chartRelease{namespace: test.namespace, values: []string{test.values}}
			compareWithKustomization(t, release, kustomization(t, test.folder, test.component))
		})
	}
}

// kustomization returns the folder of a kustomization in config, with a component if its name is not empty.
func kustomization(t *testing.T, folder, component string) string {
	t.Helper()
	config, err := filepath.Abs(filepath.Join(root, "config"))
	if err != nil {
		t.Fatal(err)
	}
	if component == "" {
		return filepath.Join(config, folder)
	}
	overlay := t.TempDir()
	if config, err = filepath.Rel(overlay, config); err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf("resources: [%s/%s]\ncomponents: [%[1]s/components/%[3]s]\n", config, folder, component)
	if err := os.WriteFile(filepath.Join(overlay, "kustomization.yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return overlay
}

// compareWithKustomization compares the objects of a release with those of a kustomization in a folder.
func compareWithKustomization(t *testing.T, release chartRelease, folder string) {
	t.Helper()
	want := kustomize(t, folder)
	// Helm creates the Namespace.
	maps.DeleteFunc(want, func(_ string, object *unstructured.Unstructured) bool {
		return object.GetKind() == "Namespace"
	})
	got := release.objects(t)
	for key, object := range got {
		labels := object.GetLabels()
		for _, label := range []string{"app.kubernetes.io/managed-by", "helm.sh/chart"} {
			if labels[label] == "" {
				t.Errorf("%s has no label %s", key, label)
			}
			delete(labels, label)
		}
		object.SetLabels(labels)
		if object.GetKind() == "CustomResourceDefinition" {
			annotations := object.GetAnnotations()
			if annotations["helm.sh/resource-policy"] != "keep" {
				t.Error("helm uninstall deletes the CRD, and with it all policies")
			}
			delete(annotations, "helm.sh/resource-policy")
			object.SetAnnotations(annotations)
		}
	}
	sortWebhooks(want)
	sortWebhooks(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the chart renders something else than %s (-kustomization +chart):\n%s", folder, diff)
	}
}

// sortWebhooks sorts the webhooks in configurations. A patch in an overlay moves those that it changes to the front. No
// request matches two of them, so that their order does not matter.
func sortWebhooks(objects map[string]*unstructured.Unstructured) {
	name := func(webhook any) string { return webhook.(map[string]any)["name"].(string) }
	for _, object := range objects {
		webhooks, _ := object.Object["webhooks"].([]any)
		slices.SortFunc(webhooks, func(a, b any) int { return strings.Compare(name(a), name(b)) })
	}
}

// TestChartFiles compares the generated files of the chart with the kustomization; with -update it writes them. It is
// not parallel, so that the other tests read the chart after it.
func TestChartFiles(t *testing.T) {
	objects := kustomize(t, kustomization(t, "base", "monitoring"))
	roles, webhooks := map[string]any{}, map[string]any{}
	for _, object := range objects {
		switch kind := object.GetKind(); kind {
		case "ClusterRole":
			labels := object.GetLabels()
			maps.DeleteFunc(labels, func(key, _ string) bool { return strings.HasPrefix(key, "app.kubernetes.io/") })
			roles[object.GetName()] = map[string]any{"labels": labels, "rules": object.Object["rules"]}
		case "MutatingWebhookConfiguration", "ValidatingWebhookConfiguration":
			webhooks[kind] = object.Object["webhooks"]
		}
	}
	policy := kustomize(t, kustomization(t, "default", ""))["ValidatingAdmissionPolicy /sourceward-cabundle"]
	dashboards := objects["ConfigMap sourceward-system/sourceward-dashboard"].Object["data"].(map[string]any)
	files := map[string]any{
		"admission-policy.yaml": policy.Object["spec"],
		"cluster-roles.yaml":    roles,
		"crd.yaml":              objects["CustomResourceDefinition /sourceippolicies.sourceward.dev"].Object,
		"dashboard.json":        dashboards["sourceward.json"],
		"prometheus-rule.yaml":  objects["PrometheusRule sourceward-system/sourceward"].Object["spec"],
		"webhooks.yaml":         webhooks,
	}
	for name, content := range files {
		file := filepath.Join(chartFolder, "files", name)
		text, isText := content.(string)
		if !isText {
			encoded, err := yaml.Marshal(content)
			if err != nil {
				t.Fatal(err)
			}
			text = "# Generated from config by make generate.\n" + string(encoded)
		}
		if *update {
			if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if have, err := os.ReadFile(file); err != nil || string(have) != text {
			t.Errorf("%s is not up to date (%v); run make generate (-want +got):\n%s",
				file, err, cmp.Diff(text, string(have)))
		}
	}
	entries, err := os.ReadDir(filepath.Join(chartFolder, "files"))
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		if files[entry.Name()] == nil {
			t.Errorf("%s is not generated; remove it", filepath.Join(chartFolder, "files", entry.Name()))
		}
	}
}
