package policies_test

import (
	"fmt"
	"slices"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/yaml"

	"github.com/sourceward/sourceward/policies"
	"github.com/sourceward/sourceward/policies/bundle"
)

// `make bench-compare` compiles this file with older commits too. So it uses only the exported API, and checks only
// what should not change: that a certain rule has a finding, not which other rules do.

// BenchmarkDecide measures decisions with the built-in rules. The neighbours are looked up before, and the content of
// an object is decoded only once: BenchmarkIndex and BenchmarkHandler measure these.
func BenchmarkDecide(b *testing.B) {
	rules, problems := bundle.Compile(b.Context(), nil, nil)
	if problems != nil {
		b.Fatal(problems[0])
	}
	const (
		local   = "{type: LoadBalancer, externalTrafficPolicy: Local, selector: {app: web}, ports: [{port: 80}]}"
		cluster = "{type: LoadBalancer, externalTrafficPolicy: Cluster, selector: {app: mail}, ports: [{port: 25}]}"
		none    = "{}"
		weighed = "{networking.gke.io/weighted-load-balancing: pods-per-node}"
	)
	index := policies.NewIndex(policies.ViewCluster)
	for _, object := range []*policies.Object{
		benchService(b, "web", none, local), benchService(b, "mail", none, cluster),
		benchDeployment(b, "web", 3), benchDeployment(b, "mail", 3),
	} {
		index.Put(object)
	}
	repairs := policies.Settings{Modes: map[string]policies.Mode{"unspread-behind-local": policies.Mutate}}
	for _, bench := range []struct {
		name        string
		object, old *policies.Object
		settings    policies.Settings
		// want is a rule that must have a finding; if it is empty, no rule may have one that a client sees. repaired is true
		// if there must be a repair.
		want     string
		repaired bool
	}{
		{name: "service-cluster", object: benchService(b, "mail", none, cluster)},
		{name: "service-local", object: benchService(b, "web", none, local), want: "unspread-behind-local"},
		{
			name: "service-annotated-repair", object: benchService(b, "mail", weighed, cluster),
			want: "source-ip-needs-local", repaired: true,
		},
		{name: "deployment-behind-cluster", object: benchDeployment(b, "mail", 3)},
		{name: "deployment-behind-local", object: benchDeployment(b, "web", 3), want: "unspread-behind-local"},
		{
			name: "deployment-behind-local-update", object: benchDeployment(b, "web", 4), old: benchDeployment(b, "web", 3),
			want: "unspread-behind-local",
		},
		{
			name: "deployment-behind-local-repair", object: benchDeployment(b, "web", 3), settings: repairs,
			want: "unspread-behind-local", repaired: true,
		},
	} {
		b.Run(bench.name, func(b *testing.B) {
			in := policies.Input{
				Operation: policies.Create, Object: bench.object, Namespace: policies.Namespace{Name: "edge"},
				Related: index.Related(bench.object), Cluster: policies.Cluster{Version: policies.Newest},
			}
			if bench.old != nil {
				in.Operation, in.Old, in.OldRelated = policies.Update, bench.old, index.Related(bench.old)
			}
			decision, err := policies.Decide(b.Context(), in, rules, bench.settings)
			found := slices.ContainsFunc(decision.Findings, func(f policies.Finding) bool {
				return f.Rule == bench.want || bench.want == "" && f.Mode != policies.Audit
			})
			if err != nil || found != (bench.want != "") || len(decision.Mutations()) > 0 != bench.repaired {
				b.Fatalf("findings %+v, repairs %+v (%v); want one of %q, and repairs: %t",
					decision.Findings, decision.Mutations(), err, bench.want, bench.repaired)
			}
			b.ReportAllocs()
			for b.Loop() {
				_, _ = policies.Decide(b.Context(), in, rules, bench.settings)
			}
		})
	}
}

