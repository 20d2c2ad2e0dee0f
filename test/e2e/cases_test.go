package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/sourceward/sourceward/api/v1alpha1"
	"github.com/sourceward/sourceward/policies"
)

// caseProbe is a policy whose warning shows which state of a Namespace the webhook sees.
const (
	caseProbeAnnotation = "e2e.example.com/case"
	caseProbe           = `{apiVersion: sourceward.dev/v1alpha1, kind: SourceIPPolicy, metadata: {name: e2e-probe}, spec: {
  match: {objectSelector: {matchLabels: {e2e: probe}}},
  rego: [{name: probe.rego, module: 'package sourceward.custom.e2e_probe

    warn contains {"message": input.namespace.annotations["` + caseProbeAnnotation + `"]}'}]}}`
)

// TestCases runs every case of test/cases that has policies in a cluster: the policies and the neighbours are stored in
// the API server, and kubectl applies the object. All findings and patches have to be those of the dry-run binary for
// the same files, whether want.yaml holds them or not.
func TestCases(t *testing.T) {
	t.Parallel()
	settings, err := filepath.Glob("../cases/*/*/settings.yaml")
	if err != nil || len(settings) == 0 {
		t.Fatalf("no cases with policies: %v", err)
	}
	p := newParity(t)
	p.install(t, customKinds()...)
	cases := newCaseRunner(t, p)
	ran := 0
	var left []string
	for _, file := range settings {
		dir := filepath.Dir(file)
		name := filepath.Base(filepath.Dir(dir)) + "/" + filepath.Base(dir)
		c, why := readClusterCase(t, dir)
		if why == "" {
			t.Run(name, func(t *testing.T) { why = cases.run(t, c) })
		}
		if why != "" {
			left = append(left, name+": "+why)
			continue
		}
		ran++
	}
	t.Logf("%d cases with policies, %d ran in the cluster; not these:\n%s", len(settings), ran, strings.Join(left, "\n"))
	if ran < 2*len(left) {
		t.Errorf("only %d of %d cases ran in the cluster", ran, len(settings))
	}
}

// clusterCase is a folder of test/cases.
type clusterCase struct {
	dir    string
	object parityObject
	// namespaces holds the Namespaces of all objects.
	namespaces []parityObject
	related    []parityObject
	policies   []parityObject
}

// readClusterCase reads a case. why is the reason if the case cannot run in this cluster.
func readClusterCase(t *testing.T, dir string) (c clusterCase, why string) {
	t.Helper()
	for _, file := range []struct{ name, why string }{
		{"old.yaml", "it is an update"}, {"cluster.yaml", "it needs another cluster or time"},
	} {
		if _, err := os.Stat(filepath.Join(dir, file.name)); err == nil {
			return c, file.why
		}
	}
	c = clusterCase{
		dir:      dir,
		object:   documents(t, filepath.Join(dir, "object.yaml"))[0],
		policies: documents(t, filepath.Join(dir, "settings.yaml")),
	}
	if c.object.unstructured().GetName() == "" {
		return c, "it has no name, which kubectl apply needs"
	}
	if c.object.ref().Namespace == "" {
		return c, "it has no Namespace"
	}
	for _, object := range documents(t, filepath.Join(dir, "related.yaml")) {
		switch object["kind"] {
		case "Node":
			return c, "it needs Nodes, and this cluster has none"
		case "Namespace":
			c.namespaces = append(c.namespaces, object)
		default:
			c.related = append(c.related, object)
		}
	}
	for _, object := range append([]parityObject{c.object}, c.related...) {
		name := object.ref().Namespace
		if !slices.ContainsFunc(c.namespaces, func(n parityObject) bool { return n.ref().Name == name }) {
			c.namespaces = append(
				c.namespaces,
				parityObject{"apiVersion": "v1", "kind": "Namespace", "metadata": map[string]any{"name": name}},
			)
		}
	}
	return c, ""
}

// documents returns the objects of a file; none if there is no such file.
func documents(t *testing.T, file string) []parityObject {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	var objects []parityObject
	for document := range strings.SplitSeq(string(text), "\n---\n") {
		var object parityObject
		if err := yaml.Unmarshal([]byte(document), &object); err != nil {
			t.Fatal(err)
		}
		if object != nil {
			objects = append(objects, object)
		}
	}
	return objects
}

