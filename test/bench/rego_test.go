package bench

import (
	"encoding/json"
	"math/rand/v2"
	"runtime"
	"strconv"
	"testing"
	"time"

	"github.com/open-policy-agent/opa/v1/rego"
	"sigs.k8s.io/yaml"

	"github.com/sourceward/sourceward/policies"
	"github.com/sourceward/sourceward/policies/bundle"
)

// oneLine is the floor: about the smallest Rego rule that looks at an object.
const oneLine = `package floor

deny contains "a node port" if input.object.spec.type == "NodePort"
`

// annotated is a Service with ten annotations, of which the provider table knows six.
const annotated = `
apiVersion: v1
kind: Service
metadata:
  name: web
  namespace: edge
  labels: {app.kubernetes.io/name: web, app.kubernetes.io/part-of: shop}
  annotations:
    sourceward.dev/source-ip: preserve
    service.beta.kubernetes.io/aws-load-balancer-type: external
    service.beta.kubernetes.io/aws-load-balancer-nlb-target-type: instance
    service.beta.kubernetes.io/aws-load-balancer-target-group-attributes: >-
      preserve_client_ip.enabled=true,stickiness.enabled=false
    service.beta.kubernetes.io/aws-load-balancer-cross-zone-load-balancing-enabled: "true"
    service.beta.kubernetes.io/aws-load-balancer-scheme: internet-facing
    external-dns.alpha.kubernetes.io/hostname: shop.example.com
    prometheus.io/scrape: "true"
    team: edge
    description: The front door of the shop
spec:
  type: LoadBalancer
  externalTrafficPolicy: Cluster
  internalTrafficPolicy: Cluster
  allocateLoadBalancerNodePorts: true
  clusterIP: 10.96.12.7
  clusterIPs: [10.96.12.7]
  ipFamilies: [IPv4]
  ipFamilyPolicy: SingleStack
  sessionAffinity: None
  selector: {app.kubernetes.io/name: web}
  ports:
  - {name: http, port: 80, targetPort: 8080, nodePort: 30080, protocol: TCP}
  - {name: https, port: 443, targetPort: 8443, nodePort: 30443, protocol: TCP}
`

// owned is the metadata that the API server adds to an object when it is applied.
const owned = `
uid: 5f0f6b1e-7c52-4f0c-9d0e-2d8f8f1d2a11
resourceVersion: "731"
creationTimestamp: "2026-11-21T10:00:00Z"
managedFields:
- apiVersion: v1
  fieldsType: FieldsV1
  fieldsV1:
    f:metadata:
      f:annotations: {.: {}, f:description: {}, f:team: {}, f:prometheus.io/scrape: {}, f:sourceward.dev/source-ip: {}}
      f:labels: {.: {}, f:app.kubernetes.io/name: {}, f:app.kubernetes.io/part-of: {}}
    f:spec:
      f:externalTrafficPolicy: {}
      f:ports:
        .: {}
        'k:{"port":443,"protocol":"TCP"}': {.: {}, f:name: {}, f:port: {}, f:protocol: {}, f:targetPort: {}}
        'k:{"port":80,"protocol":"TCP"}': {.: {}, f:name: {}, f:port: {}, f:protocol: {}, f:targetPort: {}}
      f:selector: {}
      f:type: {}
  manager: kubectl
  operation: Apply
  time: "2026-11-21T10:00:00Z"
`

// deployed is a Deployment of typical size.
const deployed = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: edge, labels: {app.kubernetes.io/name: web}}
spec:
  replicas: 3
  selector: {matchLabels: {app.kubernetes.io/name: web}}
  template:
    metadata: {labels: {app.kubernetes.io/name: web}}
    spec:
      containers:
      - name: web
        image: registry.example.com/web:1.2.3
        ports: [{containerPort: 8080}, {containerPort: 8443}]
        resources: {requests: {cpu: 100m, memory: 128Mi}}
        readinessProbe: {httpGet: {path: /ready, port: 8080}}
