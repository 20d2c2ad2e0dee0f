package manifest

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sourceward/sourceward/policies"
	"github.com/sourceward/sourceward/policies/render"
)

// requested loads a folder and returns the files of each request to render something, by their names there, and what is
// skipped. Nothing is rendered.
func requested(t *testing.T, options Options) (requests [][]string, m *Manifests) {
	t.Helper()
	options.Version = policies.Newest
	options.Rendering = &Rendering{Kustomize: true, All: func(asked []render.Request) []render.Result {
		for _, request := range asked {
			var files []render.File
			if k := request.Kustomization; k != nil {
				files = k.Files
			} else {
				files = append(slices.Clone(request.Chart.Files), request.Chart.Values...)
			}
			var names []string
			for _, file := range files {
				names = append(names, fmt.Sprintf("%s: %s", file.Name, strings.TrimSpace(string(file.Data))))
			}
			requests = append(requests, names)
		}
		return make([]render.Result, len(asked))
	}}
	m, err := Load(options)
	if err != nil {
		t.Fatal(err)
	}
	return requests, m
}

// TestOnlyWhatIsInTheFolderIsRendered has links out of the folder that is given, and paths that lead out of it.
func TestOnlyWhatIsInTheFolderIsRendered(t *testing.T) {
	const resources = "resources: [link.yaml, ../linked, ../../outside, ../../outside/secret.yaml, inside.yaml]"
	dir := realTempDir(t)
	writeAll(t, dir, map[string]string{
		"outside/secret.yaml":          "secret",
		"outside/kustomization.yaml":   "resources: [secret.yaml]",
		"given/top/kustomization.yaml": resources,
		"given/inside.yaml":            "inside",
		"given/chart/Chart.yaml":       "name: chart",
		"given/chart/values.yaml":      "a: 1", "given/chart/a/f.yaml": "f", "given/chart/b/g.yaml": "g",
	})
	for link, target := range map[string]string{
		"given/top/link.yaml": "../../outside/secret.yaml", "given/linked": "../outside",
		"given/top/inside.yaml": "../inside.yaml", "given/chart/templates": "../../outside",
		"given/chart/ci": "../chart", "given/chart/a/x": "../b", "given/chart/b/y": "../a", // circles
	} {
		if err := os.Symlink(target, filepath.Join(dir, filepath.FromSlash(link))); err != nil {
			t.Fatal(err)
		}
	}
	requests, m := requested(t, Options{Paths: []string{filepath.Join(dir, "given")}})
	top := filepath.ToSlash(filepath.Join(dir, "given", "top"))
	want := [][]string{
		{
			"Chart.yaml: name: chart", "a/f.yaml: f", "a/x/g.yaml: g", "b/g.yaml: g", "b/y/f.yaml: f", "values.yaml: a: 1",
		},
		{
			top + "/inside.yaml: inside",
			top + "/kustomization.yaml: " + resources,
		},
	}
	if diff := cmp.Diff(want, requests); diff != "" {
		t.Errorf("requests mismatch (-want +got):\n%s", diff)
	}
	var skipped []string
	for _, s := range m.Skipped {
		name, err := filepath.Rel(dir, s.File)
		if err != nil {
			t.Fatal(err)
		}
		skipped = append(skipped, filepath.ToSlash(name))
	}
	wantSkipped := []string{"given/chart/templates", "given/chart/templates", "given/linked", "given/top/link.yaml"}
	if diff := cmp.Diff(wantSkipped, skipped); diff != "" {
		t.Errorf("Skipped mismatch (-want +got):\n%s", diff)
	}
}

