package test

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
)

// somePEM looks like a certificate.
const somePEM = "-----BEGIN CERTIFICATE-----\nTUlJ\n-----END CERTIFICATE-----\n"

// flip is another setting of a value of the chart, and how it shows.
type flip struct {
	// to is the YAML text of the value.
	to string
	// shows is a text that is then rendered and was not before, and hides the opposite.
	shows, hides string
	// with is the YAML text of the values without which the value has no effect.
	with string
}

// flips are the values of the chart by their paths.
var flips = map[string]flip{
	"image.repository": {to: "registry.example.com/sourceward", shows: "image: registry.example.com/sourceward:devel"},
	"image.tag":        {to: "v1.2.3", shows: "image: sourceward:v1.2.3"},
	"image.digest": {
		to:    "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
		shows: "image: sourceward@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\n",
		with:  "image: {tag: v1.2.3}",
	},
	"image.pullPolicy":   {to: "Always", shows: "imagePullPolicy: Always"},
	"imagePullSecrets":   {to: "[{name: registry}]", shows: "imagePullSecrets:\n        - name: registry"},
	"replicas":           {to: "3", shows: "replicas: 3"},
	"resources.requests": {to: "{cpu: 1500m}", shows: "cpu: 1500m"},
	"resources.limits":   {to: "{memory: 1Gi}", shows: "memory: 1Gi"},
	"goMemLimit":         {to: "700MiB", shows: `value: "700MiB"`},
	"priorityClassName": {
		to:    "important",
		shows: `values: ["important"]`,
		hides: "system-cluster-critical",
	},
	"nodeSelector":                      {to: "{pool: infra}", shows: "pool: infra"},
	"tolerations":                       {to: "[{key: infra, operator: Exists}]", shows: "key: infra"},
	"topologySpreadConstraints":         {to: "[]", hides: "topologySpreadConstraints:"},
	"podAnnotations":                    {to: "{team: edge}", shows: "team: edge"},
	"podLabels":                         {to: "{team: edge}", shows: "team: edge"},
	"webhooks.services.failurePolicy":   {to: "Fail", shows: "failurePolicy: Fail\n    timeoutSeconds: 3\n"},
	"webhooks.services.timeoutSeconds":  {to: "7", shows: "timeoutSeconds: 7"},
	"webhooks.workloads.failurePolicy":  {to: "Fail", shows: "failurePolicy: Fail\n    timeoutSeconds: 3\n"},
	"webhooks.workloads.timeoutSeconds": {to: "7", shows: "timeoutSeconds: 7"},
	"webhooks.policies.failurePolicy":   {to: "Fail", shows: "failurePolicy: Fail\n    timeoutSeconds: 10\n"},
	"webhooks.policies.timeoutSeconds":  {to: "7", shows: "timeoutSeconds: 7", hides: "timeoutSeconds: 10"},
	"excludedNamespaces": {
		to: "[edge, sourceward-system]", shows: `values: ["edge","sourceward-system"]`,
	},
	"certificates.mode": {to: "secret", shows: `secretName: "sourceward-webhook-tls"`, hides: "POD_NAMESPACE"},
	"certificates.secretName": {
		to: "own-tls", shows: `secretName: "own-tls"`, with: "certificates: {mode: secret}",
	},
	"certificates.caBundle": {
		to: strconv.Quote(somePEM), shows: "caBundle: LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0t",
		with: "certificates: {mode: secret}",
	},
	"certificates.issuerRef.name": {
		to: "corp", shows: "name: corp", hides: "sourceward-selfsigned", with: "certificates: {mode: cert-manager}",
	},
	"certificates.issuerRef.kind": {
		to: "ClusterIssuer", shows: "kind: ClusterIssuer",
		with: "certificates: {mode: cert-manager, issuerRef: {name: corp}}",
	},
	"certificates.issuerRef.group": {
		to: "awspca.cert-manager.io", shows: "group: awspca.cert-manager.io",
		with: "certificates: {mode: cert-manager, issuerRef: {name: corp}}",
	},
	"networkPolicy.enabled": {to: "true", shows: "kind: NetworkPolicy"},
	"networkPolicy.webhookFrom": {
		to: "[{ipBlock: {cidr: 192.0.2.0/28}}]", shows: "cidr: 192.0.2.0/28", with: "networkPolicy: {enabled: true}",
	},
	"networkPolicy.metricsFrom": {
		to: "[{podSelector: {}}]", shows: "podSelector: {}", hides: "namespaceSelector: {}",
		with: "networkPolicy: {enabled: true}",
	},
	"podDisruptionBudget.enabled": {to: "false", hides: "kind: PodDisruptionBudget"},
	"resourceQuota.enabled":       {to: "false", hides: "kind: ResourceQuota"},
	"podMonitor.enabled":          {to: "true", shows: "kind: PodMonitor"},
	"podMonitor.interval":         {to: "30s", shows: `interval: "30s"`, with: "podMonitor: {enabled: true}"},
	"podMonitor.labels": {
		to: "{release: prometheus}", shows: "release: prometheus", with: "podMonitor: {enabled: true}",
	},
	"prometheusRule.enabled": {to: "true", shows: "kind: PrometheusRule"},
	"prometheusRule.labels": {
		to: "{release: prometheus}", shows: "release: prometheus", with: "prometheusRule: {enabled: true}",
	},
	"dashboard.enabled": {to: "true", shows: "grafana_dashboard: \"1\""},
	"dashboard.labels": {
		to: "{team: edge}", shows: "team: edge", with: "dashboard: {enabled: true}",
	},
	"hostNetwork":            {to: "true", shows: "dnsPolicy: ClusterFirstWithHostNet", hides: "maxUnavailable: 0"},
	"ports.webhook":          {to: "10250", shows: "--bind-address=:10250", hides: "containerPort: 9443"},
	"ports.metrics":          {to: "18080", shows: "--metrics-bind-address=:18080", hides: "containerPort: 8080"},
	"ports.probes":           {to: "18081", shows: "--health-probe-bind-address=:18081", hides: "containerPort: 8081"},
	"clientCA.configMapName": {to: "api-servers", shows: "--client-ca-file=/etc/sourceward/client-ca/ca.crt"},
	"clientCA.key": {
		to: "bundle.pem", shows: "--client-ca-file=/etc/sourceward/client-ca/bundle.pem",
		with: "clientCA: {configMapName: api-servers}",
	},
	"clientCA.clientName": {
		to: "kube-apiserver", shows: "--client-name=kube-apiserver", with: "clientCA: {configMapName: api-servers}",
	},
	"verbosity": {to: "2", shows: "--verbosity=2"},
	"extraArgs": {to: "[--dns-name=webhook.example.com]", shows: "- --dns-name=webhook.example.com"},
}

