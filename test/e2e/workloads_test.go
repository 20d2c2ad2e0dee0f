package e2e

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"
)

// templateOf returns the template of a workload of any kind. The error is non-nil if it does not decode.
func templateOf(object map[string]any) (corev1.PodTemplateSpec, error) {
	var workload struct {
		Spec struct {
			Template corev1.PodTemplateSpec `json:"template"`
		} `json:"spec"`
	}
	err := runtime.DefaultUnstructuredConverter.FromUnstructured(object, &workload)
	return workload.Spec.Template, err
}

// hardSpread is the spec of a policy that repairs the workloads of one Namespace with a constraint that the scheduler
// has to satisfy.
const hardSpread = `{match: {namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: %s}}},
  rules: [{id: unspread-behind-local, mode: Mutate}], spread: {whenUnsatisfiable: DoNotSchedule}}`

// wantConstraint is the repair of a Deployment whose pods have the label app: web.
var wantConstraint = corev1.TopologySpreadConstraint{
	MaxSkew:           1,
	TopologyKey:       corev1.LabelHostname,
	WhenUnsatisfiable: corev1.DoNotSchedule,
	LabelSelector:     &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}},
	MatchLabelKeys:    []string{appsv1.DefaultDeploymentUniqueLabelKey},
	NodeTaintsPolicy:  new(corev1.NodeInclusionPolicyHonor),
}

// testSpread checks that the real scheduler spreads the pods of a repaired Deployment, at first and after a rollout.
func testSpread(t *testing.T, e *environment) {
	const ns, replicas = "spread", 7
	e.namespace(t, ns)
	e.policy(t, ns, fmt.Sprintf(hardSpread, ns))
	e.must(t, service(ns, "web", local("web")), "apply", "-f", "-")
	manifest := deployment(ns, "web", replicas)
	a := e.must(t, manifest, "apply", "-f", "-")
	want := []string{
		"unspread-behind-local: repaired: added a DoNotSchedule spread constraint on kubernetes.io/hostname",
		"unspread-behind-local: pods of Service spread/web may share a node: 3.5x load",
	}
	if diff := cmp.Diff(want, warnings(a.stderr)); diff != "" {
		t.Errorf("warnings mismatch (-want +got):\n%s", diff)
	}
	constraints := func() []corev1.TopologySpreadConstraint {
		return get[appsv1.Deployment](t, e, ns, "web").Spec.Template.Spec.TopologySpreadConstraints
	}
	if diff := cmp.Diff([]corev1.TopologySpreadConstraint{wantConstraint}, constraints()); diff != "" {
		t.Fatalf("constraints mismatch (-want +got):\n%s", diff)
	}
	e.must(t, "", "rollout", "status", "-n", ns, "deployment/web", "--timeout=60s")
	e.even(t, ns, replicas)

	a = e.must(t, strings.Replace(manifest, "image: web", "image: web-2", 1), "apply", "-f", "-")
	if said := warnings(a.stderr); len(said) > 0 {
		t.Errorf("a repaired Deployment gets warnings: %q", said)
	}
	if diff := cmp.Diff([]corev1.TopologySpreadConstraint{wantConstraint}, constraints()); diff != "" {
		t.Fatalf("constraints after a rollout mismatch (-want +got):\n%s", diff)
	}
	e.must(t, "", "rollout", "status", "-n", ns, "deployment/web", "--timeout=60s")
	e.even(t, ns, replicas)
}

