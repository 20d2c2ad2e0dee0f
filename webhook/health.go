package webhook

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	toolscache "k8s.io/client-go/tools/cache"
)

// watchPatience is how long a replica stays ready while it can neither list nor watch a kind that it needs.
const watchPatience = 30 * time.Second

// watchRetry is the pause between two attempts to list or watch a kind. It ends at 5 to 7.5 seconds. The pause of an
// informer cannot be configured, and grows to a minute. A replica would then stay out of service for a minute after
// the API server has answered others again.
var watchRetry = wait.Backoff{Duration: time.Second, Factor: 2, Jitter: 0.5, Steps: 4, Cap: 5 * time.Second}

// Watches reports for how long the objects of each kind have been neither listed nor watched. Decisions about a kind
// that is not watched use objects that may have changed.
//
// Watches makes the requests of informers, because an informer reports only some failures, and never that it works
// again. A watch counts from the moment in which the API server opens it. A connection on which the API server has
// become silent counts until client-go closes it, after 45 seconds. The informer of the Secret of the CA is not
// observed: cert-manager's authority creates it.
type Watches struct {
	log logr.Logger

	mu     sync.Mutex
	byKind map[string]*watchState
}

// watchState is the state of the watch of one kind.
type watchState struct {
	kind string
	// needed is true if a replica is not ready without the objects of this kind.
	needed bool
	log    logr.Logger

	mu sync.Mutex
	// since is when objects were last listed or watched, or when the first attempt began; zero while they are watched.
	since time.Time
	// err is the result of the last attempt after since; nil if none has returned yet.
	err error
	// logged is the last error after since that was logged; nil if none was.
	logged error
}

// NewWatches returns Watches without a kind.
func NewWatches(log logr.Logger) *Watches {
	return &Watches{log: log, byKind: map[string]*watchState{}}
}

// observe returns a ListWatch for an informer, which makes the requests of lw and tries again when they fail. needed
// says whether a replica is not ready without the objects of this kind.
func (w *Watches) observe(kind string, needed bool, lw toolscache.ListerWatcher) *toolscache.ListWatch {
	state := &watchState{kind: kind, needed: needed, log: w.log}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.byKind[kind] = state
	inner := toolscache.ToListerWatcherWithContext(lw)
	return &toolscache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
			return attempt(ctx, state, options, inner.ListWithContext)
		},
		WatchFuncWithContext: func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
			stream, err := attempt(ctx, state, options, inner.WatchWithContext)
			if err != nil {
				return nil, err
			}
			return &observedWatch{stream, state}, nil
		},
	}
}

// forget removes a kind that is no longer watched.
func (w *Watches) forget(kind string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.byKind, kind)
}

// states returns the state of each kind, sorted by kind.
func (w *Watches) states() []*watchState {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.SortedFunc(maps.Values(w.byKind), func(a, b *watchState) int { return strings.Compare(a.kind, b.kind) })
}

// Ready is a healthz.Checker. The error is non-nil if the replica has neither listed nor watched a kind that it needs
// for 30 seconds. It has the last error of an attempt.
//
// It does not count custom kinds, because one that cannot be listed must not keep a replica from serving, nor the
// webhook configurations, because no decision depends on them.
func (w *Watches) Ready(*http.Request) error {
	var kinds []string
	var longest time.Duration
	var last error
	for _, state := range w.states() {
		down, err := state.down()
		if !state.needed || down < watchPatience {
			continue
		}
		kinds = append(kinds, state.kind)
		if down > longest {
			longest, last = down, err
		}
	}
	if kinds == nil {
		return nil
	}
	if last == nil {
		last = errors.New("the API server has not answered")
	}
	return fmt.Errorf("%s not listed or watched for %s: %w",
		strings.Join(kinds, ", "), longest.Truncate(time.Second), last)
}

// watchDown is the metric of Watches.
var watchDown = prometheus.NewDesc("sourceward_watch_down_seconds",
	"Time for which objects have been neither listed nor watched, by kind; 0 while they are watched.",
	[]string{"kind"}, nil)

// Describe implements prometheus.Collector.
func (w *Watches) Describe(descriptions chan<- *prometheus.Desc) { descriptions <- watchDown }

// Collect implements prometheus.Collector.
func (w *Watches) Collect(metrics chan<- prometheus.Metric) {
	for _, state := range w.states() {
		down, _ := state.down()
		metrics <- prometheus.MustNewConstMetric(watchDown, prometheus.GaugeValue, down.Seconds(), state.kind)
	}
}

// down returns for how long objects have been neither listed nor watched, and the result of the last attempt.
func (s *watchState) down() (time.Duration, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.since.IsZero() {
		return 0, nil
	}
	return time.Since(s.since), s.err
}

// begin notes that a watch has ended or that an attempt begins, unless one was noted before.
func (s *watchState) begin() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.since.IsZero() {
		s.since = time.Now()
	}
}

// succeed notes that objects are listed or watched again.
func (s *watchState) succeed() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.logged != nil {
		s.log.Info("listing and watching kind again", "kind", s.kind, "downSeconds", time.Since(s.since).Seconds())
	}
	s.since, s.err, s.logged = time.Time{}, nil, nil
}

// fail notes the error of an attempt. If the attempt is repeated, fail logs the error, unless the last one that it has
// logged since objects were last watched had the same reason. Informers log the errors that they receive.
func (s *watchState) fail(err error, repeated bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = err
	if repeated && (s.logged == nil || apierrors.ReasonForError(err) != apierrors.ReasonForError(s.logged)) {
		s.log.Error(err, "cannot list or watch kind; retrying", "kind", s.kind)
		s.logged = err
	}
}

// attempt makes a request until it succeeds, ctx ends, or the informer has to make another one.
func attempt[T any](
	ctx context.Context, state *watchState, options metav1.ListOptions,
	request func(context.Context, metav1.ListOptions) (T, error),
) (T, error) {
	state.begin()
	retry := watchRetry
	for {
		result, err := request(ctx, options)
		if err == nil {
			state.succeed()
			return result, nil
		}
		if ctx.Err() != nil {
			return result, err
		}
		repeated := worthRepeating(err, options)
		state.fail(err, repeated)
		if !repeated {
			return result, err
		}
		select {
		case <-ctx.Done():
			return result, err
		case <-time.After(retry.Step()):
		}
	}
}

// worthRepeating reports whether the same request may succeed later. If it returns false, the informer makes another
// request: with another resource version, or a list instead of a watch that begins with the existing objects. It makes
// that list without a pause, unless the API server refused the connection or asked for a pause.
func worthRepeating(err error, options metav1.ListOptions) bool {
	switch {
	case apierrors.IsResourceExpired(err), apierrors.IsGone(err),
		apierrors.HasStatusCause(err, metav1.CauseTypeResourceVersionTooLarge),
		apierrors.IsInvalid(err), apierrors.IsBadRequest(err):
		return false
	case options.SendInitialEvents != nil:
		return utilnet.IsConnectionRefused(err) || apierrors.IsTooManyRequests(err)
	default:
		return true
	}
}

// observedWatch is a watch whose end is noted. Informers stop each watch, also one that ended by itself.
type observedWatch struct {
	watch.Interface
	state *watchState
}

// Stop implements watch.Interface.
func (w *observedWatch) Stop() {
	w.Interface.Stop()
	w.state.begin()
}