// TestChartValues checks that each value of the chart is in the schema, has a comment, and changes what is rendered.
func TestChartValues(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join(chartFolder, "values.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var document yaml.Node
	if err := yaml.Unmarshal(text, &document); err != nil {
		t.Fatal(err)
	}
	paths := valuesInSchema(t)
	// That the schema has all values is checked by rendering them.
	for _, path := range paths {
		key := keyNode(document.Content[0], strings.Split(path, "."))
		switch {
		case key == nil:
			t.Errorf("%s is in values.schema.json, but not in values.yaml", path)
		case key.HeadComment == "":
			t.Errorf("%s has no comment in values.yaml", path)
		}
	}
	if diff := cmp.Diff(paths, slices.Sorted(maps.Keys(flips))); diff != "" {
		t.Fatalf("the test has other values than the schema (-schema +test):\n%s", diff)
	}
	if rendered(t, "{enabled: true, global: {region: eu}}") != rendered(t) {
		t.Error("the chart renders something else as part of another chart, which passes it global and enabled")
	}
	for path, flip := range flips {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			keys := strings.Split(path, ".")
			setting := strings.Join(keys, ": {") + ": " + flip.to + strings.Repeat("}", len(keys)-1)
			chartRelease{values: []string{flip.with, setting}}.objects(t) // which decodes them
			before := rendered(t, flip.with)
			after := rendered(t, flip.with, setting)
			if before == after {
				t.Errorf("%s changes nothing", setting)
			}
			if flip.shows != "" && (strings.Contains(before, flip.shows) || !strings.Contains(after, flip.shows)) {
				t.Errorf("%s does not add %q to:\n%s", setting, flip.shows, after)
			}
			if flip.hides != "" && (!strings.Contains(before, flip.hides) || strings.Contains(after, flip.hides)) {
				t.Errorf("%s does not remove %q from:\n%s", setting, flip.hides, after)
			}
		})
	}
}