func text(t *testing.T, objects ...parityObject) string {
	t.Helper()
	var b strings.Builder
	for _, object := range objects {
		document, err := yaml.Marshal(object)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "---\n%s", document)
	}
	return b.String()
}

// caseRunner runs cases in one cluster, one after the other.
type caseRunner struct {
	*parity
	// namespaces holds the last manifest of each Namespace. described counts the changes of Namespaces.
	namespaces map[string]parityObject
	described  int
}

func newCaseRunner(t *testing.T, p *parity) *caseRunner {
	t.Helper()
	r := &caseRunner{parity: p, namespaces: map[string]parityObject{}}
	r.create(t, caseProbe)
	r.wait(t, nil)
	return r
}

// caseSamples returns the metrics that count the objects in the caches of the webhook, by kind, except Namespaces,
// which are never deleted.
func caseSamples() map[schema.GroupKind]string {
	samples := map[schema.GroupKind]string{
		{Group: v1alpha1.GroupVersion.Group, Kind: "SourceIPPolicy"}: `sourceward_policies{state="ready"}`,
		{Kind: "Service"}: cachedSample("Service"),
	}
	for _, k := range policies.WorkloadKinds {
		if k.Door == policies.Everywhere && !k.Custom {
			samples[schema.GroupKind{Group: k.Group, Kind: k.Kind}] = cachedSample(k.Kind)
		}
	}
	for _, k := range policies.AutoscalerKinds {
		if !k.Custom {
			samples[schema.GroupKind{Group: k.Group, Kind: k.Kind}] = cachedSample(k.Kind)
		}
	}
	for _, k := range customKinds() {
		samples[schema.GroupKind{Group: k.group, Kind: k.kind}] = cachedSample(k.cachedAs())
	}
	return samples
}

