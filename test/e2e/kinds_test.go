package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sourceward/sourceward/policies"
)

// customKind is a kind that another project defines by a CustomResourceDefinition.
type customKind struct{ group, version, kind, plural string }

// customKinds returns all custom kinds that Sourceward knows, each in its preferred version.
func customKinds() []customKind {
	var kinds []customKind
	for _, k := range policies.WorkloadKinds {
		if k.Custom {
			kinds = append(kinds, customKind{k.Group, k.Versions[0], k.Kind, k.Resource})
		}
	}
	for _, k := range policies.AutoscalerKinds {
		if k.Custom {
			kinds = append(kinds, customKind{k.Group, k.Versions[0], k.Kind, k.Resource})
		}
	}
	return kinds
}

// name returns the name of the CustomResourceDefinition, which kubectl also takes as the name of the resource.
func (k customKind) name() string { return k.plural + "." + k.group }

// cachedAs returns the label under which the webhook counts objects of the kind.
func (k customKind) cachedAs() string { return schema.GroupKind{Group: k.group, Kind: k.kind}.String() }

// fakeCRD returns a CustomResourceDefinition of the right name whose schema accepts any object.
func (k customKind) fakeCRD() string {
	return fmt.Sprintf(
		`{apiVersion: apiextensions.k8s.io/v1, kind: CustomResourceDefinition, metadata: {name: %[4]s.%[1]s}, spec: {
  group: %[1]s, scope: Namespaced, names: {kind: %[3]s, plural: %[4]s},
  versions: [{name: %[2]s, served: true, storage: true, subresources: {status: {}},
  schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}]}}`,
		k.group,
		k.version,
		k.kind,
		k.plural,
	)
}

// workload returns the manifest of a workload of any kind whose pods have the label app: <name>.
func workload(apiVersion, kind, namespace, name string, replicas int) string {
	text := strings.Replace(
		deployment(namespace, name, replicas),
		"apiVersion: apps/v1, kind: Deployment",
		"apiVersion: "+apiVersion+", kind: "+kind,
		1,
	)
	if kind == "StatefulSet" {
		text = strings.Replace(text, "selector:", "serviceName: "+name+", selector:", 1)
	}
	if kind == "ReplicationController" {
		text = strings.Replace(text, "selector: {matchLabels: {app: "+name+"}}", "selector: {app: "+name+"}", 1)
	}
	return text
}

