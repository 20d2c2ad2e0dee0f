package bundle

import (
	"context"
	"fmt"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/sourceward/sourceward/policies"
)

// worker evaluates the modules of policies for one document, one policy after the other. What it keeps from one policy
// to the next takes a third of the time of a small one: a goroutine whose stack has grown, and the input with what OPA
// has converted of it.
type worker struct {
	document policies.Document
	// calls is what the goroutine calls next; nil if there is no goroutine.
	calls chan func()
	// input is that of a policy without parameters; nil if none has needed it since the goroutine began.
	input ast.Value
}

// evaluate evaluates the modules of one policy of a set.
func (w *worker) evaluate(ctx context.Context, s *Set, policy policies.AppliedPolicy) (answer policies.Answer) {
	defer func() {
		if p := recover(); p != nil { // where Evaluate has begun a goroutine, it would end the process
			answer = policies.Answer{Err: fmt.Errorf("the evaluation panicked: %s", panicText(p))}
		}
	}()
	return s.custom[policy.Name].evaluateInTime(ctx, w, s.slots, policy.Parameters)
}

// inputWith returns input for a policy with the given parameters.
func (w *worker) inputWith(parameters map[string]any) ast.Value {
	if len(parameters) > 0 {
		return inputOf(w.document, parameters)
	}
	if w.input == nil {
		w.input = inputOf(w.document, nil)
	}
	return w.input
}

// run calls f in another goroutine, after what that was given before. It does not wait for f.
func (w *worker) run(f func()) {
	if w.calls == nil {
		w.calls = make(chan func(), 1)
		go func(calls <-chan func()) {
			growStack(0)
			for call := range calls {
				call()
			}
		}(w.calls)
	}
	w.calls <- f
}

// end makes the goroutine end after what it is doing now, which may never be. The next run begins a new one, with a new
// input: OPA adds to an input what it converts, also if it is stopped on the way.
func (w *worker) end() {
	if w.calls != nil {
		close(w.calls)
	}
	w.calls, w.input = nil, nil
}

// growStack makes the stack of a new goroutine as large as most evaluations need, at once. To double it several times
// on the way takes a quarter of the time of an evaluation.
//
//go:noinline
func growStack(n int) byte {
	var frame [60 << 10]byte
	return frame[n]
}
