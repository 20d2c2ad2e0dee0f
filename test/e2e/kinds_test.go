package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// fakeCRD stands for the CustomResourceDefinition of another project: of the right name, with objects of any form.
func fakeCRD(group, version, kind, plural string) string {
	return fmt.Sprintf(`{apiVersion: apiextensions.k8s.io/v1, kind: CustomResourceDefinition, metadata: {name: %[4]s.%[1]s}, spec: {group: %[1]s, scope: Namespaced,
  names: {kind: %[3]s, plural: %[4]s}, versions: [{name: %[2]s, served: true, storage: true, subresources: {status: {}},
  schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}]}}`, group, version, kind, plural)
}

// workload is the manifest of a workload of any kind whose pods have the label app: <name>.
func workload(apiVersion, kind, namespace, name string, replicas int) string {
	text := strings.Replace(deployment(namespace, name, replicas), "apiVersion: apps/v1, kind: Deployment", "apiVersion: "+apiVersion+", kind: "+kind, 1)
	if kind == "StatefulSet" {
		text = strings.Replace(text, "selector:", "serviceName: "+name+", selector:", 1)
	}
	return text
}

// podSpec is that of a template, with nothing but what spreads its pods.
type podSpec struct {
	Spec struct {
		Template struct {
			Spec struct {
				TopologySpreadConstraints []corev1.TopologySpreadConstraint
			}
		}
	}
}

// testKinds: workloads of all kinds that a cluster has are repaired, and those that it has only later are as soon as it does.
func testKinds(t *testing.T, e *environment) {
	const ns = "kinds"
	e.namespace(t, ns)
	e.policy(t, ns, fmt.Sprintf(hardSpread, ns))
	e.must(t, service(ns, "web", local("web")), "apply", "-f", "-")

	repaired := func(kind, name string) []corev1.TopologySpreadConstraint {
		return get[podSpec](t, e, kind, "-n", ns, name).Spec.Template.Spec.TopologySpreadConstraints
	}
	want := func(revisionLabel ...string) []corev1.TopologySpreadConstraint {
		constraint := wantConstraint
		constraint.MatchLabelKeys = revisionLabel
		return []corev1.TopologySpreadConstraint{constraint}
	}
	// gone deletes a workload: the next one is the only one behind the Service.
	gone := func(resource, kind string) {
		t.Helper()
		count := func() float64 { return metric(t, e.Replicas[0], fmt.Sprintf("sourceward_cache_objects{kind=%q}", kind)) }
		before := count()
		e.must(t, "", "delete", resource, "web", "-n", ns)
		e.eventually(t, "it is no longer cached", func() (bool, string) { return count() < max(before, 1), fmt.Sprint(count()) })
	}
	check := func(apiVersion, kind, resource string, revisionLabel ...string) {
		t.Helper()
		a := e.must(t, workload(apiVersion, kind, ns, "web", 3), "apply", "-f", "-")
		if !strings.Contains(a.stderr, "unspread-behind-local: repaired: ") {
			t.Errorf("%s: kubectl shows %q", kind, a.stderr)
		}
		if diff := cmp.Diff(want(revisionLabel...), repaired(resource, "web")); diff != "" {
			t.Errorf("constraints of a %s mismatch (-want +got):\n%s", kind, diff)
		}
		group, _, _ := strings.Cut(apiVersion, "/")
		if group == "apps" {
			group = ""
		}
		gone(resource, schema.GroupKind{Group: group, Kind: kind}.String())
	}
	check("apps/v1", "StatefulSet", "statefulset.apps")
	check("apps/v1", "ReplicaSet", "replicaset")

	t.Run("children are never judged", func(t *testing.T) {
		e.must(t, deployment(ns, "web", 3), "apply", "-f", "-")
		e.eventually(t, "the ReplicaSet of the Deployment is there", func() (bool, string) {
			list := get[appsv1.ReplicaSetList](t, e, "replicaset", "-n", ns)
			if len(list.Items) == 0 {
				return false, "none"
			}
			got := list.Items[0].Spec.Template.Spec.TopologySpreadConstraints
			return cmp.Equal(want(appsv1.DefaultDeploymentUniqueLabelKey), got), fmt.Sprint(got)
		})
		gone("deployment", "Deployment")
	})
	t.Run("a DaemonSet is spread by nature", func(t *testing.T) {
		daemons := strings.Replace(workload("apps/v1", "DaemonSet", ns, "web", 3), "replicas: 3, ", "", 1)
		if a := e.must(t, daemons, "apply", "-f", "-"); strings.Contains(a.stderr, "unspread") || repaired("daemonset", "web") != nil {
			t.Errorf("kubectl shows %q", a.stderr)
		}
		gone("daemonset", "DaemonSet")
	})

	for _, kind := range []struct{ group, version, kind, plural, label string }{
		{"argoproj.io", "v1alpha1", "Rollout", "rollouts", "rollouts-pod-template-hash"},
		{"apps.kruise.io", "v1alpha1", "CloneSet", "clonesets", "pod-template-hash"},
		{"apps.kruise.io", "v1beta1", "StatefulSet", "statefulsets", ""},
	} {
		t.Run(kind.kind+"."+kind.group, func(t *testing.T) {
			e.install(t, kind.group, kind.version, kind.kind, kind.plural)
			var label []string
			if kind.label != "" {
				label = []string{kind.label}
			}
			check(kind.group+"/"+kind.version, kind.kind, kind.plural+"."+kind.group, label...)
		})
	}

	t.Run("a Rollout makes the pods of a Deployment", func(t *testing.T) {
		e.must(t, `{apiVersion: argoproj.io/v1alpha1, kind: Rollout, metadata: {namespace: kinds, name: canary}, spec: {replicas: 4,
		  workloadRef: {apiVersion: apps/v1, kind: Deployment, name: web}, strategy: {canary: {}}}}`, "apply", "-f", "-")
		e.cached(t, "Rollout.argoproj.io", 1)
		e.must(t, deployment(ns, "web", 0), "apply", "-f", "-")
		if diff := cmp.Diff(want("rollouts-pod-template-hash"), repaired("deployment", "web")); diff != "" {
			t.Errorf("constraints mismatch (-want +got):\n%s", diff)
		}
		gone("deployment", "Deployment")
		e.must(t, "", "delete", "rollout/canary", "-n", ns)
		e.cached(t, "Rollout.argoproj.io", 0)
	})
	t.Run("a ScaledObject makes more than one", func(t *testing.T) {
		e.install(t, "keda.sh", "v1alpha1", "ScaledObject", "scaledobjects")
		e.must(t, `{apiVersion: keda.sh/v1alpha1, kind: ScaledObject, metadata: {namespace: kinds, name: web}, spec: {scaleTargetRef: {name: web}}}`, "apply", "-f", "-")
		e.cached(t, "ScaledObject.keda.sh", 1)
		e.must(t, deployment(ns, "web", 1), "apply", "-f", "-")
		if diff := cmp.Diff(want(appsv1.DefaultDeploymentUniqueLabelKey), repaired("deployment", "web")); diff != "" {
			t.Errorf("constraints mismatch (-want +got):\n%s", diff)
		}
		gone("deployment", "Deployment")
	})
	t.Run("a custom object that cannot be read", func(t *testing.T) {
		e.must(t, `{apiVersion: argoproj.io/v1alpha1, kind: Rollout, metadata: {namespace: kinds, name: odd}, spec: {replicas: many}}`, "apply", "-f", "-")
		e.must(t, `{apiVersion: argoproj.io/v1alpha1, kind: Rollout, metadata: {namespace: kinds, name: fine}, spec: {replicas: 3}}`, "apply", "-f", "-")
		e.cached(t, "Rollout.argoproj.io", 2)
		for _, replica := range e.Replicas {
			if !strings.Contains(replica.LogEnd(), "object not read") {
				t.Errorf("%s does not tell: %s", replica.Address, replica.LogEnd())
			}
		}
	})
	t.Run("a kind that goes", func(t *testing.T) {
		e.must(t, "", "delete", "crd", "rollouts.argoproj.io")
		for _, replica := range e.Replicas {
			e.eventually(t, "the webhook tells", func() (bool, string) {
				return strings.Contains(replica.LogEnd(), "kind is gone"), replica.LogEnd()
			})
		}
		e.install(t, "argoproj.io", "v1alpha1", "Rollout", "rollouts")
		check("argoproj.io/v1alpha1", "Rollout", "rollouts.argoproj.io", "rollouts-pod-template-hash")
	})
}

