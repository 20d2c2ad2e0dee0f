package webhook

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/cache"

	"github.com/sourceward/sourceward/api/v1alpha1"
	"github.com/sourceward/sourceward/policies/bundle"
	"github.com/sourceward/sourceward/policies/child"
)

// policySource keeps the cluster's SourceIPPolicies compiled. It compiles a policy when it changes and not during a
// request. In-flight requests keep the set that they started with.
type policySource struct {
	compiler *bundle.Compiler
	reader   cache.Cache
	metrics  *Metrics
	log      logr.Logger

	changed chan struct{}
	// ticks counts the periods of compileRetry since the start.
	ticks   int
	current atomic.Pointer[compiledPolicies]
	// recompiled is notified when current has changed.
	recompiled chan struct{}
}

// compiledPolicies is the state of all policies at one moment.
type compiledPolicies struct {
	set *bundle.Set
	// policies are sorted by name.
	policies []compiledPolicy
}

// compiledPolicy is the result of compiling one generation of a policy.
type compiledPolicy struct {
	name       string
	uid        types.UID
	generation int64
	// problems are the reasons why this generation does not compile; nil if it does.
	problems []*bundle.Error
	// inForce is this generation if it compiles, else the newest that has compiled in this process or is in lastCompiled
	// of the status; nil if there is none. inForceSpec is its spec as the API server sent it.
	inForce           *bundle.Policy
	inForceGeneration int64
	inForceSpec       v1alpha1.SourceIPPolicySpec
	// seen is the lastCompiled that was looked at because this generation does not compile.
	seen *v1alpha1.Revision
	// unfinished is true if a compilation did not end. On a machine that is less busy it may, so it is tried again once
	// the ticks of the source have reached retryAt, which is retryAfter ticks after the last attempt.
	unfinished          bool
	retryAt, retryAfter int
}

// The states of a policy.
const (
	stateReady    = "ready"    // this generation is in force
	stateStale    = "stale"    // an earlier generation is in force
	stateNotReady = "notready" // no generation is in force
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

// rules returns the ids of the rules that the generation in force declares.
func (p compiledPolicy) rules() []string {
	if p.inForce == nil {
		return nil
	}
	return p.inForce.Rules
}

const (
	// compileRetry is after how long a compilation that did not end is tried again. The time doubles with each attempt,
	// up to maxRetryAfter times as much.
	compileRetry  = 30 * time.Second
	maxRetryAfter = 128
)

// newPolicySource returns a source that watches the policies in reader, a cache that has not been started yet. The
// error is non-nil if the cluster does not serve the kind SourceIPPolicy.
func newPolicySource(
	ctx context.Context, reader cache.Cache, metrics *Metrics, log logr.Logger,
) (*policySource, error) {
	p := &policySource{
		compiler: bundle.NewCompiler(child.Try), reader: reader, metrics: metrics, log: log,
		changed: make(chan struct{}, 1), recompiled: make(chan struct{}, 1),
	}
	informer, err := reader.GetInformer(ctx, &v1alpha1.SourceIPPolicy{}, cache.BlockUntilSynced(false))
	if err != nil {
		return nil, err
	}
	_, err = informer.AddEventHandler(onChange(p.changed))
	return p, err
}

// NeedLeaderElection implements manager.LeaderElectionRunnable. It returns false, because every replica answers
// requests.
func (*policySource) NeedLeaderElection() bool { return false }

// Start implements manager.Runnable. It compiles policies when they change, until ctx ends.
func (p *policySource) Start(ctx context.Context) error {
	if !p.reader.WaitForCacheSync(ctx) {
		return ctx.Err()
	}
	notify(p.changed)
	retry := time.NewTicker(compileRetry)
	defer retry.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-p.changed:
		case <-retry.C:
			p.ticks++
		}
		if err := p.compile(ctx); err != nil {
			return err
		}
	}
}

