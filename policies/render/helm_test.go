package render

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	releaseutil "helm.sh/helm/v4/pkg/release/v1/util"

	"github.com/sourceward/sourceward/policies/child"
)

const chartYAML = "apiVersion: v2\nname: demo\nversion: 1.2.3\n"

// chartOf returns a chart with files, and a Chart.yaml if they have none.
func chartOf(files map[string]string) *Chart {
	c := &Chart{ReleaseName: "web", Namespace: "edge", KubeVersion: "1.37"}
	files = maps.Clone(files)
	if _, has := files["Chart.yaml"]; !has {
		files["Chart.yaml"] = chartYAML
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		c.Files = append(c.Files, File{name, []byte(files[name])})
	}
	return c
}

// numbered returns the objects that c renders, with the number of its line before each.
func numbered(t testing.TB, c *Chart) string {
	t.Helper()
	result := Request{Chart: c}.render()
	if result.Error != "" || result.Skipped != "" {
		return strings.TrimSpace(result.Error + " " + result.Skipped)
	}
	var text strings.Builder
	for _, object := range result.Objects {
		fmt.Fprintf(&text, "%s\n", object.File)
		i := 0
		for line := range strings.Lines(string(object.Text)) {
			fmt.Fprintf(&text, "%3d|%s\n", object.Lines[i], strings.TrimSuffix(line, "\n"))
			i++
		}
		if i != len(object.Lines) {
			t.Errorf("%s has %d lines, and numbers for %d", object.File, i, len(object.Lines))
		}
	}
	return text.String()
}

func check(t testing.TB, c *Chart, want string) {
	t.Helper()
	if diff := cmp.Diff(strings.TrimPrefix(want, "\n"), numbered(t, c)); diff != "" {
		t.Errorf("rendering mismatch (-want +got):\n%s", diff)
	}
}

const helpers = `{{- define "demo.labels" -}}
app: {{ .Release.Name }}
{{- if .Values.team }}
team: {{ .Values.team }}
{{- end }}
{{- end }}
`

func TestLines(t *testing.T) {
	t.Parallel()
	check(t, chartOf(map[string]string{
		"templates/_helpers.tpl": helpers,
		"values.yaml": `
team: edge
ports: [{name: http, port: 80}, {name: https, port: 443}]
annotations: {a: "1", b: "2"}
policy: Local
`,
		"templates/web.yaml": `{{- /* The Service. */ -}}
{{- if .Values.ports }}
# A comment.
apiVersion: v1
kind: Service
metadata:
  name: {{ .Release.Name }}
  {{- with .Values.annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  labels:
    {{- include "demo.labels" . | nindent 4 }}
    fixed: "true"
spec:
  type: LoadBalancer

  {{- if eq .Values.policy "Local" }}
  externalTrafficPolicy: Local
  {{- else }}
  externalTrafficPolicy: Cluster
  {{- end }}
  selector: {{ include "demo.labels" . | nindent 4 }}
  ports:
  {{- range $i, $port := .Values.ports }}
    - name: {{ $port.name
        | quote }}
      port: {{ $port.port }}{{ if $i }} # second{{ end }}
  {{- end }}
{{- end }}
---
{{ template "demo.labels" . }}
braces: [{{ "{{ \"}}\" }}" | quote }}, {{ ` + "`}}`" + ` | quote }}, {{ '}' }}]
{{ "a" }}: {"b": { {{- "c" -}}
  : {} } }
# {{ block "demo.block" . }}block
# {{ .Release.Name }}
{{ end }}
--- # {{ "x" }}
--- {{- /* Nothing. */}}
--- {{- "a" }}: {{ .Values.team }}
`,
	}), `
templates/web.yaml
  3|# A comment.
  4|apiVersion: v1
  5|kind: Service
  6|metadata:
  7|  name: web
  9|  annotations:
 10|    a: "1"
 10|    b: "2"
 12|  labels:
 13|    app: web
 13|    team: edge
 14|    fixed: "true"
 15|spec:
 16|  type: LoadBalancer
 19|  externalTrafficPolicy: Local
 23|  selector: 
 23|    app: web
 23|    team: edge
 24|  ports:
 26|    - name: "http"
 28|      port: 80
 26|    - name: "https"
 28|      port: 443 # second
templates/web.yaml
 32|app: web
 32|team: edge
 33|braces: ["{{ \"}}\" }}", "}}", 125]
 34|a: {"b": {c: {} } }
 36|# block
  0|# web
  0|
templates/web.yaml
 39|# x
templates/web.yaml
 41|a: edge
`)
}

const object = "kind: ConfigMap\nmetadata: {name: {{ .Release.Name }}}\n"

// archived returns an archive that holds files.
func archived(t testing.TB, files map[string]string) string {
	t.Helper()
	var data bytes.Buffer
	compressed := gzip.NewWriter(&data)
	writer := tar.NewWriter(compressed)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if err := writer.WriteHeader(&tar.Header{Name: name, Mode: 0o600, Size: int64(len(files[name]))}); err != nil {
			t.Fatal(err)
		}
		if _, err := writer.Write([]byte(files[name])); err != nil {
			t.Fatal(err)
		}
	}
	if err := writer.Close(); err != nil {
		t.Fatal(err)
	}
	if err := compressed.Close(); err != nil {
		t.Fatal(err)
	}
	return data.String()
}

