package manifest

import (
	"bytes"
	"encoding/json"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/sourceward/sourceward/policies"
	"github.com/sourceward/sourceward/policies/render"
)

// renderHere renders requests in this process, as a child would.
func renderHere(t *testing.T) func([]render.Request) []render.Result {
	return func(requests []render.Request) []render.Result {
		var asked, answered bytes.Buffer
		encoder := json.NewEncoder(&asked)
		for _, request := range requests {
			if err := encoder.Encode(request); err != nil {
				t.Error(err)
			}
		}
		if err := render.Job.Serve(json.NewDecoder(&asked), json.NewEncoder(&answered)); err != nil {
			t.Error(err)
		}
		results := make([]render.Result, len(requests))
		decoder := json.NewDecoder(&answered)
		for i := range results {
			if err := decoder.Decode(&results[i]); err != nil {
				t.Error(err)
			}
		}
		return results
	}
}

// settingBase is a Service, and a Deployment with two containers, from line 8 on.
const settingBase = `apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  ports: [{port: 80}]
  selector: {app: web}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - {name: web, image: web}
      - {name: proxy, image: proxy}
`

// TestWhereAKustomizationSetsAValue names the line of a patch, or of the field of a kustomization.
func TestWhereAKustomizationSetsAValue(t *testing.T) {
	const resources = "resources: [../base]\n"
	tests := map[string]struct {
		// top and files are beside the base. kind is that of the object in which the value at pointer is looked for.
		top           string
		files         map[string]string
		kind, pointer string
		want          string
	}{
		"a value of the base": {top: resources, kind: "Service", pointer: "/spec/ports/0/port", want: "base/web.yaml:5"},
		"the namespace": {
			top: resources + "namespace: prod\n", kind: "Service", pointer: "/metadata/namespace",
			want: "top/kustomization.yaml:2",
		},
		"the number of replicas": {
			top: resources + "replicas:\n- name: web\n  count: 5\n", kind: "Deployment",
			pointer: "/spec/replicas", want: "top/kustomization.yaml:4",
		},
		"a common annotation": {
			top: resources + "commonAnnotations:\n  a: b\n  c/d: e\n", kind: "Service",
			pointer: "/metadata/annotations/c~1d", want: "top/kustomization.yaml:4",
		},
		"a label": {
			top:  resources + "labels:\n- pairs: {x: z}\n- pairs:\n    tier: edge\n  includeSelectors: true\n",
			kind: "Deployment", pointer: "/spec/template/metadata/labels/tier", want: "top/kustomization.yaml:5",
		},
		"an inline patch": {
			top: resources + "patches:\n- patch: |-\n    apiVersion: v1\n    kind: Service\n    metadata: {name: web}\n" +
				"    spec:\n      externalTrafficPolicy: Local\n",
			kind: "Service", pointer: "/spec/externalTrafficPolicy", want: "top/kustomization.yaml:8",
		},
		"an inline patch in quotes": {
			top: resources + "patches:\n- target: {kind: Service}\n" +
				`  patch: '[{"op": "add", "path": "/spec/externalTrafficPolicy", "value": "Local"}]'` + "\n",
			kind: "Service", pointer: "/spec/externalTrafficPolicy", want: "top/kustomization.yaml:4",
		},
		"a patch of a file with a prefix for the name": {
			top: resources + "namePrefix: p-\npatches: [{path: p.yaml}]\n",
			files: map[string]string{"top/p.yaml": "apiVersion: v1\nkind: Service\nmetadata:\n  name: web\nspec:\n" +
				"  type: NodePort\n"},
			kind: "Service", pointer: "/spec/type", want: "top/p.yaml:6",
		},
		"the patch of another object with the same value": {
			top: resources + "patches:\n- path: deployment.yaml\n- path: service.yaml\n- target: {kind: Service, name: we}\n" +
				"  path: json.yaml\n- target: {kind: Service, name: w.b}\n  path: json.yaml\n",
			files: map[string]string{
				"top/deployment.yaml": "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec: {replicas: 3}\n",
				"top/service.yaml":    "apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec: {sessionAffinity: None}\n",
				"top/json.yaml": "- op: add\n  path: /spec/type\n  value: NodePort\n" +
					"- op: replace\n  path: /spec/ports\n  value:\n  - port: 443\n",
			},
			kind: "Service", pointer: "/spec/ports/0/port", want: "top/json.yaml:7",
		},
		"a container that a patch moves to the front": {
			top: resources + "patches: [{path: p.yaml}]\n",
			files: map[string]string{"top/p.yaml": "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\n" +
				"spec:\n  template:\n    spec:\n      containers:\n      - name: new\n        image: new\n      - name: proxy\n" +
				"        image: other\n"},
			kind: "Deployment", pointer: "/spec/template/spec/containers/1/image", want: "top/p.yaml:11",
		},
		"an element at the end of a list": {
			top: resources + "patchesJson6902:\n- target: {version: v1, kind: Service, name: web}\n  path: p.json\n",
			files: map[string]string{"top/p.json": `[
  {"op": "add", "path": "/spec/ports/-", "value": {"name": "a", "port": 1}},
  {"op": "add", "path": "/spec/ports/-", "value": {"name": "b", "port": 2}}
]`},
			kind: "Service", pointer: "/spec/ports/1/name", want: "top/p.json:2",
		},
		"what a patch removes": {
			top: resources + "patchesStrategicMerge:\n- |\n  apiVersion: v1\n  kind: Service\n  metadata: {name: web}\n" +
				"  spec:\n    selector: null\n",
			kind: "Service", pointer: "/spec/selector", want: "top/kustomization.yaml:8",
		},
		"what a component of a base sets, and the root sets again": {
			top: "resources: [../middle]\npatches:\n- target: {kind: Service}\n  patch: |\n" +
				"    - {op: add, path: /spec/type, value: NodePort}\n",
			files: map[string]string{
				"middle/kustomization.yaml": "resources: [../base]\ncomponents: [../part]\n",
				"part/kustomization.yaml": "apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\npatches:\n" +
					"- target: {kind: Service}\n  patch: |\n    - op: add\n      path: /spec/type\n      value: LoadBalancer\n" +
					"    - op: add\n      path: /spec/loadBalancerClass\n      value: example.com/class\n",
			},
			kind: "Service", pointer: "/spec/loadBalancerClass", want: "part/kustomization.yaml:11",
		},
		"patches of other labels and of another namespace": {
			top: "resources: [../base, other.yaml]\npatches:\n" +
				"- target: {kind: Service, labelSelector: 'app in (other)'}\n  path: json.yaml\n" +
				"- target: {kind: Service, namespace: .+}\n  path: json.yaml\n" +
				"- target: {kind: Service, labelSelector: '!app'}\n  path: last.yaml\n" +
				"- target: {kind: Service, annotationSelector: a=b}\n  path: json.yaml\n",
			files: map[string]string{
				"top/json.yaml": "- {op: add, path: /spec/type, value: NodePort}\n",
				"top/last.yaml": "# the same\n- {op: add, path: /spec/type, value: NodePort}\n",
				"top/other.yaml": "apiVersion: v1\nkind: Service\nmetadata: {name: other, namespace: z, labels: {app: other}, " +
					"annotations: {a: b}}\nspec: {ports: [{port: 1}]}\n",
			},
			kind: "Service", pointer: "/spec/type", want: "top/last.yaml:2",
		},
		"what only a transformer sets": {
			top: resources + "transformers:\n- |\n  apiVersion: builtin\n  kind: AnnotationsTransformer\n" +
				"  metadata: {name: a}\n  annotations: {a: b}\n  fieldSpecs: [{path: metadata/annotations, create: true}]\n",
			kind: "Service", pointer: "/metadata/annotations/a", want: "top/kustomization.yaml:1",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			dir := realTempDir(t)
			files := map[string]string{
				"base/web.yaml": settingBase, "base/kustomization.yaml": "resources: [web.yaml]\n",
				"top/kustomization.yaml": test.top,
			}
			maps.Copy(files, test.files)
			writeAll(t, dir, files)
			m, err := Load(Options{
				Paths: []string{dir}, Version: policies.Newest, Rendering: &Rendering{Kustomize: true, All: renderHere(t)},
			})
			if err != nil || len(m.Errors)+len(m.Skipped) > 0 {
				t.Fatalf("%v; errors %v; skipped %+v", err, m.Errors, m.Skipped)
			}
			i := slices.IndexFunc(m.Objects, func(o *Object) bool {
				return o.Ref.Kind == test.kind && strings.HasSuffix(o.Ref.Name, "web")
			})
			place := m.Objects[i].Place(test.pointer)
			got := Place{Position: place.Position}
			if got.File, err = filepath.Rel(dir, place.File); err != nil {
				t.Fatal(err)
			}
			if got := filepath.ToSlash(got.String()); got != test.want {
				t.Errorf("%s is set at %s, want %s", test.pointer, got, test.want)
			}
		})
	}
}
