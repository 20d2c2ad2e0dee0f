package main

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
)

// corpus is a set of files that programs are measured on.
type corpus struct {
	// name is the folder of the files. title is short, for headings and the plot; contents says what is in the files.
	name, title, contents string
	// files are the contents of the files, which are named 00.yaml, 01.yaml and so on.
	files [][]byte
	// quick is true if the corpus is measured with -quick too.
	quick bool
	// skip contains the reason why a program is not run, by the name of the program.
	skip map[string]string
}

// filesOfCorpus is the number of files in each corpus but the smallest.
const filesOfCorpus = 20

// corpora returns all corpora. They are the same in every run.
func corpora() []corpus {
	return []corpus{
		{
			name: "one-file", title: "One file", quick: true,
			contents: "One file with a Local Service, its Deployment and a ConfigMap.", files: oneFile(),
		},
		{
			name: "pairs-1000", title: "1 000 pairs", quick: true,
			contents: "1 000 pairs in 20 namespaces.", files: pairs(1_000, 20),
		},
		{
			name: "pairs-10000", title: "10 000 pairs",
			contents: "10 000 pairs in 20 namespaces.", files: pairs(10_000, 20),
		},
		{
			name: "one-namespace-1000", title: "1 000 pairs, one namespace",
			contents: "1 000 pairs in one namespace.", files: pairs(1_000, 1),
		},
		{
			name: "one-namespace-5000", title: "5 000 pairs, one namespace",
			contents: "5 000 pairs in one namespace.", files: pairs(5_000, 1),
			skip: map[string]string{
				gator: "its work for one namespace is quadratic: about 25 times that for 1 000 pairs in one namespace",
			},
		},
		{
			name: "irrelevant", title: "Irrelevant objects", quick: true, files: irrelevant(1_000),
			contents: "1 000 pairs in 20 namespaces, which are a tenth of the bytes. The rest are CRDs, ConfigMaps and Secrets.",
		},
	}
}

// write writes the files of a corpus into its folder in dir.
func (c corpus) write(dir string) error {
	if err := os.Mkdir(filepath.Join(dir, c.name), 0o755); err != nil {
		return err
	}
	for i, name := range c.paths() {
		if err := os.WriteFile(filepath.Join(dir, name), c.files[i], 0o644); err != nil {
			return err
		}
	}
	return nil
}

// paths returns the paths of the files, relative to the folder in which the corpora are.
func (c corpus) paths() []string {
	paths := make([]string, len(c.files))
	for i := range paths {
		paths[i] = fmt.Sprintf("%s/%02d.yaml", c.name, i)
	}
	return paths
}

// size returns the number of bytes in all files.
func (c corpus) size() int {
	size := 0
	for _, file := range c.files {
		size += len(file)
	}
	return size
}

func oneFile() [][]byte {
	var file bytes.Buffer
	writePair(&file, 0, "edge")
	file.WriteString(`---
apiVersion: v1
kind: ConfigMap
metadata:
  name: web-0
  namespace: edge
data:
  LOG_LEVEL: info
`)
	return [][]byte{file.Bytes()}
}

// pairs returns files with pairs of a Deployment and a Service, which are spread evenly over namespaces. If there are
// several namespaces, each of them is in as few files as possible.
func pairs(count, namespaces int) [][]byte {
	files := make([][]byte, filesOfCorpus)
	for f := range files {
		var file bytes.Buffer
		for i := f * count / filesOfCorpus; i < (f+1)*count/filesOfCorpus; i++ {
			writePair(&file, i, fmt.Sprintf("team-%d", i*namespaces/count))
		}
		files[f] = file.Bytes()
	}
	return files
}

// irrelevant returns the files of pairs in 20 namespaces, each after nine times as many bytes of objects that no rule
// about Services or workloads reads. A third of these bytes are CRDs, a third ConfigMaps and a third Secrets.
func irrelevant(count int) [][]byte {
	files := pairs(count, 20)
	for f := range files {
		third := 3 * len(files[f])
		random := rand.New(rand.NewPCG(1, uint64(f)))
		var file bytes.Buffer
		for i := 0; file.Len() < third; i++ {
			writeCRD(&file, f, i)
		}
		for i := 0; file.Len() < 2*third; i++ {
			writeConfigMap(&file, f, i)
		}
		for i := 0; file.Len() < 3*third; i++ {
			writeSecret(&file, f, i, random)
		}
		files[f] = append(file.Bytes(), files[f]...)
	}
	return files
}