func TestChartsThatDependOnOthers(t *testing.T) {
	t.Parallel()
	depends := func(text string) string { return chartYAML + "dependencies:\n" + text }
	sub := func(name string) string { return "apiVersion: v2\nname: " + name + "\nversion: 1.0.0\n" }
	const template = "# {{ .Chart.Name }}\nport: {{ .Values.port }}\n"
	tests := map[string]struct {
		files map[string]string
		set   []string
		want  string
	}{
		"in a folder with another name": {
			files: map[string]string{
				"charts/folder/Chart.yaml":               sub("sub"),
				"charts/folder/values.yaml":              "port: 80\n",
				"charts/folder/templates/a.yaml":         template,
				"charts/folder/charts/b/Chart.yaml":      sub("deep"),
				"charts/folder/charts/b/templates/b.yml": template,
				"values.yaml":                            "sub: {deep: {port: 81}}\n",
				"templates/z.yaml":                       "# {{ .Chart.Name }}\n",
			},
			want: `
charts/folder/charts/b/templates/b.yml
  1|# deep
  2|port: 81
charts/folder/templates/a.yaml
  1|# sub
  2|port: 80
templates/z.yaml
  1|# demo
`,
		},
		"with two aliases": {
			files: map[string]string{
				"Chart.yaml": depends("- {name: sub, version: 1.x, alias: b}\n" +
					"- {name: sub, version: 1.x, alias: a}\n"),
				"charts/sub/Chart.yaml":                                sub("sub"),
				"charts/sub/templates/a.yaml":                          template,
				"charts/sub/charts/deep/Chart.yaml":                    sub("deep"),
				"charts/sub/charts/deep/charts/third/Chart.yaml":       sub("third"),
				"charts/sub/charts/deep/charts/third/templates/a.yaml": template,
				"values.yaml": "a: {port: 1}\nb: {port: 2}\n",
			},
			// The library knows only one chart that a dependency of theirs depends on.
			want: `
charts/sub/charts/deep/charts/third/templates/a.yaml
  1|# third
  2|port: 
charts/sub/templates/a.yaml
  1|# a
  2|port: 1
charts/sub/templates/a.yaml
  1|# b
  2|port: 2
`,
		},
		"that a condition or a tag excludes": {
			files: map[string]string{
				"Chart.yaml": depends("- {name: sub, version: 1.x, condition: sub.enabled}\n" +
					"- {name: other, version: 1.x, tags: [more]}\n- {name: third, version: 1.x, condition: third.enabled}\n"),
				"charts/sub/Chart.yaml":         sub("sub"),
				"charts/sub/templates/a.yaml":   template,
				"charts/other/Chart.yaml":       sub("other"),
				"charts/other/templates/a.yaml": template,
				"charts/third/Chart.yaml":       sub("third"),
				"charts/third/templates/a.yaml": template,
				"values.yaml":                   "sub: {enabled: false}\ntags: {more: false}\nthird: {enabled: false}\n",
			},
			set:  []string{"third.enabled=true,third.port=3"},
			want: "\ncharts/third/templates/a.yaml\n  1|# third\n  2|port: 3\n",
		},
		"in an archive, in which is another one": {
			files: map[string]string{
				"charts/sub-1.0.0.tgz": archived(t, map[string]string{
					"sub/Chart.yaml":       sub("sub"),
					"sub/templates/a.yaml": template,
					"sub/charts/deep-1.0.0.tgz": archived(t, map[string]string{
						"deep/Chart.yaml": sub("deep"), "deep/templates/b.yaml": template,
					}),
				}),
				"charts/sub-1.0.0.tgz.prov": "signed",
				"charts/_old/Chart.yaml":    "{",
				"charts/.gitkeep":           "",
				"values.yaml":               "sub: {port: 4, deep: {port: 5}}\n",
			},
			want: `
charts/sub-1.0.0.tgz
  0|# deep
  0|port: 5
charts/sub-1.0.0.tgz
  0|# sub
  0|port: 4
`,
		},
		"in an archive in a folder": {
			files: map[string]string{
				"charts/sub/Chart.yaml": sub("sub"),
				"charts/sub/charts/deep-1.0.0.tgz": archived(t, map[string]string{
					"deep/Chart.yaml": sub("deep"), "deep/templates/b.yaml": template,
				}),
				"values.yaml": "sub: {deep: {port: 5}}\n",
			},
			want: "\ncharts/sub/charts/deep-1.0.0.tgz\n  0|# deep\n  0|port: 5\n",
		},
		"one in an archive that fails": {
			files: map[string]string{
				"charts/sub-1.0.0.tgz": archived(t, map[string]string{
					"sub/Chart.yaml": sub("sub"), "sub/templates/a.yaml": "{{ fail \"no\" }}",
				}),
			},
			want: "charts/sub/templates/a.yaml:1:3: no",
		},
		"a library among them": {
			files: map[string]string{
				"charts/lib/Chart.yaml":             sub("lib") + "type: library\n",
				"charts/lib/templates/_helpers.tpl": helpers,
				"charts/lib/templates/a.yaml":       template,
				"templates/a.yaml":                  "{{ include \"demo.labels\" . }}\n",
			},
			want: "\ntemplates/a.yaml\n  1|app: web\n",
		},
		"values that they export": {
			files: map[string]string{
				"Chart.yaml":            depends("- {name: sub, version: 1.x, import-values: [data]}\n"),
				"charts/sub/Chart.yaml": sub("sub"), "charts/sub/values.yaml": "exports: {data: {port: 7}}\n",
				"templates/a.yaml": "port: {{ .Values.port }}\n",
			},
			want: "\ntemplates/a.yaml\n  1|port: 7\n",
		},
		"one that is missing": {
			files: map[string]string{
				"Chart.yaml": depends("- {name: redis, version: 1.x, condition: redis.enabled}\n"),
			},
			set:  []string{"redis.enabled=false"},
			want: "its dependency redis is missing in charts/; run helm dependency build",
		},
		"two that are missing": {
			files: map[string]string{
				"Chart.yaml": depends("- {name: redis, version: 1.x}\n- {name: sub, version: 1.x}\n" +
					"- {name: pg, version: 1.x, alias: db}\n- {name: redis, version: 1.x, alias: cache}\n"),
				"charts/sub/Chart.yaml": sub("sub"),
			},
			want: "its dependencies redis, pg are missing in charts/; run helm dependency build",
		},
		"one that cannot be loaded": {
			files: map[string]string{"charts/sub/values.yaml": ""},
			want:  "charts/sub: Chart.yaml file is missing",
		},
		"an archive that is none": {
			files: map[string]string{"charts/sub.tgz": "no"},
			want:  "charts/sub.tgz: unexpected EOF",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := chartOf(test.files)
			c.Set = test.set
			check(t, c, test.want)
		})
	}
}

