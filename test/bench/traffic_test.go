//go:build linux

package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

const (
	trafficServices      = 5_000
	trafficPods          = 4 // of each Service
	trafficNodes         = 100
	trafficZones         = 3
	trafficServicesInOne = 50 // namespace
)

// BenchmarkTraffic runs `sourceward traffic --cluster` on an API server that holds many Services of type LoadBalancer
// with Local, each with an EndpointSlice. It reports the time that a user waits, the CPU time of the process and the
// peak of its memory, for the table of the worst Services and for everything as JSON, each of the last run.
func BenchmarkTraffic(b *testing.B) {
	binary := build(b)
	c := startCluster(b)
	fillTraffic(b, kubernetes.NewForConfigOrDie(c.Config()))
	for name, args := range map[string][]string{"text": {"--top", "20"}, "json": {"-o", "json"}} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				command := exec.CommandContext(b.Context(), binary,
					append([]string{"traffic", "--cluster", "--kubeconfig", c.Kubeconfig()}, args...)...)
				var stdout, stderr bytes.Buffer
				command.Stdout, command.Stderr = &stdout, &stderr
				begin := time.Now()
				if err := command.Run(); err != nil {
					b.Fatalf("%v: %s", err, stderr.String())
				}
				b.ReportMetric(time.Since(begin).Seconds(), "s")
				usage, _ := command.ProcessState.SysUsage().(*syscall.Rusage)
				b.ReportMetric(float64(usage.Maxrss>>10), "peak-MiB")
				b.ReportMetric((command.ProcessState.UserTime() + command.ProcessState.SystemTime()).Seconds(), "cpu-s")
				if name == "json" {
					checkTraffic(b, stdout.Bytes())
				}
			}
			b.ReportMetric(0, "ns/op")
		})
	}
}

// fillTraffic creates the Nodes, Services and EndpointSlices. The pods of a Service are on four nodes, or on three if
// its number is odd, where one node has two of them.
func fillTraffic(b *testing.B, client kubernetes.Interface) {
	group, ctx := errgroup.WithContext(b.Context())
	group.SetLimit(8)
	for i := range trafficNodes {
		node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{
			Name:   nodeName(i),
			Labels: map[string]string{corev1.LabelTopologyZone: fmt.Sprintf("zone-%d", i%trafficZones)},
		}}
		group.Go(func() error {
			_, err := client.CoreV1().Nodes().Create(ctx, node, metav1.CreateOptions{})
			return err
		})
	}
	for i := range trafficServices {
		namespace := fmt.Sprintf("namespace-%d", i/trafficServicesInOne)
		if i%trafficServicesInOne == 0 {
			of := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}
			if _, err := client.CoreV1().Namespaces().Create(b.Context(), of, metav1.CreateOptions{}); err != nil {
				b.Fatal(err)
			}
		}
		group.Go(func() error { return createTraffic(ctx, client, namespace, i) })
	}
	if err := group.Wait(); err != nil {
		b.Fatal(err)
	}
}

func nodeName(i int) string { return fmt.Sprintf("node-%d", i) }

func createTraffic(ctx context.Context, client kubernetes.Interface, namespace string, i int) error {
	service := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: app(i), Labels: memoryLabels(i)},
		Spec: corev1.ServiceSpec{
			Type: corev1.ServiceTypeLoadBalancer, ExternalTrafficPolicy: corev1.ServiceExternalTrafficPolicyLocal,
			Selector: map[string]string{appLabel: app(i)},
			Ports:    []corev1.ServicePort{{Name: "http", Port: 80}},
		},
	}
	if _, err := client.CoreV1().Services(namespace).Create(ctx, service, metav1.CreateOptions{}); err != nil {
		return err
	}
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: namespace, Name: app(i), Labels: map[string]string{discoveryv1.LabelServiceName: app(i)},
		},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       []discoveryv1.EndpointPort{{Name: new("http"), Port: new(int32(80))}},
	}
	for pod := range trafficPods {
		node := nodeName((i + pod%(trafficPods-i%2)) % trafficNodes)
		slice.Endpoints = append(slice.Endpoints, discoveryv1.Endpoint{
			Addresses:  []string{fmt.Sprintf("10.%d.%d.%d", i/250, i%250, pod+1)},
			Conditions: discoveryv1.EndpointConditions{Ready: new(true), Serving: new(true), Terminating: new(false)},
			NodeName:   &node,
			TargetRef:  &corev1.ObjectReference{Kind: "Pod", Namespace: namespace, Name: fmt.Sprintf("%s-%d", app(i), pod)},
		})
	}
	_, err := client.DiscoveryV1().EndpointSlices(namespace).Create(ctx, slice, metav1.CreateOptions{})
	return err
}

// checkTraffic checks that the report has all Services, and all of their pods.
func checkTraffic(b *testing.B, report []byte) {
	var found struct {
		Services []struct{ Placements []struct{ Pods, Nodes int } }
	}
	if err := json.Unmarshal(report, &found); err != nil {
		b.Fatal(err)
	}
	pods := 0
	for _, service := range found.Services {
		pods += service.Placements[0].Pods
	}
	if len(found.Services) != trafficServices || pods != trafficServices*trafficPods {
		b.Fatalf("the report has %d Services and %d pods, want %d and %d",
			len(found.Services), pods, trafficServices, trafficServices*trafficPods)
	}
}
