package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

// caseProbe is a policy that tells which state of a Namespace the webhook sees.
const (
	caseProbeAnnotation = "e2e.example.com/case"
	caseProbe           = `{apiVersion: sourceward.dev/v1alpha1, kind: SourceIPPolicy, metadata: {name: e2e-probe}, spec: {
  match: {objectSelector: {matchLabels: {e2e: probe}}},
  rego: [{name: probe.rego, module: 'package sourceward.custom.e2e_probe

    warn contains {"message": input.namespace.annotations["` + caseProbeAnnotation + `"]}'}]}}`
)

// TestCases takes every case of test/cases that has policies through the cluster: the policies are objects of the API
// server, the neighbours are stored there, and kubectl applies the object. The findings and patches are those of the
// dry-run binary on the same files.
func TestCases(t *testing.T) {
	t.Parallel()
	p := newParity(t)
	settings, err := filepath.Glob("../cases/*/*/settings.yaml")
	if err != nil || len(settings) == 0 {
		t.Fatalf("no cases with policies: %v", err)
	}
	p.policyReady(t, caseProbe, 1)
	namespaces := map[string]string{} // what each is now
	ran := 0
	var left []string
	for i, file := range settings {
		dir := filepath.Dir(file)
		name := filepath.Base(filepath.Dir(dir)) + "/" + filepath.Base(dir)
		c, why := readClusterCase(t, dir)
		if why == "" {
			t.Run(name, func(t *testing.T) { why = p.runCase(t, i, c, namespaces) })
		}
		if why != "" {
			left = append(left, name+": "+why)
			continue
		}
		ran++
	}
	t.Logf("%d cases with policies, %d through the cluster; not these:\n%s", len(settings), ran, strings.Join(left, "\n"))
	if ran < 2*len(left) {
		t.Errorf("only %d of %d cases go through the cluster", ran, len(settings))
	}
}

// policyReady applies policies and waits until the webhook has them.
func (p *parity) policyReady(t *testing.T, manifest string, count float64) {
	t.Helper()
	before := metric(t, p.Replicas[0], `sourceward_policies{state="ready"}`)
	p.must(t, manifest, "create", "-f", "-")
	p.eventually(t, "the policies are ready", func() (bool, string) {
		now := metric(t, p.Replicas[0], `sourceward_policies{state="ready"}`)
		return now == before+count, fmt.Sprintf("%v are, want %v", now, before+count)
	})
}

// clusterCase is a folder of test/cases.
type clusterCase struct {
	dir       string
	object    parityObject
	namespace parityObject
	related   []parityObject
	policies  []parityObject
}

// readClusterCase tells why a case is not one for this cluster, if it is not.
func readClusterCase(t *testing.T, dir string) (c clusterCase, why string) {
	t.Helper()
	for _, file := range []struct{ name, why string }{
		{"old.yaml", "it is an update"}, {"cluster.yaml", "it is about another cluster or time"},
	} {
		if _, err := os.Stat(filepath.Join(dir, file.name)); err == nil {
			return c, file.why
		}
	}
	c = clusterCase{dir: dir, object: documents(t, filepath.Join(dir, "object.yaml"))[0], policies: documents(t, filepath.Join(dir, "settings.yaml"))}
	ref := c.object.ref()
	metadata, _ := c.object["metadata"].(map[string]any)
	if _, named := metadata["name"]; !named {
		return c, "it has no name, and kubectl apply wants one"
	}
	if ref.Namespace == "" {
		return c, "it has no Namespace"
	}
	c.namespace = parityObject{"apiVersion": "v1", "kind": "Namespace", "metadata": map[string]any{"name": ref.Namespace}}
	for _, object := range documents(t, filepath.Join(dir, "related.yaml")) {
		if object["kind"] == "Namespace" && object.ref().Name == ref.Namespace {
			c.namespace = object
			continue
		}
		c.related = append(c.related, object)
	}
	return c, ""
}

// documents are the objects of a file; none if there is no such file.
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

