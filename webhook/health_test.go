package webhook

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes/fake"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	clienttesting "k8s.io/client-go/testing"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sourceward/sourceward/api/v1alpha1"
)

var (
	errForbidden = apierrors.NewForbidden(schema.GroupResource{Resource: "services"}, "", errors.New("no binding"))
	errRefused   = fmt.Errorf("dial: %w", syscall.ECONNREFUSED)
	errExpired   = apierrors.NewResourceExpired("too old resource version")
)

// fakeAPIServer answers the requests of an informer for Services. It refuses streaming lists, as servers without them
// do.
type fakeAPIServer struct {
	mu       sync.Mutex
	err      error // of lists and watches; nil if they succeed
	hangs    bool  // requests get no answer
	requests []string
	watch    *watch.FakeWatcher // the open watch
}

func (f *fakeAPIServer) set(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err = err
	if err != nil && f.watch != nil {
		f.watch.Stop()
	}
}

// answer records a request and returns its error.
func (f *fakeAPIServer) answer(ctx context.Context, request string) error {
	f.mu.Lock()
	f.requests = append(f.requests, request)
	hangs, err := f.hangs, f.err
	f.mu.Unlock()
	if hangs {
		<-ctx.Done()
		return ctx.Err()
	}
	return err
}

func (f *fakeAPIServer) listWatch() *toolscache.ListWatch {
	return &toolscache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
			if err := f.answer(ctx, "list "+options.ResourceVersion); err != nil {
				return nil, err
			}
			return &corev1.ServiceList{ListMeta: metav1.ListMeta{ResourceVersion: "7"}}, nil
		},
		WatchFuncWithContext: func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
			if options.SendInitialEvents != nil {
				if err := f.answer(ctx, "stream"); err != nil {
					return nil, err
				}
				return nil, apierrors.NewInvalid(schema.GroupKind{Kind: "ListOptions"}, "", nil)
			}
			if err := f.answer(ctx, "watch "+options.ResourceVersion); err != nil {
				return nil, err
			}
			f.mu.Lock()
			defer f.mu.Unlock()
			f.watch = watch.NewFake()
			return f.watch, nil
		},
	}
}

// watchTest is an informer for Services whose watch is observed, in a synctest bubble.
type watchTest struct {
	*testing.T
	server  *fakeAPIServer
	watches *Watches
	log     []string
}

func (t *watchTest) start(needed bool) {
	t.Helper()
	var mu sync.Mutex
	t.watches = NewWatches(funcr.New(func(_, line string) {
		mu.Lock()
		defer mu.Unlock()
		t.log = append(t.log, line)
	}, funcr.Options{}))
	informer := toolscache.NewSharedIndexInformer(
		t.watches.observe("Service", needed, t.server.listWatch()), &corev1.Service{}, 0, toolscache.Indexers{})
	err := informer.SetWatchErrorHandlerWithContext(func(context.Context, *toolscache.Reflector, error) {})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		informer.RunWithContext(t.Context())
	}()
	t.Cleanup(func() { <-done })
	synctest.Wait()
}

func (t *watchTest) after(d time.Duration) {
	time.Sleep(d) // on the clock of the bubble
	synctest.Wait()
}

// down checks the metric, and the text of the error of Ready: none if want is empty.
func (t *watchTest) down(want time.Duration, ready string) {
	t.Helper()
	if got := testutil.ToFloat64(t.watches); got != want.Seconds() {
		t.Errorf("sourceward_watch_down_seconds = %v, want %v", got, want.Seconds())
	}
	got := ""
	if err := t.watches.Ready(nil); err != nil {
		got = err.Error()
	}
	if diff := cmp.Diff(ready, got); diff != "" {
		t.Errorf("Ready() mismatch (-want +got):\n%s", diff)
	}
}

// bubble runs a test of an informer on a fake clock.
func bubble(t *testing.T, test func(*watchTest)) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) { test(&watchTest{T: t, server: &fakeAPIServer{}}) })
}

