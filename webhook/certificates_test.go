package webhook

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
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
)

func TestSuccession(t *testing.T) {
	t.Parallel()
	key := newKey(t)
	first, second, third := newCA(
		t,
		key,
		caCommonName,
		1,
		epoch,
	), newCA(
		t,
		key,
		caCommonName,
		2,
		epoch.Add(day),
	), newCA(
		t,
		key,
		caCommonName,
		3,
		epoch.Add(2*day),
	)
	// A leaf is named by its CA and its birth.
	born := func(ca *x509.Certificate, at time.Duration) *leaf {
		return &leaf{
			ca:          ca,
			certificate: &tls.Certificate{Leaf: &x509.Certificate{NotBefore: epoch.Add(at), NotAfter: epoch.Add(at + leafLife)}},
		}
	}
	a, a2, b, b2, c := born(first, 0), born(first, 5*day), born(second, day), born(second, 6*day), born(third, 2*day)
	names := map[*leaf]string{a: "a", a2: "a2", b: "b", b2: "b2", c: "c", nil: ""}

	// One thing that happens at a time, and what is served from then on.
	type event struct {
		at      time.Duration
		offer   *leaf
		trusted bool // without offer
		want    *leaf
	}
	const s = time.Second
	tests := map[string][]event{
		"the first leaf is served at once": {
			{at: 0, trusted: true},
			{at: 0, offer: a, want: a},
		},
		"a leaf of the same CA is served at once": {
			{at: 0, offer: a, want: a},
			{at: 5 * day, offer: a2, want: a2},
		},
		"a leaf of a new CA waits until it is trusted, and for the grace": {
			{offer: a, want: a},
			{at: day, offer: b, want: a},
			{at: day + s, want: a},
			{at: day + 2*s, trusted: true, want: a},
			{at: day + 12*s - 1, trusted: true, want: a},
			{at: day + 12*s, trusted: true, want: b},
		},
		"a leaf of a CA that nobody trusts waits for days": {
			{offer: a, want: a},
			{at: day, offer: b, want: a},
			{at: 6 * day, want: a},
		},
		"a gap in the trust begins the grace again": {
			{offer: a, want: a},
			{at: day, offer: b, want: a},
			{at: day, trusted: true, want: a},
			{at: day + 9*s, want: a},
			{at: day + 11*s, trusted: true, want: a},
			{at: day + 20*s, trusted: true, want: a},
			{at: day + 21*s, trusted: true, want: b},
		},
		"an expired leaf gives way to one that nobody trusts yet": {
			{offer: a, want: a},
			{at: day, offer: b, want: a},
			{at: leafLife, want: a},
			{at: leafLife + s, want: b},
		},
		"an expired leaf gives way at once to a new one": {
			{offer: a, want: a},
			{at: leafLife + s, offer: b2, want: b2},
		},
		"a second rotation replaces the leaf that waits, and waits for its own trust": {
			{offer: a, want: a},
			{at: day, offer: b, want: a},
			{at: day, trusted: true, want: a},
			{at: day + 9*s, offer: c, want: a},
			{at: day + 10*s, trusted: true, want: a},
			{at: day + 19*s, trusted: true, want: a},
			{at: day + 20*s, trusted: true, want: c},
		},
		"a second rotation after the first is over waits as well": {
			{offer: a, want: a},
			{at: day, offer: b, want: a},
			{at: day, trusted: true, want: a},
			{at: day + 10*s, trusted: true, want: b},
			{at: 2 * day, offer: c, want: b},
			{at: 2 * day, want: b},
		},
		"a renewed leaf of a CA that waits keeps the grace that has passed": {
			{offer: a, want: a},
			{at: day, offer: b, want: a},
			{at: 6 * day, trusted: true, want: a},
			{at: 6*day + 9*s, offer: b2, want: a},
			{at: 6*day + 10*s, trusted: true, want: b2},
		},
		"the former CA comes back before its successor was served": {
			{offer: a, want: a},
			{at: day, offer: b, want: a},
			{at: day, trusted: true, want: a},
			{at: 5 * day, offer: a2, want: a2},
			{at: 6 * day, trusted: true, want: a2},
		},
		"a clock that was set back only makes the wait longer": {
			{offer: a, want: a},
			{at: day, offer: b, want: a},
			{at: day, trusted: true, want: a},
			{at: 0, trusted: true, want: a},
			{at: day + 10*s, trusted: true, want: b},
		},
	}
	for sentence, events := range tests {
		t.Run(sentence, func(t *testing.T) {
			t.Parallel()
			var got succession
			for i, e := range events {
				if e.offer != nil {
					got.offer(e.offer, epoch.Add(e.at))
				} else {
					got.advance(epoch.Add(e.at), e.trusted)
				}
				if got.served != e.want {
					t.Fatalf("after event %d leaf %q is served, want %q", i, names[got.served], names[e.want])
				}
			}
		})
	}
}

