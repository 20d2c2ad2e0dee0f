package webhook

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"

	"github.com/sourceward/sourceward/api/v1alpha1"
	"github.com/sourceward/sourceward/policies/bundle"
)

// policySource keeps the cluster's SourceIPPolicies compiled. They are compiled off the path of requests, each when it
// changes; requests that are under way keep the set that they began with.
type policySource struct {
	compiler *bundle.Compiler
	reader   cache.Cache
	metrics  *Metrics
	log      logr.Logger

	changed chan struct{}
	current atomic.Pointer[compiledPolicies]
	// told is sent to when current has changed.
	told chan struct{}
}

// compiledPolicies is one state of all policies.
type compiledPolicies struct {
	set *bundle.Set
	// policies are sorted by name.
	policies []compiledPolicy
}

// compiledPolicy is what became of one generation of a policy.
type compiledPolicy struct {
	name       string
	uid        types.UID
	generation int64
	// problems are why this generation does not compile; nil if it does.
	problems []*bundle.Error
	// inForce is this generation or, if it does not compile, the last one that did since this process began; nil if
	// none did.
	inForce           *bundle.Policy
	inForceGeneration int64
}

// The states of a policy.
const (
	stateReady    = "ready"    // this generation is in force
	stateStale    = "stale"    // a former one is
	stateNotReady = "notready" // none is
)

var policyStates = []string{stateReady, stateStale, stateNotReady}

func (p compiledPolicy) state() string {
	switch {
	case p.problems == nil:
		return stateReady
	case p.inForce != nil:
		return stateStale
	default:
		return stateNotReady
	}
}

// newPolicySource watches the policies of a cache that is not started yet.
// The error is non-nil when the cluster does not have the kind SourceIPPolicy.
func newPolicySource(ctx context.Context, reader cache.Cache, metrics *Metrics, log logr.Logger) (*policySource, error) {
	p := &policySource{
		compiler: bundle.NewCompiler(), reader: reader, metrics: metrics, log: log,
		changed: make(chan struct{}, 1), told: make(chan struct{}, 1),
	}
	informer, err := reader.GetInformer(ctx, &v1alpha1.SourceIPPolicy{}, cache.BlockUntilSynced(false))
	if err != nil {
		return nil, err
	}
	_, err = informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
		AddFunc:    func(any) { notify(p.changed) },
		UpdateFunc: func(any, any) { notify(p.changed) },
		DeleteFunc: func(any) { notify(p.changed) },
	})
	return p, err
}

// NeedLeaderElection implements manager.LeaderElectionRunnable: every replica decides.
func (*policySource) NeedLeaderElection() bool { return false }

// Start compiles what changes, until ctx ends.
func (p *policySource) Start(ctx context.Context) error {
	if !p.reader.WaitForCacheSync(ctx) {
		return ctx.Err()
	}
	notify(p.changed)
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

// compile brings current up to date, if there is anything new.
func (p *policySource) compile(ctx context.Context) error {
	var list v1alpha1.SourceIPPolicyList
	if err := p.reader.List(ctx, &list); err != nil {
		return err
	}
	former := map[string]compiledPolicy{}
	if current := p.current.Load(); current != nil {
		for _, policy := range current.policies {
			former[policy.name] = policy
		}
	}
	changed := len(former) != len(list.Items) || p.current.Load() == nil
	next := &compiledPolicies{}
	for _, policy := range list.Items {
		last, known := former[policy.Name]
		if !known || last.uid != policy.UID || last.generation != policy.Generation {
			changed = true
			last = p.compileOne(policy, last)
		}
		next.policies = append(next.policies, last)
		delete(former, policy.Name)
	}
	if !changed {
		return nil
	}
	slices.SortFunc(next.policies, func(a, b compiledPolicy) int { return strings.Compare(a.name, b.name) })
	var inForce []*bundle.Policy
	for _, policy := range next.policies {
		if policy.inForce != nil {
			inForce = append(inForce, policy.inForce)
		}
	}
	next.set = p.compiler.Set(inForce)
	p.current.Store(next)
	notify(p.told)
	p.metrics.policies(former, next.policies)
	p.log.Info("policies in force", "policies", len(inForce), "of", len(next.policies))
	return nil
}

// compileOne compiles a new generation. last is what is known of a former one, if it is one of the same policy.
func (p *policySource) compileOne(policy v1alpha1.SourceIPPolicy, last compiledPolicy) compiledPolicy {
	next := compiledPolicy{name: policy.Name, uid: policy.UID, generation: policy.Generation}
	next.inForce, next.problems = p.compiler.Compile(policy)
	next.inForceGeneration = policy.Generation
	if next.problems == nil {
		return next
	}
	for _, problem := range next.problems {
		p.log.Error(problem, "policy does not compile", "policy", policy.Name, "generation", policy.Generation)
	}
	if last.uid == policy.UID {
		next.inForce, next.inForceGeneration = last.inForce, last.inForceGeneration
	}
	return next
}

// Set implements Policies. It must not be called before Ready is nil.
func (p *policySource) Set() *bundle.Set { return p.current.Load().set }

// Check implements Policies.
func (p *policySource) Check(policy v1alpha1.SourceIPPolicy) []*bundle.Error {
	_, problems := p.compiler.Compile(policy)
	return problems
}

// Ready implements Policies.
func (p *policySource) Ready() error {
	if p.current.Load() == nil {
		return errors.New("policies are not compiled")
	}
	return nil
}

// observe adds the metrics of the policies.
func (p *policySource) observe() error {
	var errs []error
	for _, state := range policyStates {
		errs = append(errs, p.metrics.observe("sourceward_policies",
			"SourceIPPolicies, by state: ready, stale (a former generation is in force) or notready (none is).",
			prometheus.Labels{"state": state}, func() float64 {
				count := 0
				if current := p.current.Load(); current != nil {
					for _, policy := range current.policies {
						if policy.state() == state {
							count++
						}
					}
				}
				return float64(count)
			}))
	}
	return errors.Join(errs...)
}
