package e2e

import (
	"bytes"
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

	"github.com/google/go-cmp/cmp"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
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
	e.namespace(t, "excluded")
	for _, version := range []int{4, 3} {
		binary, err := helmCommands[version]()
		if err != nil {
			t.Fatal(err)
		}
		// Each part begins with what the one before it leaves.
		passed := t.Run(fmt.Sprintf("Helm %d", version), func(t *testing.T) {
			c := &chartTest{environment: e, watcher: watcher, version: version, binary: binary, home: t.TempDir()}
			t.Run("lint", c.testLint)
			if t.Run("life of a release", c.testLife) && t.Run("from the kustomization", c.testFromKustomization) {
				c.must(t, "", "delete", "crd", "sourceippolicies.sourceward.dev")
			}
		})
		if !passed {
			return
		}
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

// withValues returns the arguments of helm for a chart with a YAML text of values.
func withValues(t *testing.T, chart, values string) []string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "values.yaml")
	if err := os.WriteFile(file, []byte(values), 0o600); err != nil {
		t.Fatal(err)
	}
	return []string{chart, "--values", file}
}

// newerChart returns a copy of the chart, with another description in the CRD.
func newerChart(t *testing.T, description string) string {
	t.Helper()
	folder := t.TempDir()
	if err := os.CopyFS(folder, os.DirFS(chartFolder)); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(folder, "files", "crd.yaml")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	const former = "Number of the current spec."
	if !bytes.Contains(text, []byte(former)) {
		t.Fatalf("the CRD has no description %q", former)
	}
	text = bytes.ReplaceAll(text, []byte(former), []byte(description))
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return folder
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
	a := c.helm(t, append([]string{"lint", "--strict"}, withValues(t, chartFolder, openValues)...)...)
	if !strings.Contains(a.stdout, "1 chart(s) linted, 0 chart(s) failed") || strings.Contains(a.stdout, "WARN") {
		t.Errorf("helm lint: %s%s", a.stdout, a.stderr)
	}
}

// testLife installs a release into an empty cluster, changes it, removes it and installs it again.
func (c *chartTest) testLife(t *testing.T) {
	namespace := fmt.Sprintf("admission-%d", c.version)
	release := []string{"--namespace", namespace}
	const description = "Counts changes of the spec."
	open, closed := withValues(t, chartFolder, openValues), withValues(t, chartFolder, closedValues)
	newer := withValues(t, newerChart(t, description), openValues)

	c.helm(t, slices.Concat([]string{"install", "sourceward"}, closed, release, []string{"--create-namespace"})...)
	ca := c.writeCABundle(t)
	c.create(t, "{apiVersion: sourceward.dev/v1alpha1, kind: SourceIPPolicy, metadata: {name: kept}, spec: {}}")
	c.checkClosed(t, ca)

	c.helm(t, slices.Concat([]string{"upgrade", "sourceward"}, newer, release)...)
	c.checkOpen(t, namespace, ca)
	if text := fmt.Sprint(c.crd(t).Object); !strings.Contains(text, description) {
		t.Errorf("helm upgrade does not change the CRD: %s", text)
	}
	c.helm(t, append([]string{"rollback", "sourceward", "1"}, release...)...)
	c.untilNoPods(t, namespace)
	c.checkClosed(t, ca)

	crd := c.uninstall(t, namespace)
	c.helm(t, slices.Concat([]string{"install", "sourceward"}, open, release)...)
	if again := c.crd(t); again.GetUID() != crd.GetUID() {
		t.Error("another installation creates the CRD anew, which deletes all policies")
	}
	c.writeCABundle(t)
	ca, _ = selfSigned(t)
	upgrade := slices.Concat([]string{"upgrade", "sourceward"}, open, release,
		[]string{"--set=certificates.mode=secret", "--set-literal=certificates.caBundle=" + string(ca)})
	if c.version == 4 {
		if a := c.try(t, upgrade...); a.code == 0 || !strings.Contains(a.stderr, `conflicts with "sourceward-ca"`) {
			t.Errorf("helm upgrade overwrites the CA of the replicas: %s", a.stderr)
		}
		upgrade = append(upgrade, "--force-conflicts")
	}
	c.helm(t, upgrade...)
	c.checkOpen(t, namespace, ca)
	c.uninstall(t, namespace)
}