// BenchmarkIndex measures an index of one namespace with pairs of a Service and a Deployment. All of them have one
// label in common, as the parts of an application often have.
func BenchmarkIndex(b *testing.B) {
	for _, services := range []int{10, 5_000} {
		index := policies.NewIndex(policies.ViewCluster)
		labels := func(i int) map[string]string {
			return map[string]string{"app.kubernetes.io/name": fmt.Sprintf("web-%d", i), "app.kubernetes.io/part-of": "shop"}
		}
		service := func(i int) *corev1.Service {
			return &corev1.Service{
				ObjectMeta: metav1.ObjectMeta{Namespace: "edge", Name: fmt.Sprintf("web-%d", i)},
				Spec: corev1.ServiceSpec{
					Type: corev1.ServiceTypeLoadBalancer, ExternalTrafficPolicy: "Local", Selector: labels(i),
					Ports: []corev1.ServicePort{{Port: 80, TargetPort: intstr.FromString("http")}},
				},
			}
		}
		workload := func(i int) *policies.Workload {
			return policies.NewWorkload(&appsv1.Deployment{
				ObjectMeta: metav1.ObjectMeta{Namespace: "edge", Name: fmt.Sprintf("web-%d", i)},
				Spec: appsv1.DeploymentSpec{
					Selector: &metav1.LabelSelector{MatchLabels: labels(i)},
					Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels(i)}},
				},
			})
		}
		for i := range services {
			index.PutService(service(i))
			index.PutWorkload(workload(i))
		}
		middle := services / 2
		changedService, changedWorkload := service(middle), workload(middle)
		front := &policies.Object{
			Ref:     policies.Ref{APIVersion: "v1", Kind: "Service", Namespace: "edge", Name: changedService.Name},
			Service: changedService,
		}
		behind := &policies.Object{Ref: changedWorkload.Ref, Workload: changedWorkload}
		for _, bench := range []struct {
			name string
			do   func()
		}{
			{"put-service", func() { index.PutService(changedService) }},
			{"put-deployment", func() { index.PutWorkload(changedWorkload) }},
			{"look-up-of-service", func() { index.Related(front) }},
			{"look-up-of-deployment", func() { index.Related(behind) }},
			// The index keeps what look-ups have found until a workload changes.
			{"put-deployment-and-look-up", func() {
				index.PutWorkload(changedWorkload)
				index.Related(behind)
			}},
		} {
			b.Run(fmt.Sprintf("%s/services=%d", bench.name, services), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					bench.do()
				}
				ofService, ofWorkload := index.Related(front), index.Related(behind)
				if len(ofService.Workloads) != 1 || len(ofWorkload.Services) != 1 || len(ofWorkload.Workloads) != 0 {
					b.Fatalf("%+v beside the Service, and %+v beside the Deployment; want only each other", ofService, ofWorkload)
				}
			})
		}
	}
}

// benchService returns a Service in namespace edge with annotations and a spec.
func benchService(b *testing.B, name, annotations, spec string) *policies.Object {
	b.Helper()
	return benchObject(b, fmt.Sprintf(`
apiVersion: v1
kind: Service
metadata: {namespace: edge, name: %s, annotations: %s}
spec: %s
`, name, annotations, spec))
}

// benchDeployment returns a Deployment in namespace edge whose pods nothing spreads. They have the label app: name.
func benchDeployment(b *testing.B, name string, replicas int) *policies.Object {
	b.Helper()
	return benchObject(b, fmt.Sprintf(`
apiVersion: apps/v1
kind: Deployment
metadata: {namespace: edge, name: %[1]s}
spec:
  replicas: %[2]d
  selector: {matchLabels: {app: %[1]s}}
  template:
    metadata: {labels: {app: %[1]s}}
    spec:
      containers:
      - name: %[1]s
        image: registry.example.com/%[1]s:1.2.3
        ports: [{name: http, containerPort: 8080}]
        resources: {requests: {cpu: 100m, memory: 128Mi}}
        readinessProbe: {httpGet: {path: /ready, port: http}}
`, name, replicas))
}

func benchObject(b *testing.B, text string) *policies.Object {
	b.Helper()
	var content map[string]any
	if err := yaml.Unmarshal([]byte(text), &content); err != nil {
		b.Fatal(err)
	}
	object, err := policies.NewObject(content)
	if err != nil {
		b.Fatal(err)
	}
	return object
}
