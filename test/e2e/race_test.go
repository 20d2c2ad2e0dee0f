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

// TestServiceThenDeployment creates each Deployment as soon as the API server has answered for the Local Service
// in front of it. The watches may not have told of the Service yet, and the Deployment is warned about all the
// same: where one replica judges both, and where the one that judges the Deployment has not seen the Service.
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
					count := metric(t, replica, fmt.Sprintf(`sourceward_lookups_total{outcome="%s",resource="services"}`, outcome))
					t.Logf("%s: %v look-ups %s", replica.Address, count, outcome)
					if outcome == "failed" || outcome == "busy" {
						gaveUp += count
					}
				}
			}
			missed := pairs - warned.count.Load()
			t.Logf("%d of %d Deployments were not warned about", missed, pairs)
			// On a machine that stands still for long enough a look-up gives up; then it is counted.
			if float64(missed) > gaveUp {
				t.Errorf("%d of %d Deployments were not warned about, and %v look-ups gave up", missed, pairs, gaveUp)
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

// warningCounter counts the answers that say that pods are not spread.
type warningCounter struct{ count atomic.Int64 }

var _ rest.WarningHandlerWithContext = &warningCounter{}

// HandleWarningHeaderWithContext implements rest.WarningHandlerWithContext.
func (w *warningCounter) HandleWarningHeaderWithContext(_ context.Context, _ int, _, text string) {
	if strings.HasPrefix(text, "unspread-behind-local: pods behind ") {
		w.count.Add(1)
	}
}