func TestValues(t *testing.T) {
	t.Parallel()
	c := chartOf(map[string]string{
		"values.yaml":      "a: {x: chart, v: chart, z: chart, list: [1, 2]}\nb: chart\ngone: chart\n",
		"templates/a.yaml": "{{ toYaml .Values }}\n",
	})
	c.Values = []File{
		{"one.yaml", []byte("a: {v: one, z: one}\ngone: null\n")},
		{"two.yaml", []byte("a: {z: two, w: two}\n")},
	}
	c.Set = []string{"a.w=set,a.list={3,4}", `c.k\.8s/io=a\,b`, "d[1].e=true", "f=007,g=1e3,h=null,i=", "i=last"}
	check(t, c, `
templates/a.yaml
  1|a:
  1|  list:
  1|  - 3
  1|  - 4
  1|  v: one
  1|  w: set
  1|  x: chart
  1|  z: two
  1|b: chart
  1|c:
  1|  k.8s/io: a,b
  1|d:
  1|- null
  1|- e: true
  1|f: "007"
  1|g: "1e3"
  1|h: null
  1|i: last
`)
	c.Values[1].Data = []byte("a: [")
	check(t, c, "two.yaml: cannot unmarshal yaml document: error converting YAML to JSON: yaml: line 1: "+
		"did not find expected node content")
	c.Values, c.Set = nil, []string{"a[x]=1"}
	check(t, c, `"a[x]=1" is not in the form of --set: error parsing index: strconv.Atoi: parsing "x": invalid syntax`)
}

func TestWhatATemplateIsGiven(t *testing.T) {
	t.Parallel()
	c := chartOf(map[string]string{
		"files/a.txt": "text",
		"templates/a.yaml": `release: {{ list .Release.Name .Release.Namespace .Release.IsInstall .Release.Revision }}
kube: {{ .Capabilities.KubeVersion }} {{ semverCompare ">=1.37-0" .Capabilities.KubeVersion.Version }}
apis: {{ .Capabilities.APIVersions.Has "apps/v1" }} {{ .Capabilities.APIVersions.Has "corp/v1" }}
chart: {{ .Chart.Name }} {{ .Chart.Version }} {{ .Template.Name }}
file: {{ .Files.Get "files/a.txt" }}
lookup: x{{ lookup "v1" "Secret" "" "" | toJson }} {{ getHostByName "localhost" | quote }}
tpl: {{ tpl "{{ .Release.Name }}" . }}
`,
	})
	c.APIVersions = []string{"corp/v1"}
	check(t, c, `
templates/a.yaml
  1|release: [web edge true 1]
  2|kube: v1.37 true
  3|apis: true true
  4|chart: demo 1.2.3 demo/templates/a.yaml
  5|file: text
  6|lookup: x{} ""
  7|tpl: web
`)
}

