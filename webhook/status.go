package webhook

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sourceward/sourceward/api/v1alpha1"
	"github.com/sourceward/sourceward/policies"
	"github.com/sourceward/sourceward/policies/bundle"
)

const (
	// statusRetry is the delay after which a status that could not be written is written again. It doubles with each
	// failure, up to maxStatusRetry. statusTimeout bounds one write.
	statusRetry    = 500 * time.Millisecond
	maxStatusRetry = time.Minute
	statusTimeout  = 5 * time.Second
	// maxConditionMessage and maxEventNote are limits of the API server (k8s.io/apimachinery v0.37.1, meta/v1 Condition;
	// k8s.io/api v0.37.1, events/v1 Event).
	maxConditionMessage = 32768
	maxEventNote        = 1024
)

// statusWriter writes the result of compiling policies into their status, and records an Event when it changes.
//
// All replicas do so. Replicas that know the same write the same, and because of the resourceVersion only the first
// of them succeeds. The others then find the status as they would have written it, and only the replica that has
// written a change records an Event.
type statusWriter struct {
	source *policySource
	// client reads from the cache and writes to the API server.
	client   client.Client
	recorder events.EventRecorder
	log      logr.Logger
}

// NeedLeaderElection implements manager.LeaderElectionRunnable. It returns false, because every replica writes.
func (*statusWriter) NeedLeaderElection() bool { return false }

// Start implements manager.Runnable. It writes the status of all policies whenever they were compiled, and whenever
// the Namespaces that they may match have changed, until ctx ends.
func (s *statusWriter) Start(ctx context.Context) error {
	changed := make(chan struct{}, 1)
	informer, err := s.source.reader.GetInformer(ctx, &corev1.Namespace{})
	if err != nil {
		return err
	}
	handlers := onChange(changed)
	handlers.UpdateFunc = func(before, after any) {
		if !maps.Equal(before.(*corev1.Namespace).Labels, after.(*corev1.Namespace).Labels) {
			notify(changed)
		}
	}
	if _, err := informer.AddEventHandler(handlers); err != nil {
		return err
	}
	retry := time.NewTimer(0)
	defer retry.Stop()
	wait := statusRetry
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.source.recompiled:
		case <-changed:
		case <-retry.C:
		}
		current := s.source.current.Load()
		if current == nil {
			continue
		}
		written, err := s.writeAll(ctx, current.policies)
		if err != nil {
			retry.Reset(wait)
			wait = min(2*wait, maxStatusRetry)
			continue
		}
		wait = statusRetry
		if written {
			// Policies and Namespaces come from two watches. A Namespace that came right after this write was compared with the
			// former status, so look once more when the cache has the new one.
			retry.Reset(statusRetry)
		}
	}
}

// writeAll writes the status of every policy that is not up to date, and reports whether there was one. The error is
// non-nil if a status could not be written; the others are written all the same.
func (s *statusWriter) writeAll(ctx context.Context, compiled []compiledPolicy) (written bool, err error) {
	namespaces, err := listNamespaces(ctx, s.client)
	if err != nil {
		s.log.Error(err, "Namespaces not listed; retrying")
		return false, err
	}
	var errs []error
	for _, policy := range compiled {
		one, err := s.write(ctx, policy, namespaces)
		if err != nil && !apierrors.IsConflict(err) && ctx.Err() == nil {
			s.log.Error(err, "status not written; retrying", "policy", policy.name)
		}
		written = written || one
		errs = append(errs, err)
	}
	return written, errors.Join(errs...)
}

// write writes the status of one policy unless it is up to date, and reports whether it did. The error is a conflict if
// the policy is newer than the one in the cache.
func (s *statusWriter) write(
	ctx context.Context, compiled compiledPolicy, namespaces []policies.Namespace,
) (written bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	var policy v1alpha1.SourceIPPolicy
	if err := s.client.Get(ctx, client.ObjectKey{Name: compiled.name}, &policy); err != nil {
		return false, client.IgnoreNotFound(err)
	}
	if policy.UID != compiled.uid || policy.Generation != compiled.generation {
		return false, nil // A newer generation is written once it is compiled.
	}
	before := policy.DeepCopy()
	compiled.status(&policy.Status, policies.SelectsNamespace(policy.Spec.Match, namespaces))
	if err := compiled.remember(&policy.Status); err != nil {
		return false, fmt.Errorf("status.lastCompiled: %w", err)
	}
	if equality.Semantic.DeepEqual(before.Status, policy.Status) {
		return false, nil
	}
	if err := s.client.Status().Update(ctx, &policy); err != nil {
		return false, client.IgnoreNotFound(err)
	}
	if policy.ResourceVersion == before.ResourceVersion {
		return false, errors.New("the API server has dropped status.lastCompiled, which replicas that start later need; " +
			"apply config/crd of this version of Sourceward")
	}
	if !sameState(before.Status.Conditions, policy.Status.Conditions) {
		s.record(&policy)
	}
	return true, nil
}

