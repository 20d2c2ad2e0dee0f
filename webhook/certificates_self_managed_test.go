package webhook

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"
	"github.com/google/go-cmp/cmp"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/fake"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
	clienttesting "k8s.io/client-go/testing"
	"sigs.k8s.io/controller-runtime/pkg/manager"
)

// TestSelfManaged runs a replica for weeks on the fake clock of a synctest bubble. No other test shows that
// everything happens in time and without a handshake. During the long waits the machine is suspended, and timers do
// not advance.
func TestSelfManaged(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		client := fake.NewClientset()
		var asleep atomic.Int64 // nanoseconds
		now := func() time.Time { return time.Now().Add(time.Duration(asleep.Load())) }
		ca := &fakeAuthority{t: t, secrets: client.CoreV1().Secrets("ns"), now: now}
		s := startSelfManaged(t, client, ca, logr.Discard())
		after := func(d time.Duration) {
			time.Sleep(d) // on the clock of the bubble
			synctest.Wait()
		}
		sleep := func(d time.Duration) {
			asleep.Add(int64(d))
			after(time.Minute) // the longest that keep waits
		}
		ready := func(want bool) {
			t.Helper()
			if err := s.Ready(nil); (err == nil) != want {
				t.Errorf("Ready() = %v, want ready: %t", err, want)
			}
		}
		// serving returns the leaf that is served. It must be signed by the CA with this serial.
		serving := func(serial int) *x509.Certificate {
			t.Helper()
			got, err := s.GetCertificate(nil)
			if err != nil {
				t.Fatal(err)
			}
			if err := got.Leaf.CheckSignatureFrom(ca.cas[serial-1]); err != nil {
				t.Errorf("the leaf that is served is not signed by CA %d: %v", serial, err)
			}
			if !got.Leaf.NotAfter.Equal(s.NotAfter()) {
				t.Errorf("NotAfter() = %v, want that of the leaf, %v", s.NotAfter(), got.Leaf.NotAfter)
			}
			return got.Leaf
		}
		// trusted checks that every webhook trusts the CAs with these serials, in this order.
		trusted := func(want ...int64) {
			t.Helper()
			for _, c := range s.options.Configurations.all {
				state, err := c.read()
				if err != nil {
					t.Fatal(err)
				}
				for _, w := range state.webhooks {
					var got []int64
					for _, ca := range w.cas {
						got = append(got, ca.SerialNumber.Int64())
					}
					if diff := cmp.Diff(want, got); diff != "" {
						t.Errorf("caBundle of %s %s mismatch (-want +got):\n%s", c.kind, w.name, diff)
					}
				}
			}
		}

		after(time.Second)
		if _, err := s.GetCertificate(nil); err == nil || !s.NotAfter().IsZero() {
			t.Error("a certificate is served before there is a CA")
		}
		ready(false)

		// Without a configuration no API server calls, so the replica may be ready.
		ca.rotate()
		ca.learn()
		after(0)
		original := serving(1)
		ready(true)

		mutating, validating := webhookConfigurations()
		mutatingClient := client.AdmissionregistrationV1().MutatingWebhookConfigurations()
		validatingClient := client.AdmissionregistrationV1().ValidatingWebhookConfigurations()
		create := func() {
			if _, err := mutatingClient.Create(t.Context(), mutating, metav1.CreateOptions{}); err != nil {
				t.Fatal(err)
			}
			if _, err := validatingClient.Create(t.Context(), validating, metav1.CreateOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		create()
		after(time.Second)
		trusted(1)
		ready(true)

		// Renewal.
		sleep(leafLife/3*2 - time.Hour)
		if serving(1) != original {
			t.Error("the leaf is renewed too early")
		}
		sleep(time.Hour)
		if serving(1) == original {
			t.Error("the leaf is not renewed after two thirds of its life")
		}

		// Rotation.
		ca.rotate()
		ca.learn()
		after(time.Second)
		trusted(2, 1)
		after(caGrace - 2*time.Second)
		serving(1)
		after(3 * time.Second)
		serving(2)

		// A configuration that is created again in the middle of a rotation.
		ca.rotate()
		ca.learn()
		after(caGrace - time.Second)
		if err := mutatingClient.Delete(t.Context(), "m", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		if err := validatingClient.Delete(t.Context(), "v", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		create()
		after(caGrace - time.Second)
		trusted(3, 2)
		serving(2)
		after(3 * time.Second)
		serving(3)
		ready(true)

		// The authority has not seen the CA in the Secret yet when it signs.
		ca.rotate()
		former := serving(3)
		sleep(leafLife / 3 * 2)
		if serving(3) != former {
			t.Error("a leaf is served whose CA is no longer in the Secret")
		}
		trusted(3, 2)
		ca.learn()
		after(caGrace + 2*time.Second)
		serving(4)
		trusted(4, 3, 2)

		sleep(caRetention)
		trusted(4)
		serving(4)
		if left := s.NotAfter().Sub(now()); left < leafLife-time.Minute {
			t.Errorf("the leaf expires in %s: it has not been renewed", left)
		}
	})
}

// TestAnnounceAfterAConflict has another replica write caBundle after this one has read it and before its patch.
func TestAnnounceAfterAConflict(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		client := fake.NewClientset()
		ca := &fakeAuthority{t: t, secrets: client.CoreV1().Secrets("ns"), now: time.Now}
		theirs := newCA(t, newKey(t), caCommonName, 100, time.Now())
		mutating, _ := webhookConfigurations()
		mutating.ResourceVersion = "1"
		if err := client.Tracker().Add(mutating.DeepCopy()); err != nil {
			t.Fatal(err)
		}
		client.PrependReactor(
			"patch",
			"mutatingwebhookconfigurations",
			func(action clienttesting.Action) (bool, runtime.Object, error) {
				if bytes.Contains(action.(clienttesting.PatchAction).GetPatch(), []byte(`"resourceVersion":"2"`)) {
					return false, nil, nil
				}
				resource := admissionregistrationv1.SchemeGroupVersion.WithResource("mutatingwebhookconfigurations")
				if mutating.ResourceVersion == "1" {
					mutating.ResourceVersion = "2"
					mutating.Webhooks[0].ClientConfig.CABundle = encodeBundle([]*x509.Certificate{theirs})
					if err := client.Tracker().Update(resource, mutating, ""); err != nil {
						t.Error(err)
					}
				}
				return true, nil, apierrors.NewConflict(resource.GroupResource(), "m", nil)
			},
		)
		log := funcr.New(func(_, line string) {
			if strings.Contains(line, `"error"=`) {
				t.Errorf("a conflict is logged as an error: %s", line)
			}
		}, funcr.Options{})
		s := startSelfManaged(t, client, ca, log)
		ca.rotate()
		ca.learn()
		time.Sleep(time.Second)
		synctest.Wait()

		state, err := s.options.Configurations.all[0].read()
		if err != nil {
			t.Fatal(err)
		}
		if !state.includes(theirs) || !state.includes(ca.cas[0]) {
			t.Error("caBundle lacks one of the two CAs that were written at the same time")
		}
	})
}