// rendered returns the text of all templates, rendered with several texts of values.
func rendered(t *testing.T, values ...string) string {
	t.Helper()
	texts, err := chartRelease{values: values}.render(t)
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for _, name := range slices.Sorted(maps.Keys(texts)) {
		all.WriteString(texts[name])
	}
	return all.String()
}

// keyNode returns the node of a key below node, or nil.
func keyNode(node *yaml.Node, path []string) *yaml.Node {
	for i := 0; i+1 < len(node.Content); i += 2 {
		if node.Content[i].Value != path[0] {
			continue
		}
		if len(path) == 1 {
			return node.Content[i]
		}
		return keyNode(node.Content[i+1], path[1:])
	}
	return nil
}

// schemaNode is the part of a JSON schema that has names of values.
type schemaNode struct {
	Ref                  string `json:"$ref"`
	Properties           map[string]*schemaNode
	AdditionalProperties any
	Definitions          map[string]*schemaNode
}

// valuesInSchema returns the paths of the values that the schema of the chart has, sorted. It checks that the schema
// knows all names beside them.
func valuesInSchema(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(chartFolder, "values.schema.json"))
	if err != nil {
		t.Fatal(err)
	}
	var schema schemaNode
	if err := json.Unmarshal(text, &schema); err != nil {
		t.Fatal(err)
	}
	// These two belong to a chart that this one is part of.
	delete(schema.Properties, "global")
	delete(schema.Properties, "enabled")
	var paths []string
	var walk func(node *schemaNode, path string)
	walk = func(node *schemaNode, path string) {
		if name, ok := strings.CutPrefix(node.Ref, "#/definitions/"); ok {
			node = schema.Definitions[name]
		}
		if node.Properties == nil {
			paths = append(paths, strings.TrimPrefix(path, "."))
			return
		}
		if node.AdditionalProperties != false {
			t.Errorf("the schema allows misspelt names in %q", path)
		}
		for name, property := range node.Properties {
			walk(property, path+"."+name)
		}
	}
	walk(&schema, "")
	slices.Sort(paths)
	return paths
}

// TestChartWebhooks checks which webhooks a value applies to.
func TestChartWebhooks(t *testing.T) {
	t.Parallel()
	objects := chartRelease{values: []string{`webhooks:
  services: {failurePolicy: Fail, timeoutSeconds: 4}
  workloads: {failurePolicy: Fail, timeoutSeconds: 5}
  policies: {failurePolicy: Fail, timeoutSeconds: 6}
`}}.objects(t)
	got := map[string]string{}
	for _, kind := range []string{"MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"} {
		// The fields are the same in both kinds.
		configuration := as[admissionregistrationv1.ValidatingWebhookConfiguration](t, objects[kind+" /sourceward"])
		for _, webhook := range configuration.Webhooks {
			got[webhook.Name] = fmt.Sprintf("%s %d", *webhook.FailurePolicy, *webhook.TimeoutSeconds)
		}
	}
	want := map[string]string{
		"services.mutate.sourceward.dev":   "Fail 4",
		"services.validate.sourceward.dev": "Fail 4",
		"policies.validate.sourceward.dev": "Fail 6",

		"workloads.mutate.sourceward.dev":   "Fail 5",
		"workloads.validate.sourceward.dev": "Fail 5",
		// They only warn.
		"autoscalers.validate.sourceward.dev": "Ignore 5",
		"scale.validate.sourceward.dev":       "Ignore 5",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("failure policies and timeouts mismatch (-want +got):\n%s", diff)
	}
}

// TestChartKeepsSelectors checks that no label of the user hides the pods from the Deployment and the Service.
func TestChartKeepsSelectors(t *testing.T) {
	t.Parallel()
	objects := chartRelease{values: []string{"podLabels: {app.kubernetes.io/name: other}"}}.objects(t)
	deployment := as[appsv1.Deployment](t, objects["Deployment sourceward-system/sourceward-webhook"])
	if diff := cmp.Diff(deployment.Spec.Selector.MatchLabels, deployment.Spec.Template.Labels); diff != "" {
		t.Errorf("the pods have other labels than those that select them (-want +got):\n%s", diff)
	}
}