func TestRenewalDue(t *testing.T) {
	t.Parallel()
	key := newKey(t)
	first, second := newCA(t, key, caCommonName, 1, epoch), newCA(t, key, caCommonName, 2, epoch)
	born := func(ca *x509.Certificate, at time.Duration) *leaf {
		return &leaf{
			ca:          ca,
			certificate: &tls.Certificate{Leaf: &x509.Certificate{NotBefore: epoch.Add(at), NotAfter: epoch.Add(at + leafLife)}},
		}
	}
	tests := map[string]struct {
		succession succession
		at         time.Duration
		want       bool
	}{
		"without a leaf nothing is due": {at: 10 * day},
		"a leaf is renewed after two thirds": {
			succession: succession{served: born(first, 0)},
			at:         leafLife / 3 * 2,
			want:       true,
		},
		"a leaf is not renewed before": {
			succession: succession{served: born(first, 0)},
			at:         leafLife/3*2 - 1,
		},
		"a leaf that has a successor is not renewed": {
			succession: succession{served: born(first, 0), next: born(second, 5*day)},
			at:         6 * day,
		},
		"a leaf that has waited for too long is renewed as well": {
			succession: succession{served: born(first, 0), next: born(second, day)},
			at:         6 * day,
			want:       true,
		},
	}
	for sentence, tt := range tests {
		t.Run(sentence, func(t *testing.T) {
			t.Parallel()
			if got := tt.succession.renewalDue(epoch.Add(tt.at)); got != tt.want {
				t.Errorf("renewalDue() = %t, want %t", got, tt.want)
			}
		})
	}
}