// TestWatches breaks the watch for a minute.
func TestWatches(t *testing.T) {
	bubble(t, func(t *watchTest) {
		t.start(true)
		t.down(0, "")
		if want := []string{"stream", "list 0", "watch 7"}; !slices.Equal(t.server.requests, want) {
			t.Errorf("requests are %q, want %q", t.server.requests, want)
		}
		t.after(time.Hour)
		t.down(0, "")

		t.server.set(errForbidden)
		t.after(29 * time.Second)
		t.down(29*time.Second, "")
		t.after(time.Second)
		const text = `services is forbidden: no binding`
		t.down(30*time.Second, "Service not listed or watched for 30s: "+text)
		t.after(30 * time.Second)
		t.down(time.Minute, "Service not listed or watched for 1m0s: "+text)

		before := len(t.server.requests)
		t.server.set(nil)
		t.after(8 * time.Second)
		t.down(0, "")
		if got := t.server.requests[before:]; !slices.Equal(got, []string{"watch 7"}) {
			t.Errorf("requests after the repair are %q, want one watch", got)
		}

		if len(t.log) != 2 || !strings.Contains(t.log[0], text) || !strings.Contains(t.log[1], "again") {
			t.Errorf("logged %q, want one line for each change", t.log)
		}
	})
}

// TestWatchesRetry makes all requests of an informer fail for ten minutes, after which its own pause would be up to a
// minute.
func TestWatchesRetry(t *testing.T) {
	for name, err := range map[string]error{
		"connection refused":  errRefused,
		"no permission":       errForbidden,
		"too many requests":   apierrors.NewTooManyRequests("busy", 0),
		"internal error":      apierrors.NewInternalError(errors.New("etcd")),
		"resource not served": apierrors.NewNotFound(schema.GroupResource{Resource: "services"}, ""),
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *watchTest) {
				t.server.set(err)
				t.start(true)
				t.after(10 * time.Minute)
				before := len(t.server.requests)
				t.after(time.Minute)
				if got := len(t.server.requests) - before; got < 8 || got > 12 {
					t.Errorf("%d requests in a minute, want one every 5 to 7.5 s", got)
				}
				t.server.set(nil)
				t.after(8 * time.Second)
				t.down(0, "")
			})
		})
	}
}

// TestWatchesLeaveToTheInformer has errors after which an informer makes another request. It must get them at once.
func TestWatchesLeaveToTheInformer(t *testing.T) {
	bubble(t, func(t *watchTest) {
		t.start(true)
		t.after(time.Minute)
		before := len(t.server.requests)
		t.server.set(errExpired)
		synctest.Wait()
		t.server.set(nil)
		t.after(2 * time.Second)
		t.down(0, "")
		want := []string{"watch 7", "stream", "list 7", "watch 7"}
		if diff := cmp.Diff(want, t.server.requests[before:]); diff != "" {
			t.Errorf("requests mismatch (-want +got):\n%s", diff)
		}
		if t.log != nil {
			t.Errorf("logged %q, though the informer continued", t.log)
		}
	})
}

// TestWatchesHang has requests that get no answer, which is the state of a replica without a network as well.
func TestWatchesHang(t *testing.T) {
	bubble(t, func(t *watchTest) {
		t.server.hangs = true
		t.start(true)
		t.after(31 * time.Second)
		t.down(31*time.Second, "Service not listed or watched for 31s: the API server has not answered")
	})
}

// TestWatchesNotNeeded has a kind without which a replica serves.
func TestWatchesNotNeeded(t *testing.T) {
	bubble(t, func(t *watchTest) {
		t.server.set(errForbidden)
		t.start(false)
		t.after(time.Hour)
		t.down(time.Hour, "")
		t.watches.forget("Service")
		if got := testutil.CollectAndCount(t.watches); got != 0 {
			t.Errorf("%d series, though no kind is watched", got)
		}
	})
}

// TestWatchesLogEachReason has a first error that does not say what is wrong.
func TestWatchesLogEachReason(t *testing.T) {
	bubble(t, func(t *watchTest) {
		t.start(true)
		t.after(time.Minute)
		for _, err := range []error{errRefused, errForbidden, nil} {
			t.server.set(err)
			t.after(time.Minute)
		}
		if len(t.log) != 3 {
			t.Errorf("logged %q, want both errors and the end", t.log)
		}
	})
}

// TestKindOf checks that metrics call a kind by the same name, and that readiness depends on exactly the kinds that
// every cluster serves.
func TestKindOf(t *testing.T) {
	t.Parallel()
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		t.Fatal(err)
	}
	all := append(kinds(), &watched{kind: "SourceIPPolicy", name: "SourceIPPolicy", object: &v1alpha1.SourceIPPolicy{}})
	for _, w := range all {
		objects := []client.Object{w.object}
		if w.versions != nil {
			objects = nil
			for _, version := range w.versions {
				object := &unstructured.Unstructured{}
				object.SetGroupVersionKind(version.WithKind(w.kind))
				objects = append(objects, object)
			}
		}
		for _, object := range objects {
			name, isCustom := kindOf(object, scheme)
			if name != w.name || isCustom != (w.versions != nil) {
				t.Errorf("kindOf() = %s, %t; want %s, %t", name, isCustom, w.name, w.versions != nil)
			}
		}
	}
}

