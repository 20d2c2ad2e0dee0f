package bundle_test

import (
	"fmt"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/sourceward/sourceward/api/v1alpha1"
	"github.com/sourceward/sourceward/policies"
	"github.com/sourceward/sourceward/policies/bundle"
)

// `make bench-compare` compiles this file with older commits too, so it uses only the exported API.

// annotated holds ten annotations, of which the provider table knows the first six.
const annotated = `
sourceward.dev/source-ip: preserve
service.beta.kubernetes.io/aws-load-balancer-type: external
service.beta.kubernetes.io/aws-load-balancer-nlb-target-type: instance
service.beta.kubernetes.io/aws-load-balancer-target-group-attributes: preserve_client_ip.enabled=true
service.beta.kubernetes.io/aws-load-balancer-cross-zone-load-balancing-enabled: "true"
service.beta.kubernetes.io/aws-load-balancer-scheme: internet-facing
external-dns.alpha.kubernetes.io/hostname: shop.example.com
prometheus.io/scrape: "true"
team: edge
description: The front door of the shop
`

// BenchmarkEvaluate measures the Rego of a decision about a Service: to find the policies that match it, and to
// evaluate the built-in modules and theirs.
func BenchmarkEvaluate(b *testing.B) {
	elsewhere := &v1alpha1.Match{ObjectSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"tier": "back"}}}
	here := &v1alpha1.Match{ObjectSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"tier": "front"}}}
	var hundred []v1alpha1.SourceIPPolicy
	for i := range 100 {
		match := elsewhere
		if i == 20 || i == 50 || i == 80 {
			match = here
		}
		hundred = append(hundred, housePolicy(fmt.Sprintf("corp-%d", i), 1, match))
	}
	for _, bench := range []struct {
		name, annotations string
		policies          []v1alpha1.SourceIPPolicy
		// asks is true if the built-in modules must have a reason for Local. denials is the number of findings of the
		// policies' modules.
		asks    bool
		denials int
	}{
		{name: "service-plain"},
		{name: "service-annotated", annotations: annotated, asks: true},
		{name: "policy-of-ten-rules", policies: []v1alpha1.SourceIPPolicy{housePolicy("corp", 10, nil)}, denials: 10},
		{name: "policies-100-of-which-3-match", policies: hundred, denials: 3},
	} {
		b.Run(bench.name, func(b *testing.B) {
			set, problems := bundle.Compile(b.Context(), nil, bench.policies)
			if problems != nil {
				b.Fatal(problems[0])
			}
			document := policies.Document{
				Operation: policies.Create, Object: benchService(b, bench.annotations),
				Namespace:  policies.NamespaceDocument{Name: "edge"},
				Facts:      policies.Facts{ExternallyAccessible: true, Explicit: policies.ExplicitDefaulted},
				Cluster:    policies.ClusterDocument{Version: policies.Newest.String()},
				Parameters: map[string]any{},
			}
			evaluate := func() []policies.Answer {
				settings := policies.Resolve(set.Policies, document.Object, policies.Namespace{Name: "edge"})
				return set.Evaluate(b.Context(), document, settings.Applied)
			}
			asks, denials := false, 0
			for _, answer := range evaluate() {
				if answer.Err != nil {
					b.Fatal(answer.Err)
				}
				asks, denials = asks || len(answer.RequireLocal) > 0, denials+len(answer.Deny)
			}
			if asks != bench.asks || denials != bench.denials {
				b.Fatalf("%d denials, and a reason for Local: %t; want %d and %t", denials, asks, bench.denials, bench.asks)
			}
			b.ReportAllocs()
			for b.Loop() {
				evaluate()
			}
		})
	}
}

// housePolicy returns a policy with modules of one rule each, which deny every Service with port 80.
func housePolicy(name string, modules int, match *v1alpha1.Match) v1alpha1.SourceIPPolicy {
	policy := v1alpha1.SourceIPPolicy{ObjectMeta: metav1.ObjectMeta{Name: name}}
	policy.Spec.Match = match
	for i := range modules {
		policy.Spec.Rego = append(policy.Spec.Rego, v1alpha1.RegoModule{
			Name: fmt.Sprintf("corp%d.rego", i),
			Module: fmt.Sprintf(`package sourceward.custom.corp_%d

deny contains {"message": "port 80 is not allowed", "path": "/spec/ports"} if {
	input.object.kind == "Service"
	some port in input.object.spec.ports
	port.port == 80
}
`, i),
		})
	}
	return policy
}

// benchService returns a Service as an API server sends it, with annotations.
func benchService(b *testing.B, annotations string) *policies.Object {
	b.Helper()
	var content map[string]any
	err := yaml.Unmarshal([]byte(`
apiVersion: v1
kind: Service
metadata:
  name: web
  namespace: edge
  labels: {app.kubernetes.io/name: web, tier: front}
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
`), &content)
	if err != nil {
		b.Fatal(err)
	}
	var set map[string]any
	if err := yaml.Unmarshal([]byte(annotations), &set); err != nil {
		b.Fatal(err)
	}
	if set != nil {
		content["metadata"].(map[string]any)["annotations"] = set
	}
	object, err := policies.NewObject(content)
	if err != nil {
		b.Fatal(err)
	}
	return object
}