// even waits until the wanted number of pods run, and checks that no node has two pods more than another.
func (e *environment) even(t *testing.T, namespace string, want int) {
	t.Helper()
	perNode := map[string]int{}
	e.eventually(t, "pods run", func() (bool, string) {
		nodes, err := e.client.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		pods, err := e.client.CoreV1().Pods(namespace).List(t.Context(), metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		clear(perNode)
		for _, node := range nodes.Items {
			perNode[node.Name] = 0
		}
		running := 0
		for _, pod := range pods.Items {
			if pod.Status.Phase == corev1.PodRunning && pod.DeletionTimestamp == nil {
				running++
				perNode[pod.Spec.NodeName]++
			}
		}
		return running == want && len(pods.Items) == want, fmt.Sprintf("%d run, of %d", running, len(pods.Items))
	})
	counts := slices.Collect(maps.Values(perNode))
	t.Logf("pods per node: %v", perNode)
	if slices.Max(counts)-slices.Min(counts) > 1 {
		t.Errorf("pods per node: %v", perNode)
	}
}

// testWarn checks that a workload without a policy gets one warning, and is stored as it was sent.
func testWarn(t *testing.T, e *environment) {
	const ns = "warn"
	e.namespace(t, ns)
	e.must(t, service(ns, "web", local("web")), "apply", "-f", "-")
	manifest := deployment(ns, "web", 3)
	unspread := []string{
		"unspread-behind-local: pods of Service warn/web may share a node: 1.5x load",
		"unspread-behind-local: fix: add a spread constraint on kubernetes.io/hostname for the pods' own labels",
	}
	dry := e.must(t, manifest, "apply", "--dry-run=server", "-f", "-")
	if diff := cmp.Diff(unspread, warnings(dry.stderr)); diff != "" {
		t.Errorf("warnings of a dry run mismatch (-want +got):\n%s", diff)
	}
	a := e.must(t, manifest, "apply", "-f", "-")
	if diff := cmp.Diff(unspread, warnings(a.stderr)); diff != "" {
		t.Errorf("warnings mismatch (-want +got):\n%s", diff)
	}
	got := get[appsv1.Deployment](t, e, ns, "web").Spec.Template.Spec
	if got.TopologySpreadConstraints != nil || got.Affinity != nil {
		t.Errorf("a Deployment that should only get a warning is changed: %v", got)
	}
	if scaled := e.must(t, "", "scale", "-n", ns, "deployment/web", "--replicas=6"); len(warnings(scaled.stderr)) != 2 ||
		!strings.Contains(scaled.stderr, "3x load") {
		t.Errorf("more replicas: kubectl shows %q", scaled.stderr)
	}
	if scaled := e.must(t, "", "scale", "-n", ns, "deployment/web", "--replicas=2"); len(warnings(scaled.stderr)) != 0 {
		t.Errorf("fewer replicas: kubectl shows %q", scaled.stderr)
	}
	autoscaler := func(most int) string {
		return fmt.Sprintf("{apiVersion: autoscaling/v2, kind: HorizontalPodAutoscaler, "+
			"metadata: {namespace: %s, name: web}, spec: {maxReplicas: %d, "+
			"scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: web}}}", ns, most)
	}
	for _, most := range []int{6, 8} {
		created := e.must(t, autoscaler(most), "apply", "-f", "-")
		want := fmt.Sprintf(
			"unspread-behind-local: Deployment warn/web: pods of Service warn/web may share a node: %dx load", most/2)
		if said := warnings(created.stderr); len(said) < 2 || said[0] != want {
			t.Errorf("an autoscaler with at most %d pods: kubectl shows %q, want %q and a fix", most, created.stderr, want)
		}
		// Only a change of the autoscaler is one for the workload.
		annotated := e.must(t, "", "annotate", "--overwrite", "-n", ns, "hpa/web", fmt.Sprintf("most=%d", most))
		if said := warnings(annotated.stderr); len(said) != 0 {
			t.Errorf("an autoscaler is annotated: kubectl shows %q", annotated.stderr)
		}
	}
}

// testOrder applies a Service and the Deployment behind it in one file, which creates both within milliseconds.
func testOrder(t *testing.T, e *environment) {
	const ns = "order"
	e.namespace(t, ns)
	for i := range 5 {
		name := fmt.Sprintf("first-%d", i)
		a := e.must(t, service(ns, name, local(name))+"\n---\n"+deployment(ns, name, 3), "apply", "-f", "-")
		if said := warnings(a.stderr); len(said) != 2 ||
			!strings.HasPrefix(said[0], "unspread-behind-local: pods of Service order/"+name) {
			t.Errorf("Service first: kubectl shows %q", a.stderr)
		}
		name = fmt.Sprintf("last-%d", i)
		a = e.must(t, deployment(ns, name, 3)+"\n---\n"+service(ns, name, local(name)), "apply", "-f", "-")
		if said := warnings(a.stderr); len(said) != 2 ||
			said[0] != "unspread-behind-local: pods of Deployment order/"+name+" behind this Service may share a node" {
			t.Errorf("Service last: kubectl shows %q", a.stderr)
		}
	}
}

// testTemplateIsLeftAlone checks that an update that leaves the template unchanged is not repaired, since that would
// roll out the pods.
func testTemplateIsLeftAlone(t *testing.T, e *environment) {
	const ns = "left-alone"
	e.namespace(t, ns)
	e.must(t, deployment(ns, "web", 3), "apply", "-f", "-")
	e.must(t, service(ns, "web", local("web")), "apply", "-f", "-")
	e.policy(t, ns, fmt.Sprintf(hardSpread, ns))
	template := func() corev1.PodTemplateSpec {
		return get[appsv1.Deployment](t, e, ns, "web").Spec.Template
	}
	before := template()
	for what, args := range map[string][]string{
		"an annotation": {"annotate", "-n", ns, "deployment/web", "team=edge"},
		"a label":       {"label", "-n", ns, "deployment/web", "team=edge"},
		"replicas":      {"patch", "-n", ns, "deployment/web", "-p", `{"spec":{"replicas":6}}`},
		"a strategy":    {"patch", "-n", ns, "deployment/web", "-p", `{"spec":{"minReadySeconds":1}}`},
	} {
		a := e.must(t, "", args...)
		if said := warnings(a.stderr); len(said) != 2 || strings.Contains(a.stderr, "repaired") {
			t.Errorf("%s: kubectl shows %q", what, a.stderr)
		}
		if diff := cmp.Diff(before, template()); diff != "" {
			t.Errorf("%s changed the template (-before +after):\n%s", what, diff)
		}
	}
	e.must(t, "", "set", "image", "-n", ns, "deployment/web", "web=web-2")
	wanted := []corev1.TopologySpreadConstraint{wantConstraint}
	if diff := cmp.Diff(wanted, template().Spec.TopologySpreadConstraints); diff != "" {
		t.Errorf("constraints after a change of the template mismatch (-want +got):\n%s", diff)
	}
}

func yamlToJSON(t *testing.T, text string) string {
	t.Helper()
	converted, err := yaml.YAMLToJSON([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return string(converted)
}
