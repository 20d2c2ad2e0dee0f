package policies_test

import (
	"context"
	"fmt"

	"github.com/sourceward/sourceward/policies"
	"github.com/sourceward/sourceward/policies/bundle"
)

// A Service that was changed from type LoadBalancer to ClusterIP still has externalTrafficPolicy.
func ExampleDecide() {
	object, err := policies.NewObject(map[string]any{
		"apiVersion": "v1",
		"kind":       "Service",
		"metadata":   map[string]any{"namespace": "edge", "name": "admin"},
		"spec":       map[string]any{"type": "ClusterIP", "externalTrafficPolicy": "Local"},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	rules, _ := bundle.Compile(context.Background(), nil, nil)
	decision, err := policies.Decide(context.Background(), policies.Input{
		Operation: policies.Create,
		Object:    object,
		Related:   policies.Related{View: policies.ViewFiles},
	}, rules, policies.Settings{})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, finding := range decision.Findings {
		fmt.Println(finding.Mode, finding.Rule, finding.Object)
		fmt.Println(finding.Fix)
	}
	for _, patch := range decision.Patches {
		fmt.Println(patch.Operations[0].Op, patch.Operations[0].Path)
	}
	// Output:
	// deny local-on-cluster-ip Service edge/admin
	// remove externalTrafficPolicy, or set type LoadBalancer or NodePort
	// remove /spec/externalTrafficPolicy
}