`

// BenchmarkRego compares the evaluation of all built-in modules with that of one line of Rego in plain OPA, for the
// same objects in the same run. Both start from the same policies.Document. Plain OPA converts all of it, by way of
// JSON; Sourceward converts only the parts that the modules read. A second floor is the same line of Rego for a
// document that consists of JSON types already.
func BenchmarkRego(b *testing.B) {
	floor, err := rego.New(rego.Module("floor.rego", oneLine), rego.Query("denied := data.floor.deny")).
		PrepareForEval(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	set, _ := bundle.Compile(b.Context(), nil, nil)
	documentOf := func(content map[string]any) policies.Document {
		object, err := policies.NewObject(content)
		if err != nil {
			b.Fatal(err)
		}
		return policies.Document{
			Operation: policies.Create, Object: object,
			Namespace: policies.NamespaceDocument{
				Name:   "edge",
				Labels: map[string]string{"kubernetes.io/metadata.name": "edge"},
			},
			Facts:      policies.Facts{ExternallyAccessible: true, Explicit: policies.ExplicitDefaulted},
			Cluster:    policies.ClusterDocument{Version: policies.Newest.String()},
			Parameters: map[string]any{},
		}
	}
	evaluate := func(content map[string]any, neighbour bool) {
		document := documentOf(content)
		document.Neighbour = neighbour
		if answers := set.Evaluate(b.Context(), document, nil); answers[0].Err != nil {
			b.Fatal(answers[0].Err)
		}
	}
	ask := func(input any) {
		if _, err := floor.Eval(b.Context(), rego.EvalInput(input)); err != nil {
			b.Fatal(err)
		}
	}
	objects := []struct{ name, text, owned string }{
		{"Service in a file", annotated, ""},
		{"Service in a cluster", annotated, owned},
		{"Deployment in a file", deployed, ""},
		{"Deployment in a cluster", deployed, owned},
	}
	n := 0
	for _, object := range objects {
		var content map[string]any
		if err := yaml.Unmarshal([]byte(object.text), &content); err != nil {
			b.Fatal(err)
		}
		metadata := content["metadata"].(map[string]any)
		if err := yaml.Unmarshal([]byte(object.owned), &metadata); err != nil {
			b.Fatal(err)
		}
		var input map[string]any
		if text, err := json.Marshal(documentOf(content)); err != nil || json.Unmarshal(text, &input) != nil {
			b.Fatal(err)
		}
		variants := []struct {
			name string
			run  func()
		}{
			{"one-line", func() { ask(documentOf(content)) }},
			{"one-line-of-json", func() { ask(input) }},
			// The time to decode the object into its Go type is not of interest. It is subtracted below.
			{"object", func() {
				documentOf(content)
			}},
			// A label that is new each time, so that no answer is remembered.
			{"all", func() {
				n++
				metadata["labels"].(map[string]any)["n"] = strconv.Itoa(n)
				evaluate(content, false)
			}},
			{"neighbour", func() {
				n++
				metadata["labels"].(map[string]any)["n"] = strconv.Itoa(n)
				evaluate(content, true)
			}},
			{"remembered", func() { evaluate(content, false) }},
		}
		times, allocations := make([]time.Duration, len(variants)), make([]uint64, len(variants))
		const turns, size = 60, 50
		order := rand.New(rand.NewPCG(1, 1))
		for range turns {
			for _, i := range order.Perm(len(variants)) {
				runtime.GC() // no variant pays for the garbage of another
				var before, after runtime.MemStats
				runtime.ReadMemStats(&before)
				start := time.Now()
				for range size {
					variants[i].run()
				}
				times[i] += time.Since(start)
				runtime.ReadMemStats(&after)
				allocations[i] += after.Mallocs - before.Mallocs
			}
		}
		const line, ofJSON, read = 0, 1, 2 // indexes of variants
		for i, v := range variants {
			if i == read {
				continue
			}
			if i != ofJSON {
				times[i], allocations[i] = times[i]-times[read], allocations[i]-allocations[read]
			}
			took, allocated := times[i], allocations[i]
			b.Run(object.name+"/"+v.name, func(b *testing.B) {
				b.ReportMetric(0, "ns/op")
				b.ReportMetric(took.Seconds()*1e6/turns/size, "µs/evaluation")
				b.ReportMetric(float64(allocated)/turns/size, "allocations")
				b.ReportMetric(took.Seconds()/times[line].Seconds(), "x/one-line")
				b.ReportMetric(took.Seconds()/times[ofJSON].Seconds(), "x/one-line-of-json")
			})
		}
	}
}
