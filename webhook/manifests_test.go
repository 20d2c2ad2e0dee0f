package webhook

import (
	"bytes"
	"flag"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"github.com/sourceward/sourceward/policies"
)

var update = flag.Bool("update", false, "write the files of config that are generated from the kinds of workloads")

// TestManifestsNameTheKindsOfWorkloads generates the manifests that markers cannot express: the rules and permissions
// for policies.WorkloadKinds and policies.AutoscalerKinds.
func TestManifestsNameTheKindsOfWorkloads(t *testing.T) {
	t.Parallel()
	var repaired, judged, scales, permissions []any
	permit := func(group, resource string) {
		permissions = append(permissions, map[string]any{
			"apiGroups": []string{group}, "resources": []string{resource}, "verbs": []string{"list", "watch"},
		})
	}
	for _, kind := range policies.WorkloadKinds {
		rule := func(resource string, operations ...string) map[string]any {
			return map[string]any{
				"apiGroups": []string{kind.Group}, "apiVersions": kind.Versions,
				"resources": []string{resource}, "operations": operations,
			}
		}
		if kind.Door != policies.FilesOnly {
			judged = append(judged, rule(kind.Resource, "CREATE", "UPDATE"))
			if slices.ContainsFunc(policies.Catalogue(), func(r policies.Rule) bool {
				return r.Mutable && slices.Contains(r.Kinds, kind.Kind)
			}) {
				repaired = append(repaired, rule(kind.Resource, "CREATE", "UPDATE"))
			}
		}
		if kind.Scaled {
			scales = append(scales, rule(kind.Resource+"/scale", "UPDATE"))
		}
		if kind.Door == policies.Everywhere {
			permit(kind.Group, kind.Resource)
		}
	}
	for _, kind := range policies.AutoscalerKinds {
		permit(kind.Group, kind.Resource)
	}
	webhooks := func(byName map[string][]any) []any {
		var entries []any
		for _, name := range slices.Sorted(maps.Keys(byName)) {
			entries = append(entries, map[string]any{"name": name, "rules": byName[name]})
		}
		return entries
	}
	metadata := func(name string) map[string]any { return map[string]any{"name": name} }
	for path, document := range map[string]any{
		"webhook/workloads_mutating_patch.yaml": map[string]any{
			"apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration",
			"metadata": metadata("sourceward"),
			"webhooks": webhooks(map[string][]any{"workloads.mutate.sourceward.dev": repaired}),
		},
		"webhook/workloads_validating_patch.yaml": map[string]any{
			"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
			"metadata": metadata("sourceward"),
			"webhooks": webhooks(map[string][]any{
				"workloads.validate.sourceward.dev": judged, "scale.validate.sourceward.dev": scales,
			}),
		},
		"rbac/workloads_role.yaml": map[string]any{
			"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
			"metadata": metadata("sourceward-webhook-workloads"),
			"rules":    permissions,
		},
	} {
		text, err := yaml.Marshal(document)
		if err != nil {
			t.Fatal(err)
		}
		text = append(
			[]byte("# Generated from policies.WorkloadKinds and policies.AutoscalerKinds by make generate.\n"),
			text...)
		file := filepath.Join("..", "config", filepath.FromSlash(path))
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
}