func TestReady(t *testing.T) {
	t.Parallel()
	l := &leaf{certificate: &tls.Certificate{Leaf: &x509.Certificate{NotAfter: epoch}}}
	tests := map[string]struct {
		served    *leaf
		announced bool
		now       time.Time
		want      string // part of the error; empty if the replica is ready
	}{
		"a replica without a leaf is not ready": {
			announced: true,
			now:       epoch,
			want:      "no serving certificate yet",
		},
		"a replica whose CA was never in caBundle is not ready": {served: l, now: epoch, want: "not in the caBundle"},
		"a replica is ready until the last second of its leaf":  {served: l, announced: true, now: epoch},
		"a replica whose leaf has expired is not ready": {
			served:    l,
			announced: true,
			now:       epoch.Add(time.Second),
			want:      "expired at 2027-01-01T00:00:00Z",
		},
	}
	for sentence, tt := range tests {
		t.Run(sentence, func(t *testing.T) {
			t.Parallel()
			s := &SelfManaged{now: func() time.Time { return tt.now }}
			s.served.Store(tt.served)
			s.announced.Store(tt.announced)
			got := ""
			if err := s.Ready(nil); err != nil {
				got = err.Error()
			}
			if (got == "") != (tt.want == "") || !strings.Contains(got, tt.want) {
				t.Errorf("Ready() = %q, want %q", got, tt.want)
			}
		})
	}
}

func TestNewSelfManaged(t *testing.T) {
	t.Parallel()
	tests := map[string]func(*SelfManagedOptions){
		"no API server":     func(o *SelfManagedOptions) { o.Config = nil },
		"no namespace":      func(o *SelfManagedOptions) { o.SecretNamespace = "" },
		"no Secret":         func(o *SelfManagedOptions) { o.SecretName = "" },
		"no DNS name":       func(o *SelfManagedOptions) { o.DNSNames = nil },
		"no configurations": func(o *SelfManagedOptions) { o.Configurations = nil },
	}
	if _, err := NewSelfManaged(selfManagedOptions(fake.NewClientset())); err != nil {
		t.Errorf("NewSelfManaged() = %v", err)
	}
	for sentence, tweak := range tests {
		t.Run(sentence, func(t *testing.T) {
			t.Parallel()
			options := selfManagedOptions(fake.NewClientset())
			tweak(&options)
			if _, err := NewSelfManaged(options); err == nil {
				t.Error("NewSelfManaged() = nil, want an error")
			}
		})
	}
}

