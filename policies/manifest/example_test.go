package manifest_test

import (
	"fmt"

	"github.com/sourceward/sourceward/policies"
	"github.com/sourceward/sourceward/policies/manifest"
)

func ExamplePatch() {
	const text = `kind: Service
spec:
  type: LoadBalancer # the only one
  ports:
  - port: 443
`
	patched, err := manifest.Patch([]byte(text), 0, "", []policies.PatchOperation{
		{Op: "add", Path: "/spec/externalTrafficPolicy", Value: "Local"},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Print(string(patched))
	// Output:
	// kind: Service
	// spec:
	//   type: LoadBalancer # the only one
	//   ports:
	//   - port: 443
	//   externalTrafficPolicy: Local
}