// testFromKustomization installs the chart over the kustomization, and over the CRD of a former release.
func (c *chartTest) testFromKustomization(t *testing.T) {
	const namespace = "sourceward-system"
	kustomization := strings.ReplaceAll(c.must(t, "", "kustomize", "../../config/default").stdout,
		"image: sourceward:devel", "image: registry.example.com/sourceward:devel")
	c.must(t, kustomization, "apply", "--server-side", "-f", "-")
	ca := c.writeCABundle(t)
	c.checkOpen(t, namespace, ca)
	pods := c.pods(t, namespace)

	release := []string{"--namespace", namespace}
	install := slices.Concat([]string{"install", "sourceward"}, withValues(t, chartFolder, openValues), release)
	const refusal = "exists and cannot be imported into the current release"
	if a := c.try(t, install...); a.code == 0 || !strings.Contains(a.stderr, refusal) {
		t.Errorf("helm install overwrites the kustomization: %s", a.stderr)
	}
	install = append(install, "--take-ownership")
	if c.version == 4 {
		// Server-side apply would refuse to change what kubectl owns, now and in each upgrade.
		install = append(install, "--server-side=false")
	}
	c.helm(t, install...)
	c.checkOpen(t, namespace, ca)
	if diff := cmp.Diff(pods, c.pods(t, namespace)); diff != "" {
		t.Errorf("helm install replaces the pods of the kustomization (-before +after):\n%s", diff)
	}
	c.helm(t, slices.Concat([]string{"upgrade", "sourceward"}, withValues(t, chartFolder, closedValues), release)...)
	c.untilNoPods(t, namespace)
	c.checkClosed(t, ca)
	c.uninstall(t, namespace)
}

// writeCABundle writes a CA into all webhooks, as the replicas do.
func (c *chartTest) writeCABundle(t *testing.T) (ca []byte) {
	t.Helper()
	ca, _ = selfSigned(t)
	mutating := get[admissionregistrationv1.MutatingWebhookConfiguration](t, c.environment, "", "sourceward")
	validating := get[admissionregistrationv1.ValidatingWebhookConfiguration](t, c.environment, "", "sourceward")
	former := []client.Object{mutating.DeepCopy(), validating.DeepCopy()}
	for i := range mutating.Webhooks {
		mutating.Webhooks[i].ClientConfig.CABundle = ca
	}
	for i := range validating.Webhooks {
		validating.Webhooks[i].ClientConfig.CABundle = ca
	}
	for i, configuration := range []client.Object{&mutating, &validating} {
		patch := client.StrategicMergeFrom(former[i])
		if err := c.objects.Patch(t.Context(), configuration, patch, client.FieldOwner("sourceward-ca")); err != nil {
			t.Fatal(err)
		}
	}
	return ca
}

// checkWebhooks checks the failure policy for Services, and that all webhooks have the CA.
func (c *chartTest) checkWebhooks(t *testing.T, want admissionregistrationv1.FailurePolicyType, ca []byte) {
	t.Helper()
	count := 0
	check := func(name string, got admissionregistrationv1.FailurePolicyType, bundle []byte) {
		t.Helper()
		count++
		if strings.HasPrefix(name, "services.") && got != want {
			t.Errorf("failurePolicy of %s is %s, want %s", name, got, want)
		}
		if !bytes.Equal(bundle, ca) {
			t.Errorf("caBundle of %s is %q, want %q", name, bundle, ca)
		}
	}
	mutating := get[admissionregistrationv1.MutatingWebhookConfiguration](t, c.environment, "", "sourceward")
	for _, webhook := range mutating.Webhooks {
		check(webhook.Name, *webhook.FailurePolicy, webhook.ClientConfig.CABundle)
	}
	validating := get[admissionregistrationv1.ValidatingWebhookConfiguration](t, c.environment, "", "sourceward")
	for _, webhook := range validating.Webhooks {
		check(webhook.Name, *webhook.FailurePolicy, webhook.ClientConfig.CABundle)
	}
	if count != 7 {
		t.Errorf("there are %d webhooks, want 7", count)
	}
}