// testKinds checks that workloads of every kind are repaired, including kinds that are installed while the webhook
// runs.
func testKinds(t *testing.T, e *environment) {
	const ns = "kinds"
	e.namespace(t, ns)
	e.policy(t, ns, fmt.Sprintf(hardSpread, ns))
	e.must(t, service(ns, "web", local("web")), "apply", "-f", "-")

	repaired := func(t *testing.T, apiVersion, kind string) []corev1.TopologySpreadConstraint {
		t.Helper()
		stored := read(
			t,
			fmt.Sprintf("{apiVersion: %s, kind: %s, metadata: {namespace: %s, name: web}}", apiVersion, kind, ns),
		)
		if err := e.objects.Get(t.Context(), client.ObjectKeyFromObject(stored), stored); err != nil {
			t.Fatal(err)
		}
		template, err := templateOf(stored.Object)
		if err != nil {
			t.Fatal(err)
		}
		return template.Spec.TopologySpreadConstraints
	}
	want := func(revisionLabel ...string) []corev1.TopologySpreadConstraint {
		constraint := wantConstraint
		constraint.MatchLabelKeys = revisionLabel
		return []corev1.TopologySpreadConstraint{constraint}
	}
	// gone deletes a workload, so that the next one is the only one behind the Service.
	gone := func(t *testing.T, resource, kind string) {
		t.Helper()
		count := func() float64 {
			return metric(t, e.Replicas[0], cachedSample(kind))
		}
		before := count()
		e.must(t, "", "delete", resource, "web", "-n", ns)
		e.eventually(
			t,
			"it is no longer cached",
			func() (bool, string) { return count() < max(before, 1), fmt.Sprint(count()) },
		)
	}
	check := func(t *testing.T, apiVersion, kind, resource string, revisionLabel ...string) {
		t.Helper()
		a := e.must(t, workload(apiVersion, kind, ns, "web", 3), "apply", "-f", "-")
		if !strings.Contains(a.stderr, "unspread-behind-local: repaired: ") {
			t.Errorf("%s: kubectl shows %q", kind, a.stderr)
		}
		if diff := cmp.Diff(want(revisionLabel...), repaired(t, apiVersion, kind)); diff != "" {
			t.Errorf("constraints of a %s mismatch (-want +got):\n%s", kind, diff)
		}
		group, _, _ := strings.Cut(apiVersion, "/")
		if group == "apps" {
			group = ""
		}
		gone(t, resource, schema.GroupKind{Group: group, Kind: kind}.String())
	}
	check(t, "apps/v1", "StatefulSet", "statefulset.apps")
	check(t, "apps/v1", "ReplicaSet", "replicaset")
	check(t, "v1", "ReplicationController", "replicationcontroller")

	t.Run("children are never judged", func(t *testing.T) {
		e.must(t, deployment(ns, "web", 3), "apply", "-f", "-")
		e.eventually(t, "the Deployment has its ReplicaSet", func() (bool, string) {
			list, err := e.client.AppsV1().ReplicaSets(ns).List(t.Context(), metav1.ListOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if len(list.Items) == 0 {
				return false, "it has none"
			}
			got := list.Items[0].Spec.Template.Spec.TopologySpreadConstraints
			return cmp.Equal(want(appsv1.DefaultDeploymentUniqueLabelKey), got), fmt.Sprint(got)
		})
		gone(t, "deployment", "Deployment")
	})
	t.Run("a DaemonSet needs no repair", func(t *testing.T) {
		daemons := strings.Replace(workload("apps/v1", "DaemonSet", ns, "web", 3), "replicas: 3, ", "", 1)
		if a := e.must(t, daemons, "apply", "-f", "-"); strings.Contains(a.stderr, "unspread") ||
			repaired(t, "apps/v1", "DaemonSet") != nil {
			t.Errorf("kubectl shows %q", a.stderr)
		}
		gone(t, "daemonset", "DaemonSet")
	})

	e.install(t, customKinds()...)
	rollout := customKind{"argoproj.io", "v1alpha1", "Rollout", "rollouts"}
	for kind, labels := range map[customKind][]string{
		rollout: {"rollouts-pod-template-hash"},
		{"apps.kruise.io", "v1alpha1", "CloneSet", "clonesets"}:      {"pod-template-hash"},
		{"apps.kruise.io", "v1beta1", "StatefulSet", "statefulsets"}: nil,
	} {
		t.Run(kind.cachedAs(), func(t *testing.T) {
			check(t, kind.group+"/"+kind.version, kind.kind, kind.name(), labels...)
		})
	}

	t.Run("a Rollout makes the pods of a Deployment", func(t *testing.T) {
		e.must(
			t,
			`{apiVersion: argoproj.io/v1alpha1, kind: Rollout, metadata: {namespace: kinds, name: canary}, spec: {replicas: 4,
		  workloadRef: {apiVersion: apps/v1, kind: Deployment, name: web}, strategy: {canary: {}}}}`,
			"apply",
			"-f",
			"-",
		)
		e.cached(t, "Rollout.argoproj.io", 1)
		e.must(t, deployment(ns, "web", 0), "apply", "-f", "-")
		if diff := cmp.Diff(want("rollouts-pod-template-hash"), repaired(t, "apps/v1", "Deployment")); diff != "" {
			t.Errorf("constraints mismatch (-want +got):\n%s", diff)
		}
		gone(t, "deployment", "Deployment")
		e.must(t, "", "delete", "rollout/canary", "-n", ns)
		e.cached(t, "Rollout.argoproj.io", 0)
	})
	t.Run("a ScaledObject makes more than one", func(t *testing.T) {
		e.must(
			t,
			`{apiVersion: keda.sh/v1alpha1, kind: ScaledObject, metadata: {namespace: kinds, name: web},
			  spec: {scaleTargetRef: {name: web}}}`,
			"apply",
			"-f",
			"-",
		)
		e.cached(t, "ScaledObject.keda.sh", 1)
		e.must(t, deployment(ns, "web", 1), "apply", "-f", "-")
		if diff := cmp.Diff(want(appsv1.DefaultDeploymentUniqueLabelKey), repaired(t, "apps/v1", "Deployment")); diff != "" {
			t.Errorf("constraints mismatch (-want +got):\n%s", diff)
		}
		gone(t, "deployment", "Deployment")
	})
	t.Run("a custom object that cannot be read", func(t *testing.T) {
		e.must(
			t,
			`{apiVersion: argoproj.io/v1alpha1, kind: Rollout, metadata: {namespace: kinds, name: odd},
			  spec: {replicas: many}}`,
			"apply",
			"-f",
			"-",
		)
		e.must(
			t,
			`{apiVersion: argoproj.io/v1alpha1, kind: Rollout, metadata: {namespace: kinds, name: fine},
			  spec: {replicas: 3}}`,
			"apply",
			"-f",
			"-",
		)
		e.cached(t, "Rollout.argoproj.io", 2)
		for _, replica := range e.Replicas {
			if !strings.Contains(replica.LogEnd(), "object not read") {
				t.Errorf("%s does not log that an object was not read: %s", replica.Address, replica.LogEnd())
			}
		}
	})
	t.Run("a kind that is removed and installed again", func(t *testing.T) {
		observed := func(want bool) {
			t.Helper()
			const sample = `sourceward_watch_down_seconds{kind="Rollout.argoproj.io"}`
			for _, replica := range e.Replicas {
				e.eventually(t, fmt.Sprintf("the metric of the watch exists: %t", want), func() (bool, string) {
					samples, err := replica.Metrics(t.Context())
					if err != nil {
						t.Fatal(err)
					}
					down, found := samples[sample]
					return found == want && down == 0, fmt.Sprintf("%v, %t", down, found)
				})
			}
		}
		observed(true)
		e.must(t, "", "delete", "crd", rollout.name())
		for _, replica := range e.Replicas {
			e.eventually(t, "the webhook logs that the kind is not served", func() (bool, string) {
				return strings.Contains(replica.LogEnd(), "kind is no longer served"), replica.LogEnd()
			})
		}
		observed(false)
		e.install(t, rollout)
		observed(true)
		check(t, "argoproj.io/v1alpha1", rollout.kind, rollout.name(), "rollouts-pod-template-hash")
	})
}

// install installs the fakeCRDs of kinds, and waits until all replicas watch their objects, which takes some seconds.
func (e *environment) install(t *testing.T, kinds ...customKind) {
	t.Helper()
	var crds []string
	for _, k := range kinds {
		crds = append(crds, k.fakeCRD())
	}
	e.installCRDs(t, crds, kinds...)
}

// installCRDs installs the CRDs of kinds, and waits until all replicas watch their objects.
func (e *environment) installCRDs(t *testing.T, crds []string, kinds ...customKind) {
	t.Helper()
	var probes []string
	established := []string{"wait", "--for=condition=Established", "--timeout=60s"}
	for _, k := range kinds {
		probes = append(
			probes,
			fmt.Sprintf(
				"{apiVersion: %s/%s, kind: %s, metadata: {namespace: default, name: probe}}",
				k.group,
				k.version,
				k.kind,
			),
		)
		established = append(established, "crd/"+k.name())
	}
	e.must(t, strings.Join(crds, "\n---\n"), "apply", "-f", "-")
	e.must(t, "", established...)
	probe := strings.Join(probes, "\n---\n")
	e.eventually(t, "objects of the kinds are accepted", func() (bool, string) {
		a := e.kubectl(t, probe, "apply", "-f", "-")
		return a.code == 0, a.stderr
	})
	for _, k := range kinds {
		e.cached(t, k.cachedAs(), 1)
	}
	e.must(t, probe, "delete", "-f", "-")
	for _, k := range kinds {
		e.cached(t, k.cachedAs(), 0)
	}
}

// cached waits until all replicas have the wanted number of objects of a kind in their caches.
func (e *environment) cached(t *testing.T, kind string, want float64) {
	t.Helper()
	for _, replica := range e.Replicas {
		e.eventually(t, "objects are cached", func() (bool, string) {
			got := metric(t, replica, cachedSample(kind))
			return got == want, fmt.Sprintf("%v of kind %s, want %v", got, kind, want)
		})
	}
}
