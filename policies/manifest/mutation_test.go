package manifest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/sourceward/sourceward/policies"
)

const podTemplate = `
    metadata: {labels: {app: web, tier: edge}, annotations: {a: b}}
    spec:
      hostNetwork: false
      nodeSelector: {kubernetes.io/os: linux}
      tolerations: [{key: a, operator: Equal, value: b, effect: NoSchedule}]
      affinity:
        podAntiAffinity:
          preferredDuringSchedulingIgnoredDuringExecution:
            - weight: 1
              podAffinityTerm: {topologyKey: kubernetes.io/hostname, labelSelector: {matchLabels: {app: web}}}
      topologySpreadConstraints:
        - {maxSkew: 1, topologyKey: kubernetes.io/hostname, whenUnsatisfiable: ScheduleAnyway, labelSelector: {}}
      containers:
        - name: web
          ports: [{name: http, containerPort: 80}]
          readinessProbe: {httpGet: {path: /, port: http}, periodSeconds: 5}
          lifecycle: {preStop: {sleep: {seconds: 10}}}
`

// mutated holds one object of each kind that is read, with the fields that rules read.
var mutated = map[string]string{
	"Service": `apiVersion: v1
kind: Service
metadata: {name: web, namespace: edge, labels: {app: web}, annotations: {sourceward.dev/source-ip: preserve}}
spec:
  type: LoadBalancer
  externalTrafficPolicy: Local
  internalTrafficPolicy: Local
  loadBalancerClass: example.com/lb
  loadBalancerSourceRanges: [192.0.2.0/24]
  externalIPs: [192.0.2.1]
  healthCheckNodePort: 30000
  allocateLoadBalancerNodePorts: true
  publishNotReadyAddresses: true
  sessionAffinity: ClientIP
  sessionAffinityConfig: {clientIP: {timeoutSeconds: 10}}
  selector: {app: web}
  ports: [{name: http, port: 80, targetPort: http, nodePort: 30080, protocol: TCP}]
`,
	"Deployment": "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web, namespace: edge}\nspec:\n" +
		"  replicas: 3\n  selector: {matchLabels: {app: web}}\n" +
		"  strategy: {type: RollingUpdate, rollingUpdate: {maxSurge: 25%, maxUnavailable: 1}}\n  template:" + podTemplate,
	"StatefulSet": "apiVersion: apps/v1\nkind: StatefulSet\nmetadata: {name: web, namespace: edge}\nspec:\n" +
		"  replicas: 3\n  serviceName: web\n  selector: {matchLabels: {app: web}}\n  updateStrategy: {type: OnDelete}\n" +
		"  template:" + podTemplate,
	"DaemonSet": "apiVersion: apps/v1\nkind: DaemonSet\nmetadata: {name: web, namespace: edge}\nspec:\n" +
		"  selector: {matchLabels: {app: web}}\n  updateStrategy: {rollingUpdate: {maxSurge: 1}}\n  template:" + podTemplate,
	"ReplicaSet": "apiVersion: apps/v1\nkind: ReplicaSet\nmetadata: {name: web, namespace: edge}\nspec:\n" +
		"  replicas: 3\n  selector: {matchLabels: {app: web}}\n  template:" + podTemplate,
	"ReplicationController": "apiVersion: v1\nkind: ReplicationController\nmetadata: {name: web, namespace: edge}\n" +
		"spec:\n  replicas: 3\n  selector: {app: web}\n  template:" + podTemplate,
	"PodTemplate": "apiVersion: v1\nkind: PodTemplate\nmetadata: {name: web, namespace: edge}\ntemplate:" +
		strings.ReplaceAll(podTemplate, "\n    ", "\n  "),
	"Pod": "apiVersion: v1\nkind: Pod\n" + strings.ReplaceAll(podTemplate, "\n    ", "\n"),
	"Rollout": "apiVersion: argoproj.io/v1alpha1\nkind: Rollout\nmetadata: {name: web, namespace: edge}\nspec:\n" +
		"  replicas: 3\n  selector: {matchLabels: {app: web}}\n  strategy: {canary: {maxSurge: 1}}\n" +
		"  template:" + podTemplate,
	"CloneSet": "apiVersion: apps.kruise.io/v1alpha1\nkind: CloneSet\nmetadata: {name: web, namespace: edge}\nspec:\n" +
		"  replicas: 3\n  selector: {matchLabels: {app: web}}\n  updateStrategy: {maxSurge: 1}\n  template:" + podTemplate,
	"Advanced StatefulSet": "apiVersion: apps.kruise.io/v1beta1\nkind: StatefulSet\n" +
		"metadata: {name: web, namespace: edge}\nspec:\n  replicas: 3\n  selector: {matchLabels: {app: web}}\n  template:" +
		podTemplate,
	"HorizontalPodAutoscaler": "apiVersion: autoscaling/v2\nkind: HorizontalPodAutoscaler\n" +
		"metadata: {name: web, namespace: edge}\nspec:\n  minReplicas: 2\n  maxReplicas: 9\n" +
		"  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: web}\n",
	"EndpointSlice": "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n" +
		"metadata: {name: web-1, namespace: edge, labels: {kubernetes.io/service-name: web}}\naddressType: IPv4\n" +
		"endpoints: [{addresses: [192.0.2.2], nodeName: node-1, conditions: {ready: true}}]\nports: [{port: 80}]\n",
	"List": "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Service\n  metadata: {name: web}\n" +
		"  spec: {type: NodePort, externalTrafficPolicy: Local, ports: [{port: 80}]}\n" +
		"- apiVersion: v1\n  kind: Namespace\n  metadata: {name: edge, labels: {a: b}}\n",
}

