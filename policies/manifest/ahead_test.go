package manifest

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sourceward/sourceward/policies"
)

// TestReadingAheadChangesNothing reads random trees with one processor and with several.
func TestReadingAheadChangesNothing(t *testing.T) { // not parallel: it sets the number of processors
	const seed, trees, processors = 21, 20, 8
	random := rand.New(rand.NewPCG(seed, 0))
	for number := range trees {
		directory := t.TempDir()
		writeTree(t, random, directory)
		load := func(processors int) []string {
			defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(processors))
			return everythingIn(t, directory)
		}
		want := load(1)
		for range 3 {
			if diff := cmp.Diff(want, load(processors)); diff != "" {
				t.Fatalf("tree %d is read in another way with %d processors (-1 +%[2]d):\n%s", number, processors, diff)
			}
		}
	}
}

// TestRoomForAliasesIsOfTheWholeFile has a file whose documents may each add what they do, but not all of them.
func TestRoomForAliasesIsOfTheWholeFile(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "a.yaml")
	const documents = 5
	bomb := "a: &a [" + strings.Repeat("x,", 1000) + "]\nb: &b [" + strings.Repeat("*a,", 100) + "]\nc: [" +
		strings.Repeat("*b,", 6) + "]\n---\n"
	if err := os.WriteFile(file, []byte(strings.Repeat(bomb, documents)), 0o600); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	_, want := Parse(file, data)
	m, err := Load(Options{Paths: []string{file}, Version: policies.Newest})
	if err != nil {
		t.Fatal(err)
	}
	if len(want) == 0 || len(want) == documents || m.NotYAML != len(want) {
		t.Errorf("%d documents have no room, want %d, which is some of them", m.NotYAML, len(want))
	}
}

// everythingIn returns all that was read from a directory.
func everythingIn(t *testing.T, directory string) []string {
	t.Helper()
	m, err := Load(Options{
		Paths: []string{filepath.Join(directory, "paths")}, Context: []string{filepath.Join(directory, "context")},
		Version: policies.Newest,
	})
	if err != nil {
		t.Fatal(err)
	}
	all := []string{fmt.Sprint(
		m.Files, m.Documents, m.NotKubernetes, m.NotYAML, m.patches, m.kustomizations, m.FilesRead(),
	)}
	for _, e := range m.Errors {
		all = append(all, "error "+e.Error())
	}
	for _, remarks := range [][]Remark{m.Skipped, m.Notes} {
		for _, r := range remarks {
			all = append(all, fmt.Sprintf("remark %+v", r))
		}
	}
	for _, objects := range [][]*Object{m.Objects, m.Children} {
		for _, o := range objects {
			all = append(all, fmt.Sprintf("object %v %d %v %s%d%s %v %v", o.Ref, o.number, o.InFile, o.Document.File,
				o.Document.Index, o.At, o.Place("/spec/type"), o.Content()))
		}
	}
	for _, c := range m.policies {
		all = append(all, fmt.Sprintf("policy %s%s %v", c.document.File, c.at, c.content))
	}
	return all
}

// writeTree writes manifests, some of them broken, into the folders paths and context of a directory.
func writeTree(t *testing.T, random *rand.Rand, directory string) {
	t.Helper()
	write := func(path string, text string) {
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(filepath.Join(directory, "context", "a.yaml"), treeDocument(random))
	for i := range 1 + random.IntN(12) {
		folder := filepath.Join(directory, []string{"paths", "paths/a", "paths/a/b", "context"}[random.IntN(4)])
		var text strings.Builder
		for range 1 + random.IntN(40) {
			text.WriteString(treeDocument(random))
			text.WriteString([]string{"---\n", "---\n", "---\n", "...\n", "--- # next\n", ""}[random.IntN(6)])
		}
		name := fmt.Sprintf("%02d.yaml", i)
		switch random.IntN(8) {
		case 0:
			write(filepath.Join(folder, "kustomization.yaml"), "resources: [00.yaml, 02.yaml]\npatches: [{path: "+name+"}]\n")
		case 1:
			name = fmt.Sprintf("%02d.json", i)
		}
		write(filepath.Join(folder, name), text.String())
	}
	write(filepath.Join(directory, "paths", "z.yaml"), "\xff\xfea")
}

// treeDocument returns a document, which may be broken.
func treeDocument(random *rand.Rand) string {
	name, namespace := fmt.Sprintf("web-%d", random.IntN(20)), ""
	if random.IntN(3) > 0 {
		namespace = fmt.Sprintf("\n  namespace: team-%d", random.IntN(2))
	}
	service := "apiVersion: v1\nkind: Service\nmetadata:\n  name: " + name + namespace + "\nspec:\n" +
		"  type: LoadBalancer\n  externalTrafficPolicy: Local\n  selector:\n    app: " + name + "\n  ports:\n  - port: 80\n"
	pod := "\n    spec:\n      containers:\n      - name: web\n        image: a\n"
	deployment := "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: " + name + namespace + "\nspec:\n" +
		"  replicas: 2\n  selector:\n    matchLabels: {app: " + name + "}\n" +
		"  template:\n    metadata:\n      labels: {app: " + name + "}"
	configMap := "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: " + name + "\ndata:\n  a: b\n"
	switch random.IntN(16) {
	case 0, 1, 2:
		return service
	case 3, 4, 5:
		return deployment + pod
	case 6:
		return deployment + "\n" // without containers
	case 7:
		return strings.Replace(service, "80", "x", 1)
	case 8:
		return "apiVersion: v1\nkind: List\nitems:\n- " + strings.ReplaceAll(strings.TrimSpace(service), "\n", "\n  ") +
			"\n- 1\n- kind: Pod\n"
	case 9:
		return configMap
	case 10:
		return strings.Replace(service, "LoadBalancer", "${TYPE}", 1)
	case 11:
		return "labels: &a {app: " + name + "}\n" + strings.Replace(service, "selector:\n    app: "+name, "selector: *a", 1)
	case 12:
		return []string{"a: [\n", "{{ if a }}\n", "kind: Service\n\tb: c\n", "# nothing\n", "a: b\n", "- a\n"}[random.IntN(6)]
	case 13:
		return `{"apiVersion": "v1", "kind": "Service", "metadata": {"name": "` + name + `"}, "spec": {"ports": []}}` + "\n"
	case 14:
		return "apiVersion: sourceward.dev/v1alpha1\nkind: SourceIPPolicy\nmetadata: {name: " + name + "}\n"
	default:
		return "apiVersion: v1\nkind: Namespace\nmetadata: {name: team-1, labels: {a: " + name + "}}\n"
	}
}