// sameState reports whether the conditions are the same, apart from the generation that is in force.
func sameState(before, after []metav1.Condition) bool {
	for _, kind := range []string{v1alpha1.ConditionReady, v1alpha1.ConditionDegraded} {
		was, is := meta.FindStatusCondition(before, kind), meta.FindStatusCondition(after, kind)
		wrong := is.Reason != v1alpha1.ReasonCompiled
		if was == nil || was.Status != is.Status || was.Reason != is.Reason || wrong && was.Message != is.Message {
			return false
		}
	}
	return true
}

// record records an Event for the new state of a policy.
func (s *statusWriter) record(policy *v1alpha1.SourceIPPolicy) {
	ready := meta.FindStatusCondition(policy.Status.Conditions, v1alpha1.ConditionReady)
	degraded := meta.FindStatusCondition(policy.Status.Conditions, v1alpha1.ConditionDegraded)
	if ready.Status == metav1.ConditionTrue {
		s.recorder.Eventf(policy, nil, corev1.EventTypeNormal, ready.Reason, "Compile", "%s", ready.Message)
		return
	}
	note := policies.Shorten(degraded.Message+": "+ready.Message, maxEventNote)
	s.recorder.Eventf(policy, nil, corev1.EventTypeWarning, degraded.Reason, "Compile", "%s", note)
}

// status sets the fields of status from p. selectsNamespace is whether its spec.match selects a Namespace that exists.
func (p compiledPolicy) status(status *v1alpha1.SourceIPPolicyStatus, selectsNamespace bool) {
	ready := metav1.Condition{
		Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonCompiled,
		Message: fmt.Sprintf("generation %d is in force", p.generation),
	}
	degraded := metav1.Condition{
		Type: v1alpha1.ConditionDegraded, Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonCompiled,
		Message: ready.Message,
	}
	if !selectsNamespace {
		ready.Message += ", but spec.match selects no existing Namespace: it has no effect until one matches"
	}
	if p.problems != nil {
		ready.Status, ready.Reason = metav1.ConditionFalse, v1alpha1.ReasonCompileFailed
		ready.Message = describe(p.problems)
		degraded.Status, degraded.Reason = metav1.ConditionTrue, v1alpha1.ReasonNotInForce
		degraded.Message = fmt.Sprintf("generation %d does not compile, and no earlier generation that compiles is known: "+
			"nothing of this policy is in force", p.generation)
		if p.inForce != nil {
			degraded.Reason = v1alpha1.ReasonFormerInForce
			degraded.Message = fmt.Sprintf("generation %d does not compile: generation %d is in force",
				p.generation, p.inForceGeneration)
		}
	}
	status.ObservedGeneration = p.generation
	status.Rules = p.rules()
	for _, condition := range []metav1.Condition{ready, degraded} {
		condition.ObservedGeneration = p.generation
		meta.SetStatusCondition(&status.Conditions, condition)
	}
}

// remember sets lastCompiled of status to the generation in force, unless it is that already. A newer one stays, even
// if it does not compile here: the version of Sourceward that has compiled it may come back. The error is non-nil if
// the spec is not valid JSON.
func (p compiledPolicy) remember(status *v1alpha1.SourceIPPolicyStatus) error {
	if p.inForce == nil {
		return nil
	}
	if stored := status.LastCompiled; stored != nil {
		isNewer := stored.Generation > p.inForceGeneration && stored.Generation <= p.generation
		if isNewer || holds(*stored, p.inForceGeneration, p.inForceSpec) {
			return nil
		}
	}
	var err error
	status.LastCompiled, err = newRevision(p.inForceGeneration, p.inForceSpec)
	return err
}

// describe returns the text of all problems of a policy, each with the line of the module that has it.
func describe(problems []*bundle.Error) string {
	texts := make([]string, len(problems))
	for i, problem := range problems {
		texts[i] = problem.Detail()
	}
	return policies.Shorten(strings.Join(texts, "\n"), maxConditionMessage)
}
