package test

import (
	"bytes"
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
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"
)

const chartFolder = "../config/chart"

// chartRelease is an installation of the chart.
type chartRelease struct {
	// namespace is that of the release. Empty means sourceward-system, as in the kustomization.
	namespace string
	// values are YAML texts of values, each of which takes precedence over those before it. image.repository is sourceward
	// unless they say otherwise.
	values []string
	// apiVersions are those that the cluster serves beside those of Kubernetes.
	apiVersions []string
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
	capabilities.APIVersions = append(capabilities.APIVersions, r.apiVersions...)
	release := common.ReleaseOptions{Name: "sourceward", Namespace: r.namespace, Revision: 1, IsInstall: true}
	if release.Namespace == "" {
		release.Namespace = "sourceward-system"
	}
	top, err := util.ToRenderValues(chart, values, release, capabilities)
	if err != nil {
		return nil, err
	}
	texts, err := engine.Engine{}.Render(chart, top)
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
		}
	}
	return objects
}

// TestChartIsTheKustomization compares what the chart renders with what the kustomization builds.
func TestChartIsTheKustomization(t *testing.T) {
	t.Parallel()
	for folder, release := range map[string]chartRelease{
		"config/default":           {},
		"config/certmanager":       {values: []string{"certificates: {mode: cert-manager}"}, apiVersions: otherAPIs},
		"config/secret":            {values: []string{"certificates: {mode: secret}"}},
		"config/fail-closed":       {values: []string{"webhooks: {services: {failurePolicy: Fail}}"}},
		"config/samples/namespace": {namespace: "admission"},
	} {
		t.Run(folder, func(t *testing.T) {
			t.Parallel()
			compareWithKustomization(t, release, filepath.Join(root, folder))
		})
	}
	t.Run("config/components/network-policy", func(t *testing.T) {
		t.Parallel()
		overlay := t.TempDir()
		config, err := filepath.Abs(filepath.Join(root, "config"))
		if err != nil {
			t.Fatal(err)
		}
		if config, err = filepath.Rel(overlay, config); err != nil {
			t.Fatal(err)
		}
		text := fmt.Sprintf("resources: [%s/default]\ncomponents: [%[1]s/components/network-policy]\n", config)
		if err := os.WriteFile(filepath.Join(overlay, "kustomization.yaml"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		compareWithKustomization(t, chartRelease{values: []string{"networkPolicy: {enabled: true}"}}, overlay)
	})
}

func compareWithKustomization(t *testing.T, release chartRelease, folder string) {
	t.Helper()
	want := kustomize(t, folder)
	// Helm creates the Namespace.
	maps.DeleteFunc(want, func(_ string, object *unstructured.Unstructured) bool { return object.GetKind() == "Namespace" })
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

// TestChartFiles compares the generated files of the chart with config/base; with -update it writes them. It is not
// parallel, so that the other tests read the chart after it.
func TestChartFiles(t *testing.T) {
	base := kustomize(t, filepath.Join(root, "config", "base"))
	roles, webhooks := map[string]any{}, map[string]any{}
	for _, object := range base {
		switch kind := object.GetKind(); kind {
		case "ClusterRole":
			roles[object.GetName()] = object.Object["rules"]
		case "MutatingWebhookConfiguration", "ValidatingWebhookConfiguration":
			webhooks[kind] = object.Object["webhooks"]
		}
	}
	files := map[string]any{
		"crd.yaml":           base["CustomResourceDefinition /sourceippolicies.sourceward.dev"].Object,
		"cluster-roles.yaml": roles,
		"webhooks.yaml":      webhooks,
	}
	for name, content := range files {
		text, err := yaml.Marshal(content)
		if err != nil {
			t.Fatal(err)
		}
		text = append([]byte("# Generated from config/base by make generate.\n"), text...)
		file := filepath.Join(chartFolder, "files", name)
		if *update {
			if err := os.WriteFile(file, text, 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if have, err := os.ReadFile(file); err != nil || !bytes.Equal(have, text) {
			t.Errorf("%s is not up to date (%v); run make generate (-want +got):\n%s",
				file, err, cmp.Diff(string(text), string(have)))
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
