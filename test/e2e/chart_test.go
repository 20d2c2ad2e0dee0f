package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sourceward/sourceward/test/cluster"
)

// helmCommands are the helm commands of two major versions, built once into the folder of binaries.
var helmCommands = map[int]func() (string, error){3: helmCommand(3), 4: helmCommand(4)}

func helmCommand(version int) func() (string, error) {
	return sync.OnceValues(func() (string, error) {
		binary := filepath.Join(binaries, fmt.Sprintf("helm-%d", version))
		cmd := exec.Command("go", "build", "-ldflags=-s -w", "-o", binary, fmt.Sprintf("helm.sh/helm/v%d/cmd/helm", version))
		cmd.Dir, cmd.Env = "../appliers", append(os.Environ(), "GOWORK=off")
		if out, err := cmd.CombinedOutput(); err != nil {
			return "", fmt.Errorf("build Helm %d: %w\n%s", version, err, out)
		}
		return binary, nil
	})
}

// chartTest is a control plane, and a helm command that installs the chart on it.
type chartTest struct {
	*environment
	watcher dynamic.Interface

	version int
	binary  string
	// home is the folder of what helm stores on the machine.
	home string
}

// TestChart installs, upgrades, rolls back and uninstalls the chart. What it renders is tested by package test. Only
// Helm and an API server know which fields an upgrade keeps, what an uninstall deletes and in which order, and what can
// be adopted. kwok makes the pods ready; no webhook runs in them.
func TestChart(t *testing.T) {
	t.Parallel()
	e := newBareEnvironment(t, cluster.Options{Nodes: 3})
	watcher, err := dynamic.NewForConfig(e.Config())
	if err != nil {
		t.Fatal(err)
	}
	for _, version := range []int{4, 3} {
		binary, err := helmCommands[version]()
		if err != nil {
			t.Fatal(err)
		}
		t.Run(fmt.Sprintf("Helm %d", version), func(t *testing.T) {
			c := &chartTest{environment: e, watcher: watcher, version: version, binary: binary, home: t.TempDir()}
			t.Run("lint", c.testLint)
			t.Run("life of a release", c.testLife)
			t.Run("from the kustomization", c.testFromKustomization)
		})
	}
}

// try runs helm.
func (c *chartTest) try(t *testing.T, args ...string) answer {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), c.binary, args...)
	cmd.Env = append(c.Kubectl(t.Context()).Env,
		"HELM_CACHE_HOME="+c.home, "HELM_CONFIG_HOME="+c.home, "HELM_DATA_HOME="+c.home)
	a, err := finish(cmd)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// helm runs helm, and fails the test if helm fails.
func (c *chartTest) helm(t *testing.T, args ...string) answer {
	t.Helper()
	a := c.try(t, args...)
	if a.code != 0 {
		t.Fatalf("helm %q: %s", args, a.stderr)
	}
	return a
}

const chartFolder = "../../config/chart"

// withValues returns the arguments of helm for the chart with a YAML text of values.
func withValues(t *testing.T, values string) []string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "values.yaml")
	if err := os.WriteFile(file, []byte(values), 0o600); err != nil {
		t.Fatal(err)
	}
	return []string{chartFolder, "--values", file}
}

// Values of two revisions. The pods answer no request, and so the API server waits as long as the timeouts say. Without
// replicas it does not wait.
const (
	openValues = `{
  image: {repository: registry.example.com/sourceward},
  webhooks: {services: {timeoutSeconds: 1}, workloads: {timeoutSeconds: 1}, policies: {timeoutSeconds: 1}},
}`
	closedValues = `{
  image: {repository: registry.example.com/sourceward}, replicas: 0, excludedNamespaces: [kube-system, excluded],
  webhooks: {services: {failurePolicy: Fail, timeoutSeconds: 1}},
}`
)

func (c *chartTest) testLint(t *testing.T) {
	a := c.helm(t, append([]string{"lint", "--strict"}, withValues(t, openValues)...)...)
	if !strings.Contains(a.stdout, "1 chart(s) linted, 0 chart(s) failed") || strings.Contains(a.stdout, "WARN") {
		t.Errorf("helm lint: %s%s", a.stdout, a.stderr)
	}
}

