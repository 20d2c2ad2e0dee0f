package webhook

import (
	"bytes"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"

	"github.com/sourceward/sourceward/policies"
)

var update = flag.Bool("update", false, "write the files of config that are generated from the kinds of workloads")

// TestManifestsNameTheKindsOfWorkloads generates the manifests that markers cannot express: the rules and permissions
// for policies.WorkloadKinds and policies.AutoscalerKinds.
func TestManifestsNameTheKindsOfWorkloads(t *testing.T) {
	t.Parallel()
	var repaired, judged, scales, permissions []any
	permission := func(group, resource string, verbs ...string) map[string]any {
		return map[string]any{"apiGroups": []string{group}, "resources": []string{resource}, "verbs": verbs}
	}
	permit := func(group, resource string) {
		permissions = append(permissions, permission(group, resource, "list", "watch"))
	}
	// What sourceward check judges, and what it looks at for that.
	var readable []any
	for _, resource := range []schema.GroupResource{
		{Resource: "namespaces"}, {Resource: "nodes"}, {Resource: "services"},
		{Group: "discovery.k8s.io", Resource: "endpointslices"}, {Group: "sourceward.dev", Resource: "sourceippolicies"},
	} {
		readable = append(readable, permission(resource.Group, resource.Resource, "get", "list"))
	}
	for _, kind := range policies.WorkloadKinds {
		rule := func(resource string, operations ...string) map[string]any {
			return map[string]any{
				"apiGroups": []string{kind.Group}, "apiVersions": kind.Versions,
				"resources": []string{resource}, "operations": operations,
			}
		}
		if kind.Door != policies.FilesOnly {
			readable = append(readable, permission(kind.Group, kind.Resource, "get", "list"))
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
	var autoscalers []any
	for _, kind := range policies.AutoscalerKinds {
		permit(kind.Group, kind.Resource)
		readable = append(readable, permission(kind.Group, kind.Resource, "get", "list"))
		autoscalers = append(autoscalers, map[string]any{
			"apiGroups": []string{kind.Group}, "apiVersions": kind.Versions,
			"resources": []string{kind.Resource}, "operations": []string{"CREATE", "UPDATE"},
		})
	}
	webhooks := func(byName map[string][]any) []any {
		var entries []any
		for _, name := range slices.Sorted(maps.Keys(byName)) {
			entry := map[string]any{"name": name, "rules": byName[name]}
			if name == validatesWorkloads {
				entry["matchConditions"] = workloadConditions(t)
			}
			entries = append(entries, entry)
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
				validatesWorkloads: judged, "scale.validate.sourceward.dev": scales,
				"autoscalers.validate.sourceward.dev": autoscalers,
			}),
		},
		"rbac/workloads_role.yaml": map[string]any{
			"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
			"metadata": metadata("sourceward-webhook-workloads"),
			"rules":    permissions,
		},
		"rbac/reader/role.yaml": map[string]any{
			"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
			"metadata": metadata("sourceward-reader"),
			"rules":    readable,
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

const validatesWorkloads = "workloads.validate.sourceward.dev"

// workloadConditions returns the conditions under which a workload is judged: those that Services have as well, and
// that none of its kind's Makers controls it.
func workloadConditions(t *testing.T) []any {
	t.Helper()
	text, err := os.ReadFile(filepath.FromSlash("../config/webhook/validating_patch.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var patch struct {
		Webhooks []struct {
			Name            string
			MatchConditions []map[string]any
		}
	}
	if err := yaml.Unmarshal(text, &patch); err != nil {
		t.Fatal(err)
	}
	var conditions []any
	for _, webhook := range patch.Webhooks {
		for _, condition := range webhook.MatchConditions {
			shared := condition["name"] == "not-being-deleted" || condition["name"] == "changed"
			if shared && webhook.Name == "services.validate.sourceward.dev" {
				conditions = append(conditions, condition)
			}
		}
	}
	if len(conditions) != 2 {
		t.Fatalf("the conditions of Services are %v, want not-being-deleted and changed", conditions)
	}
	return append(conditions, map[string]any{"name": "not-a-child", "expression": notChild()})
}

// notChild returns the CEL expression of that.
func notChild() string {
	var children []string
	for _, kind := range policies.WorkloadKinds {
		var makers []string
		for _, maker := range kind.Makers {
			makers = append(makers,
				fmt.Sprintf("owner.kind == '%s' && owner.apiVersion.startsWith('%s/')", maker.Kind, maker.Group))
		}
		if makers == nil || kind.Door == policies.FilesOnly {
			continue
		}
		children = append(children, fmt.Sprintf("request.resource.group == '%s' && request.resource.resource == '%s' && "+
			"object.metadata.?ownerReferences.orValue([]).exists(owner, owner.?controller.orValue(false) && (%s))",
			kind.Group, kind.Resource, strings.Join(makers, " || ")))
	}
	return "!(" + strings.Join(children, " || ") + ")"
}
