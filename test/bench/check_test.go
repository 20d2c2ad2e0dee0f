// Package bench measures Sourceward. It reports ratios: to a floor, which is the least that any such program must do,
// and between different numbers of objects.
package bench

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
)

// decodeOnly is an environment variable that turns this test binary into the floor: a process that decodes the file
// named by the variable and exits.
const decodeOnly = "SOURCEWARD_BENCH_DECODE"

func TestMain(m *testing.M) {
	if path := os.Getenv(decodeOnly); path != "" {
		if err := decode(path); err != nil {
			panic(err)
		}
		return
	}
	m.Run()
}

// decode only parses a YAML stream, with the parser that Sourceward uses.
func decode(path string) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	for {
		var node yaml.Node
		if err := decoder.Decode(&node); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
	}
}

// BenchmarkCheck runs the binary and the floor on pairs of a Deployment and a LoadBalancer Service in one namespace.
// Every other Service is Local, and no Deployment is spread. It reports the CPU time of both, their ratio, the time of
// check for each pair, and the peak memory of check.
func BenchmarkCheck(b *testing.B) {
	binary := build(b)
	for _, pairs := range []int{1_000, 10_000} {
		b.Run(fmt.Sprintf("pairs=%d", pairs), func(b *testing.B) {
			path := filepath.Join(b.TempDir(), "all.yaml")
			if err := os.WriteFile(path, manifests(pairs), 0o644); err != nil {
				b.Fatal(err)
			}
			var check, floor time.Duration
			var memory int64
			for b.Loop() {
				f := exec.Command(os.Args[0])
				f.Env = append(os.Environ(), decodeOnly+"="+path)
				floor += measure(b, f)
				c := exec.Command(binary, "check", "--fail-on", "never", "-o", "json="+os.DevNull, path)
				check += measure(b, c)
				// On Linux, Maxrss is in KiB.
				memory = max(memory, c.ProcessState.SysUsage().(*syscall.Rusage).Maxrss)
			}
			n := float64(b.N)
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(check.Seconds()*1e3/n, "check-ms")
			b.ReportMetric(floor.Seconds()*1e3/n, "decode-ms")
			b.ReportMetric(check.Seconds()/floor.Seconds(), "check/decode")
			b.ReportMetric(check.Seconds()*1e6/n/float64(pairs), "check-µs/pair")
			b.ReportMetric(float64(memory)/1024, "check-MiB")
		})
	}
}

// BenchmarkCheckList runs the binary on the same pairs as items of one List. It reports the time of check for each
// pair, which should not grow with the number of pairs.
func BenchmarkCheckList(b *testing.B) {
	binary := build(b)
	for _, pairs := range []int{1_000, 4_000} {
		b.Run(fmt.Sprintf("pairs=%d", pairs), func(b *testing.B) {
			path := filepath.Join(b.TempDir(), "list.yaml")
			if err := os.WriteFile(path, list(pairs), 0o644); err != nil {
				b.Fatal(err)
			}
			var check time.Duration
			for b.Loop() {
				check += measure(b, exec.Command(binary, "check", "--fail-on", "never", "-o", "json="+os.DevNull, path))
			}
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(check.Seconds()*1e6/float64(b.N)/float64(pairs), "check-µs/pair")
		})
	}
}

// BenchmarkCheckShared runs the binary on Local Services that all select the pods of all Deployments, which nothing
// spreads. Each of these pairs is one Service and one workload that it selects. It reports the CPU time of check, the
// time for each pair, the peak memory, and the size of the report.
func BenchmarkCheckShared(b *testing.B) {
	binary := build(b)
	for _, of := range []struct{ services, deployments int }{
		{100, 100}, {200, 200}, {400, 400}, {1, 1_000}, {1, 4_000}, {4_000, 1},
	} {
		b.Run(fmt.Sprintf("services=%d/deployments=%d", of.services, of.deployments), func(b *testing.B) {
			path, report := filepath.Join(b.TempDir(), "all.yaml"), filepath.Join(b.TempDir(), "report.json")
			if err := os.WriteFile(path, shared(of.services, of.deployments), 0o644); err != nil {
				b.Fatal(err)
			}
			var check time.Duration
			var memory, size int64
			for b.Loop() {
				c := exec.Command(binary, "check", "--fail-on", "never", "-o", "json="+report, path)
				check += measure(b, c)
				// On Linux, Maxrss is in KiB.
				memory = max(memory, c.ProcessState.SysUsage().(*syscall.Rusage).Maxrss)
				info, err := os.Stat(report)
				if err != nil {
					b.Fatal(err)
				}
				size = info.Size()
			}
			pairs := float64(of.services * of.deployments)
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(check.Seconds()/float64(b.N), "check-s")
			b.ReportMetric(check.Seconds()*1e6/float64(b.N)/pairs, "check-µs/pair")
			b.ReportMetric(float64(memory)/1024, "check-MiB")
			b.ReportMetric(float64(size)/1024, "report-KiB")
		})
	}
}

// build builds sourceward and returns the path of the binary.
func build(b *testing.B) string {
	binary := filepath.Join(b.TempDir(), "sourceward")
	if out, err := exec.Command("go", "build", "-o", binary, "../../cmd/sourceward").CombinedOutput(); err != nil {
		b.Fatalf("build: %v\n%s", err, out)
	}
	return binary
}

// measure runs a process and returns its CPU time.
func measure(b *testing.B, command *exec.Cmd) time.Duration {
	var stderr bytes.Buffer
	command.Stderr = &stderr
	if err := command.Run(); err != nil {
		b.Fatalf("%s: %v\n%s", command.Path, err, stderr.Bytes())
	}
	return command.ProcessState.UserTime() + command.ProcessState.SystemTime()
}

// manifests returns pairs of a Deployment with three replicas and a Service that selects its pods.
func manifests(pairs int) []byte {
	var stream bytes.Buffer
	for i := range pairs {
		policy := "Cluster"
		if i%2 == 0 {
			policy = "Local"
		}
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
  externalTrafficPolicy: %[2]s
  selector:
    app.kubernetes.io/name: web-%[1]d
    app.kubernetes.io/part-of: edge
  ports:
    - name: http
      port: 80
      targetPort: http
`, i, policy)
	}
	return stream.Bytes()
}

// shared returns Local Services that all select the pods of all Deployments.
func shared(services, deployments int) []byte {
	var stream bytes.Buffer
	for i := range services {
		fmt.Fprintf(&stream, `---
apiVersion: v1
kind: Service
metadata:
  name: web-%d
  namespace: edge
spec:
  type: LoadBalancer
  externalTrafficPolicy: Local
  selector:
    app: web
  ports:
    - port: 443
`, i)
	}
	for i := range deployments {
		fmt.Fprintf(&stream, `---
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web-%[1]d
  namespace: edge
spec:
  replicas: 3
  selector:
    matchLabels:
      app: web
      shard: shard-%[1]d
  template:
    metadata:
      labels:
        app: web
        shard: shard-%[1]d
    spec:
      containers:
        - name: web
          image: registry.example.com/web:1.2.3
`, i)
	}
	return stream.Bytes()
}

// list returns the objects of manifests as one List.
func list(pairs int) []byte {
	items := bytes.ReplaceAll(bytes.TrimSuffix(manifests(pairs), []byte("\n")), []byte("\n"), []byte("\n  "))
	items = bytes.ReplaceAll(items, []byte("---\n  "), []byte("- "))
	items = bytes.ReplaceAll(items, []byte("\n  - apiVersion"), []byte("\n- apiVersion"))
	return append([]byte("apiVersion: v1\nkind: List\nitems:\n"), items...)
}