// selfManagedOptions returns options whose configurations are read from client.
func selfManagedOptions(client kubernetes.Interface) SelfManagedOptions {
	return SelfManagedOptions{
		Config: &rest.Config{Host: "https://localhost:1"}, SecretNamespace: "ns", SecretName: "ca",
		DNSNames:       []string{"localhost"},
		Configurations: newConfigurations(client, "m", "v", NewWatches(logr.Discard())),
	}
}

// startSelfManaged starts a replica that reads and writes client and whose CA is ca. It stops when the test ends.
func startSelfManaged(t *testing.T, client kubernetes.Interface, ca *fakeAuthority, log logr.Logger) *SelfManaged {
	t.Helper()
	options := selfManagedOptions(client)
	options.Log = log
	s, err := NewSelfManaged(options)
	if err != nil {
		t.Fatal(err)
	}
	s.client, s.authority, s.now = client, ca, ca.now
	ended := make(chan error)
	for _, part := range []manager.Runnable{options.Configurations, s} {
		go func() { ended <- part.Start(t.Context()) }()
	}
	synctest.Wait()
	t.Cleanup(func() {
		for range 2 {
			if err := <-ended; err != nil {
				t.Errorf("Start() = %v", err)
			}
		}
	})
	return s
}

func webhookConfigurations() (
	*admissionregistrationv1.MutatingWebhookConfiguration, *admissionregistrationv1.ValidatingWebhookConfiguration,
) {
	return &admissionregistrationv1.MutatingWebhookConfiguration{
			ObjectMeta: metav1.ObjectMeta{Name: "m"},
			Webhooks:   []admissionregistrationv1.MutatingWebhook{{Name: "a"}},
		}, &admissionregistrationv1.ValidatingWebhookConfiguration{
			ObjectMeta: metav1.ObjectMeta{Name: "v"},
			Webhooks:   []admissionregistrationv1.ValidatingWebhook{{Name: "a"}, {Name: "b"}},
		}
}

// fakeAuthority creates a CA when rotate is called, and signs with it once learn is called.
type fakeAuthority struct {
	t       *testing.T
	secrets corev1client.SecretInterface
	now     func() time.Time

	cas     []*x509.Certificate // all CAs so far, with their keys
	keys    []*ecdsa.PrivateKey
	known   int // index of the CA that signs
	watcher chan<- struct{}
}

func (f *fakeAuthority) Run(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

func (f *fakeAuthority) WatchRotation(watcher chan<- struct{}) { f.watcher = watcher }

func (f *fakeAuthority) Sign(template *x509.Certificate) (*x509.Certificate, error) {
	template.SerialNumber = big.NewInt(1)
	template.NotBefore, template.NotAfter = f.now(), f.now().Add(leafLife)
	raw, err := x509.CreateCertificate(rand.Reader, template, f.cas[f.known], template.PublicKey, f.keys[f.known])
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(raw)
}

// rotate puts a new CA into the Secret.
func (f *fakeAuthority) rotate() {
	f.t.Helper()
	key := newKey(f.t)
	ca := newCA(f.t, key, caCommonName, int64(len(f.cas)+1), f.now())
	f.cas, f.keys = append(f.cas, ca), append(f.keys, key)
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "ca", Namespace: "ns"},
		Data:       map[string][]byte{corev1.TLSCertKey: encodeBundle([]*x509.Certificate{ca})},
	}
	write := f.secrets.Update
	if len(f.cas) == 1 {
		write = func(ctx context.Context, secret *corev1.Secret, _ metav1.UpdateOptions) (*corev1.Secret, error) {
			return f.secrets.Create(ctx, secret, metav1.CreateOptions{})
		}
	}
	if _, err := write(f.t.Context(), secret, metav1.UpdateOptions{}); err != nil {
		f.t.Fatal(err)
	}
}

// learn makes the authority sign with the CA that is in the Secret, and notify its watcher.
func (f *fakeAuthority) learn() {
	f.known = len(f.cas) - 1
	f.watcher <- struct{}{}
}
