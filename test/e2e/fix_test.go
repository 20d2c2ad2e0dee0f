package e2e

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sourceward/sourceward/test/cluster"
	"github.com/sourceward/sourceward/test/sandbox"
)

// TestFixedManifests applies manifests that sourceward fix has repaired, through the webhook in mode Mutate. It has
// nothing to repair: what is stored has each field of the manifests with its value, and a second apply writes nothing.
func TestFixedManifests(t *testing.T) {
	t.Parallel()
	binary, err := commandBinary()
	if err != nil {
		t.Fatal(err)
	}
	e := newEnvironment(t, cluster.Options{}, sandbox.Options{})
	const policy = "{apiVersion: sourceward.dev/v1alpha1, kind: SourceIPPolicy, metadata: {name: repair}, spec: " +
		"{rules: [{id: unspread-behind-local, mode: Mutate}, {id: ineffective-spread, mode: Mutate}]}}"
	e.policyManifest(t, policy)
	dir := t.TempDir()
	policyFile := filepath.Join(dir, "policy.yaml")
	if err := os.WriteFile(policyFile, []byte(policy), 0o644); err != nil {
		t.Fatal(err)
	}
	for namespace, apply := range map[string][]string{"client-side": clientSide, "server-side": serverSide} {
		t.Run(namespace, func(t *testing.T) {
			e.namespace(t, namespace)
			var manifests []string
			for _, o := range appliedObjects {
				if o.kind != serviceKind && o.kind != deploymentKind {
					continue
				}
				if o.list != nil {
					manifests = append(manifests, service(namespace, "front-"+o.name, local(o.name)))
				}
				manifests = append(manifests, o.manifest(namespace, o.name, 1))
			}
			file := filepath.Join(dir, namespace+".yaml")
			text := strings.Join(manifests, "\n---\n") + "\n"
			if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
			fixed, err := exec.Command(binary, "fix", "--policy", policyFile, file).CombinedOutput()
			if err != nil {
				t.Fatalf("fix: %v\n%s", err, fixed)
			}
			inGit, err := os.ReadFile(file)
			if err != nil || string(inGit) == text {
				t.Fatalf("%v; fix changes nothing:\n%s", err, fixed)
			}
			said := e.must(t, "", append(slices.Clone(apply), "-f", file)...)
			if strings.Contains(said.stderr, ": repaired: ") {
				t.Errorf("the webhook repairs what fix has repaired:\n%s", said.stderr)
			}
			written := map[string]string{}
			for manifest := range strings.SplitSeq(string(inGit), "\n---\n") {
				want := read(t, manifest)
				live := e.live(t, want)
				if different := missing("", want.Object, live.Object); different != nil {
					t.Errorf("%s %s is stored with other fields: %s", want.GetKind(), want.GetName(), strings.Join(different, ", "))
				}
				written[want.GetKind()+" "+want.GetName()] = live.GetResourceVersion()
			}
			e.must(t, "", append(slices.Clone(apply), "-f", file)...)
			for manifest := range strings.SplitSeq(string(inGit), "\n---\n") {
				want := read(t, manifest)
				if live := e.live(t, want); live.GetResourceVersion() != written[want.GetKind()+" "+want.GetName()] {
					t.Errorf("a second apply writes %s %s", want.GetKind(), want.GetName())
				}
			}
			t.Logf("%d objects, %d lines of fix", len(written), strings.Count(string(fixed), "\n"))
		})
	}
}

// live returns the stored object.
func (e *environment) live(t *testing.T, of *unstructured.Unstructured) *unstructured.Unstructured {
	t.Helper()
	live := &unstructured.Unstructured{}
	live.SetGroupVersionKind(of.GroupVersionKind())
	if err := e.objects.Get(t.Context(), client.ObjectKeyFromObject(of), live); err != nil {
		t.Fatal(err)
	}
	return live
}

// missing returns the paths at which live does not have the value of want. It may have more members in a mapping.
func missing(path string, want, live any) []string {
	switch want := want.(type) {
	case map[string]any:
		have, _ := live.(map[string]any)
		var paths []string
		for _, key := range slices.Sorted(maps.Keys(want)) {
			paths = append(paths, missing(path+"."+key, want[key], have[key])...)
		}
		return paths
	case []any:
		have, _ := live.([]any)
		if len(have) != len(want) {
			return []string{fmt.Sprintf("%s has %d elements, want %d", path, len(have), len(want))}
		}
		var paths []string
		for i := range want {
			paths = append(paths, missing(fmt.Sprintf("%s[%d]", path, i), want[i], have[i])...)
		}
		return paths
	}
	if reflect.DeepEqual(want, live) || fmt.Sprint(want) == fmt.Sprint(live) {
		return nil
	}
	return []string{fmt.Sprintf("%s is %v, want %v", path, live, want)}
}