// testLife installs a release in a namespace that does not exist, changes it, and removes it.
func (c *chartTest) testLife(t *testing.T) {
	namespace := fmt.Sprintf("admission-%d", c.version)
	release := []string{"--namespace", namespace}
	install := slices.Concat([]string{"install", "sourceward"}, withValues(t, openValues), release)
	upgrade := slices.Concat([]string{"upgrade", "sourceward"}, withValues(t, closedValues), release)

	c.helm(t, append(install, "--create-namespace")...)
	c.untilAvailable(t, namespace, 2)
	ca := c.writeCABundle(t)

	c.helm(t, upgrade...)
	c.untilNoPods(t, namespace)
	if got := c.failurePolicies(t); got["services.mutate.sourceward.dev"] != admissionregistrationv1.Fail {
		t.Errorf("failurePolicy is %v after an upgrade to Fail", got)
	}
	c.checkCABundle(t, "an upgrade", ca)
	c.create(t, "{apiVersion: sourceward.dev/v1alpha1, kind: SourceIPPolicy, metadata: {name: kept}, spec: {}}")
	c.checkClosed(t)

	c.helm(t, append([]string{"rollback", "sourceward", "1"}, release...)...)
	c.untilAvailable(t, namespace, 2)
	if got := c.failurePolicies(t); got["services.mutate.sourceward.dev"] != admissionregistrationv1.Ignore {
		t.Errorf("failurePolicy is %v after a rollback to Ignore", got)
	}
	c.checkCABundle(t, "a rollback", ca)
	c.helm(t, append([]string{"rollback", "sourceward", "2"}, release...)...)
	c.untilNoPods(t, namespace)
	c.checkCABundle(t, "another rollback", ca)
	c.checkClosed(t)

	c.uninstall(t, namespace)
	// What is left can be used again, and belongs to this release.
	crd := c.crd(t)
	c.helm(t, install...)
	if again := c.crd(t); again.GetUID() != crd.GetUID() {
		t.Error("another installation creates the CRD anew, which deletes all policies")
	}
	c.uninstall(t, namespace)

	install[len(install)-1] = namespace + "-moved"
	install = append(install, "--create-namespace")
	if a := c.try(t, install...); a.code == 0 || !strings.Contains(a.stderr, "cannot be imported into the current release") {
		t.Errorf("helm install adopts the CRD of a release in another namespace: %s", a.stderr)
	}
	c.helm(t, append(install, "--take-ownership")...)
	c.uninstall(t, namespace+"-moved")
	c.must(t, "", "delete", "crd", "sourceippolicies.sourceward.dev")
}

// testFromKustomization installs the chart over the kustomization.
func (c *chartTest) testFromKustomization(t *testing.T) {
	const namespace = "sourceward-system"
	kustomization := strings.ReplaceAll(c.must(t, "", "kustomize", "../../config/default").stdout,
		"image: sourceward:devel", "image: registry.example.com/sourceward:devel")
	c.must(t, kustomization, "apply", "--server-side", "-f", "-")
	c.untilAvailable(t, namespace, 2)
	ca := c.writeCABundle(t)
	c.create(t, "{apiVersion: sourceward.dev/v1alpha1, kind: SourceIPPolicy, metadata: {name: kept}, spec: {}}")

	install := slices.Concat(
		[]string{"install", "sourceward"}, withValues(t, openValues), []string{"--namespace", namespace})
	if a := c.try(t, install...); a.code == 0 || !strings.Contains(a.stderr, "cannot be imported into the current release") {
		t.Errorf("helm install overwrites the kustomization: %s", a.stderr)
	}
	install = append(install, "--take-ownership")
	t.Log(c.try(t, install...))
	_ = ca
}

// untilAvailable waits until all replicas are ready.
func (c *chartTest) untilAvailable(t *testing.T, namespace string, replicas int32) {
	t.Helper()
	c.eventually(t, "the Deployment is available", func() (bool, string) {
		deployment := get[appsv1.Deployment](t, c.environment, namespace, "sourceward-webhook")
		status := deployment.Status
		isReady := status.ObservedGeneration == deployment.Generation && status.UpdatedReplicas == replicas &&
			status.Replicas == replicas && status.AvailableReplicas == replicas
		return isReady, fmt.Sprintf("%+v", status)
	})
	for _, pod := range c.pods(t, namespace) {
		isReady := slices.ContainsFunc(pod.Status.Conditions, func(condition corev1.PodCondition) bool {
			return condition.Type == corev1.PodReady && condition.Status == corev1.ConditionTrue
		})
		if !isReady {
			t.Errorf("pod %s is not ready: %+v", pod.Name, pod.Status)
		}
	}
}