// writePair writes a Deployment with three replicas that nothing spreads, and the Service that selects its pods. Every
// other Service is Local.
func writePair(file *bytes.Buffer, i int, namespace string) {
	policy := "Cluster"
	if i%2 == 0 {
		policy = "Local"
	}
	fmt.Fprintf(file, `---
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web-%[1]d
  namespace: %[2]s
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
  namespace: %[2]s
  labels:
    app.kubernetes.io/part-of: edge
spec:
  type: LoadBalancer
  externalTrafficPolicy: %[3]s
  selector:
    app.kubernetes.io/name: web-%[1]d
    app.kubernetes.io/part-of: edge
  ports:
    - name: http
      port: 80
      targetPort: http
`, i, namespace, policy)
}

// writeCRD writes a CustomResourceDefinition of about 65 KB, most of which are the descriptions of fields.
func writeCRD(file *bytes.Buffer, f, i int) {
	fmt.Fprintf(file, `---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata:
  name: gateways.group-%[1]d-%[2]d.example.com
spec:
  group: group-%[1]d-%[2]d.example.com
  names:
    kind: Gateway
    listKind: GatewayList
    plural: gateways
    singular: gateway
  scope: Namespaced
  versions:
    - name: v1
      served: true
      storage: true
      schema:
        openAPIV3Schema:
          type: object
          properties:
            spec:
              type: object
              properties:
`, f, i)
	for section := range 12 {
		fmt.Fprintf(file, `                section%d:
                  description: Section %[1]d configures one part of the gateway.
                  type: object
                  properties:
`, section)
		for field := range 16 {
			fmt.Fprintf(file, `                    field%d:
                      description: |-
                        Field %[1]d is the name of a resource in the same namespace as the gateway.
                        It must consist of lower case letters, digits and dashes, and defaults to the
                        name of the gateway. If the resource does not exist, the gateway is not ready.
                      maxLength: 63
                      pattern: ^[a-z0-9]([-a-z0-9]*[a-z0-9])?$
                      type: string
`, field)
		}
	}
}

// writeConfigMap writes a ConfigMap of about 30 KB, which contains a JSON document.
func writeConfigMap(file *bytes.Buffer, f, i int) {
	fmt.Fprintf(file, `---
apiVersion: v1
kind: ConfigMap
metadata:
  name: dashboard-%[1]d-%[2]d
  namespace: monitoring
data:
  dashboard.json: |-
    {
      "panels": [
`, f, i)
	for panel := range 100 {
		fmt.Fprintf(file, `        {
          "id": %d,
          "title": "Requests per second, by code",
          "type": "timeseries",
          "targets": [
            {
              "expr": "sum by (code) (rate(http_requests_total{job=\"web-%[1]d\"}[5m]))",
              "legendFormat": "{{code}}"
            }
          ]
        },
`, panel)
	}
	file.WriteString(`        {}
      ]
    }
`)
}

// writeSecret writes a Secret of about 30 KB: a Helm release, which is one line of base64, and a certificate, which is
// a block of short lines.
func writeSecret(file *bytes.Buffer, f, i int, random *rand.Rand) {
	release := base64.StdEncoding.EncodeToString(randomBytes(random, 18<<10))
	fmt.Fprintf(file, `---
apiVersion: v1
kind: Secret
metadata:
  name: release-%d-%d
  namespace: monitoring
type: Opaque
data:
  release: %s
stringData:
  tls.crt: |
    -----BEGIN CERTIFICATE-----
`, f, i, release)
	certificate := base64.StdEncoding.EncodeToString(randomBytes(random, 3<<10))
	for ; len(certificate) > 64; certificate = certificate[64:] {
		file.WriteString("    " + certificate[:64] + "\n")
	}
	file.WriteString("    " + certificate + "\n    -----END CERTIFICATE-----\n")
}

func randomBytes(random *rand.Rand, size int) []byte {
	content := make([]byte, size)
	for i := range content {
		content[i] = byte(random.Uint32())
	}
	return content
}

// shell returns the paths of the files as one would write them in a shell.
func (c corpus) shell() string {
	if len(c.files) == 1 {
		return c.paths()[0]
	}
	return c.name + "/*.yaml"
}