func TestWhatIsLeftOut(t *testing.T) {
	t.Parallel()
	const hook = "metadata: {annotations: {helm.sh/hook: %s}}\n"
	check(t, chartOf(map[string]string{
		".helmignore":              "\ufeff# A comment.\n*.bak\n/templates/old/\ntemplates/only.yaml\nsecret*\n",
		"secret.txt":               "no",
		"crds/a.yaml":              "kind: CustomResourceDefinition\n",
		"templates/.hidden.yaml":   "kind: Hidden\n",
		"templates/NOTES.txt":      "Read: this: carefully",
		"templates/_a.yaml":        "kind: Partial\n",
		"templates/a.yaml":         "\ufefffile: {{ .Files.Get \"secret.txt\" | quote }}\n",
		"templates/a.yaml.bak":     "{{ fail \"ignored\" }}",
		"templates/empty.yaml":     "\n---\n  \n---\n",
		"templates/deep/only.yaml": "kind: Deep\n",
		"templates/old/deep/a.yml": "kind: Old\n",
		"templates/only.yaml":      "kind: Only\n",
		"templates/tests/a.yaml":   fmt.Sprintf(hook, "test"),
		"templates/hooks.yaml": fmt.Sprintf(hook, "pre-install, test-success") + "---\n" +
			fmt.Sprintf(hook, "crd-install") + "---\r\n# Only a comment.\r\n",
	}), `
templates/a.yaml
  1|file: ""
templates/deep/only.yaml
  1|kind: Deep
templates/hooks.yaml
  1|metadata: {annotations: {helm.sh/hook: pre-install, test-success}}
templates/hooks.yaml
  5|# Only a comment.`+"\r"+`
templates/tests/a.yaml
  1|metadata: {annotations: {helm.sh/hook: test}}
`)
}