// TestConfigurations checks the metrics of configurations that are created and deleted, and that cannot be read.
func TestConfigurations(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		mutating, validating := webhookConfigurations()
		// One of the three webhooks trusts the certificate.
		key := newKey(t)
		ca, other := newCA(t, key, "ours", 1, time.Now()), newCA(t, key, "theirs", 2, time.Now())
		for i, trusted := range []*x509.Certificate{ca, other} {
			validating.Webhooks[i].ClientConfig = calledWebhook(encodeBundle([]*x509.Certificate{trusted}))
		}
		mutating.Webhooks[0].ClientConfig = validating.Webhooks[1].ClientConfig
		serving := &FileCertificates{}
		serving.served.Store(newServing(t, ca, key, time.Now()))
		clientset := fake.NewClientset(validating)
		forbidden := true
		clientset.PrependReactor("list", "mutatingwebhookconfigurations",
			func(clienttesting.Action) (bool, runtime.Object, error) { return forbidden, nil, errForbidden })
		registry := prometheus.NewPedanticRegistry()
		metrics, err := NewMetrics(registry)
		if err != nil {
			t.Fatal(err)
		}
		watches := NewWatches(logr.Discard())
		c := newConfigurations(clientset, "m", "v", watches)
		if err := c.observe(metrics, serving); err != nil {
			t.Fatal(err)
		}
		ended := make(chan error)
		go func() { ended <- c.Start(t.Context()) }()
		t.Cleanup(func() {
			if err := <-ended; err != nil {
				t.Errorf("Start() = %v", err)
			}
		})
		// expect compares the numbers of webhooks, and of those among them that do not trust the certificate.
		expect := func(mutating, untrustingMutating, validating, untrustingValidating string) {
			t.Helper()
			synctest.Wait()
			const all, some = "sourceward_webhook_configuration_webhooks", "sourceward_webhook_configuration_untrusting_webhooks"
			want := fmt.Sprintf(`
# HELP %[1]s Webhooks whose caBundle is empty or does not verify the serving certificate; NaN until both are known.
# TYPE %[1]s gauge
%[1]s{kind="MutatingWebhookConfiguration",name="m"} %[5]s
%[1]s{kind="ValidatingWebhookConfiguration",name="v"} %[6]s
# HELP %[2]s Webhooks in each of our webhook configurations; 0 if it does not exist, NaN until it has been read.
# TYPE %[2]s gauge
%[2]s{kind="MutatingWebhookConfiguration",name="m"} %[3]s
%[2]s{kind="ValidatingWebhookConfiguration",name="v"} %[4]s
`, some, all, mutating, validating, untrustingMutating, untrustingValidating)
			if err := testutil.GatherAndCompare(registry, strings.NewReader(want), all, some); err != nil {
				t.Error(err)
			}
		}
		time.Sleep(time.Minute)
		expect("NaN", "NaN", "2", "1")
		if err := watches.Ready(nil); err != nil {
			t.Errorf("Ready() = %v, though a replica answers without its configurations", err)
		}
		forbidden = false
		time.Sleep(time.Minute)
		expect("0", "0", "2", "1")

		client := clientset.AdmissionregistrationV1()
		_, err = client.MutatingWebhookConfigurations().Create(t.Context(), mutating, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		err = client.ValidatingWebhookConfigurations().Delete(t.Context(), "v", metav1.DeleteOptions{})
		if err != nil {
			t.Fatal(err)
		}
		expect("1", "1", "0", "0")

		mutating.Webhooks[0].ClientConfig = calledWebhook(encodeBundle([]*x509.Certificate{ca}))
		_, err = client.MutatingWebhookConfigurations().Update(t.Context(), mutating, metav1.UpdateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		expect("1", "0", "0", "0")
		mutating.Webhooks[0].ClientConfig.CABundle = nil
		_, err = client.MutatingWebhookConfigurations().Update(t.Context(), mutating, metav1.UpdateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		expect("1", "1", "0", "0")
	})
}
