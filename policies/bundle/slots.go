package bundle

import (
	"cmp"
	"context"
	"runtime"
	"slices"
	"sync"
	"time"
)

// slots bounds how many evaluations of policies run at the same time, and shares them fairly between Namespaces. An
// evaluation waits while all slots are taken. The next free slot goes to the Namespace that has used the least time, so
// one whose objects are slow to evaluate does not delay the others by more than the evaluations that are running,
// however many objects it has.
//
// This is start-time fair queuing (Goyal, Vin and Cheng, SIGCOMM 1996). Each evaluation has a start in a virtual time:
// the present, or the end of the former evaluation of its Namespace if that is later. The earliest start goes first,
// and becomes the present.
type slots struct {
	mutex sync.Mutex
	all   int
	free  int
	// now is the present in virtual time. ends holds the end of the last evaluation of each Namespace.
	now  time.Duration
	ends map[string]time.Duration
	// waiting holds those without a slot, in the order in which they came.
	waiting []*waiter
}

// waiter is an evaluation that waits for a slot.
type waiter struct {
	namespace string
	// granted is closed when the waiter is given a slot.
	granted chan struct{}
}

// newSlots returns one slot for each CPU that this process can use.
func newSlots() *slots {
	n := runtime.GOMAXPROCS(0)
	return &slots{all: n, free: n, ends: map[string]time.Duration{}}
}

// take waits for a slot for an evaluation of an object in a Namespace, and reports whether there was one before ctx
// ended. The evaluation is taken to last for EvaluationTimeout, until release says how long it did.
func (s *slots) take(ctx context.Context, namespace string) bool {
	w := &waiter{namespace: namespace, granted: make(chan struct{})}
	s.mutex.Lock()
	if s.free > 0 {
		s.free--
		s.grant(w)
	} else {
		s.waiting = append(s.waiting, w)
	}
	s.mutex.Unlock()
	select {
	case <-w.granted:
		return true
	case <-ctx.Done():
	}
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if i := slices.Index(s.waiting, w); i >= 0 {
		s.waiting = slices.Delete(s.waiting, i, i+1)
		return false
	}
	return true // granted at the same moment
}

// release gives a slot to the next evaluation. unused is EvaluationTimeout less what the former one took, which may be
// less than 0.
func (s *slots) release(namespace string, unused time.Duration) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.ends[namespace] -= unused
	if len(s.waiting) > 0 {
		first := slices.MinFunc(s.waiting, func(a, b *waiter) int { return cmp.Compare(s.start(a), s.start(b)) })
		s.waiting = slices.DeleteFunc(s.waiting, func(w *waiter) bool { return w == first })
		s.grant(first)
		return
	}
	s.free++
	if s.free == s.all { // Nobody has to be fair to anybody.
		s.now = 0
		clear(s.ends)
	}
}

func (s *slots) start(w *waiter) time.Duration { return max(s.now, s.ends[w.namespace]) }

func (s *slots) grant(w *waiter) {
	s.now = s.start(w)
	s.ends[w.namespace] = s.now + EvaluationTimeout
	close(w.granted)
}