// checkOpen checks that openValues are in force with a CA, and waits until all replicas are ready.
func (c *chartTest) checkOpen(t *testing.T, namespace string, ca []byte) {
	t.Helper()
	c.checkWebhooks(t, admissionregistrationv1.Ignore, ca)
	c.eventually(t, "the Deployment is available", func() (bool, string) {
		deployment := get[appsv1.Deployment](t, c.environment, namespace, "sourceward-webhook")
		got := deployment.Status
		isReady := got.ObservedGeneration == deployment.Generation && got.Replicas == 2 && got.UpdatedReplicas == 2 &&
			got.AvailableReplicas == 2
		return isReady, fmt.Sprintf("%+v", got)
	})
}

// checkClosed checks that closedValues are in force with a CA: without a replica, Services are refused, but no
// workloads and no Services in an excluded namespace.
func (c *chartTest) checkClosed(t *testing.T, ca []byte) {
	t.Helper()
	c.checkWebhooks(t, admissionregistrationv1.Fail, ca)
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

// pods returns the names of the pods of a release.
func (c *chartTest) pods(t *testing.T, namespace string) []string {
	t.Helper()
	var pods corev1.PodList
	if err := c.objects.List(t.Context(), &pods, client.InNamespace(namespace)); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, pod := range pods.Items {
		names = append(names, pod.Name)
	}
	slices.Sort(names)
	return names
}

func (c *chartTest) untilNoPods(t *testing.T, namespace string) {
	t.Helper()
	c.eventually(t, "all pods are gone", func() (bool, string) {
		pods := c.pods(t, namespace)
		return len(pods) == 0, fmt.Sprint(pods)
	})
}

// crd returns the CRD of the policies.
func (c *chartTest) crd(t *testing.T) *unstructured.Unstructured {
	t.Helper()
	crd := read(t, "{apiVersion: apiextensions.k8s.io/v1, kind: CustomResourceDefinition}")
	if err := c.objects.Get(t.Context(), client.ObjectKey{Name: "sourceippolicies.sourceward.dev"}, crd); err != nil {
		t.Fatal(err)
	}
	return crd
}

// uninstall uninstalls the release, and checks what is deleted, in which order, and what can be created then. It
// returns the CRD, which is kept.
func (c *chartTest) uninstall(t *testing.T, namespace string) *unstructured.Unstructured {
	t.Helper()
	deleted := c.watchDeletions(t, c.installed(t, namespace))
	c.helm(t, "uninstall", "sourceward", "--namespace", namespace)
	ended := time.Now()
	for _, manifest := range []string{someService("default"), deployment("default", "web", 1)} {
		c.eventually(t, "Services and workloads can be created", func() (bool, string) {
			err := c.objects.Create(t.Context(), read(t, manifest), client.DryRunAll)
			return err == nil, fmt.Sprint(err)
		})
	}
	t.Logf("a Service and a Deployment were created %s after the end of helm uninstall", time.Since(ended))

	kinds := deleted()
	t.Logf("deleted: %s", strings.Join(kinds, ", "))
	webhooks := []string{"ValidatingWebhookConfiguration", "MutatingWebhookConfiguration"}
	// Helm 3 deletes them last.
	if c.version == 4 && !slices.Equal(kinds[:2], webhooks) {
		t.Errorf("%q are deleted first, want %q", kinds[:2], webhooks)
	}
	c.untilNoPods(t, namespace)
	var secrets corev1.SecretList
	err := c.objects.List(t.Context(), &secrets, client.InNamespace(namespace))
	if err != nil || len(secrets.Items) > 0 {
		t.Errorf("%d Secrets are left (%v)", len(secrets.Items), err)
	}
	policy := read(t, "{apiVersion: sourceward.dev/v1alpha1, kind: SourceIPPolicy}")
	if err := c.objects.Get(t.Context(), client.ObjectKey{Name: "kept"}, policy); err != nil {
		t.Errorf("the policies are gone: %v", err)
	}
	return c.crd(t)
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
