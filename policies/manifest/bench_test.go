package manifest_test

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/sourceward/sourceward/policies/manifest"
)

// `make bench-compare` compiles this file with older commits too, so it uses only the exported API.

// BenchmarkLoad measures the reading of one stream. It comes from standard input, so that no file system takes part.
func BenchmarkLoad(b *testing.B) {
	const pairs, definitions = 100, 20
	withDefinitions := manifestPairs(10)
	for i := range definitions {
		withDefinitions = append(withDefinitions, customResourceDefinition(i)...)
	}
	for _, bench := range []struct {
		name               string
		stream             []byte
		documents, objects int
	}{
		{"pairs=100", manifestPairs(pairs), 2 * pairs, 2 * pairs},
		{"crds=20", withDefinitions, 2*10 + definitions, 2 * 10},
	} {
		b.Run(bench.name, func(b *testing.B) {
			load := func() *manifest.Manifests {
				m, err := manifest.Load(manifest.Options{
					Paths: []string{manifest.Stdin}, Stdin: bytes.NewReader(bench.stream),
				})
				if err != nil {
					b.Fatal(err)
				}
				return m
			}
			m := load()
			if len(m.Errors) > 0 || m.Documents != bench.documents || len(m.Objects) != bench.objects {
				b.Fatalf("%d documents and %d objects to judge, want %d and %d; errors: %v",
					m.Documents, len(m.Objects), bench.documents, bench.objects, m.Errors)
			}
			b.ReportAllocs()
			for b.Loop() {
				load()
			}
		})
	}
}

// manifestPairs returns pairs of a Deployment and a Local Service in front of it.
func manifestPairs(pairs int) []byte {
	var stream bytes.Buffer
	for i := range pairs {
		fmt.Fprintf(&stream, `---
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web-%[1]d
  namespace: edge
  labels:
    app.kubernetes.io/name: web-%[1]d
    app.kubernetes.io/part-of: edge
spec:
  replicas: 3
  selector:
    matchLabels:
      app.kubernetes.io/name: web-%[1]d
  template:
    metadata:
      labels:
        app.kubernetes.io/name: web-%[1]d
        app.kubernetes.io/part-of: edge
    spec:
      containers:
        - name: web
          image: registry.example.com/web:1.2.3
          ports:
            - name: http
              containerPort: 8080
          readinessProbe:
            httpGet:
              path: /ready
              port: http
          resources:
            requests:
              cpu: 100m
              memory: 128Mi
---
apiVersion: v1
kind: Service
metadata:
  name: web-%[1]d
  namespace: edge
  labels:
    app.kubernetes.io/part-of: edge
spec:
  type: LoadBalancer
  externalTrafficPolicy: Local
  selector:
    app.kubernetes.io/name: web-%[1]d
    app.kubernetes.io/part-of: edge
  ports:
    - name: http
      port: 80
      targetPort: http
`, i)
	}
	return stream.Bytes()
}

// customResourceDefinition returns a definition of about 100 KiB, which is what operators ship whose resources contain
// pod templates. No rule reads it.
func customResourceDefinition(number int) []byte {
	var text bytes.Buffer
	fmt.Fprintf(&text, `---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata:
  annotations:
    controller-gen.kubebuilder.io/version: v0.23.0
  name: gadgets%[1]d.example.com
spec:
  group: example.com
  names:
    kind: Gadget%[1]d
    listKind: Gadget%[1]dList
    plural: gadgets%[1]d
    singular: gadget%[1]d
  scope: Namespaced
  versions:
  - name: v1
    served: true
    storage: true
    schema:
      openAPIV3Schema:
        description: Gadget%[1]d is a gadget.
        type: object
        properties:
          apiVersion:
            description: |-
              APIVersion defines the versioned schema of this representation of an object.
              Servers should convert recognized schemas to the latest internal value.
            type: string
          kind:
            description: |-
              Kind is a string value representing the REST resource this object represents.
              Cannot be updated. In CamelCase.
            type: string
          metadata:
            type: object
          spec:
            description: Spec is the desired state.
            type: object
            properties:
`, number)
	for i := range 200 {
		fmt.Fprintf(&text, `              option%d:
                description: |-
                  This option says how many of the parts are replaced at once: an absolute number, for example 5, or a
                  percentage of the desired parts, for example 10%%. The number is rounded up. It defaults to 25%%.
                anyOf:
                - type: integer
                - type: string
                x-kubernetes-int-or-string: true
                pattern: ^[0-9]+%%?$
`, i)
	}
	return text.Bytes()
}
