package webhook

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"

	"github.com/sourceward/sourceward/api/v1alpha1"
	"github.com/sourceward/sourceward/policies/bundle"
)

// policySource keeps the cluster's SourceIPPolicies compiled. They are compiled off the path of requests:
// those under way keep the set that they began with.
type policySource struct {
	compiled atomic.Pointer[compiled]
	reader   cache.Cache
	changed  chan struct{}
	log      logr.Logger
}

// compiled is one state of all policies.
type compiled struct {
	set *bundle.Set
	// invalid is the number of policies that are left out.
	invalid int
}

// newPolicySource watches the policies of a cache that is not started yet.
// The error is non-nil when the cluster does not have the kind SourceIPPolicy.
func newPolicySource(ctx context.Context, reader cache.Cache, log logr.Logger) (*policySource, error) {
	p := &policySource{reader: reader, changed: make(chan struct{}, 1), log: log}
	informer, err := reader.GetInformer(ctx, &v1alpha1.SourceIPPolicy{}, cache.BlockUntilSynced(false))
	if err != nil {
		return nil, err
	}
	_, err = informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
		AddFunc:    func(any) { p.notify() },
		UpdateFunc: func(any, any) { p.notify() },
		DeleteFunc: func(any) { p.notify() },
	})
	return p, err
}

// notify asks for a new set. Several changes are one.
func (p *policySource) notify() {
	select {
	case p.changed <- struct{}{}:
	default:
	}
}

// Start compiles whenever a policy changes, until ctx ends.
func (p *policySource) Start(ctx context.Context) error {
	if !p.reader.WaitForCacheSync(ctx) {
		return ctx.Err()
	}
	p.notify()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-p.changed:
			if err := p.compile(ctx); err != nil {
				return err
			}
		}
	}
}

func (p *policySource) compile(ctx context.Context) error {
	var list v1alpha1.SourceIPPolicyList
	if err := p.reader.List(ctx, &list); err != nil {
		return err
	}
	slices.SortFunc(list.Items, func(a, b v1alpha1.SourceIPPolicy) int { return strings.Compare(a.Name, b.Name) })
	set, problems := bundle.Compile(list.Items)
	for _, problem := range problems {
		p.log.Error(problem, "policy left out", "policy", problem.Policy)
	}
	next := &compiled{set: set, invalid: len(list.Items) - len(set.Policies)}
	p.compiled.Store(next)
	p.log.Info("policies compiled", "ready", len(set.Policies), "invalid", next.invalid)
	return nil
}

// Set implements Policies. It must not be called before Ready is nil.
func (p *policySource) Set() *bundle.Set { return p.compiled.Load().set }

// Ready implements Policies.
func (p *policySource) Ready() error {
	if p.compiled.Load() == nil {
		return errors.New("policies are not compiled")
	}
	return nil
}

// observe adds the metrics of the policies.
func (p *policySource) observe(m *Metrics) error {
	const name, help = "sourceward_policies", "SourceIPPolicies, by state."
	count := func(of func(*compiled) int) func() float64 {
		return func() float64 {
			if c := p.compiled.Load(); c != nil {
				return float64(of(c))
			}
			return 0
		}
	}
	return errors.Join(
		m.observe(name, help, prometheus.Labels{"state": "ready"}, count(func(c *compiled) int { return len(c.set.Policies) })),
		m.observe(name, help, prometheus.Labels{"state": "invalid"}, count(func(c *compiled) int { return c.invalid })),
	)
}