// TestChartRefuses checks that a mistake in the values is reported in one line, which says what to do.
func TestChartRefuses(t *testing.T) {
	t.Parallel()
	const schema = "values don't meet the specifications of the schema(s) in the following chart(s):\nsourceward:\n- "
	const check = "execution error at (sourceward/templates/checks.yaml:"
	tests := map[string]struct {
		values string
		// begins is the beginning of the error, and says its last line.
		begins, says string
	}{
		"a value is misspelt": {"replicaCount: 3", schema,
			"at '': additional properties 'replicaCount' not allowed"},
		"a value is misspelt further down": {"certificates: {modus: secret}", schema,
			"at '/certificates': additional properties 'modus' not allowed"},
		"a value is a text instead of a number": {"replicas: two", schema,
			"at '/replicas': got string, want integer"},
		"a value is a text instead of a list": {"excludedNamespaces: edge", schema,
			"at '/excludedNamespaces': got string, want array"},
		"a value is out of range": {"webhooks: {services: {timeoutSeconds: 60}}", schema,
			"at '/webhooks/services/timeoutSeconds': maximum: got 60, want 30"},
		"a mode does not exist": {"certificates: {mode: certmanager}", schema,
			"at '/certificates/mode': value must be one of 'self-managed', 'cert-manager', 'secret'"},
		"there is no image": {"image: {repository: ''}", check,
			"image.repository is empty: no registry has an image of Sourceward yet; make one with make image and " +
				"make push, and set image.repository to its name in your registry"},
		"cert-manager is not installed": {"certificates: {mode: cert-manager}", check,
			"certificates.mode is cert-manager, but the cluster does not serve cert-manager.io/v1: install cert-manager " +
				"first, or use --api-versions cert-manager.io/v1 where Helm does not ask the cluster"},
		"the Prometheus Operator is not installed": {"prometheusRule: {enabled: true}", check,
			"prometheusRule.enabled is true, but the cluster does not serve monitoring.coreos.com/v1: install the " +
				"Prometheus Operator first, or use --api-versions monitoring.coreos.com/v1 where Helm does not ask the cluster"},
		"caBundle is base64": {"certificates: {mode: secret, caBundle: LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0t}", check,
			"certificates.caBundle is not a list of certificates as PEM text; to read it from a file, use " +
				"--set-file certificates.caBundle=ca.crt"},
		"caBundle is a key": {"certificates: {mode: secret, caBundle: " +
			strconv.Quote(strings.ReplaceAll(somePEM, "CERTIFICATE", "PRIVATE KEY")) + "}", check,
			"certificates.caBundle is not a list of certificates as PEM text; to read it from a file, use " +
				"--set-file certificates.caBundle=ca.crt"},
		"caBundle in another mode": {"certificates: {caBundle: ca.crt}", check,
			"certificates.caBundle would be overwritten with certificates.mode self-managed: remove it, or set mode to " +
				"secret"},
		"an issuer in another mode": {"certificates: {issuerRef: {name: corp}}", check,
			"certificates.issuerRef.name has no effect with certificates.mode self-managed: remove it, or set mode to " +
				"cert-manager"},
		"a network policy for pods in the network of nodes": {"hostNetwork: true\nnetworkPolicy: {enabled: true}", check,
			"networkPolicy.enabled has no effect with hostNetwork, because network policies do not apply to pods in the " +
				"network of their nodes: set one of them to false"},
		"a client name without a CA": {"clientCA: {clientName: kube-apiserver}", check,
			"clientCA.clientName needs clientCA.configMapName: without a CA, any client can have any name"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := chartRelease{values: []string{test.values}, bare: true}.render(t)
			if err == nil {
				t.Fatal("no error")
			}
			// Helm names the file, line and column and then the function that failed.
			text := strings.TrimSuffix(err.Error(), "\n")
			if !strings.HasPrefix(text, test.begins) || !strings.HasSuffix(text, test.says) {
				t.Errorf("the error is %q, want one that ends with %q", text, test.says)
			}
			if strings.Contains(strings.TrimPrefix(text, test.begins), "\n") {
				t.Errorf("the error has more than one line: %s", text)
			}
		})
	}
	_, err := chartRelease{namespace: "kube-system"}.render(t)
	const says = "resourceQuota.enabled would limit all critical pods in kube-system: " +
		"install Sourceward into a namespace of its own"
	if err == nil || !strings.HasSuffix(err.Error(), says) {
		t.Errorf("in kube-system the error is %v, want one that ends with %q", err, says)
	}
}