func TestChartsThatCannotBeRendered(t *testing.T) {
	t.Parallel()
	one := func(template string) map[string]string {
		return map[string]string{"templates/a.yaml": template, "templates/_helpers.tpl": helpers +
			"{{- define \"demo.fault\" }}\n{{ .Values.none.deeper }}{{ end }}\n" +
			"{{- define \"demo.fail\" }}\n{{ fail \"two\\nlines\" }}{{ end }}\n" +
			"{{- define \"demo.endless\" }}{{ include \"demo.endless\" . }}{{ end }}\n"}
	}
	schema := func(schema, values string) map[string]string {
		return map[string]string{"values.schema.json": schema, "values.yaml": values}
	}
	tests := map[string]struct {
		files map[string]string
		want  string
	}{
		"no Chart.yaml": {map[string]string{"Chart.yaml": ""}, "validation: chart.metadata.name is required"},
		"a bad Chart.yaml": {
			map[string]string{"Chart.yaml": "name: ["},
			"cannot load Chart.yaml: error converting YAML to JSON: yaml: line 1: " +
				"did not find expected node content",
		},
		"a bad values.yaml": {
			map[string]string{"values.yaml": "a: ["},
			"cannot load values.yaml: cannot unmarshal yaml document: error converting YAML to JSON: " +
				"yaml: line 1: did not find expected node content",
		},
		"a library": {
			map[string]string{"Chart.yaml": chartYAML + "type: library\n"},
			"it is a library chart, which renders nothing itself",
		},
		"a kubeVersion": {
			map[string]string{"Chart.yaml": chartYAML + "kubeVersion: '>=1.99'\n"},
			`kubeVersion ">=1.99" of Chart.yaml does not allow Kubernetes v1.37`,
		},
		"a bad rule": {map[string]string{".helmignore": "a/**"}, ".helmignore: double-star (**) syntax is not supported"},

		"required":    {one("a: b\n  {{ required \"I need a: x\" .Values.x }}\n"), "templates/a.yaml:2:5: I need a: x"},
		"fail":        {one("{{ fail \"no: way\" }}\n"), "templates/a.yaml:1:3: no: way"},
		"fail deeper": {one("\n{{ include \"demo.fail\" . }}\n"), "templates/a.yaml:2:3: two lines"},
		"syntax":      {one("a: b\n{{ if }}\n"), "templates/a.yaml:2: missing value for if"},
		"no end":      {one("a: b\n{{ if .Values.x }}\n"), "templates/a.yaml:3: unexpected EOF"},
		"no function": {one("{{ env \"HOME\" }}\n"), `templates/a.yaml:1: function "env" not defined`},
		"no template": {
			one("{{ include \"gone\" . }}\n"),
			`templates/a.yaml:1:3: <include "gone" .>: no template "gone"`,
		},
		"a nil pointer": {
			one("{{ .Values.none.deeper }}\n"),
			"templates/a.yaml:1:10: <.Values.none.deeper>: nil pointer evaluating interface {}.deeper",
		},
		"a nil pointer deeper": {
			one("a: b\n{{ include \"demo.fault\" . }}\n"),
			`templates/a.yaml:2:3: <include "demo.fault" .>: templates/_helpers.tpl:8:10: ` +
				"<.Values.none.deeper>: nil pointer evaluating interface {}.deeper",
		},
		"in tpl": {
			one("{{ tpl \"{{ .Values.none.deeper }}\" . }}\n"),
			`templates/a.yaml:1:3: <tpl "{{ .Values.none.deeper }}" .>: gotpl:1:10: <.Values.none.deeper>: ` +
				"nil pointer evaluating interface {}.deeper",
		},
		"without an end": {
			one("{{ include \"demo.endless\" . }}\n"),
			`templates/a.yaml:1:3: <include "demo.endless" .>: templates/_helpers.tpl:11:31: ` +
				`<include "demo.endless" .>: rendering template has a nested reference name: demo.endless: ` +
				"unable to execute template",
		},
		"no YAML": {
			one("a: b\n---\na: b: c\n"),
			"templates/a.yaml: document 2 that it renders is not valid: mapping values are not allowed in this context",
		},
		"no YAML, on a line of the template": {
			one("# two lines that render nothing\n{{- if true }}\na: b\nb:\n c: d\n   e: f\n{{- end }}\n"),
			"templates/a.yaml:6: document 1 that it renders is not valid: mapping values are not allowed in this context",
		},
		"no object": {
			one("- a\n"),
			"templates/a.yaml: document 1 that it renders is not valid: helm cannot use a value of type array as an object",
		},
		"an annotation": {
			one("metadata: {annotations: [a]}\n"),
			"templates/a.yaml: document 1 that it renders is not valid: " +
				"helm cannot use a value of type array as metadata.annotations",
		},
		"too much": {
			one("a: {{ repeat 8388608 \"x\" }}\n"),
			"it renders more than 8 MiB; render it with helm template and give the result",
		},

		"a value of another type": {
			schema(`{"properties": {"a": {"properties": {"port": {"type": "integer"}, "b": {"type": "string"}}}},`+
				`"required": ["c"]}`, "a: {port: http, b: 1}\n"),
			"values.schema.json: a.b: got number, want string; a.port: got string, want integer; " +
				"the top level: missing property 'c'",
		},
		"a value of another chart": {
			map[string]string{
				"charts/sub/Chart.yaml":         "apiVersion: v2\nname: sub\nversion: 1.0.0\n",
				"charts/sub/values.schema.json": `{"additionalProperties": false}`,
				"values.yaml":                   "sub: {a: 1}\n",
			},
			"values.schema.json: sub: additional properties 'a', 'global' not allowed",
		},
		"a remote schema": {
			schema(`{"properties": {"a": {"$ref": "https://example.com/schema.json#/definitions/a"}}}`, ""),
			"values.schema.json refers to https://example.com/schema.json, which is not fetched; copy it into the schema",
		},
		"a remote dialect": {
			schema(`{"$schema": "https://example.com/dialect"}`, ""),
			"values.schema.json refers to https://example.com/dialect, which is not fetched; copy it into the schema",
		},
		"a file": {
			schema(`{"$ref": "other.json"}`, ""),
			"values.schema.json refers to file:///other.json, which is not fetched; copy it into the schema",
		},
		"an invalid schema": {
			schema(`{"type": "none"}`, ""),
			"values.schema.json is not a valid schema: type: got string, want array; type: value must be one of " +
				"'array', 'boolean', 'integer', 'null', 'number', 'object', 'string'",
		},
		"no JSON": {schema(`{`, ""), "values.schema.json is not valid JSON: unexpected EOF"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			check(t, chartOf(test.files), test.want)
		})
	}
	c := chartOf(map[string]string{})
	c.KubeVersion = "new"
	check(t, c, `"new" is not a version of Kubernetes`)
	c = chartOf(map[string]string{})
	c.ReleaseName = "A B"
	check(t, c, `release name "A B": invalid release name, must match regex `+
		`^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$ `+
		"and the length must not be longer than 53")
}

func TestASchemaThatRefersToAName(t *testing.T) {
	t.Parallel()
	check(t, chartOf(map[string]string{
		"values.schema.json": `{"properties": {"a": {"$ref": "urn:corp:a"}, "b": {"$ref": "#/$defs/b"}}, ` +
			`"$defs": {"b": true}}`,
		"values.yaml":      "a: 1\nb: 2\n",
		"templates/a.yaml": "a: {{ .Values.a }}\n",
	}), "\ntemplates/a.yaml\n  1|a: 1\n")
}

