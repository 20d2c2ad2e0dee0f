package render

import (
	"fmt"
	"log"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"

	"github.com/sourceward/sourceward/policies/child"
)

// kustomization returns the kustomization in /w/top. Its files are in an archive, each after a line "-- NAME --".
func kustomization(archive string) *Kustomization {
	k := &Kustomization{Folder: "/w/top"}
	for _, part := range strings.Split("\n"+archive, "\n-- ")[1:] {
		name, data, _ := strings.Cut(part, " --\n")
		k.Files = append(k.Files, File{Name: name, Data: []byte(data + "\n")})
	}
	return k
}

// objects returns the objects in a short form: the lines of each text after where it comes from.
func objects(result Result) string {
	var text strings.Builder
	for _, o := range result.Objects {
		from := strings.Join([]string{o.File, o.Kind, o.Namespace, o.Name}, " ")
		if o.Generator != "" {
			from = "generated in " + o.Generator + from
		}
		fmt.Fprintf(&text, "# %s\n%s", strings.TrimSpace(from), o.Text)
	}
	return text.String()
}

var kustomizations = map[string]struct {
	archive, objects, read string
}{
	"an overlay changes the objects of its base": {
		archive: `-- /w/top/kustomization.yaml --
namePrefix: p-
nameSuffix: -s
namespace: edge
resources: [../base, own.yaml]
labels: [{pairs: {team: a}}]
images: [{name: nginx, newTag: "2"}]
replicas: [{name: web, count: 3}]
-- /w/top/own.yaml --
{apiVersion: v1, kind: ConfigMap, metadata: {name: own, namespace: default}}
-- /w/base/kustomization.yml --
resources: [all.yaml]
-- /w/base/all.yaml --
# The second document is the second one that counts.
---
{apiVersion: v1, kind: Service, metadata: {name: web}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: elsewhere}
spec: {template: {spec: {containers: [{name: web, image: nginx}]}}}
-- /w/base/unused.yaml --
a: b`,
		objects: `# /w/top/own.yaml ConfigMap default own
apiVersion: v1
kind: ConfigMap
metadata:
  labels:
    team: a
  name: p-own-s
  namespace: edge
# /w/base/all.yaml Service  web
apiVersion: v1
kind: Service
metadata:
  labels:
    team: a
  name: p-web-s
  namespace: edge
# /w/base/all.yaml Deployment elsewhere web
apiVersion: apps/v1
kind: Deployment
metadata:
  labels:
    team: a
  name: p-web-s
  namespace: edge
spec:
  replicas: 3
  template:
    spec:
      containers:
      - image: nginx:2
        name: web
`,
		read: "/w/base/all.yaml /w/base/kustomization.yml /w/top/kustomization.yaml /w/top/own.yaml",
	},
	"patches of all kinds, one of which changes kind and name": {
		archive: `-- /w/top/Kustomization --
resources: [web.yaml, old.yaml]
patchesStrategicMerge:
- merge.yaml
- |
  {apiVersion: v1, kind: Service, metadata: {name: web}, spec: {a: inline}}
patchesJson6902:
- {target: {version: v1, kind: Service, name: web}, path: json.yaml}
patches:
- {path: patch.yaml}
- target: {kind: Service}
  patch: |
    - {op: add, path: /metadata/annotations, value: {f: all annotations}}
- target: {name: old}
  options: {allowNameChange: true, allowKindChange: true}
  patch: |
    {apiVersion: v1, kind: Secret, metadata: {name: new}}
-- /w/top/web.yaml --
{apiVersion: v1, kind: Service, metadata: {name: web}}
-- /w/top/old.yaml --
{apiVersion: v1, kind: ConfigMap, metadata: {name: old}}
-- /w/top/merge.yaml --
{apiVersion: v1, kind: Service, metadata: {name: web}, spec: {b: merge}}
-- /w/top/json.yaml --
[{"op": "add", "path": "/spec/c", "value": "json"}]
-- /w/top/patch.yaml --
{apiVersion: v1, kind: Service, metadata: {name: web}, spec: {d: patch}}`,
		objects: `# /w/top/old.yaml ConfigMap  old
apiVersion: v1
kind: Secret
metadata:
  name: new
# /w/top/web.yaml Service  web
apiVersion: v1
kind: Service
metadata:
  annotations:
    f: all annotations
  name: web
spec:
  a: inline
  b: merge
  c: json
  d: patch
`,
		read: "/w/top/Kustomization /w/top/json.yaml /w/top/merge.yaml /w/top/old.yaml /w/top/patch.yaml /w/top/web.yaml",
	},
	"renamed by patchesJson6902 and by a replacement": {
		archive: `-- /w/top/kustomization.yaml --
resources: [a.yaml, b.yaml]
patchesJson6902:
- {target: {version: v1, kind: Service, name: a}, patch: '[{"op": "replace", "path": "/metadata/name", "value": "z"}]'}
replacements:
- source: {kind: Service, name: z}
  targets: [{select: {kind: ConfigMap}, fieldPaths: [metadata.name]}]
-- /w/top/a.yaml --
{apiVersion: v1, kind: Service, metadata: {name: a}}
-- /w/top/b.yaml --
{apiVersion: v1, kind: ConfigMap, metadata: {name: b}}`,
		objects: `# /w/top/b.yaml ConfigMap  b
apiVersion: v1
kind: ConfigMap
metadata:
  name: z
# /w/top/a.yaml Service  a
apiVersion: v1
kind: Service
metadata:
  name: z
`,
		read: "/w/top/a.yaml /w/top/b.yaml /w/top/kustomization.yaml",
	},
	"a component adds and changes objects": {
		archive: `-- /w/top/kustomization.yaml --
resources: [../base]
components: [../component]
-- /w/base/kustomization.yaml --
resources: [web.yaml]
-- /w/base/web.yaml --
{apiVersion: v1, kind: Service, metadata: {name: web}}
-- /w/component/kustomization.yaml --
apiVersion: kustomize.config.k8s.io/v1alpha1
kind: Component
namePrefix: c-
resources: [more.yaml]
configMapGenerator: [{name: generated, literals: [a=b]}]
-- /w/component/more.yaml --
{apiVersion: v1, kind: Service, metadata: {name: more}}`,
		objects: `# generated in /w/component/kustomization.yaml
apiVersion: v1
data:
  a: b
kind: ConfigMap
metadata:
  name: c-generated-4h2mbtbbt6
# /w/component/more.yaml Service  more
apiVersion: v1
kind: Service
metadata:
  name: c-more
# /w/base/web.yaml Service  web
apiVersion: v1
kind: Service
metadata:
  name: c-web
`,
		read: "/w/base/kustomization.yaml /w/base/web.yaml " +
			"/w/component/kustomization.yaml /w/component/more.yaml /w/top/kustomization.yaml",
	},
	"a component as the entry point": {
		archive: `-- /w/top/kustomization.yaml --
apiVersion: kustomize.config.k8s.io/v1alpha1
kind: Component
resources: [a.yaml]
-- /w/top/a.yaml --
{apiVersion: v1, kind: Service, metadata: {name: a}}`,
		objects: `# /w/top/a.yaml Service  a
apiVersion: v1
kind: Service
metadata:
  name: a
`,
		read: "/w/top/a.yaml /w/top/kustomization.yaml",
	},
	"generators": {
		archive: `-- /w/top/kustomization.yaml --
resources: [../base, sub dir/a@b+c.yaml]
generatorOptions: {disableNameSuffixHash: true}
configMapGenerator:
- {name: files, files: [text.txt, key=sub dir/a@b+c.yaml], literals: [a=b]}
- {name: envs, envs: [envs.env], env: env.env}
- {name: base, behavior: merge, literals: [top=1]}
- {name: given, behavior: merge, literals: [top=1]}
secretGenerator:
- {name: secret, files: [text.txt], type: Opaque}
generators:
- generator.yaml
- '{apiVersion: builtin, kind: ConfigMapGenerator, metadata: {name: inline}, literals: [c=d]}'
-- /w/top/text.txt --
text
-- /w/top/envs.env --
A=1
-- /w/top/env.env --
B=2
-- /w/top/generator.yaml --
{apiVersion: builtin, kind: ConfigMapGenerator, metadata: {name: file}, envs: [env.env]}
-- /w/top/sub dir/a@b+c.yaml --
{apiVersion: v1, kind: ConfigMap, metadata: {name: given}, data: {file: "1"}}
-- /w/base/kustomization.yaml --
configMapGenerator: [{name: base, literals: [base=1]}]`,
		objects: `# generated in /w/base/kustomization.yaml
apiVersion: v1
data:
  base: "1"
  top: "1"
kind: ConfigMap
metadata:
  name: base
# generated in /w/top/kustomization.yaml
apiVersion: v1
data:
  A: "1"
  B: "2"
kind: ConfigMap
metadata:
  name: envs
# generated in /w/top/generator.yaml
apiVersion: v1
data:
  B: "2"
kind: ConfigMap
metadata:
  name: file-588tk542k9
# generated in /w/top/kustomization.yaml
apiVersion: v1
data:
  a: b
  key: |
    {apiVersion: v1, kind: ConfigMap, metadata: {name: given}, data: {file: "1"}}
  text.txt: |
    text
kind: ConfigMap
metadata:
  name: files
# /w/top/sub dir/a@b+c.yaml ConfigMap  given
apiVersion: v1
data:
  file: "1"
  top: "1"
kind: ConfigMap
metadata:
  name: given
# generated in /w/top/kustomization.yaml
apiVersion: v1
data:
  c: d
kind: ConfigMap
metadata:
  name: inline-gbdtcf54mt
# generated in /w/top/kustomization.yaml
apiVersion: v1
data:
  text.txt: dGV4dAo=
kind: Secret
metadata:
  name: secret
type: Opaque
`,
		read: "/w/base/kustomization.yaml /w/top/env.env /w/top/envs.env /w/top/generator.yaml " +
			"/w/top/kustomization.yaml /w/top/sub dir/a@b+c.yaml /w/top/text.txt",
	},
	"variables, replacements and a list": {
		archive: `-- /w/top/kustomization.yaml --
resources: [list.yaml, none.json]
vars:
- {name: NAME, objref: {apiVersion: v1, kind: Service, name: web}}
replacements: [{path: replacement.yaml}]
-- /w/top/replacement.yaml --
source: {kind: Service, name: web, fieldPath: spec.type}
targets: [{select: {kind: Pod}, fieldPaths: [metadata.labels.type], options: {create: true}}]
-- /w/top/none.json --
{"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "none", "annotations": null, "labels": {"a": "1"}}}
-- /w/top/list.yaml --
apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: Service, metadata: {name: web}, spec: {type: NodePort}}
- {apiVersion: v1, kind: Pod, metadata: {name: web}, spec: {containers: [{name: a, args: [$(NAME)]}]}}`,
		objects: `# /w/top/none.json ConfigMap  none
apiVersion: v1
kind: ConfigMap
metadata:
  labels:
    a: "1"
  name: none
# /w/top/list.yaml Service  web
apiVersion: v1
kind: Service
metadata:
  name: web
spec:
  type: NodePort
# /w/top/list.yaml Pod  web
apiVersion: v1
kind: Pod
metadata:
  labels:
    type: NodePort
  name: web
spec:
  containers:
  - args:
    - web
    name: a
`,
		read: "/w/top/kustomization.yaml /w/top/list.yaml /w/top/none.json /w/top/replacement.yaml",
	},
	"builtin transformers and validators": {
		archive: `-- /w/top/kustomization.yaml --
resources: [a.yaml]
transformers:
- prefix.yaml
- ../transformers
- |
  apiVersion: builtin
  kind: PatchTransformer
  metadata: {name: patch}
  path: patch.yaml
-- /w/top/prefix.yaml --
apiVersion: builtin
kind: PrefixTransformer
metadata: {name: prefix}
prefix: t-
fieldSpecs: [{path: metadata/name}]
-- /w/top/a.yaml --
{apiVersion: v1, kind: Service, metadata: {name: a}}
-- /w/top/patch.yaml --
{apiVersion: v1, kind: Service, metadata: {name: a}, spec: {patched: true}}
-- /w/transformers/kustomization.yaml --
resources: [suffix.yaml]
-- /w/transformers/suffix.yaml --
apiVersion: builtin
kind: SuffixTransformer
metadata: {name: suffix}
suffix: -t
fieldSpecs: [{path: metadata/name}]`,
		objects: `# /w/top/a.yaml Service  a
apiVersion: v1
kind: Service
metadata:
  name: t-a-t
spec:
  patched: true
`,
		read: "/w/top/a.yaml /w/top/kustomization.yaml /w/top/patch.yaml /w/top/prefix.yaml " +
			"/w/transformers/kustomization.yaml /w/transformers/suffix.yaml",
	},
	"metadata of the build that the author wants": {
		archive: `-- /w/top/kustomization.yaml --
resources: [../base]
buildMetadata: [originAnnotations, transformerAnnotations]
-- /w/base/kustomization.yaml --
namePrefix: b-
resources: [a.yaml]
-- /w/base/a.yaml --
{apiVersion: v1, kind: Service, metadata: {name: a}}`,
		objects: `# /w/base/a.yaml Service  a
apiVersion: v1
kind: Service
metadata:
  annotations:
    alpha.config.kubernetes.io/transformations: |
      - configuredIn: ../base/kustomization.yaml
        configuredBy:
          apiVersion: builtin
          kind: PrefixTransformer
    config.kubernetes.io/origin: |
      path: ../base/a.yaml
  name: b-a
`,
		read: "/w/base/a.yaml /w/base/kustomization.yaml /w/top/kustomization.yaml",
	},
	"one base twice, and sorted": {
		archive: `-- /w/top/kustomization.yaml --
resources: [../z, ../a]
sortOptions: {order: fifo}
-- /w/z/kustomization.yaml --
namePrefix: z-
bases: [../base]
-- /w/a/kustomization.yaml --
namePrefix: a-
bases: [../base]
commonLabels: {a: b}
-- /w/base/kustomization.yaml --
resources: [a.yaml]
-- /w/base/a.yaml --
{apiVersion: v1, kind: Service, metadata: {name: a}}
---
{apiVersion: v1, kind: ConfigMap, metadata: {name: local, annotations: {config.kubernetes.io/local-config: "true"}}}
---
{apiVersion: v1, kind: ConfigMap, metadata: {name: b}}`,
		objects: `# /w/base/a.yaml Service  a
apiVersion: v1
kind: Service
metadata:
  name: z-a
# /w/base/a.yaml ConfigMap  b
apiVersion: v1
kind: ConfigMap
metadata:
  name: z-b
# /w/base/a.yaml Service  a
apiVersion: v1
kind: Service
metadata:
  labels:
    a: b
  name: a-a
spec:
  selector:
    a: b
# /w/base/a.yaml ConfigMap  b
apiVersion: v1
kind: ConfigMap
metadata:
  labels:
    a: b
  name: a-b
`,
		read: "/w/a/kustomization.yaml /w/base/a.yaml /w/base/kustomization.yaml " +
			"/w/top/kustomization.yaml /w/z/kustomization.yaml",
	},
	"a patch that tests for annotations leaves the source unknown": {
		archive: `-- /w/top/kustomization.yaml --
resources: [a.yaml]
patchesJson6902:
- target: {version: v1, kind: Service, name: a}
  patch: |
    - {op: test, path: /metadata, value: {name: a}}
-- /w/top/a.yaml --
{apiVersion: v1, kind: Service, metadata: {name: a}}`,
		objects: "# \napiVersion: v1\nkind: Service\nmetadata:\n  name: a\n",
		read:    "/w/top/a.yaml /w/top/kustomization.yaml",
	},
}