// runCase tells why the case could not be run, if the API server itself does not take what is around the object.
func (p *parity) runCase(t *testing.T, number int, c clusterCase, namespaces map[string]string) (why string) {
	ref := c.object.ref()
	p.describe(t, c.namespace, fmt.Sprint("case ", number), namespaces)
	defer func() {
		p.must(t, "", "delete", "services,deployments,horizontalpodautoscalers", "--all", "--namespace", ref.Namespace)
		p.must(t, text(t, c.policies...), "delete", "-f", "-")
		p.eventually(t, "the case is forgotten", func() (bool, string) {
			now := metric(t, p.Replicas[0], `sourceward_policies{state="ready"}`) - 1 +
				metric(t, p.Replicas[0], `sourceward_cache_objects{kind="Deployment"}`) + metric(t, p.Replicas[0], `sourceward_cache_objects{kind="Service"}`)
			return now == 1, fmt.Sprint(now, " objects, want the API server's Service") // default/kubernetes
		})
	}()
	// What is around the object is stored as it is, so as in the file.
	p.silent.Store(true)
	want := map[string]float64{}
	for _, object := range c.related {
		if _, there := namespaces[object.ref().Namespace]; !there && object.ref().Namespace != "" {
			p.namespace(t, object.ref().Namespace)
			namespaces[object.ref().Namespace] = ""
		}
		want[fmt.Sprint(object["kind"])]++
	}
	if len(c.related) > 0 {
		if a := p.kubectl(t, text(t, c.related...), "create", "-f", "-"); a.code != 0 {
			p.silent.Store(false)
			p.must(t, text(t, c.policies...), "create", "-f", "-") // to be deleted
			return "the API server refuses what is around it: " + strings.TrimSpace(a.stderr)
		}
	}
	p.silent.Store(false)
	want["Service"]++ // default/kubernetes
	delete(want, "Namespace")
	for kind, count := range want {
		p.eventually(t, "the webhook has what is around the object", func() (bool, string) {
			now := metric(t, p.Replicas[0], fmt.Sprintf(`sourceward_cache_objects{kind="%s"}`, kind))
			return now == count, fmt.Sprintf("%v of kind %s, want %v", now, kind, count)
		})
	}
	p.policyReady(t, text(t, c.policies...), float64(len(c.policies)))

	findings, patches := p.checkCase(t, c)
	p.take(ref.String())
	kubectl := p.kubectl(t, text(t, c.object), "apply", "-f", "-")
	comparison := parityComparison{object: c.object, findings: findings, patches: patches, answers: p.take(ref.String())}
	switch ref.Kind {
	case "Service":
		s, err := p.client.CoreV1().Services(ref.Namespace).Get(t.Context(), ref.Name, metav1.GetOptions{})
		if comparison.isStored = err == nil; comparison.isStored {
			comparison.stored = serviceFields(*s)
		}
		// A Service is warned about the Deployments that are already behind it, which no file can tell.
		for _, a := range comparison.answers {
			a.response.Warnings = slices.DeleteFunc(a.response.Warnings, func(line string) bool { return strings.HasPrefix(line, "unspread-behind-local: ") })
		}
	case "Deployment":
		d, err := p.client.AppsV1().Deployments(ref.Namespace).Get(t.Context(), ref.Name, metav1.GetOptions{})
		if comparison.isStored = err == nil; comparison.isStored {
			comparison.stored = deploymentFields(*d)
		}
	}
	if strings.Contains(kubectl.stderr, "is invalid: spec.") && !comparison.refusedByServer() {
		return "a policy turns off the rule that says why the API server refuses it"
	}
	for _, problem := range comparison.problems(kubectl) {
		t.Error(problem)
	}
	return ""
}

// describe makes a Namespace what it is in a case, if it is not, and waits until the webhook sees it.
func (p *parity) describe(t *testing.T, namespace parityObject, mark string, namespaces map[string]string) {
	t.Helper()
	name := namespace.ref().Name
	former, there := namespaces[name]
	if former == text(t, namespace) {
		return
	}
	namespaces[name] = text(t, namespace)
	described := maps.Clone(namespace)
	given, _ := namespace["metadata"].(map[string]any)
	metadata := maps.Clone(given)
	annotations, _ := metadata["annotations"].(map[string]any)
	annotations = maps.Clone(annotations)
	if annotations == nil {
		annotations = map[string]any{}
	}
	annotations[caseProbeAnnotation] = mark
	metadata["annotations"] = annotations
	described["metadata"] = metadata
	verb := "create"
	if there || name == metav1.NamespaceDefault {
		verb = "replace"
	}
	p.must(t, text(t, described), verb, "-f", "-")
	probe := fmt.Sprintf(`{"metadata":{"name":"probe","namespace":%q,"labels":{"e2e":"probe"}},"spec":{"type":"ExternalName","externalName":"example.com"}}`, name)
	p.eventually(t, "the webhook sees the Namespace", func() (bool, string) {
		a := p.kubectl(t, `{"apiVersion":"v1","kind":"Service",`+probe[1:], "create", "--dry-run=server", "-f", "-")
		return strings.Contains(a.stderr, "e2e-probe: "+mark), a.stderr
	})
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