// TestWhatDependsOnChance renders what is different in helm each time.
func TestWhatDependsOnChance(t *testing.T) {
	t.Parallel()
	c := chartOf(map[string]string{"templates/a.yaml": `
{{- $ca := genCA "ca" 365 }}
{{- $cert := genSignedCert "web" nil (list "web" (printf "%s.svc" .Release.Name)) 365 $ca }}
{{- $copy := buildCustomCert ($ca.Cert | b64enc) ($ca.Key | b64enc) }}
{{- $again := genSignedCertWithKey "web" nil nil 365 $copy (genPrivateKey "ecdsa") }}
{{- $self := genSelfSignedCert "web" nil nil 1 }}
random: {{ randAlphaNum 5 }} {{ randAlpha 5 | len }} {{ randAscii 5 | len }} {{ randNumeric 3 }} {{ randInt 2 9 }}
bytes: {{ randBytes 3 }} {{ uuidv4 | len }} {{ shuffle "abc" | len }} {{ randAlphaNum -1 }}
password: {{ (split "$" (bcrypt "a"))._3 | len }} {{ htpasswd "a" "b" | len }}
secret: {{ encryptAES "key" "text" | decryptAES "key" }}
cert: {{ $cert.Cert | b64enc }} {{ $cert.Key | b64enc }}
other: {{ hasPrefix "-----BEGIN" $again.Cert }} {{ hasPrefix "-----BEGIN" $self.Key }}
ca: {{ genCAWithKey "a" 1 "" | kindOf }}
date: {{ now | date "2006-01-02" }} {{ date "2006" "" }} {{ dateInZone "15:04" 0 "Europe/Berlin" }}
html: {{ htmlDate 0 }} {{ htmlDateInZone now "UTC" }} {{ ago now }} {{ toDate "2006" "2001" | date "2006" }}
round: {{ durationRound (now | dateModify "-2h") }} {{ durationRound "3h" }} {{ mustToDate "2006" "2001" | date "06" }}
# keys: {{ keys (dict "b" 1 "a" 2 "c" 3 "d" 4) (dict "e" 5) }} {{ keys (dict) | toJson }}
# values: {{ values (dict "b" 1 "a" 2 "c" 3) }} {{ now | unixEpoch }}
`})
	for range 2 {
		check(t, c, `
templates/a.yaml
  7|random: xxxxx 5 5 111 2
  8|bytes: AAAA 36 3 `+`
  9|password: 53 62
 10|secret: text
 11|cert: LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCkFBQUEKLS0tLS1FTkQgQ0VSVElGSUNBVEUtLS0tLQo= `+
			`LS0tLS1CRUdJTiBSU0EgUFJJVkFURSBLRVktLS0tLQpBQUFBCi0tLS0tRU5EIFJTQSBQUklWQVRFIEtFWS0tLS0tCg==
 12|other: true true
 13|ca: struct
 14|date: 2000-01-01 2000 00:00
 15|html: 1970-01-01 2000-01-01 0s 2001
 16|round: 2h 3h 01
 17|# keys: [a b c d e] []
 18|# values: [2 1 3] 946684800
`)
	}
}

// TestTemplatesThatReadOthers renders charts that use the text of their own templates.
func TestTemplatesThatReadOthers(t *testing.T) {
	t.Parallel()
	check(t, chartOf(map[string]string{
		"templates/_helpers.tpl": `{{ define "demo.sum" }}
{{- include (print $.Template.BasePath "/cm.yaml") . | sha256sum }}{{ end }}`,
		"templates/cm.yaml": "kind: ConfigMap\ndata: {a: {{ .Release.Name }}}\n",
		"templates/web.yaml": `# first
sum: {{ include (print $.Template.BasePath "/cm.yaml") . | sha256sum | trunc 8 }}
{{- $data := include (print $.Template.BasePath "/cm.yaml") . | fromYaml }}
data: {{ $data.data.a }}
{{- $data = include (print $.Template.BasePath "/cm.yaml") . }}
size: {{ len $data }}
other: {{ include "demo.sum" . | trunc 8 }}
whole:
  {{- include (print $.Template.BasePath "/cm.yaml") . | nindent 2 }}
packed: {{ tpl "{{ include (print .Template.BasePath \"/cm.yaml\") . | b64enc }}" . }}
last: true
`,
	}), `
templates/cm.yaml
  1|kind: ConfigMap
  2|data: {a: web}
templates/web.yaml
  1|# first
  2|sum: 300cb9d6
  4|data: web
  6|size: 31
  7|other: 300cb9d6
  8|whole:
  9|  kind: ConfigMap
  9|  data: {a: web}
  0|  
 10|packed: a2luZDogQ29uZmlnTWFwCmRhdGE6IHthOiB3ZWJ9Cg==
 11|last: true
`)
	check(t, chartOf(map[string]string{
		"templates/cm.yaml": "data: {a: {{ .Release.Name }}}\n",
		"templates/web.yaml": `# first
{{- if gt (len (include (print $.Template.BasePath "/cm.yaml") .)) 20 }}
# one
other: true
{{- else }}
# two
{{- end }}
# last
last: true
`,
	}), `
templates/cm.yaml
  1|data: {a: web}
templates/web.yaml
  1|# first
  0|# two
  8|# last
  9|last: true
`)
	check(t, chartOf(map[string]string{
		"templates/cm.yaml": "data: {a: {{ .Release.Name }}}\n",
		"templates/web.yaml": "{{ with include (print $.Template.BasePath \"/cm.yaml\") . | fromYaml }}" +
			"a: {{ required \"a\" .data.a }}\n{{ end }}",
	}), `
templates/cm.yaml
  0|data: {a: web}
templates/web.yaml
  0|a: web
`)
}