func TestKustomize(t *testing.T) {
	for name, test := range kustomizations {
		t.Run(name, func(t *testing.T) {
			k := kustomization(test.archive)
			got, err := k.build()
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.objects, objects(got)); diff != "" {
				t.Errorf("build() mismatch (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(test.read, strings.Join(got.Read, " ")); diff != "" {
				t.Errorf("build() reads (-want +got):\n%s", diff)
			}
			// Through a child, and from a disk by kustomize alone.
			if diff := cmp.Diff([]Result{got}, All(t.Context(), []Request{{Kustomization: k}})); diff != "" {
				t.Errorf("All() mismatch (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(onDisk(t, k), texts(got)); diff != "" {
				t.Errorf("build() differs from kustomize (-want +got):\n%s", diff)
			}
		})
	}
}

func texts(result Result) []string {
	list := make([]string, len(result.Objects))
	for i, o := range result.Objects {
		list[i] = string(o.Text)
	}
	return list
}

// onDisk returns what kustomize makes of the files.
func onDisk(t testing.TB, k *Kustomization) []string {
	t.Helper()
	root := t.TempDir()
	for _, file := range k.Files {
		name := filepath.Join(root, file.Name)
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, file.Data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	defer silence()()
	options := krusty.MakeDefaultOptions()
	options.Reorder = krusty.ReorderOptionUnspecified
	built, err := krusty.MakeKustomizer(options).Run(filesys.MakeFsOnDisk(), filepath.Join(root, k.Folder))
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, object := range built.Resources() {
		text, err := object.AsYAML()
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, string(text))
	}
	return list
}

// A kustomization that is refused or cannot be built. Those in the first table are refused before the build.
var failures = map[string]struct {
	archive, want string
}{
	"a remote base": {
		archive: `-- /w/top/kustomization.yaml --
resources: [../base]
-- /w/base/kustomization.yaml --
resources: [a.yaml, "https://github.com/org/repo//folder?ref=v1"]
-- /w/base/a.yaml --
{apiVersion: v1, kind: Service, metadata: {name: a}}`,
		want: "/w/base/kustomization.yaml:1: resources[1] https://github.com/org/repo//folder?ref=v1: " + isRemote,
	},
	"a remote base without a scheme": {
		archive: "-- /w/top/kustomization.yaml --\nbases: [\"github.com/org/repo?ref=v1\"]",
		want:    "/w/top/kustomization.yaml:1: bases[0] github.com/org/repo?ref=v1: " + isRemote,
	},
	"a folder with the name of a remote base": {
		archive: `-- /w/top/kustomization.yaml --
resources: [github.com/org/repo]
-- /w/top/github.com/org/repo/kustomization.yaml --
namePrefix: a`,
		want: "/w/top/kustomization.yaml:1: resources[0] github.com/org/repo: " + isRemote,
	},
	"a remote component": {
		archive: "-- /w/top/kustomization.yaml --\ncomponents: [git@example.com:org/repo.git]",
		want:    "/w/top/kustomization.yaml:1: components[0] git@example.com:org/repo.git: " + isRemote,
	},
	"a remote patch": {
		archive: "-- /w/top/kustomization.yaml --\npatches: [{path: a}, {path: https://example.com/a}]\n-- /w/top/a --\n",
		want:    "/w/top/kustomization.yaml:1: patches[1].path https://example.com/a: " + isRemote,
	},
	"a remote strategic merge patch": {
		archive: "-- /w/top/kustomization.yaml --\npatchesStrategicMerge: [http://example.com/a]",
		want:    "/w/top/kustomization.yaml:1: patchesStrategicMerge[0] http://example.com/a: " + isRemote,
	},
	"a remote JSON patch": {
		archive: "-- /w/top/kustomization.yaml --\npatchesJson6902: [{path: http://example.com/a, target: {name: a}}]",
		want:    "/w/top/kustomization.yaml:1: patchesJson6902[0].path http://example.com/a: " + isRemote,
	},
	"a remote definition": {
		archive: "-- /w/top/kustomization.yaml --\ncrds: [http://example.com/a]",
		want:    "/w/top/kustomization.yaml:1: crds[0] http://example.com/a: " + isRemote,
	},
	"a remote configuration": {
		archive: "-- /w/top/kustomization.yaml --\nconfigurations: [http://example.com/a]",
		want:    "/w/top/kustomization.yaml:1: configurations[0] http://example.com/a: " + isRemote,
	},
	"a remote schema": {
		archive: "-- /w/top/kustomization.yaml --\nopenapi: {path: http://example.com/a}",
		want:    "/w/top/kustomization.yaml:1: openapi.path http://example.com/a: " + isRemote,
	},
	"a remote generator": {
		archive: "-- /w/top/kustomization.yaml --\ngenerators: [ssh://git@example.com/a/b]",
		want:    "/w/top/kustomization.yaml:1: generators[0] ssh://git@example.com/a/b: " + isRemote,
	},
	"a remote transformer": {
		archive: "-- /w/top/kustomization.yaml --\ntransformers: [http://example.com/a]",
		want:    "/w/top/kustomization.yaml:1: transformers[0] http://example.com/a: " + isRemote,
	},
	"a remote validator": {
		archive: "-- /w/top/kustomization.yaml --\nvalidators: [http://example.com/a]",
		want:    "/w/top/kustomization.yaml:1: validators[0] http://example.com/a: " + isRemote,
	},
	"a remote replacement": {
		archive: "-- /w/top/kustomization.yaml --\nreplacements: [{path: http://example.com/a}]",
		want:    "/w/top/kustomization.yaml:1: replacements[0].path http://example.com/a: " + isRemote,
	},
	"a remote file for a generator": {
		archive: "-- /w/top/kustomization.yaml --\nconfigMapGenerator: [{name: a, files: [a=http://example.com/a]}]",
		want:    "/w/top/kustomization.yaml:1: configMapGenerator[0].files[0] http://example.com/a: " + isRemote,
	},
	"a remote environment for a generator": {
		archive: "-- /w/top/kustomization.yaml --\nsecretGenerator: [{name: a, envs: [http://example.com/a]}]",
		want:    "/w/top/kustomization.yaml:1: secretGenerator[0].envs[0] http://example.com/a: " + isRemote,
	},
	"a remote patch of a transformer": {
		archive: `-- /w/top/kustomization.yaml --
transformers:
- |
  {apiVersion: builtin, kind: PatchTransformer, metadata: {name: a}, path: http://example.com/a}`,
		want: "/w/top/kustomization.yaml:2: transformers[0] PatchTransformer.path http://example.com/a: " + isRemote,
	},
	"a function that is a container": {
		archive: `-- /w/top/kustomization.yaml --
transformers: [../functions]
-- /w/functions/kustomization.yaml --
resources: [function.yaml]
-- /w/functions/function.yaml --
apiVersion: example.com/v1
kind: Label
metadata:
  name: a
  annotations: {config.kubernetes.io/function: "container: {image: example.com/label}"}`,
		want: "/w/top/kustomization.yaml:1: transformers[0] ../functions: it has Label with the annotation " +
			"config.kubernetes.io/function, and functions are not run; give the output of kustomize build instead",
	},
	"a function that is a program": {
		archive: `-- /w/top/kustomization.yaml --
generators:
- |
  apiVersion: example.com/v1
  kind: Make
  metadata:
    name: a
    annotations: {config.k8s.io/function: "exec: {path: ./make}"}`,
		want: "/w/top/kustomization.yaml:2: generators[0] (inline): it has Make with the annotation " +
			"config.k8s.io/function, and functions are not run; give the output of kustomize build instead",
	},
	"a plugin": {
		archive: `-- /w/top/kustomization.yaml --
validators: [plugin.yaml]
-- /w/top/plugin.yaml --
{apiVersion: example.com/v1, kind: Check, metadata: {name: a}}`,
		want: "/w/top/kustomization.yaml:1: validators[0] plugin.yaml: it needs the plugin Check, " +
			"and only builtin plugins are run; give the output of kustomize build instead",
	},
	"a chart": {
		archive: "-- /w/top/kustomization.yaml --\nhelmCharts: [{name: nginx, repo: https://example.com}]",
		want:    "/w/top/kustomization.yaml:1: helmCharts[0] nginx: " + isHelm,
	},
	"options of charts": {
		archive: "-- /w/top/kustomization.yaml --\nhelmGlobals: {chartHome: charts}",
		want:    "/w/top/kustomization.yaml:1: helmGlobals: " + isHelm,
	},
	"a chart in the old form": {
		archive: "-- /w/top/kustomization.yaml --\nhelmChartInflationGenerator: [{chartName: nginx}]",
		want:    "/w/top/kustomization.yaml:1: helmChartInflationGenerator[0] nginx: " + isHelm,
	},
	"a chart by a plugin": {
		archive: `-- /w/top/kustomization.yaml --
generators: ['{apiVersion: builtin, kind: HelmChartInflationGenerator, metadata: {name: a}, name: nginx}']`,
		want: "/w/top/kustomization.yaml:1: generators[0] (inline): " + isHelm,
	},
	"a base that is not given": {
		archive: "-- /w/top/kustomization.yaml --\nresources: [a.yaml, ../../secret]\n-- /w/top/a.yaml --\n",
		want: "/w/top/kustomization.yaml:1: resources[1] ../../secret: it does not exist, or lies outside of the " +
			"folders that were given; correct the path, or give that folder too",
	},
	"a file that is missing": {
		archive: "-- /w/top/kustomization.yaml --\nresources: [a.yaml]",
		want: "/w/top/kustomization.yaml:1: resources[0] a.yaml: it does not exist, or is a link out of the folders that " +
			"were given; correct the path, or add it",
	},
	"a file outside of the folder": {
		archive: "-- /w/top/kustomization.yaml --\nresources: [../a.yaml]\n-- /w/a.yaml --\n",
		want: "/w/top/kustomization.yaml:1: resources[0] ../a.yaml: " +
			"kustomize reads no file outside of the folder of the kustomization; move it there",
	},
	"a folder without a kustomization": {
		archive: "-- /w/top/kustomization.yaml --\nresources: [../base]\n-- /w/base/a.yaml --\n",
		want:    "/w/base: it has no kustomization.yaml; add one, or name a folder that has one",
	},
	"an entry point without a kustomization": {
		archive: "-- /w/base/a.yaml --\n",
		want:    "/w/top: it has no kustomization.yaml; add one, or name a folder that has one",
	},
	"two kustomizations in one folder": {
		archive: "-- /w/top/kustomization.yaml --\n\n-- /w/top/Kustomization --\n",
		want:    "/w/top: it has both kustomization.yaml and Kustomization; keep one of them",
	},
	"a base that is no YAML": {
		archive: `-- /w/top/kustomization.yaml --
resources: [../base]
-- /w/base/kustomization.yaml --
resources: [a.yaml]
-- /w/base/a.yaml --
{apiVersion: v1, kind: Service, metadata: {name: a}}
---
apiVersion: v1
kind: Service
 metadata: {name: a}`,
		want: "/w/base/a.yaml:5: mapping values are not allowed in this context; fix the YAML on or just above this line",
	},
	"a kustomization that is no YAML": {
		archive: "-- /w/top/kustomization.yaml --\nresources: [",
		want: "/w/top/kustomization.yaml:1: did not find expected node content; " +
			"fix the YAML on or just above this line",
	},
	"an inline patch that is no YAML": {
		archive: "-- /w/top/kustomization.yaml --\npatchesStrategicMerge:\n- |\n  a: b\n   c: d\n",
		want: "/w/top/kustomization.yaml:2: patchesStrategicMerge[0] (inline): " +
			"line 2: mapping values are not allowed in this context",
	},
	"an object without a name": {
		archive: "-- /w/top/kustomization.yaml --\nresources: [a.yaml]\n-- /w/top/a.yaml --\n{apiVersion: v1, kind: Service}",
		want:    "/w/top/a.yaml: missing metadata.name",
	},
	"a field that kustomize does not know": {
		archive: "-- /w/top/kustomization.yaml --\nresource: [a.yaml]",
		want:    `/w/top/kustomization.yaml:1: unknown field "resource"`,
	},
	"a value of the wrong type": {
		archive: "-- /w/top/kustomization.yaml --\nresources: a.yaml",
		want:    "/w/top/kustomization.yaml:1: resources: a string is not valid here",
	},
	"a cycle of bases": {
		archive: `-- /w/top/kustomization.yaml --
resources: [../base]
-- /w/base/kustomization.yaml --
resources: [../top]`,
		want: "/w/base/kustomization.yaml: cycle detected: candidate root '/w/top' contains visited root '/w/top'",
	},
	"an object in two files": {
		archive: "-- /w/top/kustomization.yaml --\nresources: [a.yaml, b.yaml]\n" +
			"-- /w/top/a.yaml --\n" + service + "-- /w/top/b.yaml --\n" + service,
		want: "/w/top/kustomization.yaml: merging resources from 'b.yaml': " +
			"may not add resource with an already registered id: Service.v1/web",
	},
	"an object in two bases": {
		archive: "-- /w/top/kustomization.yaml --\nresources: [../a, ../b]\n" +
			"-- /w/a/kustomization.yaml --\nresources: [a.yaml]\n-- /w/a/a.yaml --\n" + service +
			"-- /w/b/kustomization.yaml --\nresources: [b.yaml]\n-- /w/b/b.yaml --\n" + service,
		want: "/w/top/kustomization.yaml: recursed merging from path '/w/b': " +
			"may not add resource with an already registered id: Service.v1/web",
	},
	"a patch without a target, in a component of a component": {
		archive: `-- /w/top/kustomization.yaml --
components: [../a]
-- /w/a/kustomization.yaml --
kind: Component
components: [../b]
-- /w/b/kustomization.yaml --
kind: Component
patches: [{path: "a.yaml"}]
-- /w/b/a.yaml --
` + service,
		want: `/w/b/kustomization.yaml: no resource matches strategic merge patch "Service.v1/web"`,
	},
	"a JSON patch that would be valid with an annotation": {
		archive: `-- /w/top/kustomization.yaml --
resources: [a.yaml]
patchesJson6902:
- target: {version: v1, kind: Service, name: web}
  patch: '[{"op": "add", "path": "/metadata/annotations/a", "value": "b"}]'
-- /w/top/a.yaml --
` + service,
		want: "/w/top/kustomization.yaml: add operation does not apply: doc is missing path: " +
			`"/metadata/annotations/a": missing value`,
	},
	"a generator that merges into nothing": {
		archive: "-- /w/top/kustomization.yaml --\nconfigMapGenerator: [{name: a, behavior: merge}]",
		want:    "/w/top/kustomization.yaml: id ConfigMap.v1/a does not exist; cannot merge or replace",
	},
	"a secret that is not a pair": {
		archive: "-- /w/top/kustomization.yaml --\nsecretGenerator: [{name: a, literals: [password=secret, wrong]}]",
		want:    "/w/top/kustomization.yaml: loading KV pairs: invalid literal source wrong, expected key=value",
	},
	"a key that is set twice": {
		archive: "-- /w/top/kustomization.yaml --\nresources: [a.yaml]\n-- /w/top/a.yaml --\n" +
			"{apiVersion: v1, kind: Service, metadata: {name: web}, spec: {}, spec: {}}\n",
		want: `/w/top/kustomization.yaml: Service web: mapping key "spec" already defined`,
	},
	"a plugin that lacks what it needs": {
		archive: "-- /w/top/kustomization.yaml --\ntransformers: ['{apiVersion: builtin, kind: PatchTransformer, " +
			"metadata: {name: a}}']",
		want: "/w/top/kustomization.yaml: plugin PatchTransformer.builtin/a fails configuration: " +
			"must specify one of patch and path",
	},
	"a name that two objects have": {
		archive: `-- /w/top/kustomization.yaml --
resources: [a.yaml]
namePrefix: p-
-- /w/top/a.yaml --
{apiVersion: v1, kind: ServiceAccount, metadata: {name: sa, namespace: a}}
---
{apiVersion: v1, kind: ServiceAccount, metadata: {name: sa, namespace: b}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: crb}
roleRef: {kind: ClusterRole, name: x}
subjects: [{kind: ServiceAccount, name: sa}]`,
		want: "/w/top/kustomization.yaml: updating name reference in 'subjects' field of " +
			"'ClusterRoleBinding.v1.rbac.authorization.k8s.io/p-crb': considering field 'subjects' of object " +
			"ClusterRoleBinding.v1.rbac.authorization.k8s.io/p-crb: " +
			"found multiple possible referrals: ServiceAccount.v1/p-sa.a, ServiceAccount.v1/p-sa.b",
	},
	"characters that a terminal obeys": {
		archive: "-- /w/top/kustomization.yaml --\nresources: [\"\\e[2J\\na\"]",
		want: `/w/top/kustomization.yaml:1: resources[0] \x1b[2J a: ` +
			"it does not exist, or is a link out of the folders that were given; correct the path, or add it",
	},
}

const (
	isRemote = "it is remote, and nothing is fetched; name a local copy instead, or give the output of kustomize build"
	isHelm   = "charts in a kustomization are not rendered; give the output of kustomize build --enable-helm instead"
	service  = "{apiVersion: v1, kind: Service, metadata: {name: web}}\n"
)

func TestKustomizationsThatAreNotBuilt(t *testing.T) {
	var requests []Request
	var want []Result
	for name, test := range failures {
		k := kustomization(test.archive)
		requests, want = append(requests, Request{Kustomization: k}), append(want, Result{Error: test.want})
		t.Run(name, func(t *testing.T) {
			result, err := k.build()
			if err == nil {
				t.Fatalf("build() returns %v, want an error", result)
			}
			if diff := cmp.Diff(test.want, err.Error()); diff != "" {
				t.Errorf("build() mismatch (-want +got):\n%s", diff)
			}
		})
	}
	if diff := cmp.Diff(want, All(t.Context(), requests)); diff != "" {
		t.Errorf("All() mismatch (-want +got):\n%s", diff)
	}
}

// TestManyPatches builds 100 objects with a patch for each, for which a child has time.
func TestManyPatches(t *testing.T) {
	t.Parallel()
	const objects = 100
	var top, services strings.Builder
	top.WriteString("resources: [a.yaml]\npatches:\n")
	for i := range objects {
		fmt.Fprintf(&services, "---\n{apiVersion: v1, kind: Service, metadata: {name: web%d}}\n", i)
		fmt.Fprintf(&top, "- target: {kind: Service, name: web%d}\n"+
			"  patch: '[{\"op\": \"add\", \"path\": \"/spec\", \"value\": {\"type\": \"NodePort\"}}]'\n", i)
	}
	k := &Kustomization{Folder: "/w", Files: []File{
		{Name: "/w/a.yaml", Data: []byte(services.String())}, {Name: "/w/kustomization.yaml", Data: []byte(top.String())},
	}}
	result := All(t.Context(), []Request{{Kustomization: k}})[0]
	if result.Error != "" || len(result.Objects) != objects {
		t.Fatalf("%d objects, %s", len(result.Objects), result.Error)
	}
	for _, object := range result.Objects {
		if object.File != "/w/a.yaml" || object.Name != fmt.Sprintf("web%d", object.Index) {
			t.Errorf("%s is from %s, number %d", object.Name, object.File, object.Index)
		}
	}
}

func TestWhatKustomizeClones(t *testing.T) {
	t.Parallel()
	for entry, want := range map[string]bool{ // from tests of kustomize
		"https://github.com/org/repo":              true,
		"git::https://github.com/org/repo":         true,
		"GIT::git@github.com:org/repo":             true,
		"git@github.com:org/repo.git//a?ref=b":     true,
		"org-12345@github.com:org/repo":            true,
		"github.com/org/repo/a/b":                  true,
		"GitHub.com:org/repo":                      true,
		"file:///a/b":                              true,
		"ssh://git@ssh.dev.azure.com/v3/org/a/b":   true,
		"git@ssh.dev.azure.com:v3/org/_git/a/b":    true,
		"user@host.xz:path.git":                    true,
		"user@host.xz//a":                          true,
		"team@folder/base":                         false,
		"team@folder/base/a":                       true,
		"git@":                                     false,
		"github.com":                               false,
		"github.com/org":                           false,
		"github.com/org/repo/../../..":             false,
		"github.com/org/repo//../a":                false,
		"github.com/org/repo.git/../a":             false,
		"git@ssh.dev.azure.com:v3/_git/a/../../..": false,
		"gitlab.com/org/repo":                      false,
		"host/org/repo?ref=v1":                     false,
		"../github.com/org/repo":                   false,
		"/github.com/org/repo":                     false,
	} {
		if got := isCloned(entry); got != want {
			t.Errorf("isCloned(%q) = %t, want %t", entry, got, want)
		}
	}
}

func TestOneKustomizationDoesNotChangeTheNext(t *testing.T) {
	const patched = `
resources: [a.yaml]
patches:
- patch: |
    {apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {containers: [{name: b, args: [c]}]}}
-- /w/top/a.yaml --
{apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {containers: [{name: b, image: d}]}}`
	plain := kustomization("-- /w/top/kustomization.yaml --" + patched)
	want, err := plain.build()
	if err != nil {
		t.Fatal(err)
	}
	other := kustomization("-- /w/top/kustomization.yaml --\nopenapi: {path: schema.json}" + patched +
		"\n-- /w/top/schema.json --\n{}")
	if got, err := other.build(); err != nil || cmp.Equal(want, got) {
		t.Fatalf("build() with a schema without keys of lists returns %v, %v, want another list", got, err)
	}
	if got, err := plain.build(); err != nil || !cmp.Equal(want, got) {
		t.Errorf("build() = %v, %v, want %v", got, err, want)
	}
}

func TestKustomizeWritesNothing(t *testing.T) {
	stderr, logged := os.Stderr, log.Writer()
	defer func() {
		os.Stderr = stderr
		log.SetOutput(logged)
	}()
	file, err := os.Create(filepath.Join(t.TempDir(), "stderr"))
	if err != nil {
		t.Fatal(err)
	}
	os.Stderr = file
	log.SetOutput(file)
	k := kustomization("-- /w/top/kustomization.yaml --\nresources: [a.yaml]\ncommonLabels: {a: b}\n" +
		"vars: [{name: UNUSED, objref: {apiVersion: v1, kind: Service, name: web}}]\n-- /w/top/a.yaml --\n" + service)
	if _, err := k.build(); err != nil {
		t.Fatal(err)
	}
	if os.Stderr != file || log.Writer() != file {
		t.Errorf("build() has not restored standard error")
	}
	text, err := os.ReadFile(file.Name())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff("", string(text)); diff != "" {
		t.Errorf("build() writes to standard error (-want +got):\n%s", diff)
	}
}

func TestManyObjects(t *testing.T) {
	archive := "-- /w/top/kustomization.yaml --\nnamePrefix: a-\nnamespace: b\nresources:\n"
	for i := range 1000 {
		archive += fmt.Sprintf("- %d.yaml\n", i)
	}
	for i := range 1000 {
		archive += fmt.Sprintf("-- /w/top/%d.yaml --\n{apiVersion: v1, kind: Service, metadata: {name: web-%[1]d}}\n", i)
	}
	job := Job
	job.Time = time.Hour // How many objects there may be is tested, not how long they take on a busy machine.
	results, errs := child.Ask[Request, Result](t.Context(), job, []Request{{Kustomization: kustomization(archive)}})
	if n := len(results[0].Objects); errs[0] != nil || n != 1000 || results[0].Objects[999].Name != "web-999" {
		t.Errorf("Ask() returns %d objects, %q and %v, want 1000 objects", n, results[0].Error, errs[0])
	}
}

// TestKustomizationsThatEndTheChild gives kustomize what it does not survive: aliases that double 60 times, and a file
// that it expects to have a first byte.
func TestKustomizationsThatEndTheChild(t *testing.T) {
	t.Parallel()
	bomb := "-- /w/top/kustomization.yaml --\nresources: [a.yaml]\n-- /w/top/a.yaml --\n" +
		"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\na0: &a0 [a, a]\n"
	for i := range 60 {
		bomb += fmt.Sprintf("a%d: &a%[1]d [*a%[2]d, *a%[2]d]\n", i+1, i)
	}
	empty := kustomization("-- /w/top/kustomization.yaml --\ncrds: [a.yaml]\n-- /w/top/a.yaml --\n")
	empty.Files[1].Data = nil
	job := Job
	job.Time /= 4 // which the aliases may take, if they do not take all memory before
	_, errs := child.Ask[Request, Result](
		t.Context(), job, []Request{{Kustomization: kustomization(bomb)}, {Kustomization: empty}})
	for i, want := range []string{
		"rendering it takes ", // more than 1024 MiB of memory, or longer than 5s
		"rendering it ended (exit status 2: panic: runtime error: index out of range [0] with length 0",
	} {
		if !strings.HasPrefix(fmt.Sprint(errs[i]), want) {
			t.Errorf("Ask() returns the error %v, want %q", errs[i], want)
		}
	}
}
