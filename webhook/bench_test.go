package webhook_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/go-logr/logr"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/sourceward/sourceward/api/v1alpha1"
	"github.com/sourceward/sourceward/policies"
	"github.com/sourceward/sourceward/policies/bundle"
	"github.com/sourceward/sourceward/policies/review"
)

// `make bench-compare` compiles this file with older commits too. So it uses only the exported API, and the helpers of
// handler_test.go, which follow the interfaces of the commit.

// BenchmarkHandler measures answers to AdmissionReviews about objects that a rule repairs, in process and without a
// network. Each of them goes to both endpoints as if the repair were not applied, so that /validate reports it.
func BenchmarkHandler(b *testing.B) {
	for _, bench := range handlerBenches(b) {
		b.Run(bench.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				bench.answer()
			}
		})
	}
}

// TestAllocationBudget keeps what a request allocates from growing unnoticed. A budget is about a tenth more than what
// was measured; lower it when that falls.
func TestAllocationBudget(t *testing.T) { //nolint:paralleltest // allocations are counted for the whole process
	budgets := map[string]float64{
		"deployment-create/mutate": 1130, "deployment-create/validate": 1100,
		"deployment-update/mutate": 1570, "deployment-update/validate": 1550,
		"service-create/mutate": 870, "service-create/validate": 870,
		"service-update/mutate": 980, "service-update/validate": 980,
	}
	benches := handlerBenches(t)
	for _, bench := range benches {
		allocated := testing.AllocsPerRun(200, bench.answer)
		t.Logf("%s: %.0f allocations", bench.name, allocated)
		if allocated > budgets[bench.name] {
			t.Errorf("%s: %.0f allocations, want at most %.0f", bench.name, allocated, budgets[bench.name])
		}
	}
	if len(benches) != len(budgets) {
		t.Errorf("%d requests have budgets, want %d", len(budgets), len(benches))
	}
}

// handlerBench is a request to one endpoint, which answer sends.
type handlerBench struct {
	name   string
	answer func()
}

// handlerBenches returns the requests of BenchmarkHandler. It checks the answers to them.
func handlerBenches(b testing.TB) []handlerBench {
	b.Helper()
	policy := v1alpha1.SourceIPPolicy{ObjectMeta: metav1.ObjectMeta{Name: "spread"}}
	policy.Spec.Rules = []v1alpha1.RuleMode{{ID: "unspread-behind-local", Mode: v1alpha1.ModeMutate}}
	set, problems := bundle.Compile(b.Context(), nil, []v1alpha1.SourceIPPolicy{policy})
	if problems != nil {
		b.Fatal(problems[0])
	}
	var (
		local = benchJSON(b, fmt.Sprintf(benchService, "{}", "Local"))
		// The annotation asks for Local, so /mutate sets it when the annotation is added.
		weighed = benchJSON(b,
			fmt.Sprintf(benchService, "{networking.gke.io/weighted-load-balancing: pods-per-node}", "Cluster"))
		cluster  = benchJSON(b, fmt.Sprintf(benchService, "{}", "Cluster"))
		unspread = benchJSON(b, fmt.Sprintf(benchDeployment, "1.2.4"))
		former   = benchJSON(b, fmt.Sprintf(benchDeployment, "1.2.3"))
	)
	var benches []handlerBench
	index := policies.NewIndex(policies.ViewCluster)
	for _, object := range []struct{ apiVersion, kind, text string }{
		{"v1", "Service", local}, {"apps/v1", "Deployment", former},
	} {
		read, err := policies.ReadObject(object.apiVersion, object.kind, "edge", []byte(object.text))
		if err != nil {
			b.Fatal(err)
		}
		index.Put(read)
	}
	for _, bench := range []struct {
		name, kind, object, old string
		// patched is a path in the patch of /mutate, and warned is the rule of a warning of /validate.
		patched, warned string
	}{
		{
			name: "deployment-create", kind: "Deployment", object: unspread,
			patched: "topologySpreadConstraints", warned: "unspread-behind-local",
		},
		{
			name: "deployment-update", kind: "Deployment", object: unspread, old: former,
			patched: "topologySpreadConstraints", warned: "unspread-behind-local",
		},
		{
			name: "service-create", kind: "Service", object: weighed,
			patched: "externalTrafficPolicy", warned: "source-ip-needs-local",
		},
		{
			name: "service-update", kind: "Service", object: weighed, old: cluster,
			patched: "externalTrafficPolicy", warned: "source-ip-needs-local",
		},
	} {
		body := reviewOf(bench.kind, "CREATE", bench.object, "")
		if bench.old != "" {
			body = reviewOf(bench.kind, "UPDATE", bench.object, `,"oldObject":`+bench.old)
		}
		apiVersion := "v1"
		if bench.kind == "Deployment" {
			apiVersion = "apps/v1"
		}
		object, err := policies.ReadObject(apiVersion, bench.kind, "edge", []byte(bench.object))
		if err != nil {
			b.Fatal(err)
		}
		for _, endpoint := range review.ObjectEndpoints {
			handler, _ := newHandler(b, endpoint, &fakeNeighbours{related: index.Related(object)})
			handler.Policies, handler.Log = fakePolicies{set}, logr.Discard()
			response := post(b, handler, body)
			isPatched := strings.Contains(string(response.Patch), bench.patched)
			isWarned := strings.Contains(strings.Join(response.Warnings, "\n"), bench.warned)
			if !response.Allowed || isPatched != (endpoint == review.Mutate) || endpoint == review.Validate && !isWarned {
				b.Fatalf("allowed: %t, patch %s, warnings %q", response.Allowed, response.Patch, response.Warnings)
			}
			benches = append(benches, handlerBench{fmt.Sprintf("%s/%s", bench.name, endpoint), func() {
				request := httptest.NewRequestWithContext(b.Context(), http.MethodPost, "/", strings.NewReader(body))
				request.Header.Set("Content-Type", "application/json")
				handler.ServeHTTP(httptest.NewRecorder(), request)
			}})
		}
	}
	return benches
}

