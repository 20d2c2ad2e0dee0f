package bundle_test

import (
	"context"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sourceward/sourceward/api/v1alpha1"
	"github.com/sourceward/sourceward/policies"
	"github.com/sourceward/sourceward/policies/bundle"
)

func ExampleCompile() {
	set, errs := bundle.Compile(context.Background(), nil, []v1alpha1.SourceIPPolicy{{
		ObjectMeta: metav1.ObjectMeta{Name: "corp"},
		Spec: v1alpha1.SourceIPPolicySpec{Rego: []v1alpha1.RegoModule{{
			Name: "corp.rego",
			Module: `package sourceward.custom.no_node_port

deny contains {"message": "type NodePort is not allowed", "path": "/spec/type"} if input.object.spec.type == "NodePort"
`,
		}}},
	}})
	for _, err := range errs {
		fmt.Println(err)
	}
	service, err := policies.NewObject(map[string]any{
		"apiVersion": "v1", "kind": "Service", "metadata": map[string]any{"name": "web"},
		"spec": map[string]any{"type": "NodePort"},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	applied := []policies.AppliedPolicy{{Name: "corp"}}
	answers := set.Evaluate(context.Background(), policies.Document{Object: service}, applied)
	for _, answer := range answers {
		for _, finding := range answer.Deny {
			fmt.Printf("%s: %s: %s\n", finding.Rule, finding.Path, finding.Message)
		}
	}
	// Output:
	// no-node-port: /spec/type: type NodePort is not allowed
}