// replacements are the values that replace each node of an object.
var replacements = []any{
	nil, true, false, 0, 1, -1, 1.5, 1e99, math.MaxInt32 + 1, int64(math.MaxInt64), uint64(math.MaxUint64),
	"", " ", "web", "true", "0", "1", "Local", "local", "None", "${VALUE}", "{{ value }}", "*", "\u0007",
	strings.Repeat("a", 300),
	[]any{}, []any{nil}, map[string]any{}, map[string]any{"a": nil},
}

// mutations calls yield with the object for each mutation of it. path is for messages.
func mutations(object any, yield func(path string)) {
	var walk func(node any, path string)
	replace := func(path string, get func() any, set func(any), remove func()) {
		former := get()
		for _, value := range replacements {
			set(value)
			yield(fmt.Sprintf("%s = %.30q", path, fmt.Sprint(value)))
		}
		if remove != nil {
			remove()
			yield(path + " removed")
		}
		set(former)
		walk(former, path)
	}
	walk = func(node any, path string) {
		switch node := node.(type) {
		case map[string]any:
			for _, key := range slices.Sorted(maps.Keys(node)) {
				replace(path+"/"+key, func() any { return node[key] }, func(v any) { node[key] = v }, func() { delete(node, key) })
			}
		case []any:
			for i := range node {
				replace(fmt.Sprintf("%s/%d", path, i), func() any { return node[i] }, func(v any) { node[i] = v }, nil)
			}
		}
	}
	walk(object, "")
}

// TestMutationsAreNeverLost replaces and removes each node of objects of all kinds, and decides about what is left. No
// Service or workload is lost without a word: it is judged, skipped with a reason, or an error.
func TestMutationsAreNeverLost(t *testing.T) {
	t.Parallel()
	rules := builtIn()
	for name, text := range mutated {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var object map[string]any
			if err := yaml.Unmarshal([]byte(text), &object); err != nil {
				t.Fatal(err)
			}
			count := 0
			mutations(object, func(path string) {
				count++
				document, err := json.Marshal(object)
				if err != nil {
					t.Fatal(err)
				}
				m, err := Load(Options{Paths: []string{Stdin}, Stdin: bytes.NewReader(document), Version: policies.Newest})
				if err != nil {
					t.Fatal(err)
				}
				told := len(m.Objects) + len(m.Skipped)
				for _, e := range m.Errors {
					if e.Line > 0 {
						told++
					}
				}
				if want := judgedIn(object); told < want {
					t.Errorf("%s: %d of %d objects are judged, skipped or errors: %s", path, told, want, document)
				}
				for _, o := range m.Objects {
					decision, _, err := m.Decide(t.Context(), o, Bench{Rules: rules, Policies: rules.Policies, Now: time.Unix(0, 0)})
					if err != nil {
						t.Errorf("%s: %v: %s", path, err, document)
					}
					for _, f := range decision.Findings {
						if f.Message == "" || strings.ContainsAny(f.Message+f.Fix, "\n\x00\x07") {
							t.Errorf("%s: finding %+v is not one line", path, f)
						}
					}
				}
			})
			t.Logf("%d mutations", count)
		})
	}
}

// judgedIn returns the number of objects of a judged kind in a document. None of them has an owner.
func judgedIn(object map[string]any) int {
	kind, _ := object["kind"].(string)
	apiVersion, _ := object["apiVersion"].(string)
	if list, ok := object["items"].([]any); ok && strings.HasSuffix(kind, "List") {
		n := 0
		for _, item := range list {
			if element, ok := item.(map[string]any); ok {
				n += judgedIn(element)
			}
		}
		return n
	}
	if policies.Judged(apiVersion, kind) {
		return 1
	}
	return 0
}