func (c *chartTest) pods(t *testing.T, namespace string) []corev1.Pod {
	t.Helper()
	var pods corev1.PodList
	if err := c.objects.List(t.Context(), &pods, client.InNamespace(namespace)); err != nil {
		t.Fatal(err)
	}
	return pods.Items
}

func (c *chartTest) untilNoPods(t *testing.T, namespace string) {
	t.Helper()
	c.eventually(t, "all pods are gone", func() (bool, string) {
		pods := c.pods(t, namespace)
		return len(pods) == 0, fmt.Sprintf("%d pods", len(pods))
	})
}

// webhooks returns all webhooks of both configurations, by their names. The fields of the two kinds that the tests read
// are the same.
func (c *chartTest) webhooks(t *testing.T) map[string]admissionregistrationv1.ValidatingWebhook {
	t.Helper()
	webhooks := map[string]admissionregistrationv1.ValidatingWebhook{}
	for _, kind := range []string{"mutatingwebhookconfiguration", "validatingwebhookconfiguration"} {
		var configuration admissionregistrationv1.ValidatingWebhookConfiguration
		stored := c.must(t, "", "get", kind, "sourceward", "--output=json").stdout
		if err := json.Unmarshal([]byte(stored), &configuration); err != nil {
			t.Fatal(err)
		}
		for _, webhook := range configuration.Webhooks {
			webhooks[webhook.Name] = webhook
		}
	}
	return webhooks
}

func (c *chartTest) failurePolicies(t *testing.T) map[string]admissionregistrationv1.FailurePolicyType {
	t.Helper()
	policies := map[string]admissionregistrationv1.FailurePolicyType{}
	for name, webhook := range c.webhooks(t) {
		policies[name] = *webhook.FailurePolicy
	}
	return policies
}

// writeCABundle writes a CA into all webhooks, as a replica does.
func (c *chartTest) writeCABundle(t *testing.T) (ca []byte) {
	t.Helper()
	ca, _ = selfSigned(t)
	patch := map[string][]map[string]any{}
	for name := range c.webhooks(t) {
		configuration := "validatingwebhookconfiguration"
		if strings.Contains(name, ".mutate.") {
			configuration = "mutatingwebhookconfiguration"
		}
		patch[configuration] = append(patch[configuration],
			map[string]any{"name": name, "clientConfig": map[string]any{"caBundle": ca}})
	}
	for kind, webhooks := range patch {
		text, err := json.Marshal(map[string]any{"webhooks": webhooks})
		if err != nil {
			t.Fatal(err)
		}
		c.must(t, "", "patch", kind, "sourceward", "--field-manager=sourceward-ca", "--patch="+string(text))
	}
	return ca
}

// checkCABundle checks that all webhooks have the CA.
func (c *chartTest) checkCABundle(t *testing.T, after string, ca []byte) {
	t.Helper()
	webhooks := c.webhooks(t)
	if len(webhooks) != 7 {
		t.Errorf("there are %d webhooks after %s, want 7", len(webhooks), after)
	}
	for name, webhook := range webhooks {
		if string(webhook.ClientConfig.CABundle) != string(ca) {
			t.Errorf("caBundle of %s is %q after %s, want %q", name, webhook.ClientConfig.CABundle, after, ca)
		}
	}
}

// checkClosed checks that the policy is stored, and that Services are refused where no replica answers, but neither
// workloads nor Services in an excluded namespace.
func (c *chartTest) checkClosed(t *testing.T) {
	t.Helper()
	c.must(t, "", "get", "sourceippolicy", "kept")
	c.must(t, "{apiVersion: v1, kind: Namespace, metadata: {name: excluded}}", "apply", "-f", "-")
	c.eventually(t, "Services are refused", func() (bool, string) {
		err := c.objects.Create(t.Context(), read(t, someService("default")), client.DryRunAll)
		return err != nil && strings.Contains(err.Error(), "failed calling webhook"), fmt.Sprint(err)
	})
	for _, manifest := range []string{someService("excluded"), deployment("default", "web", 1)} {
		if err := c.objects.Create(t.Context(), read(t, manifest), client.DryRunAll); err != nil {
			t.Error(err)
		}
	}
}

func someService(namespace string) string {
	return service(namespace, "web", "{ports: [{port: 80}]}")
}

