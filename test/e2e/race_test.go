package e2e

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/sync/errgroup"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"

	"github.com/sourceward/sourceward/test/cluster"
	"github.com/sourceward/sourceward/test/sandbox"
)

// TestServiceThenDeployment creates each Deployment as soon as the API server has responded for the Local Service in
// front of it. The Deployment gets its warning although watches may not have delivered the Service yet: where one
// replica judges both objects, and where the replica that judges the Deployment did not judge the Service.
func TestServiceThenDeployment(t *testing.T) {
	const pairs, clients = 1_000, 8
	for name, replicas := range map[string]int{"one replica": 1, "another replica": 2} {
		t.Run(name, func(t *testing.T) {
			e := newEnvironment(t, cluster.Options{}, sandbox.Options{Replicas: replicas})
			e.namespace(t, "edge")
			config := e.Config()
			warned := &warningCounter{}
			config.WarningHandlerWithContext = warned
			client, err := kubernetes.NewForConfig(config)
			if err != nil {
				t.Fatal(err)
			}
			group, ctx := errgroup.WithContext(t.Context())
			group.SetLimit(clients)
			for i := range pairs {
				group.Go(func() error { return createPair(ctx, client, "edge", fmt.Sprintf("web-%d", i)) })
			}
			if err := group.Wait(); err != nil {
				t.Fatal(err)
			}
			gaveUp := 0.0
			for _, replica := range e.Replicas {
				for _, outcome := range []string{"found", "absent", "failed", "busy"} {
					sample := fmt.Sprintf(`sourceward_lookups_total{outcome="%s",resource="services"}`, outcome)
					count := metric(t, replica, sample)
					t.Logf("%s: %v look-ups %s", replica.Address, count, outcome)
					if outcome == "failed" || outcome == "busy" {
						gaveUp += count
					}
				}
			}
			missed := pairs - warned.count.Load()
			t.Logf("%d of %d Deployments got no warning", missed, pairs)
			// On a machine that is busy for too long a look-up gives up, and a metric counts it.
			if float64(missed) > gaveUp {
				t.Errorf("%d of %d Deployments got no warning, and %v look-ups gave up", missed, pairs, gaveUp)
			}
		})
	}
}

// createPair creates a Local Service and then the Deployment behind it.
func createPair(ctx context.Context, client kubernetes.Interface, namespace, name string) error {
	var s corev1.Service
	var d appsv1.Deployment
	if err := yaml.Unmarshal([]byte(service(namespace, name, local(name))), &s); err != nil {
		return err
	}
	if err := yaml.Unmarshal([]byte(deployment(namespace, name, 3)), &d); err != nil {
		return err
	}
	if _, err := client.CoreV1().Services(namespace).Create(ctx, &s, metav1.CreateOptions{}); err != nil {
		return err
	}
	_, err := client.AppsV1().Deployments(namespace).Create(ctx, &d, metav1.CreateOptions{})
	return err
}

// warningCounter counts the responses that warn that pods are not spread.
type warningCounter struct{ count atomic.Int64 }

var _ rest.WarningHandlerWithContext = &warningCounter{}

// HandleWarningHeaderWithContext implements rest.WarningHandlerWithContext.
func (w *warningCounter) HandleWarningHeaderWithContext(_ context.Context, _ int, _, text string) {
	if strings.HasPrefix(text, "unspread-behind-local: pods of Service ") {
		w.count.Add(1)
	}
}