// wait waits until the caches of the webhook hold exactly these objects, ignoring kinds that it does not cache.
func (r *caseRunner) wait(t *testing.T, objects []parityObject) {
	t.Helper()
	samples := caseSamples()
	want := map[string]float64{}
	for _, sample := range samples {
		want[sample] = 0
	}
	want[cachedSample("Service")]++              // default/kubernetes
	want[`sourceward_policies{state="ready"}`]++ // the probe
	for _, object := range objects {
		if sample, ok := samples[object.unstructured().GroupVersionKind().GroupKind()]; ok {
			want[sample]++
		}
	}
	r.eventually(t, "the webhook has the objects in its caches", func() (bool, string) {
		metrics, err := r.Replicas[0].Metrics(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		maps.DeleteFunc(metrics, func(sample string, _ float64) bool { _, counts := want[sample]; return !counts })
		diff := cmp.Diff(want, metrics)
		return diff == "", diff
	})
}

// run runs a case in the cluster. why is the reason if it cannot, because the API server itself refuses an object.
func (r *caseRunner) run(t *testing.T, c clusterCase) (why string) {
	for _, namespace := range c.namespaces {
		r.describe(t, namespace)
	}
	var created []parityObject
	create := func(objects []parityObject) error {
		for _, object := range objects {
			if err := r.objects.Create(t.Context(), object.unstructured()); err != nil {
				return err
			}
			created = append(created, object)
		}
		return nil
	}
	// Each call is deferred separately: if one fails the test, the others still clean up for the next case. An object that
	// has not reached the webhook yet is waited for, or it would appear and disappear while the next case runs.
	defer r.wait(t, nil)
	defer func() { r.remove(t, created) }()
	defer func() { r.wait(t, created) }()

	// The neighbours are stored unchanged, as the files have them.
	r.silent.Store(true)
	err := create(c.related)
	r.silent.Store(false)
	if err != nil {
		return "the API server refuses a neighbour: " + err.Error()
	}
	if err := create(c.policies); err != nil {
		t.Fatal(err)
	}
	r.wait(t, created)

	findings, patches := r.checkCase(t, c)
	ref := c.object.ref()
	r.take(ref.String())
	kubectl := r.kubectl(t, text(t, c.object), "apply", "-f", "-")
	comparison := parityComparison{object: c.object, findings: findings, patches: patches, answers: r.take(ref.String())}
	stored := c.object.unstructured()
	switch err := r.objects.Get(t.Context(), client.ObjectKeyFromObject(stored), stored); {
	case err == nil:
		created = append(created, c.object)
		comparison.isStored, comparison.stored = true, repairedFields(stored.Object)
	case !apierrors.IsNotFound(err):
		t.Fatal(err)
	}
	if strings.Contains(kubectl.stderr, "is invalid: spec.") && !comparison.refusedByServer() {
		return "the API server refuses it, and a policy turns off the rule that would say why"
	}
	if strings.Contains(kubectl.stderr, "strict decoding error: unknown field") {
		return "the API server refuses a field that it does not know, before it asks webhooks"
	}
	for _, problem := range comparison.problems(kubectl) {
		t.Error(problem)
	}
	return ""
}

// remove deletes objects.
func (r *caseRunner) remove(t *testing.T, objects []parityObject) {
	t.Helper()
	for _, object := range objects {
		if err := r.objects.Delete(t.Context(), object.unstructured()); err != nil {
			t.Error(err)
		}
	}
}

// describe gives a Namespace the labels and annotations that it has in a case, and waits until the webhook sees them.
func (r *caseRunner) describe(t *testing.T, namespace parityObject) {
	t.Helper()
	name := namespace.ref().Name
	if reflect.DeepEqual(r.namespaces[name], namespace) {
		return
	}
	r.described++
	mark := fmt.Sprint("state ", r.described)
	described := namespace.unstructured()
	annotations := described.GetAnnotations()
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations[caseProbeAnnotation] = mark
	described.SetAnnotations(annotations)
	err := r.objects.Create(t.Context(), described)
	if apierrors.IsAlreadyExists(err) {
		err = r.objects.Update(t.Context(), described)
	}
	if err != nil {
		t.Fatal(err)
	}
	// Pods are refused without it, and no controller runs that would create it.
	account := parityObject{
		"apiVersion": "v1",
		"kind":       "ServiceAccount",
		"metadata":   map[string]any{"name": "default", "namespace": name},
	}
	if err := r.objects.Create(t.Context(), account.unstructured()); err != nil && !apierrors.IsAlreadyExists(err) {
		t.Fatal(err)
	}
	probe := parityObject{
		"apiVersion": "v1", "kind": "Service", "spec": map[string]any{"type": "ExternalName", "externalName": "example.com"},
		"metadata": map[string]any{"name": "probe", "namespace": name, "labels": map[string]any{"e2e": "probe"}},
	}
	r.eventually(t, "the webhook sees the Namespace", func() (bool, string) {
		if err := r.objects.Create(t.Context(), probe.unstructured(), client.DryRunAll); err != nil {
			return false, err.Error()
		}
		var warned []string
		for _, answer := range r.take(probe.ref().String()) {
			warned = append(warned, answer.response.Warnings...)
		}
		return slices.Contains(warned, "e2e-probe: "+mark), fmt.Sprintf("%q", warned)
	})
	r.namespaces[name] = namespace
}

// checkCase runs the binary on the files of a case.
func (p *parity) checkCase(t *testing.T, c clusterCase) ([]parityFinding, []parityPatch) {
	t.Helper()
	args := []string{"check", "-q", "-o", "json", "--policy", filepath.Join(c.dir, "settings.yaml")}
	if _, err := os.Stat(filepath.Join(c.dir, "related.yaml")); err == nil {
		args = append(args, "--context", filepath.Join(c.dir, "related.yaml"))
	}
	cmd := exec.CommandContext(t.Context(), p.binary, append(args, filepath.Join(c.dir, "object.yaml"))...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); cmd.ProcessState == nil {
		t.Fatal(err)
	}
	var report struct {
		Findings []parityFinding
		Patches  []parityPatch
	}
	if err := json.Unmarshal(stdout.Bytes(), &report); err != nil {
		t.Fatalf("%v\n%s%s", err, &stdout, &stderr)
	}
	return report.Findings, report.Patches
}