// TestSelfManaged lives through weeks of a replica, on the fake clock of a bubble: only there does a test see that all of it
// happens in time and without a handshake. The long times pass while the machine sleeps, and its timers with it.
func TestSelfManaged(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		client := fake.NewClientset()
		var asleep atomic.Int64 // nanoseconds
		now := func() time.Time { return time.Now().Add(time.Duration(asleep.Load())) }
		ca := &fakeAuthority{t: t, secrets: client.CoreV1().Secrets("ns"), now: now}
		s := startSelfManaged(t, client, ca, logr.Discard())
		after := func(d time.Duration) {
			time.Sleep(d) // of the bubble, which has no clock but this
			synctest.Wait()
		}
		sleep := func(d time.Duration) {
			asleep.Add(int64(d))
			after(time.Minute) // the longest until it is noticed
		}
		ready := func(want bool) {
			t.Helper()
			if err := s.Ready(nil); (err == nil) != want {
				t.Errorf("Ready() = %v, want ready: %t", err, want)
			}
		}
		// serving returns the leaf that is served and holds it to be one of the CA with this serial.
		serving := func(serial int) *x509.Certificate {
			t.Helper()
			got, err := s.GetCertificate(nil)
			if err != nil {
				t.Fatal(err)
			}
			if err := got.Leaf.CheckSignatureFrom(ca.cas[serial-1]); err != nil {
				t.Errorf("what is served is no leaf of CA %d: %v", serial, err)
			}
			if !got.Leaf.NotAfter.Equal(s.NotAfter()) {
				t.Errorf("NotAfter() = %v, want that of the leaf, %v", s.NotAfter(), got.Leaf.NotAfter)
			}
			return got.Leaf
		}
		// trusted holds every webhook to trust the CAs with these serials, in this order.
		trusted := func(want ...int64) {
			t.Helper()
			for _, c := range s.configurations {
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

		// Nobody calls as long as there is no configuration, so that a replica may be ready.
		ca.rotate()
		ca.learn()
		after(0)
		original := serving(1)
		ready(true)

		mutating, validating := webhookConfigurations()
		create := func() {
			if _, err := client.AdmissionregistrationV1().MutatingWebhookConfigurations().Create(t.Context(), mutating, metav1.CreateOptions{}); err != nil {
				t.Fatal(err)
			}
			if _, err := client.AdmissionregistrationV1().ValidatingWebhookConfigurations().Create(t.Context(), validating, metav1.CreateOptions{}); err != nil {
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

		// A configuration that comes back in the middle of one.
		ca.rotate()
		ca.learn()
		after(caGrace - time.Second)
		if err := client.AdmissionregistrationV1().MutatingWebhookConfigurations().Delete(t.Context(), "m", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		if err := client.AdmissionregistrationV1().ValidatingWebhookConfigurations().Delete(t.Context(), "v", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		create()
		after(caGrace - time.Second)
		trusted(3, 2)
		serving(2)
		after(3 * time.Second)
		serving(3)
		ready(true)

		// The Secret has a CA of which the authority has not heard when it signs.
		ca.rotate()
		former := serving(3)
		sleep(leafLife / 3 * 2)
		if serving(3) != former {
			t.Error("a leaf is taken into use whose CA is no longer in the Secret")
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
			t.Errorf("%s are left of the leaf's life: it has not been renewed", left)
		}
	})
}

// TestAnnounceAfterAConflict is about a replica that writes between another's look and its patch.
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
				t.Errorf("a conflict is told as an error: %s", line)
			}
		}, funcr.Options{})
		s := startSelfManaged(t, client, ca, log)
		ca.rotate()
		ca.learn()
		time.Sleep(time.Second)
		synctest.Wait()

		state, err := s.configurations[0].read()
		if err != nil {
			t.Fatal(err)
		}
		if !state.includes(theirs) || !state.includes(ca.cas[0]) {
			t.Error("caBundle lacks a CA of the two that wrote at the same time")
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
		want      string // empty if it is
	}{
		"a replica without a leaf is not": {
			announced: true,
			now:       epoch,
			want:      "no serving certificate yet",
		},
		"a replica whose CA was never in caBundle is not": {served: l, now: epoch, want: "not yet in caBundle"},
		"a replica is to the last second of its leaf":     {served: l, announced: true, now: epoch},
		"a replica whose leaf has expired is not, and may tell": {
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
		"no API server":               func(o *SelfManagedOptions) { o.Config = nil },
		"no namespace":                func(o *SelfManagedOptions) { o.SecretNamespace = "" },
		"no Secret":                   func(o *SelfManagedOptions) { o.SecretName = "" },
		"no DNS name":                 func(o *SelfManagedOptions) { o.DNSNames = nil },
		"no mutating configuration":   func(o *SelfManagedOptions) { o.MutatingName = "" },
		"no validating configuration": func(o *SelfManagedOptions) { o.ValidatingName = "" },
	}
	if _, err := NewSelfManaged(selfManagedOptions()); err != nil {
		t.Errorf("NewSelfManaged() = %v", err)
	}
	for sentence, tweak := range tests {
		t.Run(sentence, func(t *testing.T) {
			t.Parallel()
			options := selfManagedOptions()
			tweak(&options)
			if _, err := NewSelfManaged(options); err == nil {
				t.Error("NewSelfManaged() = nil, want an error")
			}
		})
	}
}

func selfManagedOptions() SelfManagedOptions {
	return SelfManagedOptions{
		Config: &rest.Config{Host: "https://localhost:1"}, SecretNamespace: "ns", SecretName: "ca",
		DNSNames: []string{"localhost"}, MutatingName: "m", ValidatingName: "v",
	}
}

// startSelfManaged starts a replica that reads and writes client and whose CA is ca. The test's end stops it.
func startSelfManaged(t *testing.T, client kubernetes.Interface, ca *fakeAuthority, log logr.Logger) *SelfManaged {
	t.Helper()
	options := selfManagedOptions()
	options.Log = log
	s, err := NewSelfManaged(options)
	if err != nil {
		t.Fatal(err)
	}
	s.client, s.authority, s.now = client, ca, ca.now
	s.configurations = newConfigurations(client, options.MutatingName, options.ValidatingName)
	ended := make(chan error)
	go func() { ended <- s.Start(t.Context()) }()
	synctest.Wait()
	t.Cleanup(func() {
		if err := <-ended; err != nil {
			t.Errorf("Start() = %v", err)
		}
	})
	return s
}

func webhookConfigurations() (*admissionregistrationv1.MutatingWebhookConfiguration, *admissionregistrationv1.ValidatingWebhookConfiguration) {
	return &admissionregistrationv1.MutatingWebhookConfiguration{
			ObjectMeta: metav1.ObjectMeta{Name: "m"},
			Webhooks:   []admissionregistrationv1.MutatingWebhook{{Name: "a"}},
		}, &admissionregistrationv1.ValidatingWebhookConfiguration{
			ObjectMeta: metav1.ObjectMeta{Name: "v"},
			Webhooks:   []admissionregistrationv1.ValidatingWebhook{{Name: "a"}, {Name: "b"}},
		}
}

// fakeAuthority rotates when it is told to, and learns of what is in the Secret when it is told to.
type fakeAuthority struct {
	t       *testing.T
	secrets corev1client.SecretInterface
	now     func() time.Time

	cas     []*x509.Certificate // all there were, and their keys
	keys    []*ecdsa.PrivateKey
	known   int // index of the one that signs
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

// learn makes it sign with the CA that is in the Secret, and tell.
func (f *fakeAuthority) learn() {
	f.known = len(f.cas) - 1
	f.watcher <- struct{}{}
}

func TestFileCertificates(t *testing.T) {
	t.Parallel()
	directory := t.TempDir()
	key := newKey(t)
	write := func(ca *x509.Certificate) {
		t.Helper()
		der, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		for name, content := range map[string][]byte{
			"tls.crt": encodeBundle([]*x509.Certificate{ca}),
			"tls.key": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}),
		} {
			if err := os.WriteFile(filepath.Join(directory, name), content, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, err := NewFileCertificates(directory); err == nil {
		t.Error("NewFileCertificates() of an empty directory returns no error")
	}

	first, second := newCA(t, key, "first", 1, epoch), newCA(t, key, "second", 2, epoch.Add(day))
	write(first)
	c, err := NewFileCertificates(directory)
	if err != nil {
		t.Fatal(err)
	}
	c.now = func() time.Time { return first.NotAfter }
	if err := c.Ready(nil); err != nil || !c.NotAfter().Equal(first.NotAfter) {
		t.Errorf("Ready() = %v, NotAfter() = %v, want ready until %v", err, c.NotAfter(), first.NotAfter)
	}
	c.now = func() time.Time { return first.NotAfter.Add(time.Second) }
	if err := c.Ready(nil); err == nil {
		t.Error("Ready() = nil after the certificate has expired")
	}

	write(second)
	// What Start does when the files change; that it does is certwatcher's own test.
	if err := c.watcher.ReadCertificate(); err != nil {
		t.Fatal(err)
	}
	if err := c.Ready(nil); err != nil {
		t.Errorf("Ready() = %v after the certificate was renewed", err)
	}
	got, err := c.GetCertificate(nil)
	if err != nil || !got.Leaf.Equal(second) {
		t.Errorf("GetCertificate() = %v, %v, want the new one", got, err)
	}
}