func benchJSON(b testing.TB, text string) string {
	b.Helper()
	encoded, err := yaml.YAMLToJSON([]byte(text))
	if err != nil {
		b.Fatal(err)
	}
	return string(encoded)
}

// benchManaged is the managedFields that the API server adds, which are often half of an object.
const benchManaged = `
  managedFields:
  - apiVersion: v1
    fieldsType: FieldsV1
    fieldsV1:
      f:metadata:
        f:annotations: {.: {}, f:description: {}, f:team: {}}
        f:labels: {.: {}, f:app.kubernetes.io/name: {}, f:app.kubernetes.io/part-of: {}}
      f:spec:
        f:ports:
          .: {}
          'k:{"port":443,"protocol":"TCP"}': {.: {}, f:name: {}, f:port: {}, f:protocol: {}, f:targetPort: {}}
          'k:{"port":80,"protocol":"TCP"}': {.: {}, f:name: {}, f:port: {}, f:protocol: {}, f:targetPort: {}}
        f:replicas: {}
        f:selector: {}
        f:template: {f:metadata: {f:labels: {.: {}, f:app: {}}}, f:spec: {f:containers: {}}}
        f:type: {}
    manager: kubectl
    operation: Apply
    time: "2026-11-21T10:00:00Z"
`

// benchService is a Service as an API server sends it; its parameters are the annotations and the traffic policy.
const benchService = `
apiVersion: v1
kind: Service
metadata:
  name: web
  namespace: edge
  annotations: %s` + benchManaged + `
spec:
  type: LoadBalancer
  externalTrafficPolicy: %s
  internalTrafficPolicy: Cluster
  allocateLoadBalancerNodePorts: true
  clusterIP: 10.96.12.7
  clusterIPs: [10.96.12.7]
  ipFamilies: [IPv4]
  ipFamilyPolicy: SingleStack
  sessionAffinity: None
  selector: {app: web}
  ports:
  - {name: http, port: 80, targetPort: 8080, nodePort: 30080, protocol: TCP}
  - {name: https, port: 443, targetPort: 8443, nodePort: 30443, protocol: TCP}
`

// benchDeployment is a Deployment as an API server sends it. Nothing spreads its pods. Its parameter is the tag of the
// image.
const benchDeployment = `
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
  namespace: edge
  labels: {app: web}` + benchManaged + `
spec:
  replicas: 3
  progressDeadlineSeconds: 600
  revisionHistoryLimit: 10
  selector: {matchLabels: {app: web}}
  strategy: {type: RollingUpdate, rollingUpdate: {maxSurge: 25%%, maxUnavailable: 25%%}}
  template:
    metadata: {labels: {app: web}}
    spec:
      dnsPolicy: ClusterFirst
      restartPolicy: Always
      schedulerName: default-scheduler
      securityContext: {}
      terminationGracePeriodSeconds: 30
      containers:
      - name: web
        image: registry.example.com/web:%s
        imagePullPolicy: IfNotPresent
        ports: [{name: http, containerPort: 8080, protocol: TCP}, {name: https, containerPort: 8443, protocol: TCP}]
        resources: {requests: {cpu: 100m, memory: 128Mi}}
        readinessProbe: {httpGet: {path: /ready, port: http, scheme: HTTP}, periodSeconds: 10, timeoutSeconds: 1}
        terminationMessagePath: /dev/termination-log
        terminationMessagePolicy: File
`