// compile brings current up to date, if a policy has changed, or if a compilation that did not end is to be repeated.
func (p *policySource) compile(ctx context.Context) error {
	var list v1alpha1.SourceIPPolicyList
	if err := p.reader.List(ctx, &list); err != nil {
		return err
	}
	var before []compiledPolicy
	if current := p.current.Load(); current != nil {
		before = current.policies
	}
	former := map[string]compiledPolicy{}
	for _, policy := range before {
		former[policy.name] = policy
	}
	changed := len(former) != len(list.Items) || p.current.Load() == nil
	isNew := func(policy v1alpha1.SourceIPPolicy) bool {
		last, known := former[policy.Name]
		return !known || last.uid != policy.UID || last.generation != policy.Generation ||
			last.unfinished && last.retryAt <= p.ticks
	}
	p.compiler.Try(ctx, slices.DeleteFunc(slices.Clone(list.Items), func(policy v1alpha1.SourceIPPolicy) bool {
		return !isNew(policy)
	}))
	next := &compiledPolicies{}
	for _, policy := range list.Items {
		last := former[policy.Name]
		switch {
		case isNew(policy):
			changed = true
			last = p.compileOne(ctx, policy, last)
		case last.problems != nil && !equality.Semantic.DeepEqual(last.seen, policy.Status.LastCompiled):
			changed = true
			p.takeLastCompiled(ctx, policy, &last)
		}
		next.policies = append(next.policies, last)
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
	// A generation that does not compile may declare rules whose ids are not known.
	next.set.Policies.Complete = !slices.ContainsFunc(next.policies, func(policy compiledPolicy) bool {
		return policy.state() != stateReady
	})
	p.current.Store(next)
	notify(p.recompiled)
	p.metrics.policies(before, next.policies)
	p.log.Info("policies in force", "policies", len(inForce), "of", len(next.policies))
	return nil
}

// compileOne compiles a generation of a policy. last is the former state of the policy with this name; its generation
// in force is kept only if it belongs to the same policy, by UID.
func (p *policySource) compileOne(
	ctx context.Context, policy v1alpha1.SourceIPPolicy, last compiledPolicy,
) compiledPolicy {
	next := compiledPolicy{name: policy.Name, uid: policy.UID, generation: policy.Generation}
	next.inForce, next.problems = p.compiler.Compile(ctx, policy)
	if next.problems == nil {
		next.inForceGeneration, next.inForceSpec = policy.Generation, policy.Spec
		return next
	}
	for _, problem := range next.problems {
		p.log.Error(problem, "policy does not compile", "policy", policy.Name, "generation", policy.Generation)
	}
	next.unfinished = unfinished(next.problems)
	isSame := last.uid == policy.UID && last.generation == policy.Generation
	if next.unfinished && isSame && last.unfinished {
		next.problems = last.problems // Which limit is reached first is chance, and no reason for another status.
		next.retryAfter = min(2*last.retryAfter, maxRetryAfter)
	}
	next.retryAfter = max(next.retryAfter, 1)
	next.retryAt = p.ticks + next.retryAfter
	if last.uid == policy.UID {
		next.inForce, next.inForceGeneration, next.inForceSpec = last.inForce, last.inForceGeneration, last.inForceSpec
	}
	p.takeLastCompiled(ctx, policy, &next)
	return next
}

// takeLastCompiled puts the lastCompiled of a policy that does not compile in force, if it is newer than the generation
// that is: another replica has seen it, or this one when it ran before.
func (p *policySource) takeLastCompiled(
	ctx context.Context, policy v1alpha1.SourceIPPolicy, next *compiledPolicy,
) {
	stored := policy.Status.LastCompiled
	next.seen = stored
	// The webhook writes nothing newer. The same generation may be there if a former version of Sourceward compiled it.
	if stored == nil || stored.Generation >= policy.Generation || stored.Generation <= next.inForceGeneration {
		return
	}
	log := p.log.WithValues("policy", policy.Name, "generation", stored.Generation)
	spec, err := specOf(*stored)
	if err != nil {
		log.Error(err, "status.lastCompiled not read; treating it as absent")
		return
	}
	policy.Generation, policy.Spec = stored.Generation, spec
	compiled, problems := p.compiler.Compile(ctx, policy)
	for _, problem := range problems {
		log.Error(problem, "status.lastCompiled does not compile; treating it as absent")
	}
	if problems != nil {
		next.unfinished = next.unfinished || unfinished(problems)
		return
	}
	next.inForce, next.inForceGeneration, next.inForceSpec = compiled, stored.Generation, spec
}

// unfinished reports whether a compilation with these problems did not end.
func unfinished(problems []*bundle.Error) bool {
	return slices.ContainsFunc(problems, func(e *bundle.Error) bool { return e.Unfinished })
}

// Set implements Policies. It must not be called before Ready returns nil.
func (p *policySource) Set() *bundle.Set { return p.current.Load().set }

// Check implements Policies.
func (p *policySource) Check(ctx context.Context, policy v1alpha1.SourceIPPolicy) []*bundle.Error {
	_, problems := p.compiler.Compile(ctx, policy)
	return problems
}

// Ready implements Policies.
func (p *policySource) Ready() error {
	if p.current.Load() == nil {
		return errors.New("policies are not compiled yet")
	}
	return nil
}

// observe registers the metrics of the policies.
func (p *policySource) observe() error {
	var errs []error
	for _, state := range policyStates {
		errs = append(errs, p.metrics.observe("sourceward_policies",
			"SourceIPPolicies, by state: ready, stale (an earlier generation is in force) or notready (none is in force).",
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