// TestWhatIsRendered says which kustomizations and charts of a tree are roots, and with which files.
func TestWhatIsRendered(t *testing.T) {
	base := map[string]string{"base/kustomization.yaml": "resources: [a.yaml]", "base/a.yaml": "a"}
	tests := map[string]struct {
		files   map[string]string
		paths   []string
		context []string
		want    []string
	}{
		"a base alone": {
			files: base, paths: []string{"."}, want: []string{"base/a.yaml base/kustomization.yaml"},
		},
		"two overlays of a base, one by another": {
			files: merged(base, map[string]string{
				"x/kustomization.yaml": "resources: [../base]", "y/kustomization.yml": "resources: [../x/]",
			}),
			paths: []string{"."},
			want: []string{
				"base/a.yaml base/kustomization.yaml x/kustomization.yaml y/kustomization.yml",
			},
		},
		"a base that is given beside its overlay": {
			files: merged(base, map[string]string{"x/Kustomization": "bases: [../base]"}),
			paths: []string{"x", "base"}, want: []string{"base/a.yaml base/kustomization.yaml x/Kustomization"},
		},
		"a kustomization that is given by its name": {
			files: base, paths: []string{"base/kustomization.yaml"},
			want: []string{"base/a.yaml base/kustomization.yaml"},
		},
		"a file beside a kustomization": {files: base, paths: []string{"base/a.yaml"}},
		"a circle": {
			files: map[string]string{
				"x/kustomization.yaml": "resources: [../y]", "y/kustomization.yaml": "resources: [../x]",
			},
			paths: []string{"."}, want: []string{"x/kustomization.yaml y/kustomization.yaml"},
		},
		"a component that is used, and one that is not": {
			files: map[string]string{
				"x/kustomization.yaml": "components: [../c]", "c/kustomization.yaml": "kind: Component",
				"d/kustomization.yaml": "kind: Component",
			},
			paths: []string{"."}, want: []string{"c/kustomization.yaml x/kustomization.yaml"},
		},
		"files in all kinds of fields": {
			files: map[string]string{
				"kustomization.yaml": `
patches: [{path: p1.yaml}]
patchesStrategicMerge: [p2.yaml]
patchesJson6902: [{path: p3.json, target: {kind: Service}}]
configMapGenerator: [{name: c, files: [f.txt, key=g.txt], envs: [e.env]}]
transformers: [t.yaml]
openapi: {path: schema.json}
replacements: [{path: r.yaml}]
crds: [crd.json]
`,
				"p1.yaml": "", "p2.yaml": "", "p3.json": "", "f.txt": "", "g.txt": "", "e.env": "", "schema.json": "",
				"t.yaml": "kind: PatchTransformer\npath: t/deep.yaml\n", "t/deep.yaml": "", "r.yaml": "", "crd.json": "",
				"other.yaml": "", "values/kustomize.txt": "",
			},
			paths: []string{"."},
			want: []string{
				"crd.json e.env f.txt g.txt kustomization.yaml p1.yaml p2.yaml p3.json r.yaml schema.json t.yaml t/deep.yaml",
			},
		},
		"a Kustomization of Flux in a file with the name of one of kustomize": {
			files: map[string]string{
				"kustomization.yaml": "apiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\nmetadata: {name: a}",
			},
			paths: []string{"."},
		},
		"a chart with values for tests and a subchart": {
			files: map[string]string{
				"c/Chart.yaml": "", "c/values.yaml": "", "c/ci/a-values.yaml": "", "c/ci/other.yaml": "",
				"c/charts/s/Chart.yaml": "", "c/templates/x.yaml": "", "c/.helmignore": "",
			},
			paths: []string{"."},
			want: []string{
				".helmignore Chart.yaml charts/s/Chart.yaml ci/a-values.yaml ci/other.yaml templates/x.yaml values.yaml",
				".helmignore Chart.yaml charts/s/Chart.yaml ci/a-values.yaml ci/other.yaml templates/x.yaml values.yaml " +
					"ci/a-values.yaml",
			},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			dir := realTempDir(t)
			writeAll(t, dir, test.files)
			t.Chdir(dir)
			requests, _ := requested(t, Options{Paths: test.paths, Context: test.context})
			var got []string
			for _, request := range requests {
				for i, file := range request {
					name, _, _ := strings.Cut(file, ": ")
					request[i] = strings.TrimPrefix(strings.TrimSuffix(name, ":"), filepath.ToSlash(dir)+"/")
				}
				got = append(got, strings.Join(request, " "))
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("requests mismatch (-want +got):\n%s", diff)
			}
		})
	}
}

// TestObjectsThatControllersRender has a repository whose folder apps is given.
func TestObjectsThatControllersRender(t *testing.T) {
	const (
		application = "apiVersion: argoproj.io/v1alpha1\nkind: Application\nmetadata: {name: a}\nspec: "
		flux        = "apiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\nmetadata: {name: a}\nspec: "
		release     = "apiVersion: helm.toolkit.fluxcd.io/v2\nkind: HelmRelease\nmetadata: {name: a}\nspec: "
		unseen      = "what it puts into the cluster was not seen; "
		elsewhere   = unseen + "render it, and check the result"
	)
	tests := map[string]struct{ object, want string }{
		"a folder that is given":         {application + "{source: {path: apps/web}}", ""},
		"a folder that is not given":     {application + "{source: {path: other}}", unseen + "give ../other, too"},
		"a folder outside":               {application + "{source: {path: ../elsewhere}}", elsewhere},
		"a folder of another repository": {application + "{source: {path: gone}}", elsewhere},
		"several sources": {
			application + "{sources: [{path: other}, {chart: web}, {path: apps/web}, {path: third}]}",
			unseen + "give ../other and ../third, too",
		},
		"a folder that it changes": {
			application + "{source: {path: apps/web, helm: {values: 'a: 1'}}}",
			"web is checked without what spec.source.helm of this object changes in it",
		},
		"Flux": {flux + "{path: ./apps/web}", ""},
		"Flux with a patch": {
			flux + "{path: ./apps/web, patches: [{patch: x}], targetNamespace: edge}",
			"web is checked without what spec.patches and spec.targetNamespace of this object changes in it",
		},
		"a chart in the repository": {release + "{chart: {spec: {chart: ./other}}}", unseen + "give ../other, too"},
		"a chart elsewhere":         {release + "{chart: {spec: {chart: podinfo}}}", elsewhere},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			dir := realTempDir(t)
			writeAll(t, dir, map[string]string{
				"r/.git/HEAD": "", "r/apps/object.yaml": test.object, "r/apps/web/a.yaml": "", "r/other/a.yaml": "",
				"r/third/a.yaml": "", "elsewhere/a.yaml": "",
			})
			t.Chdir(filepath.Join(dir, "r", "apps"))
			_, m := requested(t, Options{Paths: []string{"."}})
			var got string
			for _, note := range m.Notes {
				if note.Object.Name == "a" {
					got += note.Text
				}
			}
			if got != test.want {
				t.Errorf("the note is %q, want %q", got, test.want)
			}
		})
	}
}

func merged(files ...map[string]string) map[string]string {
	all := map[string]string{}
	for _, some := range files {
		maps.Copy(all, some)
	}
	return all
}

func realTempDir(t *testing.T) string {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func writeAll(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		file := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