// install installs a fakeCRD and waits until all replicas watch its objects.
func (e *environment) install(t *testing.T, group, version, kind, plural string) {
	t.Helper()
	e.must(t, fakeCRD(group, version, kind, plural), "apply", "-f", "-")
	e.must(t, "", "wait", "--for=condition=Established", "--timeout=60s", "crd/"+plural+"."+group)
	probe := fmt.Sprintf("{apiVersion: %s/%s, kind: %s, metadata: {namespace: default, name: probe}}", group, version, kind)
	e.eventually(t, "objects of "+kind+" are accepted", func() (bool, string) {
		a := e.kubectl(t, probe, "apply", "-f", "-")
		return a.code == 0, a.stderr
	})
	name := schema.GroupKind{Group: group, Kind: kind}.String()
	e.cached(t, name, 1)
	e.must(t, "", "delete", plural+"."+group, "probe", "-n", "default")
	e.cached(t, name, 0)
}

// cached waits until all replicas have so many objects of a kind.
func (e *environment) cached(t *testing.T, kind string, want float64) {
	t.Helper()
	for _, replica := range e.Replicas {
		e.eventually(t, "objects are cached", func() (bool, string) {
			got := metric(t, replica, fmt.Sprintf("sourceward_cache_objects{kind=%q}", kind))
			return got == want, fmt.Sprintf("%v of kind %s, want %v", got, kind, want)
		})
	}
}