func TestValuesThatTemplatesChange(t *testing.T) {
	t.Parallel()
	check(t, chartOf(map[string]string{
		"values.yaml": "a: {b: x}\n",
		"templates/a.yaml": "{{ $_ := set .Values.a \"b\" (print .Values.a.b \"y\") }}\n" +
			"{{ range until (len .Values.a.b) }}# {{ . }}\n{{ end }}b: {{ .Values.a.b }}\n",
	}), "\ntemplates/a.yaml\n  2|# 0\n  2|# 1\n  3|b: xy\n")
}

// TestKeptLineBreaks renders texts in which all line breaks at their ends count, of which helm adds one to a document.
func TestKeptLineBreaks(t *testing.T) {
	t.Parallel()
	check(t, chartOf(map[string]string{
		"templates/a.yaml": "a: |+\n  b\n---\nc: >2+\n  d\n\n---\ne: |-\n  f\n---\ng: |+\n  h",
	}), `
templates/a.yaml
  1|a: |+
  2|  b
  0|
templates/a.yaml
  4|c: >2+
  5|  d
  0|
  0|
templates/a.yaml
  8|e: |-
  9|  f
templates/a.yaml
 11|g: |+
 12|  h
`)
}

func TestLineEndsOfWindows(t *testing.T) {
	t.Parallel()
	check(t, chartOf(map[string]string{
		"templates/a.yaml": "{{- if true -}}\r\na: b\r\n\r\n{{ end }}c:\r\n" +
			"  {{- toYaml (dict \"d\" 1) | nindent 2 }}\r\n---\r\ne: f\r\n",
	}), "\ntemplates/a.yaml\n  2|a: b\r\n  0|\r\n  4|c:\n  5|  d: 1\r\ntemplates/a.yaml\n  7|e: f\r\n")
}

func TestCharactersOfMarkers(t *testing.T) {
	t.Parallel()
	check(t, chartOf(map[string]string{
		"templates/a.yaml": "a: {{ \"x\" }}\n",
		"templates/b.yaml": "{{ \"\\x01\" | b64enc }}: {{ \"\\x01\" | quote }}\n",
		"templates/c.yaml": "a: {{ \"x\" }} # \x01\n",
	}), "templates/c.yaml: document 1 that it renders is not valid: control characters are not allowed")
	check(t, chartOf(map[string]string{
		"templates/NOTES.txt": "\x01{{ \"\\x01\" }}",
		"templates/a.yaml":    "a: {{ \"x\" }}\n",
	}), "\ntemplates/a.yaml\n  1|a: x\n")
}

func TestChildrenRenderTheSame(t *testing.T) {
	t.Parallel()
	c := chartOf(map[string]string{
		"templates/_helpers.tpl": helpers,
		"templates/a.yaml":       object + "data: {{ include \"demo.labels\" . | nindent 2 }}\n",
		"values.schema.json":     `{"$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object"}`,
		"charts/sub-1.0.0.tgz": archived(t, map[string]string{
			"sub/Chart.yaml": "apiVersion: v2\nname: sub\nversion: 1.0.0\n", "sub/templates/a.yaml": object,
		}),
	})
	fails := chartOf(map[string]string{"templates/a.yaml": "{{ fail \"no\" }}"})
	remote := chartOf(map[string]string{"values.schema.json": `{"$ref": "https://example.com/a.json"}`})
	requests := []Request{{Chart: c}, {Chart: fails}, {Chart: remote}, {Chart: c}}
	want := make([]Result, len(requests))
	for i, request := range requests {
		want[i] = request.render()
	}
	if diff := cmp.Diff(want, All(t.Context(), requests)); diff != "" {
		t.Errorf("All() mismatch (-want +got):\n%s", diff)
	}
}

// TestChartsThatTakeTooMuch renders charts that do not end, or only with more memory than there is.
func TestChartsThatTakeTooMuch(t *testing.T) {
	const endless = "{{ define \"a\" }}{{ include \"b\" . }}{{ end }}{{ define \"b\" }}{{ include \"a\" . }}{{ end }}"
	tests := map[string]string{
		"a range over 100 million":   "{{ range until 100000000 }}a: b\n{{ end }}",
		"a text of 16 GiB":           "{{ repeat 17179869184 \"x\" }}",
		"a text that doubles":        "{{ $a := \"xx\" }}{{ range until 64 }}{{ $a = print $a $a }}{{ end }}",
		"two definitions in turn":    endless + "{{ include \"a\" . }}",
		"a template that is endless": "{{ define \"a\" }}{{ template \"a\" . }}{{ end }}{{ template \"a\" . }}",
		"tpl in tpl":                 "{{ $_ := set . \"x\" \"{{ tpl .x . }}\" }}{{ tpl .x . }}",
		"ranges in ranges":           strings.Repeat("{{ range until 1000 }}", 8) + strings.Repeat("{{ end }}", 8),
	}
	job := Job
	job.Time = 3 * time.Second
	for name, template := range tests {
		t.Run(name, func(t *testing.T) { // one after another, so that the time is that of one child
			c := chartOf(map[string]string{"templates/a.yaml": template})
			begin := time.Now() //nolint:forbidigo // only to be read by the developer
			results, errs := child.Ask[Request, Result](t.Context(), job, []Request{{Chart: c}})
			taken := time.Since(begin) //nolint:forbidigo // as above
			var usage syscall.Rusage
			if err := syscall.Getrusage(syscall.RUSAGE_CHILDREN, &usage); err != nil {
				t.Fatal(err)
			}
			t.Logf("%v, no child up to now took more than %d MiB: %q, %v",
				taken.Round(time.Millisecond), usage.Maxrss>>10, results[0].Error, errs[0])
			if results[0].Error == "" && errs[0] == nil {
				t.Errorf("Ask() = %v, want an error", results)
			}
		})
	}
}

