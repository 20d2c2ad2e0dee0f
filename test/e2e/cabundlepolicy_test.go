package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/sourceward/sourceward/test/cluster"
	"github.com/sourceward/sourceward/test/sandbox"
)

// TestCABundlePolicy checks that the ServiceAccount of the webhook can change caBundle of its configurations, and
// nothing else in them, although RBAC lets it patch them. Only API servers can show whether they evaluate policies for
// webhook configurations: they call no webhooks for them.
func TestCABundlePolicy(t *testing.T) {
	t.Parallel()
	for _, version := range cluster.Versions() {
		t.Run(string(version), func(t *testing.T) {
			t.Parallel()
			e := newBareEnvironment(t, cluster.Options{Version: version})
			e.namespace(t, sandbox.Namespace)
			e.must(t, "", "apply", "-k", "../../config/rbac")
			e.must(t, "", "apply", "-k", "../../config/webhook")
			const selfManaged = "../../config/components/self-managed/"
			e.must(t, "", "apply", "-f", selfManaged+"role.yaml", "-f", selfManaged+"role_binding.yaml")
			kubeconfig, err := e.UserKubeconfig("system:serviceaccount:" + sandbox.Namespace + ":sourceward-webhook")
			if err != nil {
				t.Fatal(err)
			}
			config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
			if err != nil {
				t.Fatal(err)
			}
			restricted, err := kubernetes.NewForConfig(config)
			if err != nil {
				t.Fatal(err)
			}

			const takeOver = `[{"op": "replace", "path": "/webhooks/0/clientConfig/service/name", "value": "other"}]`
			for kind, err := range dryRunPatch(t.Context(), restricted, types.JSONPatchType, takeOver) {
				if err != nil {
					t.Errorf("%s: the policy would not be needed: %v", kind, err)
				}
			}
			start := time.Now()
			e.must(t, "", "create", "-f", selfManaged+"admission_policy.yaml")
			e.eventually(t, "the policy is in force", func() (bool, string) {
				for kind, err := range dryRunPatch(t.Context(), restricted, types.JSONPatchType, takeOver) {
					if err == nil {
						return false, kind + " was patched"
					}
				}
				return true, ""
			})
			t.Logf("the policy is in force after %s", time.Since(start).Round(time.Millisecond))

			const metadata, webhooks, fields = "changes metadata", "adds, removes or moves webhooks", "changes other fields"
			const merge = types.StrategicMergePatchType
			tests := map[string]struct {
				form  types.PatchType // empty for a JSON patch
				patch string
				want  string // part of the refusal; empty if the patch is allowed
			}{
				"nothing": {patch: `[]`},
				"caBundle of one webhook": {
					patch: `[{"op": "add", "path": "/webhooks/0/clientConfig/caBundle", "value": "Z2FyYmFnZQ=="}]`,
				},
				"caBundle of two webhooks": {
					patch: `[{"op": "add", "path": "/webhooks/0/clientConfig/caBundle", "value": "Z2FyYmFnZQ=="},
						{"op": "add", "path": "/webhooks/1/clientConfig/caBundle", "value": "Z2FyYmFnZQ=="}]`,
				},
				"caBundle and something else": {
					patch: `[{"op": "add", "path": "/webhooks/0/clientConfig/caBundle", "value": "Z2FyYmFnZQ=="},
						{"op": "replace", "path": "/webhooks/1/timeoutSeconds", "value": 30}]`,
					want: fields,
				},
				"the Service of a webhook": {patch: takeOver, want: fields},
				"a URL instead of the Service": {
					patch: `[{"op": "replace", "path": "/webhooks/0/clientConfig", "value": {"url": "https://example.com/"}}]`,
					want:  fields,
				},
				"another path": {
					patch: `[{"op": "replace", "path": "/webhooks/0/clientConfig/service/path", "value": "/other"}]`,
					want:  fields,
				},
				"no path": {patch: `[{"op": "remove", "path": "/webhooks/0/clientConfig/service/path"}]`, want: fields},
				"the failure policy": {
					patch: `[{"op": "replace", "path": "/webhooks/0/failurePolicy", "value": "Fail"}]`,
					want:  fields,
				},
				"the rules": {
					patch: `[{"op": "replace", "path": "/webhooks/0/rules/0/resources", "value": ["secrets"]}]`,
					want:  fields,
				},
				"no rules": {patch: `[{"op": "remove", "path": "/webhooks/0/rules"}]`, want: fields},
				"a selector of objects": {
					patch: `[{"op": "add", "path": "/webhooks/0/objectSelector", "value": {"matchLabels": {"a": "b"}}}]`,
					want:  fields,
				},
				"no selector of namespaces": {
					patch: `[{"op": "replace", "path": "/webhooks/0/namespaceSelector", "value": {}}]`,
					want:  fields,
				},
				"a condition": {
					patch: `[{"op": "add", "path": "/webhooks/0/matchConditions", "value": [{"name": "a", "expression": "false"}]}]`,
					want:  fields,
				},
				"the side effects": {
					patch: `[{"op": "replace", "path": "/webhooks/0/sideEffects", "value": "NoneOnDryRun"}]`,
					want:  fields,
				},
				"the name of a webhook": {
					patch: `[{"op": "replace", "path": "/webhooks/0/name", "value": "other.sourceward.dev"}]`,
					want:  webhooks,
				},
				"one webhook less":    {patch: `[{"op": "remove", "path": "/webhooks/1"}]`, want: webhooks},
				"no webhook":          {patch: `[{"op": "replace", "path": "/webhooks", "value": []}]`, want: webhooks},
				"no list of webhooks": {patch: `[{"op": "remove", "path": "/webhooks"}]`, want: webhooks},
				"webhooks in another order": {
					patch: `[{"op": "move", "from": "/webhooks/0", "path": "/webhooks/1"}]`,
					want:  webhooks,
				},
				"a webhook that is added": {
					form: merge,
					patch: `{"webhooks": [{"name": "other.sourceward.dev", "sideEffects": "None",
						"admissionReviewVersions": ["v1"], "clientConfig": {"url": "https://example.com/"}}]}`,
					want: webhooks,
				},
				"a label":       {form: merge, patch: `{"metadata": {"labels": {"a": "b"}}}`, want: metadata},
				"an annotation": {form: merge, patch: `{"metadata": {"annotations": {"a": "b"}}}`, want: metadata},
				"a finalizer":   {form: merge, patch: `{"metadata": {"finalizers": ["example.com/a"]}}`, want: metadata},
				"no annotations": {
					form:  merge,
					patch: `{"metadata": {"annotations": null}}`,
					want:  metadata,
				},
			}
			for sentence, tt := range tests {
				form := types.JSONPatchType
				if tt.form != "" {
					form = tt.form
				}
				for kind, err := range dryRunPatch(t.Context(), restricted, form, tt.patch) {
					switch {
					case tt.want == "" && err != nil:
						t.Errorf("%s of a %s: %v", sentence, kind, err)
					case tt.want != "" && (!apierrors.IsInvalid(err) && !apierrors.IsForbidden(err) ||
						!strings.Contains(fmt.Sprint(err), "'sourceward-cabundle'") || !strings.Contains(fmt.Sprint(err), tt.want)):
						t.Errorf("%s of a %s: got %v, want a refusal: %s", sentence, kind, err, tt.want)
					}
				}
			}
			for kind, err := range dryRunPatch(t.Context(), e.client, types.JSONPatchType, takeOver) {
				if err != nil {
					t.Errorf("the policy also applies to others who patch a %s: %v", kind, err)
				}
			}
		})
	}
}

// dryRunPatch patches both webhook configurations without storing the result, and returns the errors by kind.
func dryRunPatch(
	ctx context.Context, client kubernetes.Interface, form types.PatchType, patch string,
) map[string]error {
	registrations := client.AdmissionregistrationV1()
	options := metav1.PatchOptions{DryRun: []string{metav1.DryRunAll}}
	_, mutating := registrations.MutatingWebhookConfigurations().
		Patch(ctx, caConfiguration, form, []byte(patch), options)
	_, validating := registrations.ValidatingWebhookConfigurations().
		Patch(ctx, caConfiguration, form, []byte(patch), options)
	return map[string]error{
		"MutatingWebhookConfiguration": mutating, "ValidatingWebhookConfiguration": validating,
	}
}