func (c *chartTest) crd(t *testing.T) *unstructured.Unstructured {
	t.Helper()
	stored := c.must(t, "", "get", "crd", "sourceippolicies.sourceward.dev", "--output=json").stdout
	return read(t, stored)
}

// uninstall uninstalls the release, and checks what is deleted, in which order, and what can be created then.
func (c *chartTest) uninstall(t *testing.T, namespace string) {
	t.Helper()
	installed := c.installed(t, namespace)
	deleted := c.watchDeletions(t, installed)
	c.helm(t, "uninstall", "sourceward", "--namespace", namespace)
	started := time.Now()
	for _, manifest := range []string{someService("default"), deployment("default", "web", 1)} {
		c.eventually(t, "Services and workloads can be created", func() (bool, string) {
			err := c.objects.Create(t.Context(), read(t, manifest), client.DryRunAll)
			return err == nil, fmt.Sprint(err)
		})
	}
	t.Logf("a Service and a Deployment were created %s after the end of helm uninstall", time.Since(started))

	order := deleted()
	t.Logf("deleted: %s", strings.Join(order, ", "))
	want := []string{"ValidatingWebhookConfiguration", "MutatingWebhookConfiguration"}
	if c.version == 4 && !slices.Equal(order[:2], want) {
		t.Errorf("the first objects that are deleted are %q, want %q", order[:2], want)
	}
	c.must(t, "", "get", "sourceippolicy", "kept")
	c.untilNoPods(t, namespace)
	if left := c.must(t, "", "get", "secret", "--namespace", namespace, "--output=name").stdout; left != "" {
		t.Errorf("Secrets are left: %s", left)
	}
}

// installed returns the objects of the release.
func (c *chartTest) installed(t *testing.T, namespace string) []*unstructured.Unstructured {
	t.Helper()
	manifest := c.helm(t, "get", "manifest", "sourceward", "--namespace", namespace).stdout
	var objects []*unstructured.Unstructured
	for decoder := utilyaml.NewYAMLOrJSONDecoder(strings.NewReader(manifest), 4096); ; {
		object := &unstructured.Unstructured{}
		if err := decoder.Decode(&object.Object); errors.Is(err, io.EOF) {
			return objects
		} else if err != nil {
			t.Fatal(err)
		}
		if object.Object != nil {
			objects = append(objects, object)
		}
	}
}

// watchDeletions watches all objects but the CRD. It returns a function that waits until all of them are deleted, and
// returns their kinds in the order of the deletions.
func (c *chartTest) watchDeletions(t *testing.T, objects []*unstructured.Unstructured) func() []string {
	t.Helper()
	type watched struct {
		kind   string
		events watch.Interface
	}
	var all []watched
	for _, object := range objects {
		if object.GetKind() == "CustomResourceDefinition" {
			continue
		}
		kind := object.GroupVersionKind()
		mapping, err := c.objects.RESTMapper().RESTMapping(kind.GroupKind(), kind.Version)
		if err != nil {
			t.Fatal(err)
		}
		events, err := c.watcher.Resource(mapping.Resource).Namespace(object.GetNamespace()).Watch(t.Context(),
			metav1.ListOptions{FieldSelector: "metadata.name=" + object.GetName()})
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, watched{kind.Kind, events})
	}
	return func() []string {
		t.Helper()
		deletions := map[string]uint64{}
		var kinds []string
		timeout := time.After(patience)
		for _, w := range all {
			defer w.events.Stop()
			for isDeleted := false; !isDeleted; {
				select {
				case event := <-w.events.ResultChan():
					object, ok := event.Object.(*unstructured.Unstructured)
					if !ok {
						t.Fatalf("watch %s: %+v", w.kind, event)
					}
					if isDeleted = event.Type == watch.Deleted; !isDeleted {
						continue
					}
					version, err := strconv.ParseUint(object.GetResourceVersion(), 10, 64)
					if err != nil {
						t.Fatal(err)
					}
					// Several objects may have a kind.
					if first, ok := deletions[w.kind]; !ok || version < first {
						deletions[w.kind] = version
					}
				case <-timeout:
					t.Fatalf("a %s is not deleted", w.kind)
				}
			}
		}
		for kind := range deletions {
			kinds = append(kinds, kind)
		}
		slices.SortFunc(kinds, func(a, b string) int { return int(deletions[a]) - int(deletions[b]) })
		return kinds
	}
}