func FuzzSplit(f *testing.F) {
	for _, text := range []string{
		"", "a", "---\na: b\n---\n", " \n--- # x\n\n a\n----\n---\t---b\r\n---\r\n", "\u00a0--- a",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		manifests := releaseutil.SplitManifests(text)
		var want []string
		for i := range len(manifests) {
			want = append(want, manifests[fmt.Sprintf("manifest-%d", i)])
		}
		var got []string
		for _, document := range split(text) {
			got = append(got, document.text)
			if !strings.HasPrefix(text[document.offset:], document.text) {
				t.Errorf("%q is not at %d in %q", document.text, document.offset, text)
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("split(%q) mismatch (-want +got):\n%s", text, diff)
		}
	})
}

// TestGeneratedTemplates renders templates in which each line of text says which one it is.
func TestGeneratedTemplates(t *testing.T) {
	t.Parallel()
	known, all := 0, 0
	for seed := range uint64(300) {
		g := generator{random: rand.New(rand.NewPCG(seed, 1))}
		g.block(0)
		source := g.text.String()
		c := chartOf(map[string]string{
			"templates/a.yaml":       source,
			"templates/b.yaml":       "# b1\n# {{ .Release.Name }}\n",
			"templates/_helpers.tpl": "{{ define \"demo.lines\" }}\n# L-1 a\n  # L-1 b{{ end }}",
		})
		result := Request{Chart: c}.render()
		if result.Error != "" {
			t.Fatalf("seed %d: %s\n%s", seed, result.Error, source)
		}
		count := strings.Count(source, "\n") + 1
		for _, object := range result.Objects {
			if object.File != "templates/a.yaml" {
				continue
			}
			i := 0
			for line := range strings.Lines(string(object.Text)) {
				got := object.Lines[i]
				i++
				all++
				if got != 0 {
					known++
				}
				var want int
				_, err := fmt.Sscanf(strings.TrimSpace(line), "# L%d;", &want)
				if got > count || got < 0 || err == nil && want > 0 && got != want {
					t.Fatalf("seed %d: %q has the number %d:\n%s", seed, line, got, source)
				}
			}
		}
	}
	t.Logf("%d of %d lines have a number", known, all)
}

// generator writes a template.
type generator struct {
	random *rand.Rand
	text   strings.Builder
	line   int
}

func (g *generator) pick(from ...string) string { return from[g.random.IntN(len(from))] }

// add writes a line, in which %d is its number.
func (g *generator) add(line string) {
	g.line++
	line = strings.ReplaceAll(line, "%d", fmt.Sprint(g.line))
	fmt.Fprintf(&g.text, "%s%s\n", line, g.pick("", "", "", "\r"))
}

// block writes some lines and the blocks in them.
func (g *generator) block(depth int) {
	left := func() string { return g.pick("{{ ", "{{- ", "{{") }
	right := func() string { return g.pick(" }}", " }}", "}}", " -}}") }
	for range g.random.IntN(6) + 1 {
		switch kind := g.random.IntN(12); {
		case kind < 4:
			g.add(g.pick("", "  ") + "# L%d; text { " + g.pick("", " ", "é", "{"))
		case kind == 4:
			g.add("")
		case kind == 5:
			g.add(g.pick("{{", "{{- ") + "/* a\n" + g.pick("", "{{ }}") + "*/" + g.pick("}}", " -}}"))
			g.line++
		case kind == 6:
			g.add("# L%d; " + left() + g.pick("$.Release.Name", "`}}`", "\"}}\"", "'}'", "1 | print", "$x := 1") + " }} # L%d;")
		case kind == 7:
			g.add("# L%d; " + "{{ include \"demo.lines\" . | nindent 2" + right())
			g.add("# L%d;")
		case kind == 8:
			g.add("# L%d; {{ template \"demo.lines\" . }}")
		case kind == 9:
			g.add("# {{ include (print $.Template.BasePath \"/b.yaml\") $ | sha256sum }}")
		case kind == 10:
			g.add(g.pick("---", "--- # L%d;"))
		case depth < 3:
			condition := g.pick("if true", "if false", "range until 2", "with $", "with false")
			g.add(g.pick("", "# L%d; ") + left() + condition + " }}")
			g.block(depth + 1)
			if g.random.IntN(2) == 0 {
				g.add(left() + "else }}")
				g.block(depth + 1)
			}
			g.add(left() + "end }}")
		}
	}
}
