package cluster

import (
	"context"
	"fmt"
	"runtime"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// createNodes creates nodes, which kwok then manages. They have kwok's default capacity, which no test exhausts.
func createNodes(ctx context.Context, client kubernetes.Interface, count int) error {
	zones := []string{"zone-a", "zone-b", "zone-c"}
	for i := range count {
		name := fmt.Sprintf("node-%d", i+1)
		// What a kubelet sets, and the zone.
		node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{
			corev1.LabelHostname:     name,
			corev1.LabelOSStable:     "linux",
			corev1.LabelArchStable:   runtime.GOARCH,
			corev1.LabelTopologyZone: zones[i%len(zones)],
		}}}
		if _, err := client.CoreV1().Nodes().Create(ctx, node, metav1.CreateOptions{}); err != nil {
			return fmt.Errorf("create Node %s: %w", name, err)
		}
	}
	return nil
}

// schedulable reports whether a pod created now, in namespace default, may run on every node.
func schedulable(ctx context.Context, client kubernetes.Interface) (bool, error) {
	_, err := client.CoreV1().ServiceAccounts(metav1.NamespaceDefault).Get(ctx, "default", metav1.GetOptions{})
	if err != nil {
		return false, err
	}
	nodes, err := client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return false, err
	}
	for _, node := range nodes.Items {
		// A node has a taint until the node controller observes that it is ready.
		if len(node.Spec.Taints) > 0 {
			return false, fmt.Errorf("%s has taint %s", node.Name, node.Spec.Taints[0].Key)
		}
	}
	return true, nil
}
