package bundle

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sourceward/sourceward/policies"
)

// queue is a number of slots, and the Namespaces that were given one, in that order.
type queue struct {
	*slots
	t     *testing.T
	given []string
}

func newQueue(t *testing.T, n int) *queue {
	return &queue{slots: &slots{all: n, free: n, ends: map[string]time.Duration{}}, t: t}
}

// ask lets an evaluation wait for a slot. It returns once the evaluation has the slot, or waits.
func (q *queue) ask(ctx context.Context, namespace string) {
	go func() {
		if q.take(ctx, namespace) {
			q.given = append(q.given, namespace)
		}
	}()
	synctest.Wait()
}

// end ends an evaluation that took a time.
func (q *queue) end(namespace string, took time.Duration) {
	q.release(namespace, EvaluationTimeout-took)
	synctest.Wait()
}

func TestASlowNamespaceDoesNotDelayOthers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(t, 2)
		for range 8 {
			q.ask(t.Context(), "slow")
		}
		q.ask(t.Context(), "plain")
		q.end("slow", EvaluationTimeout)
		q.ask(t.Context(), "plain")
		q.end("plain", time.Millisecond)
		for range 8 {
			q.end("slow", EvaluationTimeout)
		}
		want := []string{"slow", "slow", "plain", "plain", "slow", "slow", "slow", "slow", "slow", "slow"}
		if diff := cmp.Diff(want, q.given); diff != "" {
			t.Errorf("the order of evaluations (-want +got):\n%s", diff)
		}
	})
}

func TestSlowNamespacesTakeTurns(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(t, 1)
		for range 3 {
			q.ask(t.Context(), "a")
		}
		for range 2 {
			q.ask(t.Context(), "b")
		}
		for _, namespace := range []string{"a", "b", "a", "b", "a"} {
			q.end(namespace, EvaluationTimeout)
		}
		if diff := cmp.Diff([]string{"a", "b", "a", "b", "a"}, q.given); diff != "" {
			t.Errorf("the order of evaluations (-want +got):\n%s", diff)
		}
		if q.free != 1 || len(q.ends) != 0 {
			t.Errorf("in the end %d slots are free and %d Namespaces remembered, want 1 and 0", q.free, len(q.ends))
		}
	})
}

func TestAnEvaluationWithoutTimeLeavesTheQueue(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(t, 1)
		q.ask(t.Context(), "a")
		ctx, cancel := context.WithCancel(t.Context())
		q.ask(ctx, "gone")
		q.ask(t.Context(), "b")
		cancel()
		synctest.Wait()
		q.end("a", EvaluationTimeout)
		q.end("b", EvaluationTimeout)
		if diff := cmp.Diff([]string{"a", "b"}, q.given); diff != "" || q.free != 1 {
			t.Errorf("%d slots are free, want 1; the order of evaluations (-want +got):\n%s", q.free, diff)
		}
	})
}

// TestWaitingIsNotEvaluationTime evaluates a policy while the evaluations of another one take up all slots for longer
// than an evaluation may take.
func TestWaitingIsNotEvaluationTime(t *testing.T) {
	t.Parallel()
	set := compiled(t, policyWith("corp", `deny contains {"message": "no"}`))
	for range set.slots.all {
		if !set.slots.take(t.Context(), "slow") {
			t.Fatal("there is no slot")
		}
	}
	var isFree atomic.Bool
	time.AfterFunc(2*EvaluationTimeout, func() {
		isFree.Store(true)
		set.slots.release("slow", 0)
	})
	answer := set.Evaluate(t.Context(), service(t), applied("corp"))[1]
	if len(answer.Deny) != 1 || answer.Err != nil || !isFree.Load() {
		t.Errorf("it denies %v, with the fault %v; waited for a slot: %t; want the denial after it has waited",
			answer.Deny, answer.Err, isFree.Load())
	}
}

func TestNoTimeIsLeftAfterWaiting(t *testing.T) {
	t.Parallel()
	set := compiled(t, policyWith("corp", `deny contains {"message": "no"}`))
	for range set.slots.all {
		set.slots.take(t.Context(), "slow")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	answers := set.Evaluate(ctx, service(t), applied("corp"))
	const want = "the evaluation was not started: no time is left for this object, since other evaluations took it"
	if got := fmt.Sprint(answers[1].Err); got != want {
		t.Errorf("the fault is %q, want %q", got, want)
	}
	if answers[0].Err != nil {
		t.Errorf("the built-in rules are not decided: %v", answers[0].Err)
	}
}

// twice returns lines of Rego that give variables to n a value that holds the value of the former twice, and so has
// 2^n parts in little memory. The type checker does not see that, because object.get returns any type.
func twice(variable string, n int) string {
	lines := variable + "0 := 1\n"
	for i := 1; i <= n; i++ {
		lines += fmt.Sprintf("\t%s%d := object.get({\"k\": [%[1]s%[3]d, %[1]s%[3]d]}, \"k\", null)\n", variable, i, i-1)
	}
	return lines
}

// endless is a rule that compares two values in one step, which takes seconds and cannot be stopped.
var endless = `deny contains {"message": "equal"} if { ` + twice("a", 28) + twice("b", 28) + `a28 in [b28] }`

// It is not run in parallel with tests that measure time.
func TestEvaluationsThatDoNotEndKeepNoSlot(t *testing.T) {
	set := compiled(t, policyWith("corp", endless), policyWith("plain", `deny contains {"message": "no"}`))
	await := func(stuck int) {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		for int(set.custom["corp"].stuck.Load()) != stuck {
			if ctx.Err() != nil {
				t.Fatalf("%d evaluations do not end, want %d", set.custom["corp"].stuck.Load(), stuck)
			}
			time.Sleep(time.Millisecond)
		}
	}
	defer await(0)
	ask := func(policy string) policies.Answer { return set.Evaluate(t.Context(), service(t), applied(policy))[1] }
	for n := range maxStuck {
		if answer := ask("corp"); answer.Err == nil {
			t.Fatalf("evaluation %d ends: %+v", n, answer)
		}
		await(n + 1)
	}
	const want = "the evaluation was not started: 2 former evaluations of this policy do not end"
	if got := fmt.Sprint(ask("corp").Err); got != want {
		t.Errorf("a third evaluation gives %q, want %q", got, want)
	}
	if answer := ask("plain"); answer.Err != nil || len(answer.Deny) != 1 {
		t.Errorf("another policy denies %v, with the fault %v", answer.Deny, answer.Err)
	}
}
