package webhook

import (
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"
)

func TestNewFileCertificates(t *testing.T) {
	t.Parallel()
	key := newKey(t)
	ca := newCA(t, key, "ours", 1, epoch)
	certificate, private := encodeFiles(t, newServing(t, ca, key, epoch), key)
	_, otherPrivate := encodeFiles(t, newServing(t, ca, key, epoch), newKey(t))
	const fix = "; use a Secret of type kubernetes.io/tls, whose tls.key is the key of its tls.crt"

	type files map[string][]byte
	tests := map[string]struct {
		files files
		want  string // part of the error; empty if there is none
	}{
		"both files":      {files: files{"tls.crt": certificate, "tls.key": private}},
		"an empty folder": {want: "DIR/tls.crt: no such file or directory" + fix},
		"no tls.key":      {files{"tls.crt": certificate}, "DIR/tls.key: no such file or directory" + fix},
		"no tls.crt":      {files{"tls.key": private}, "DIR/tls.crt: no such file or directory" + fix},
		"an empty file":   {files{"tls.crt": certificate, "tls.key": nil}, "in key input" + fix},
		"files that are swapped": {
			files{"tls.crt": private, "tls.key": certificate},
			"PEM inputs may have been switched" + fix,
		},
		"the key of another certificate": {
			files{"tls.crt": certificate, "tls.key": otherPrivate},
			"private key does not match public key" + fix,
		},
	}
	for sentence, tt := range tests {
		t.Run(sentence, func(t *testing.T) {
			t.Parallel()
			directory := t.TempDir()
			for name, content := range tt.files {
				if err := os.WriteFile(filepath.Join(directory, name), content, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			configurations := newConfigurations(fake.NewClientset(), "m", "v", NewWatches(logr.Discard()))
			_, err := NewFileCertificates(directory, configurations, logr.Discard())
			got := strings.ReplaceAll(errorText(err), directory, "DIR")
			if (got == "") != (tt.want == "") || !strings.Contains(got, tt.want) ||
				tt.want != "" && !strings.HasPrefix(got, "read DIR/tls.crt and DIR/tls.key: ") {
				t.Errorf("NewFileCertificates() = %q, want %q", got, tt.want)
			}
		})
	}
	const limit = "watch c and k: too many open files; raise fs.inotify.max_user_instances of the node"
	if got := filesError("c", "k", syscall.EMFILE).Error(); got != limit {
		t.Errorf("the error of a node without inotify instances is %q, want %q", got, limit)
	}
}

// TestFileCertificates replaces files and caBundles in every order, on a clock of its own.
func TestFileCertificates(t *testing.T) {
	t.Parallel()
	key := newKey(t)
	a, b, c := newCA(t, key, "a", 1, epoch), newCA(t, key, "b", 2, epoch), newCA(t, key, "c", 3, epoch)
	cas := map[string]*x509.Certificate{"a": a, "b": b, "c": c, "a'": newCA(t, key, "a", 4, epoch.Add(day))}
	certificates := map[string]*tls.Certificate{
		"a1": newServing(t, a, key, epoch), "a2": newServing(t, a, key, epoch.Add(5*day)),
		"b1": newServing(t, b, key, epoch), "b2": newServing(t, b, key, epoch.Add(5*day)),
		"c1": newServing(t, c, key, epoch),
	}

	const s = time.Second
	const unverified = "API servers cannot verify the serving certificate"
	const unverifiedNext = "serving the former certificate, because API servers cannot verify the new one"
	const noCA = "no CA in clientConfig.caBundle"
	// event is a change of the files or the configurations, or just the time, and what follows from it.
	type event struct {
		at    time.Duration // since epoch
		files string        // the certificate that is written, if any
		// mutating and validating are the CAs in the caBundle of all webhooks of a configuration. Empty means that nothing
		// has changed, "none" that the configuration does not exist, and "empty" that caBundle is empty.
		mutating, validating string
		injected             bool // whether cert-manager is to write these

		serving string
		ready   string // part of the error of Ready; empty if the replica is ready
		log     string // part of the line that is logged, apart from which certificate is served; empty if none is
	}
	tests := map[string][]event{
		"a replica that starts before cert-manager has written caBundle": {
			{at: s, files: "a1", mutating: "empty", validating: "empty", injected: true, serving: "a1",
				ready: "MutatingWebhookConfiguration m, webhook a: clientConfig.caBundle is empty; cert-manager writes it: " +
					"check that Certificate ns/webhook is Ready, that its Secret has ca.crt, and that cainjector runs " +
					"(and 2 more webhooks)",
				log: unverified},
			{at: 2 * s, serving: "a1", ready: "is empty"},
			{at: 3 * s, mutating: "a", injected: true, serving: "a1",
				ready: "ValidatingWebhookConfiguration v, webhook a: clientConfig.caBundle is empty", log: unverified},
			{at: 4 * s, validating: "a", injected: true, serving: "a1", log: isTrusted},
			{at: 5 * s, serving: "a1"},
		},
		"a certificate that is renewed": {
			{at: s, files: "a1", mutating: "a", validating: "a", serving: "a1"},
			{at: 5 * day, files: "a2", serving: "a1"},
			{at: 5*day + 9*s, serving: "a1"},
			{at: 5*day + 10*s, serving: "a2"},
			{at: 5*day + 11*s, serving: "a2"},
		},
		"a new CA that is in caBundle first": {
			{at: s, files: "a1", mutating: "a", validating: "a", serving: "a1"},
			{at: day, mutating: "a b", serving: "a1"},
			{at: day, validating: "a b", serving: "a1"},
			{at: day + 60*s, files: "b1", serving: "a1"},
			{at: day + 70*s, serving: "b1"},
			{at: 2 * day, mutating: "b", validating: "b", serving: "b1"},
		},
		"a new CA that is in the files first": {
			{at: s, files: "a1", mutating: "a", validating: "a", serving: "a1"},
			{at: day, files: "b1", serving: "a1", log: unverifiedNext},
			{at: 2 * day, serving: "a1"},
			{at: 3 * day, mutating: "a b", serving: "a1", log: unverifiedNext},
			{at: 3 * day, validating: "a b", serving: "a1", log: isTrusted},
			{at: 3*day + 10*s, serving: "b1"},
		},
		"a new CA that is in the files first, and in caBundle alone": {
			{at: s, files: "a1", mutating: "a", validating: "a", serving: "a1"},
			{at: day, files: "b1", serving: "a1", log: unverifiedNext},
			{at: 2 * day, mutating: "b", validating: "b", serving: "b1", log: isTrusted},
		},
		"a new CA that is alone in caBundle, and in the files later": {
			{at: s, files: "a1", mutating: "a", validating: "a", serving: "a1"},
			{at: day, mutating: "b", serving: "a1", log: unverified},
			{at: day, validating: "b", serving: "a1", ready: noCA, log: unverified},
			{at: day + 60*s, files: "b1", serving: "b1", log: isTrusted},
		},
		"a new CA with the name and the key of the former one": {
			{at: s, files: "a1", mutating: "a", validating: "a", serving: "a1"},
			{at: day, mutating: "a'", validating: "a'", serving: "a1"},
			{at: 5 * day, files: "a2", serving: "a1"},
			{at: 5*day + 10*s, serving: "a2"},
		},
		"a gap in the trust of a new certificate": {
			{at: s, files: "a1", mutating: "a b", validating: "a b", serving: "a1"},
			{at: day, files: "b1", serving: "a1"},
			{at: day + 9*s, mutating: "a", serving: "a1", log: unverifiedNext},
			{at: day + 10*s, mutating: "a b", serving: "a1", log: isTrusted},
			{at: day + 19*s, serving: "a1"},
			{at: day + 20*s, serving: "b1"},
		},
		"a second new certificate while the first waits": {
			{at: s, files: "a1", mutating: "a b c", validating: "a b c", serving: "a1"},
			{at: day, files: "b1", serving: "a1"},
			{at: day + 9*s, files: "c1", serving: "a1"},
			{at: day + 18*s, serving: "a1"},
			{at: day + 19*s, serving: "c1"},
		},
		"the former certificate comes back": {
			{at: s, files: "a1", mutating: "a", validating: "a", serving: "a1"},
			{at: day, files: "b1", serving: "a1", log: unverifiedNext},
			{at: 2 * day, files: "a1", serving: "a1", log: isTrusted},
		},
		"a former certificate that expires while the new one is not trusted": {
			{at: s, files: "a1", mutating: "a", validating: "a", serving: "a1"},
			{at: 6 * day, files: "b2", serving: "a1", log: unverifiedNext},
			{at: leafLife, serving: "a1"},
			{at: leafLife + s, serving: "b2", ready: noCA, log: unverified},
		},
		"a certificate that expires": {
			{at: s, files: "a1", mutating: "a", validating: "a", serving: "a1"},
			{at: leafLife, serving: "a1"},
			{at: leafLife + s, serving: "a1", ready: "the serving certificate expired at 2027-01-08T00:00:00Z; renew it",
				log: unverified},
			{at: leafLife + day, files: "a2", serving: "a2", log: isTrusted},
		},
		"a certificate that is not valid yet": {
			{at: s, files: "a2", mutating: "a", validating: "a", serving: "a2",
				ready: "the serving certificate is not valid before 2027-01-06T00:00:00Z", log: unverified},
			{at: 5 * day, serving: "a2", log: isTrusted},
		},
		"a renewed certificate that is not valid yet": {
			{at: s, files: "a1", mutating: "a", validating: "a", serving: "a1"},
			{at: day, files: "a2", serving: "a1", log: unverifiedNext},
			{at: 5 * day, serving: "a1", log: isTrusted},
			{at: 5*day + 10*s, serving: "a2"},
		},
		"one configuration that has another CA from the start": {
			{at: s, files: "a1", mutating: "a", validating: "b", serving: "a1",
				ready: "ValidatingWebhookConfiguration v, webhook a: no CA in", log: unverified},
			{at: 2 * s, validating: "a", serving: "a1", log: isTrusted},
		},
		"configurations that get another CA one after the other": {
			{at: s, files: "a1", mutating: "a", validating: "a", serving: "a1"},
			{at: 2 * s, validating: "b", serving: "a1", log: unverified},
			{at: 3 * s, serving: "a1"},
			{at: 4 * s, mutating: "b", serving: "a1", ready: noCA, log: unverified},
			{at: 5 * s, mutating: "a", serving: "a1", log: unverified},
			{at: 6 * s, mutating: "none", serving: "a1", ready: noCA},
		},
		"a renewal while a webhook has another CA": {
			{at: s, files: "a1", mutating: "a", validating: "a", serving: "a1"},
			{at: 2 * s, validating: "b", serving: "a1", log: unverified},
			{at: 5 * day, files: "a2", serving: "a2"},
		},
		"configurations that are installed later": {
			{at: s, files: "a1", mutating: "none", validating: "none", serving: "a1"},
			{at: 2 * s, mutating: "a", validating: "b", serving: "a1", ready: "ValidatingWebhookConfiguration v, webhook a",
				log: unverified},
			{at: 3 * s, validating: "a", serving: "a1", log: isTrusted},
		},
		"a certificate that is renewed without configurations": {
			{at: s, files: "a1", mutating: "none", validating: "none", serving: "a1"},
			{at: 5 * day, files: "a2", serving: "a1"},
			{at: 5*day + 10*s, serving: "a2"},
		},
		"a certificate that has expired replaces a valid one, without configurations": {
			{at: 5 * day, files: "a2", mutating: "none", validating: "none", serving: "a2"},
			{at: leafLife + s, files: "a1", serving: "a2", log: unverifiedNext},
			{at: leafLife + 11*s, serving: "a2"},
		},
		"the trust store of the API server": {
			{at: s, files: "a1", mutating: "empty", validating: "empty", serving: "a1", log: "caBundle is empty, so"},
			{at: 2 * s, serving: "a1"},
			{at: 3 * s, mutating: "a", validating: "a", serving: "a1", log: isTrusted},
		},
	}
	for sentence, events := range tests {
		t.Run(sentence, func(t *testing.T) {
			t.Parallel()
			directory := t.TempDir()
			write := func(name string) {
				certificate, private := encodeFiles(t, certificates[name], key)
				for name, content := range map[string][]byte{"tls.crt": certificate, "tls.key": private} {
					if err := os.WriteFile(filepath.Join(directory, name), content, 0o600); err != nil {
						t.Fatal(err)
					}
				}
			}
			var logged []string
			log := funcr.New(func(_, line string) { logged = append(logged, line) }, funcr.Options{})
			configurations := newConfigurations(fake.NewClientset(), "m", "v", NewWatches(logr.Discard()))
			write(events[0].files)
			c, err := NewFileCertificates(directory, configurations, log)
			if err != nil {
				t.Fatal(err)
			}
			if err := c.Ready(nil); err == nil {
				t.Error("Ready() = nil before the configurations have been read")
			}
			for i, e := range events {
				if i > 0 && e.files != "" {
					write(e.files)
					// Start does this when the files change, which certwatcher tests itself.
					if err := c.watcher.ReadCertificate(); err != nil {
						t.Fatal(err)
					}
				}
				for i, names := range []string{e.mutating, e.validating} {
					if names != "" {
						setBundles(t, configurations.all[i], names, cas, e.injected)
					}
				}
				c.now = func() time.Time { return epoch.Add(e.at) }
				logged = nil
				c.look()

				got, err := c.GetCertificate(nil)
				if err != nil || !got.Leaf.Equal(certificates[e.serving].Leaf) {
					t.Errorf("after event %d another certificate than %q is served (%v)", i, e.serving, err)
				}
				if !c.NotAfter().Equal(got.Leaf.NotAfter) {
					t.Errorf("after event %d NotAfter() = %v", i, c.NotAfter())
				}
				if got := errorText(c.Ready(nil)); (got == "") != (e.ready == "") || !strings.Contains(got, e.ready) {
					t.Errorf("after event %d Ready() = %q, want %q", i, got, e.ready)
				}
				logged = slices.DeleteFunc(logged, func(line string) bool {
					return strings.Contains(line, `"serving a new certificate"`)
				})
				want := 1
				if e.log == "" {
					want = 0
				}
				if len(logged) != want || want == 1 && !strings.Contains(logged[0], `"msg"="`+e.log) {
					t.Errorf("event %d logs %q, want %q", i, logged, e.log)
				}
			}
		})
	}
}

// setBundles stores a configuration as if an API server had sent it.
func setBundles(
	t *testing.T, c configuration, names string, cas map[string]*x509.Certificate, injected bool,
) {
	t.Helper()
	mutating, validating := webhookConfigurations()
	store := c.informer.GetStore()
	var object metav1.Object = mutating
	if c.kind == "ValidatingWebhookConfiguration" {
		object = validating
	}
	if names == "none" {
		if err := store.Delete(object); err != nil {
			t.Fatal(err)
		}
		return
	}
	var bundle []*x509.Certificate
	for name := range strings.FieldsSeq(names) {
		if name != "empty" {
			bundle = append(bundle, cas[name])
		}
	}
	if injected {
		object.SetAnnotations(map[string]string{cmapi.WantInjectAnnotation: "ns/webhook"})
	}
	for i := range mutating.Webhooks {
		mutating.Webhooks[i].ClientConfig = calledWebhook(encodeBundle(bundle))
	}
	for i := range validating.Webhooks {
		validating.Webhooks[i].ClientConfig = calledWebhook(encodeBundle(bundle))
	}
	if err := store.Add(object); err != nil {
		t.Fatal(err)
	}
}

// encodeFiles returns the contents of tls.crt and tls.key.
func encodeFiles(t *testing.T, certificate *tls.Certificate, key *ecdsa.PrivateKey) (tlsCrt, tlsKey []byte) {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return encodeBundle([]*x509.Certificate{certificate.Leaf}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}
