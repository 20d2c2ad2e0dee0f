package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"
	"time"

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

// TestRace creates pairs of a Local Service and the Deployment behind it faster than watches deliver them. One replica
// reports each pair in one of the two responses, in whatever order they are created. Of two replicas, each of which
// judges one object of each pair, neither knows of an object that the other has just admitted; a look-up closes the gap
// where the Service is first.
func TestRace(t *testing.T) {
	const pairs, clients, seed = 300, 8, 20261130
	// later is the most time after which the second request of a pair at once begins.
	const later = 2 * time.Millisecond
	orders := []struct {
		name   string
		create func(context.Context, *pair) error
	}{
		{"Service first", func(ctx context.Context, p *pair) error {
			return firstError(p.createService(ctx), func() error { return p.createDeployment(ctx) })
		}},
		{"Deployment first", func(ctx context.Context, p *pair) error {
			return firstError(p.createDeployment(ctx), func() error { return p.createService(ctx) })
		}},
		{"both at once", func(ctx context.Context, p *pair) error {
			group, ctx := errgroup.WithContext(ctx)
			first, second := p.createService, p.createDeployment
			if p.random.IntN(2) == 1 {
				first, second = second, first
			}
			wait := time.Duration(p.random.Int64N(int64(later)))
			group.Go(func() error { return first(ctx) })
			group.Go(func() error {
				time.Sleep(wait) // to meet the first request at different moments
				return second(ctx)
			})
			return group.Wait()
		}},
	}
	t.Logf("%d pairs each, %d clients, seed %d", pairs, clients, seed)
	for replicas := 1; replicas <= 2; replicas++ {
		e := newEnvironment(t, cluster.Options{}, sandbox.Options{Replicas: replicas})
		config := e.Config()
		config.WarningHandlerWithContext = pairWarnings{}
		client, err := kubernetes.NewForConfig(config)
		if err != nil {
			t.Fatal(err)
		}
		for i, order := range orders {
			namespace := strings.ToLower(strings.ReplaceAll(order.name, " ", "-"))
			e.namespace(t, namespace)
			before := e.lookups(t)
			var missed atomic.Int64
			group, ctx := errgroup.WithContext(t.Context())
			group.SetLimit(clients)
			for n := range pairs {
				group.Go(func() error {
					p := &pair{
						client: client, namespace: namespace, name: fmt.Sprint("web-", n),
						random: rand.New(rand.NewPCG(seed, uint64(n))),
					}
					err := order.create(context.WithValue(ctx, pairKey{}, p), p)
					if !p.reported.Load() {
						missed.Add(1)
					}
					return err
				})
			}
			if err := group.Wait(); err != nil {
				t.Fatal(err)
			}
			looked := e.lookups(t)
			for outcome := range looked {
				looked[outcome] -= before[outcome]
			}
			t.Logf("%d replicas, %s: %d of %d pairs not reported; look-ups %v",
				replicas, order.name, missed.Load(), pairs, looked)
			// On a machine that is busy for too long a look-up gives up, and a metric counts it.
			gaveUp := looked["failed"] + looked["busy"]
			if known := replicas == 1 || i == 0; known && float64(missed.Load()) > gaveUp {
				t.Errorf("%d replicas, %s: %d of %d pairs are not reported, and %v look-ups gave up",
					replicas, order.name, missed.Load(), pairs, gaveUp)
			}
		}
	}
}

func firstError(err error, next func() error) error {
	if err != nil {
		return err
	}
	return next()
}

// lookups returns how many look-ups of Services the replicas have made, by outcome.
func (e *environment) lookups(t *testing.T) map[string]float64 {
	t.Helper()
	counts := map[string]float64{}
	for _, replica := range e.Replicas {
		for _, outcome := range []string{"found", "absent", "failed", "busy"} {
			sample := fmt.Sprintf(`sourceward_lookups_total{outcome="%s",resource="services"}`, outcome)
			counts[outcome] += metric(t, replica, sample)
		}
	}
	return counts
}

// pair is a Local Service and the Deployment behind it.
type pair struct {
	client          kubernetes.Interface
	namespace, name string
	random          *rand.Rand
	// reported is true if one of the responses says that the pods are not spread.
	reported atomic.Bool
}

func (p *pair) createService(ctx context.Context) error {
	var s corev1.Service
	if err := yaml.Unmarshal([]byte(service(p.namespace, p.name, local(p.name))), &s); err != nil {
		return err
	}
	_, err := p.client.CoreV1().Services(p.namespace).Create(ctx, &s, metav1.CreateOptions{})
	return err
}

func (p *pair) createDeployment(ctx context.Context) error {
	var d appsv1.Deployment
	if err := yaml.Unmarshal([]byte(deployment(p.namespace, p.name, 3)), &d); err != nil {
		return err
	}
	_, err := p.client.AppsV1().Deployments(p.namespace).Create(ctx, &d, metav1.CreateOptions{})
	return err
}

// pairKey is the key of the pair in the context of a request.
type pairKey struct{}

// pairWarnings marks the pairs that are reported.
type pairWarnings struct{}

var _ rest.WarningHandlerWithContext = pairWarnings{}

// HandleWarningHeaderWithContext implements rest.WarningHandlerWithContext.
func (pairWarnings) HandleWarningHeaderWithContext(ctx context.Context, _ int, _, text string) {
	if p, ok := ctx.Value(pairKey{}).(*pair); ok && strings.HasPrefix(text, "unspread-behind-local: ") {
		p.reported.Store(true)
	}
}
